"""What `sql_read_only` says for the dialects that no grammar of the database itself judges."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.expressions.sqlcheck import DIALECTS, is_read_only_sql
from graphs.expressions.sqltables import find_sql_tables
from graphs.expressions.sqltext import NotReadOnly, check_size, find_quoted

OTHERS = [dialect for dialect in DIALECTS if dialect != "postgres"]

READING = [
    ("bigquery", "select * except (a), safe_cast(a as int64) from t where regexp_contains(a, r'\\d+')"),
    (
        "bigquery",
        "select a, array_agg(b) from `p.d.t`, unnest(x) u with offset o qualify row_number() over (partition by a) = 1",
    ),
    ("bigquery", "select t.a.b[offset(0)], if(a, b, c) from t -- x\n group by rollup(a)"),
    ("clickhouse", "select a, count(), sum(b) from t final prewhere e = 1 group by a order by a limit 10"),
    ("duckdb", "select * from range(10) r"),
    ("duckdb", "select [1, 2], a[1:2], strftime(a, '%Y'), a // 2 from t using sample 10%"),
    (
        "mysql",
        "select a, group_concat(b order by c separator ';') from t where a regexp 'x' group by a with rollup limit 5",
    ),
    ("mysql", "select date_format(a, '%Y'), ifnull(b, 0), if(a, 1, 2), a <=> b, a div 2 from `t` where c = \"x\" -- x"),
    ("mysql", "select json_extract(a, '$.b'), a->>'$.b' from t /* y */"),
    ("oracle", "select listagg(a, ',') within group (order by a) from t where a = b"),
    ("oracle", "select nvl(b, 0), to_char(c, 'YYYY'), sysdate, rownum from t where rownum < 10"),
    ("oracle", "select t.a, s.u.b from t, s.u"),
    (
        "redshift",
        "select a, listagg(b, ','), dateadd(day, 1, c), getdate(), nvl(d, 0) from s.t where e ilike 'x%' limit 10",
    ),
    ("redshift", "select t.a.b, x.c from t, x"),
    ("snowflake", "select a:b.c::int, x[0] from t, lateral flatten(input => y) f"),
    ("snowflake", "select iff(a, 1, 2), nvl(a, b), dateadd(day, 1, c) from db.s.t"),
    ("snowflake", "select top 10 a from t where a ilike 'x' qualify rank() over (order by b) = 1"),
    ("sqlite", "select * from t, json_each(t.a) j"),
    (
        "sqlite",
        "select a, group_concat(b, ','), a || b, a glob 'x*', julianday('now') from [my t] where a match 'x' limit 5",
    ),
    ("sqlite", "select iif(a, 1, 2), a->>'x', `b`, \"c\" from t -- it's me\n"),
    (
        "trino",
        "select approx_distinct(b), date_trunc('day', c) from hive.s.t cross join unnest(e) as u(x) where try(a) = 1",
    ),
    ("trino", "select json_extract_scalar(a, '$.b'), if(a, 1, 2) from t tablesample bernoulli (10)"),
    ("tsql", "select a from #t order by a offset 0 rows fetch next 5 rows only"),
    ("tsql", "select a from t where b = N'x' -- why\n"),
    (
        "tsql",
        "select dateadd(day, -1, getdate()), len(a), iif(a = 1, 2, 3) from t cross apply (select 1 as x) y",
    ),
    (
        "tsql",
        "select top (10) a, b as [c d] from dbo.t as t with (nolock) where a like '%x%' order by a",
    ),
]


@pytest.mark.parametrize(("dialect", "sql"), READING)
def test_what_people_ask_in_other_dialects_is_read_only(dialect: str, sql: str) -> None:
    assert is_read_only_sql(sql, dialect)


ACTING = [
    ("bigquery", "select '''; delete from t; --'''"),
    ("bigquery", 'select """; delete from t; --"""'),
    ("bigquery", "select * from external_query('c', 'delete from t')"),
    ("bigquery", "select * from ml.predict(model m, table t)"),
    ("bigquery", "select '''a''' ; delete from t; -- '''"),
    ("bigquery", "select 'a''b'"),
    ("bigquery", "export data options(uri='gs://x') as select 1"),
    ("bigquery", "select 1 # x"),
    ("bigquery", "select net.host('x')"),
    ("bigquery", "select remote_f(1)"),
    ("clickhouse", "select 1 /* a /* b */ ' */; drop table t -- '"),
    ("clickhouse", "select * from s3('http://x')"),
    ("clickhouse", "select * from remote('h', 'd', 't')"),
    ("clickhouse", "select sleep(3)"),
    ("clickhouse", "select * from executable('x', 'TSV', 'a int')"),
    ("clickhouse", "select 1 settings max_threads = 1"),
    ("clickhouse", "select 1 into outfile 'x'"),
    ("clickhouse", "select {a:String}"),
    ("clickhouse", "select dictGet('d', 'a', 1)"),
    ("clickhouse", "select $$x$$"),
    ("clickhouse", "select * from mysql('h', 'd', 't', 'u', 'p')"),
    ("duckdb", "select * from 'file.csv'"),
    ("duckdb", 'select * from "file.csv"'),
    ("duckdb", "from 'file.csv'"),
    ("duckdb", "select * from file.csv"),
    ("duckdb", "select * from t, folder.file.parquet"),
    ("duckdb", 'select 1 where 1 in (from "file"."CSV")'),
    ("duckdb", "select * from 'https://x/y.parquet' as z"),
    ("duckdb", "select * from '/etc/passwd'"),
    ("duckdb", "select * from read_text('/etc/passwd')"),
    ("duckdb", "select * from glob('*')"),
    ("duckdb", "select getenv('HOME')"),
    ("duckdb", "select * from sqlite_scan('x', 't')"),
    ("duckdb", "select * from query('delete from t')"),
    ("duckdb", "select * from query_table('x.csv')"),
    ("duckdb", "set a = 1"),
    ("duckdb", "select nextval('s')"),
    ("duckdb", "select a from t, 'x.json'"),
    ("duckdb", "select $$x$$"),
    ("mysql", "select 1|/*'*/2; delete from t; -- '"),
    ("mysql", "select 1--1"),
    ("mysql", "select 1 --x\n"),
    ("mysql", "select 1 # '\n; delete from t -- '"),
    ("mysql", "select 1 /*+ set_var(sql_log_bin=off) */"),
    ("mysql", "select /*+ set_var(sql_log_bin=off) */ 1"),
    ("mysql", "select 'a\\'; delete from t; -- '"),
    ("mysql", 'select "a\\"; delete from t; -- "'),
    ("mysql", "select sql_no_cache a from t"),
    ("mysql", "select @a"),
    ("mysql", "select * from t procedure analyse()"),
    ("mysql", "select is_free_lock('a')"),
    ("mysql", "select a from t for share"),
    ("mysql", "select next value for s"),
    ("mysql", "select sys_exec('x')"),
    ("mysql", "select 1\xa0-- x"),
    ("oracle", "select s.nextval from dual"),
    ("oracle", "select * from t@link"),
    ("oracle", "select dbms_random.value from dual"),
    ("oracle", "select dbms_lock.sleep(1) from dual"),
    ("oracle", "select utl_http.request('http://x') from dual"),
    ("oracle", "select q'[']' from dual; delete from t --'"),
    ("oracle", "select pkg.wipe from dual"),
    ("oracle", "select s.pkg.wipe from dual"),
    ("oracle", "select * from t for update"),
    ("oracle", "with function f return number is begin return 1; end; select f from dual"),
    ("oracle", "select sys.pkg.f() from dual"),
    ("oracle", "select * from t where pkg.wipe = 1"),
    ("redshift", "select ('a'::text).pg_sleep"),
    ("redshift", "select (x).wipe from t x"),
    ("redshift", "select U&'\\0027'"),
    ("redshift", "select 'a\\'; delete from t; --'"),
    ("redshift", "unload ('select 1') to 's3://x'"),
    ("redshift", "select e'a'\n'b'"),
    ("redshift", "select pg_terminate_backend(1)"),
    ("redshift", "select 1 <--'\n 2; delete from t; --'"),
    ("snowflake", "select * from @stage"),
    ("snowflake", "select $1 from @stage/x.csv"),
    ("snowflake", "select system$abort_session(1)"),
    ("snowflake", "select s.nextval"),
    ("snowflake", "select $$'$$"),
    ("snowflake", "select 1 // '\n; delete from t -- '"),
    ("snowflake", "select * from table(my_f(1))"),
    ("snowflake", "select * from table(result_scan(last_query_id()))"),
    ("snowflake", "call p()"),
    ("snowflake", "select my_external(1)"),
    ("snowflake", "select * from identifier($t)"),
    ("snowflake", "with p as procedure () returns string language sql as 'x' call p()"),
    ("snowflake", "select * from 's3://x/y'"),
    ("snowflake", "show tables ->> select 1"),
    ("snowflake", "select * from '@stage/x'"),
    ("sqlite", "select readfile('/etc/passwd')"),
    ("sqlite", "select fts3_tokenizer('a', x'00')"),
    ("sqlite", "select edit('a')"),
    ("trino", "select * from table(system.query(query => 'delete from t'))"),
    ("trino", "select * from table(my.f(1))"),
    ("trino", "select f(1)"),
    ("tsql", "select 1 reconfigure"),
    ("tsql", "select 1 checkpoint"),
    ("tsql", "select 1 shutdown"),
    ("tsql", "select 1 waitfor delay '1:00'"),
    ("tsql", "select 1 dbcc freeproccache"),
    ("tsql", "select 1 use master"),
    ("tsql", "select 1 print 'x'"),
    ("tsql", "select 1 backup database d to disk = 'x'"),
    ("tsql", "select 1 deny select to public"),
    ("tsql", "select 1 revert"),
    ("tsql", "select 1 set a on"),
    ("tsql", "select 1 if 1=1 x"),
    ("tsql", "select * from openrowset('a', 'b', 'c')"),
    ("tsql", "select * from openquery(s, 'delete from t')"),
    ("tsql", "select * from srv.db.dbo.t"),
    ("tsql", "select * from t cross apply srv.db.dbo.u"),
    ("tsql", "select * from t with (tablockx)"),
    ("tsql", "select * from t with (updlock, holdlock)"),
    ("tsql", "select next value for s"),
    ("tsql", "select dbo.f(1)"),
    ("tsql", "select @a"),
    ("tsql", "select @a = 1"),
    ("tsql", "select * from t option (use hint ('x'))"),
    ("tsql", "select 1 /* /* */ ' */ exec p -- '"),
    ("tsql", "select 1 sp_who exec"),
    ("tsql", "xp_cmdshell 'x'"),
    ("tsql", "select * from xp_dirtree('x')"),
    ("tsql", "select 1 throw"),
    ("tsql", "select 1 go"),
    ("tsql", "select 1 restore database x"),
    ("tsql", "select 1 raiserror('x',1,1)"),
    ("tsql", "select 1 truncate table t"),
    ("tsql", "select 1 alter table t add a int"),
    ("tsql", "select 1 fetch next from c"),
    ("tsql", "select 1 disable trigger x on t"),
    ("tsql", "select 1 goto a"),
    ("tsql", "select 1 open c"),
    ("tsql", "select 1 begin tran"),
    ("tsql", "select 1 kill 53"),
    ("tsql", "select 1 end conversation x"),
    ("tsql", "select 1\ngo\nsp_who"),
]


@pytest.mark.parametrize(("dialect", "sql"), ACTING)
def test_what_may_act_in_other_dialects_is_not_read_only(dialect: str, sql: str) -> None:
    assert not is_read_only_sql(sql, dialect)
    with pytest.raises(ValueError, match="its tables cannot be told"):
        find_sql_tables(sql, dialect)


# Words of the parser that a database may have as names of functions: it takes their calls for a column or a table with
# names behind it.
FUNCTIONS_LIKE_KEYWORDS = [
    "select cache(a) from t",
    "select comment(a, b) from t",
    "select 1 + show(a) from t",
    "select s.unknown(a) from t",
    "select * from settings(a)",
    "select * from t, temp(a)",
    "select * from view(1)",
    "select * from t join semi(a) on true",
    "select null(a)",
    "select (select keep(a))",
]


@pytest.mark.parametrize("sql", FUNCTIONS_LIKE_KEYWORDS)
@pytest.mark.parametrize("dialect", OTHERS)
def test_no_call_is_taken_for_a_name_with_other_names_behind_it(dialect: str, sql: str) -> None:
    assert not is_read_only_sql(sql, dialect)


# Where two tokenizers may disagree: what one takes for a text or a comment is a second statement to the other.
HIDDEN = [
    "select 1 |/*'*/ 2; delete from t; --'",
    "select 1 </*'*/ 2; delete from t; --'",
    "select 1 <--'\n 2; delete from t; --'",
    "select 1--'\n; delete from t; --'",
    "select 1 --'\n; delete from t; --'",
    "select 1 -- '\r; delete from t; -- '",
    "select 1 -- '\u2028; delete from t; -- '",
    "select 1 -- '\x85; delete from t; -- '",
    "select 1 #'\n; delete from t; --'",
    "select 1 //'\n; delete from t; --'",
    "select 1 /* /* */ ' */; delete from t; --'",
    "select 1 /*!'*/; delete from t; --'",
    "select 1 /*M!'*/; delete from t; --'",
    "select '\\'; delete from t; --'",
    'select "\\"; delete from t; --"',
    "select `\\`; delete from t; --`",
    "select e'a'\n'\\''; delete from t; --'",
    "select e'a' 'b\\''; delete from t; --'",
    "select U&'\\0027'; delete from t; --'",
    "select q'['; delete from t; --]'",
    "select nq'!'; delete from t; --!'",
    "select r'\\'; delete from t; --'",
    "select $$'$$; delete from t; --'",
    "select $a$'$a$; delete from t; --'",
    "select `'`; delete from t; --'",
    "select ['] from u; delete from t; --'",
    "select [a]]'] from u; delete from t; --'",
    "select {'; delete from t; --'}",
    "select :'; delete from t; --'",
    "select @'; delete from t; --'",
    "select 1\u00a0--'\n; delete from t; --'",
]


# Here these are an operator, and the begin of a struct.
_OPERATORS_OF_DUCKDB = ("//", "{")


@pytest.mark.parametrize("sql", HIDDEN)
@pytest.mark.parametrize("dialect", OTHERS)
def test_no_dialect_takes_a_statement_for_text(dialect: str, sql: str) -> None:
    if dialect != "duckdb" or not any(mark in sql for mark in _OPERATORS_OF_DUCKDB):
        assert not is_read_only_sql(sql, dialect)


def read_outside(sql: str, *, escapes: bool, nested: bool, hashes: bool, slashes: bool, strict: bool) -> str:
    """What stands outside of texts and comments for a database with these habits: backslashes that escape, comments
    that nest, others that begin with `#` or `//`, and `--` that wants white space behind it."""
    outside: list[str] = []
    at = 0
    while at < len(sql):
        character = sql[at]
        dashes = sql.startswith("--", at) and (not strict or sql[at + 2 : at + 3] in ("", " ", "\n", "\t"))
        if character in "'\"`":
            at += 1
            while at < len(sql) and sql[at] != character:
                at += 2 if escapes and sql[at] == "\\" else 1
        elif dashes or (hashes and character == "#") or (slashes and sql.startswith("//", at)):
            while at < len(sql) and sql[at] != "\n":
                at += 1
        elif sql.startswith("/*", at):
            depth, at = 1, at + 2
            while at < len(sql) and depth:
                deeper = nested and sql.startswith("/*", at)
                depth += deeper - sql.startswith("*/", at)
                at += 2 if deeper or sql.startswith("*/", at) else 1
            continue
        else:
            outside.append(character)
        at += 1
    return "".join(outside)


_PIECES = st.sampled_from(
    ["'", "''", "'a'", '"', '"b"', "`", "`c`", "--", "-- ", "/*", "*/", "/* ", " */", "/", "*", "#", "//", "\\", "\n",
     "\r", " ", " ", " ", ";", "$$", "e", "n", "q", "r", "U&", "{", "@", "|", "1", "x", "delete", ",", "é", "\xa0"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(sql=st.lists(_PIECES, max_size=12).map("".join), dialect=st.sampled_from(OTHERS))
def test_what_passes_is_read_alike_by_databases_with_other_habits(sql: str, dialect: str) -> None:
    try:
        check_size(sql)
        find_quoted(sql, dialect)
    except NotReadOnly:
        return
    # `#` is a part of names, and `//` an operator, where these let them pass.
    hashes = [False] if dialect in ("tsql", "oracle") else [False, True]
    slashes = [False] if dialect == "duckdb" else [False, True]
    both = [False, True]
    readings = {
        read_outside(sql, escapes=escapes, nested=nested, hashes=hashed, slashes=slashed, strict=strict)
        for escapes, nested, hashed, slashed, strict in itertools.product(both, both, hashes, slashes, both)
    }
    assert len(readings) == 1
