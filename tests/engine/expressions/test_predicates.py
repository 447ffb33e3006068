"""`path_within` and `sql_read_only` answer true only for what they are sure of."""

from __future__ import annotations

import errno
import itertools
import os
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from graphs.expressions import compile_rule_condition
from graphs.expressions.paths import could_be_folder, is_path_within
from graphs.expressions.sqlcheck import DIALECTS, is_read_only_sql
from graphs.expressions.sqlnames import PURE_FUNCTION_KEYS
from graphs.expressions.sqltext import MAX_CHARACTERS


@pytest.mark.parametrize(
    "path",
    [
        "/workspace",
        "/workspace/",
        "/workspace/a",
        "/workspace/a/b c.txt",
        "/workspace/./a//b",
        "/workspace/a/../b",
        "/workspace/..a/...",
        "/workspace/50%25 off",
        "/workspace/über/文",
        "/workspace/a%20b",
        "/workspace/~x",
    ],
)
def test_what_is_in_the_folder_is_within(path: str) -> None:
    assert is_path_within(path, "/workspace")
    assert is_path_within(path, "/workspace/")
    assert is_path_within(path, "/")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "/workspace2",
        "/workspace2/a",
        "/Workspace/a",
        "workspace/a",
        "a",
        "./workspace",
        "~/a",
        "..",
        "/workspace/..",
        "/workspace/../etc/passwd",
        "/workspace/a/../../etc",
        "/workspace/./.././etc",
        "//workspace/a",
        "//host/workspace/a",
        "///workspace/a",
        "/workspace\\..\\..\\etc",
        "/workspace/a\\b",
        "\\\\host\\share",
        "C:/workspace",
        "/workspace/a\0/../../etc",
        "/workspace/a\n/etc/passwd",
        "/workspace/%2e%2e/etc",
        "/workspace/%2E%2E%2Fetc",
        "/workspace/..%2f..%2fetc",
        "/workspace/%252e%252e/etc",
        "/workspace/%25252e%25252e/etc",
        "/workspace/a%00b",
        "/workspace/%5c..%5cetc",
        "/workspace/%c0%ae%c0%ae/etc",
        "/workspace/%ff",
        "/workspace/．．/etc",
        "/workspace/‥/etc",
        "/workspace/%EF%BC%8E%EF%BC%8E/etc",
        "/workspace/a＼b",
        "file:///workspace/a",
        " /workspace/a",
        "/workspace/a\r/../../etc",
        "/workspace/a\x1b",
        "/workspace/\x7f",
        "/workspace/%09/../../etc",
        "/workspace/..%252f..%252fetc",
        "/workspace/%2e%2e%5cetc",
        "/workspace/..%c0%afetc",
        "/workspace/%e0%80%ae%e0%80%ae/etc",
        "/workspace/..\u2215etc",
        "/workspace/..\u2044..\u2044etc",
        "/workspace/..\u29f8etc",
        "/workspace/..\u2216etc",
        "/workspace/\u2024\u2024/etc",
        "/workspace/\ufe52\ufe52/etc",
        "/workspace/a/../..%2fetc",
        "/workspace%2f..%2fetc",
        "%2fetc",
        "%2fworkspace/a",
        "/%2fworkspace/a",
        "/workspace/\ud800/a",
        "/workspaceX/../workspace2",
        "/workspace/../../../../../../etc/shadow",
        "/proc/self/root/etc/passwd",
        "/workspace/./../workspace/../etc",
    ],
)
def test_what_may_lead_out_of_the_folder_is_not_within(path: str) -> None:
    assert not is_path_within(path, "/workspace")


def test_several_paths_and_several_folders() -> None:
    assert is_path_within(["/workspace/a", "/srv/b"], "/workspace", "/srv")
    assert is_path_within("/srv/b", ["/workspace", "/srv"])
    assert not is_path_within(["/workspace/a", "/etc/b"], "/workspace", "/srv")
    assert not is_path_within(["/workspace/a", "/workspace/../etc"], "/workspace")
    assert not is_path_within([], "/workspace")
    assert not is_path_within("/workspace/a", [])
    with pytest.raises(ValueError, match="no text"):
        is_path_within(["/workspace/a", 5], "/workspace")


def test_a_rule_with_lists_fails_closed() -> None:
    rule = compile_rule_condition('path_within(args.paths, "/workspace", "/srv")')
    assert rule.evaluate({"args": {"paths": ["/srv/a", "/workspace/b"]}}) is True
    assert rule.evaluate({"args": {"paths": "/srv/a"}}) is True
    assert rule.evaluate({"args": {"paths": ["/srv/a", "/etc/b"]}}) is False
    for odd in (["/srv/a", None], ["/srv/a", ["/srv/b"]], {"a": "/srv"}, 5, None):
        assert rule.evaluate({"args": {"paths": odd}}) is None
    assert compile_rule_condition('path_within(args.p, ["/a", "/b"])').evaluate({"args": {"p": "/b/c"}}) is True


@pytest.mark.parametrize(
    "path",
    [
        "/workspace/％2e％2e/etc", "/workspace/%EF%BC%852e%EF%BC%852e/etc", "/workspace/﹪2e﹪2e/etc",
        "/workspace/٪2e٪2e/etc",
        "/workspace/％252e％252e/etc", "/workspace/%ef%bc%8e%ef%bc%8e/etc", "/workspace/%ef%bc%85ef%bc%8e./etc",
        "/workspace/％２ｅ％２ｅ／etc", "/workspace/a％2f..％2f..％2fetc", "/workspace/．％2e/etc",
        "/workspace/%E2%80%A4%E2%80%A4/etc",
        "/workspace/a％5c..％5cb", "/workspace/a％00", "/workspace/" + "a" * 5000,
    ],
)  # fmt: skip
def test_no_order_of_decoding_and_normal_forms_leads_out(path: str) -> None:
    assert not is_path_within(path, "/workspace")


_WAYS: list[Callable[[str], str]] = [
    lambda text: quote(text, safe="/"),
    lambda text: text.replace("%", "％"),
    lambda text: text.replace("%", "﹪"),
    lambda text: text.replace(".", "．"),
    lambda text: text.replace(".", "%2e"),
    lambda text: text.replace("2", "２").replace("e", "ｅ"),
]


@given(st.lists(st.sampled_from(_WAYS), max_size=6), st.sampled_from(["../etc", "a/../../etc", "..", "..//etc"]))
def test_however_the_way_out_is_dressed_it_is_not_within(ways: list[Callable[[str], str]], rest: str) -> None:
    path = f"/workspace/{rest}"
    for way in ways:
        path = "/workspace/" + way(path.removeprefix("/workspace/"))
    assert not is_path_within(path, "/workspace")


def test_a_folder_of_a_million_names_is_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Entries:
        def __enter__(self) -> Iterator[Any]:
            return (SimpleNamespace(name=f"file-{number}") for number in range(1_000_000))

        def __exit__(self, *_: object) -> None: ...

    pauses: list[float] = []
    monkeypatch.setattr(os, "scandir", lambda _: Entries())
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert is_path_within(str(tmp_path / "new"), str(tmp_path))
    assert len(pauses) == 2000


def test_a_path_that_is_encoded_over_and_over_is_not_within() -> None:
    path = "/workspace/100%"
    for _ in range(8):
        path = quote(path, safe="/")
    assert not is_path_within(path, "/workspace")


@pytest.mark.parametrize("folder", ["", "workspace", "./", "C:\\x", "/work\0space", "//x"])
def test_nothing_is_within_a_folder_that_is_no_absolute_path(folder: str) -> None:
    assert not is_path_within(folder + "/a", folder)
    assert not is_path_within("/a", folder)


def test_symbolic_links_of_this_machine_are_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "sub").mkdir(parents=True)
    outside.mkdir()
    (inside / "out").symlink_to(outside)
    (inside / "to_sub").symlink_to(inside / "sub")
    (tmp_path / "alias").symlink_to(inside)
    assert not is_path_within(f"{inside}/out", str(inside))
    assert not is_path_within(f"{inside}/out/new.txt", str(inside))
    assert is_path_within(f"{inside}/to_sub/new.txt", str(inside))
    assert is_path_within(f"{tmp_path}/alias/new.txt", f"{tmp_path}/alias")
    assert not is_path_within(f"{inside}/out/../x", str(inside))


NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "path",
    [
        "in/../out",
        "in/../out/new.txt",
        "circle/../out",
        "nowhere/../out/x",
        f"{NFC}",
        f"{NFC}/secret.txt",
        f"in/../{NFC}/secret.txt",
        "nowhere/../Kelvin",
        "caf%C3%A9/secret.txt",
        "out ",
        'out"',
        ".. ",
    ],
)
def test_links_count_however_a_program_comes_to_them(tmp_path: Path, path: str) -> None:
    inside = tmp_path / "inside"
    (inside / "sub/deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (inside / "in").symlink_to("sub/deep")
    (inside / "circle").symlink_to("circle")
    for name in ("out", NFD, "\u212aelvin"):
        (inside / name).symlink_to(tmp_path / "outside")
    assert not is_path_within(f"{inside}/{path}", str(inside))
    assert is_path_within(f"{inside}/in/../x", str(inside))
    assert is_path_within(f"{inside}/{NFC}-new/Kelvin", str(inside))


def test_names_of_the_same_form_are_tried_within_reason(tmp_path: Path) -> None:
    letters = ["".join(pair) for pair in itertools.product("a\uff41\u1d43\u2090\u00aa\U0001d41a", repeat=2)]
    for folder, names in (("few", letters[1:4]), ("many", letters[1:])):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
        assert is_path_within(f"{tmp_path}/{folder}/bb", str(tmp_path))
    assert is_path_within(f"{tmp_path}/few/aa", str(tmp_path))
    assert not is_path_within(f"{tmp_path}/many/aa", str(tmp_path))


def test_a_folder_that_may_not_be_looked_into_lets_nothing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.lstat

    def guarded(path: str, **how: Any) -> os.stat_result:
        if "closed/" in os.fspath(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return look(path, **how)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "lstat", guarded)
    assert is_path_within(f"{tmp_path}/open/a", str(tmp_path))
    assert not is_path_within(f"{tmp_path}/closed/a", str(tmp_path))
    assert could_be_folder(f"{tmp_path}/closed/a")


def test_a_circle_of_links_and_a_very_long_path_are_decided(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert is_path_within(f"{tmp_path}/circle/a", str(tmp_path)) in (True, False)
    assert is_path_within(f"{tmp_path}/{'x' * 5000}", str(tmp_path)) in (True, False)
    assert not is_path_within("/workspace" + "/.." * 5000, "/workspace")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select * from customers where country = 'DE' order by name limit 5 offset 3;",
        "select country, count(*) as n from customers group by 1 having count(*) > 2",
        "with t as (select 1 as a) select a from t union all select 2 except select 3",
        "with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) select * from t",
        "values (1, 'a'), (2, 'b')",
        "(select 1)",
        "select 'delete from x; drop table y' as text, \"update\" from t",
        "select /* delete */ 1 -- drop table x",
        "select coalesce(a, 0), lower(b), round(c::numeric, 2), date_trunc('month', d), extract(year from d) from t",
        "select a->>'x', jsonb_array_length(b), to_char(c, 'YYYY'), json_agg(d), string_agg(e, ',') from t",
        "select row_number() over (partition by a order by b), sum(c) filter (where c > 0) from t",
        "select case when a and not b then 1 else 2 end from t where a is not null and b in (1, 2) and c ilike 'x%'",
        "select * from a left join b using (id) cross join lateral (select a.x) as s where exists (select 1 from c)",
        "select * from information_schema.tables where table_schema not in ('pg_catalog')",
        "select 1; select 2;",
        "select * from t where a = any(array[1, 2])",
        "select cast(a as date), interval '1 day', a between 1 and 2 from t",
        "select $$delete from x$$",
    ],
)
def test_statements_that_read_are_read_only(sql: str) -> None:
    assert is_read_only_sql(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "   ",
        "-- nothing",
        ";",
        "not sql at all",
        "insert into t values (1)",
        "update t set a = 1",
        "delete from t",
        "drop table t",
        "alter table t add column a int",
        "create table t as select 1",
        "create or replace function f() returns int as $$ select 1 $$ language sql",
        "truncate t",
        "grant all on t to public",
        "copy t to program 'sh'",
        "call p()",
        "do $$ begin delete from t; end $$",
        "execute q",
        "merge into t using s on t.a = s.a when matched then delete",
        "set role admin",
        "select 1; delete from t",
        "select 1; ; drop table t --",
        "with d as (delete from t returning *) select * from d",
        "with d as (insert into t values (1) returning a) select a from d",
        "with d as (update t set a = 1 returning a) select a from d",
        "select * into t2 from t",
        "select * from t for update",
        "select * from t for share",
        "select * from t for no key update skip locked",
        "select nextval('s')",
        "select setval('s', 1)",
        "select pg_sleep(100)",
        "select pg_read_file('/etc/passwd')",
        "select pg_terminate_backend(1)",
        "select set_config('a', 'b', false)",
        "select lo_import('/etc/passwd')",
        "select dblink('host=x', 'delete from t')",
        "select query_to_xml('delete from t', true, true, '')",
        "select my_function(1)",
        "select * from my_function(1)",
        "select * from rows from (my_function(1))",
        "select (my_function(1)).*",
        "select public.lower('x')",
        "select pg_catalog.pg_sleep(1)",
        'select "lower"(a) from t',
        'select "LOWER"(a) from t',
        'select "pg_sleep"(1)',
        "select pg_sleep (1)",
        "select/**/pg_sleep/**/(1)",
        "select a operator(public.+) b",
        "select random()",
        "explain analyze delete from t",
        "explain select 1",
        "begin; select 1; commit",
        "lock table t",
        "listen x",
        "vacuum",
        "select 1 delete from t",
        "select '\\'; delete from t; --'",
        "select 1 where a = $1",
        "select 'unclosed",
        "select 1 /* unclosed",
        "select (1",
        "select 1\0; delete from t",
        "table t; drop table t",
    ],
)
def test_what_writes_locks_waits_or_cannot_be_read_is_not_read_only(sql: str) -> None:
    assert not is_read_only_sql(sql)


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("mysql", "select 1 into outfile '/tmp/x'"),
        ("mysql", "select * from t into dumpfile '/tmp/x'"),
        ("mysql", "select 1 /*!50000 into outfile '/tmp/x' */"),
        ("mysql", "/*!50000 delete from t */"),
        ("mysql", "select 1 /*M! into outfile '/tmp/x' */"),
        ("mysql", "select @a := 1"),
        ("mysql", "select load_file('/etc/passwd')"),
        ("mysql", "select sleep(5)"),
        ("mysql", "select benchmark(1000000, md5('x'))"),
        ("mysql", "select get_lock('a', 5)"),
        ("mysql", "select * from t lock in share mode"),
        ("sqlite", "select load_extension('x')"),
        ("sqlite", "pragma journal_mode = off"),
        ("sqlite", "attach 'x.db' as x"),
        ("sqlite", "select writefile('/tmp/x', 'y')"),
        ("sqlite", "replace into t values (1)"),
        ("sqlite", "vacuum into '/tmp/x'"),
        ("sqlite", "with t as (select 1) insert into u select * from t"),
        ("tsql", "select * into #t from x"),
        ("tsql", "exec xp_cmdshell 'dir'"),
        ("tsql", "select 1 delete from t"),
        ("tsql", "select 1 exec sp_x"),
        ("duckdb", "select * from read_csv('/etc/passwd')"),
        ("duckdb", "copy t to '/tmp/x'"),
        ("duckdb", "install httpfs"),
        ("clickhouse", "select * from url('http://x')"),
        ("clickhouse", "select * from file('/etc/passwd')"),
    ],
)
def test_the_tricks_of_other_dialects_are_not_read_only(dialect: str, sql: str) -> None:
    assert not is_read_only_sql(sql, dialect)


@pytest.mark.parametrize(
    "sql",
    [
        "select name from sqlite_master where type = 'table'",
        "select strftime('%Y', d), date('now'), ifnull(a, 1), printf('%d', b), group_concat(c), total(d) from t",
        "select country, count(*) from customers group by country",
        "select substr(a, 1, 2), julianday('now'), typeof(b), instr(c, 'x'), datetime('now') from t",
    ],
)
def test_the_habits_of_sqlite_are_read_only(sql: str) -> None:
    assert is_read_only_sql(sql, "sqlite")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_reads_a_simple_question_and_refuses_a_write(dialect: str) -> None:
    assert is_read_only_sql("select a, count(*) from t where b = 'x' group by a", dialect)
    assert not is_read_only_sql("delete from t where b = 'x'", dialect)
    assert not is_read_only_sql("select f_unknown(1)", dialect)


def test_an_unknown_dialect_is_an_error() -> None:
    with pytest.raises(ValueError, match="choose one of: postgres"):
        is_read_only_sql("select 1", "postgre")


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "(" * 5000 + "1" + ")" * 5000,
        "select " + "(" * 31 + "1" + ")" * 31,
        "select " + "case when " * 2000 + "1",
        "select " + "not " * 4000 + "1",
        "select " + "- " * 4001 + "1",
        "select " + "1 + " * 4900 + "1" * MAX_CHARACTERS,
        "select * from " + "(select * from " * 1000,
        "select a" + "[" * 3000,
        "select " + "f(" * 3000,
        "select " + "interval " * 2000,
        "select 1 " + "union select 1 " * 1200 + "; delete from t",
    ],
)
def test_sql_made_to_exhaust_the_parser_is_refused(sql: str) -> None:
    assert not is_read_only_sql(sql)


def test_every_function_that_is_called_pure_is_one_the_parser_knows() -> None:
    known = {kind.key for kind in vars(exp).values() if isinstance(kind, type) and issubclass(kind, exp.Func)}
    assert known >= PURE_FUNCTION_KEYS
