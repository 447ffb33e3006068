"""PostgreSQL itself is asked what a piece of SQL does, and compared with what the judges of SQL say."""

from __future__ import annotations

from collections.abc import Iterator

import pgparse
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.postgres import Postgres

from graphs.expressions.sqlcheck import is_read_only_sql
from graphs.expressions.sqlgrammar import (
    ACTING_NAMES,
    ACTING_PREFIXES,
    FUNCTION_COLUMNS,
    FUNCTIONS,
    OPERATORS,
    RECORD_FUNCTIONS,
    TYPES,
)
from graphs.expressions.sqltables import find_sql_tables

SETUP = r"""
CREATE TABLE kept (a int);
CREATE SEQUENCE s;
CREATE TABLE customers (id int, name text, country text, since date, tags text[], address jsonb);
CREATE FUNCTION wipe(x anyelement) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF pg_typeof(x)::text NOT IN ('kept', 'customers') THEN DELETE FROM kept; END IF; RETURN 1; END $$;
CREATE FUNCTION erase(kept) RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM kept; RETURN 1; END $$;
CREATE FUNCTION wipe_both(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN DELETE FROM kept; RETURN true; END $$;
CREATE OPERATOR ~%~ (FUNCTION = wipe_both, LEFTARG = int, RIGHTARG = int);
CREATE DOMAIN acting AS text CHECK (wipe(value) = 1);
CREATE TYPE wrapped AS (v int);
CREATE FUNCTION to_wrapped(int) RETURNS wrapped LANGUAGE plpgsql AS
    $$ BEGIN DELETE FROM kept; RETURN row($1)::wrapped; END $$;
CREATE CAST (int AS wrapped) WITH FUNCTION to_wrapped(int);
CREATE SCHEMA other;
CREATE FUNCTION other.lower(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM kept; RETURN 1; END $$;
CREATE PROCEDURE wipe_all() LANGUAGE sql AS 'DELETE FROM kept';
INSERT INTO customers VALUES (1, 'Ada', 'DE', '2024-02-03', '{a,b}', '{"city": "Bonn", "zip": "53111"}'),
    (2, 'Bob', 'FR', '2025-02-03', '{}', '{"city": "Lyon"}');
CREATE TABLE orders (id int, customer_id int, total numeric, at timestamptz, items jsonb);
INSERT INTO orders VALUES (1, 1, 10.5, '2026-01-02T03:04:05Z', '[{"sku": "x", "n": 2}]'),
    (2, 1, 99, '2026-02-02T03:04:05Z', '[]');
"""


class Database:
    """A database where a function, an operator, a cast and a domain delete what is in the table `kept`."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SETUP)

    def acts(self, sql: str) -> bool:
        """Whether PostgreSQL, told to run `sql`, changes something, locks rows, or reads a file of the machine."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET statement_timeout = '1s'; SET my.value = ''")
            connection.execute("TRUNCATE kept; INSERT INTO kept SELECT generate_series(1, 3); SELECT setval('s', 1)")
            connection.execute("DROP TABLE IF EXISTS made")
            before = self._state(connection)
            connection.execute("BEGIN")
            rows: list[object] = []
            try:
                cursor = connection.execute(sql.encode())
                rows = cursor.fetchall() if cursor.description is not None else []
            except psycopg.Error:
                connection.execute("ROLLBACK")
                return self._state(connection) != before
            after = self._state(connection)
            connection.execute("ROLLBACK")
            return after != before or "16\\n" in str(rows)  # the text of the file PG_VERSION

    @staticmethod
    def _state(connection: psycopg.Connection) -> tuple[object, ...] | None:
        return connection.execute(
            "SELECT (SELECT count(*) FROM kept), (SELECT last_value FROM s), (SELECT count(*) FROM pg_class), "
            "(SELECT count(*) FROM pg_largeobject_metadata), current_setting('my.value'), "
            "current_setting('work_mem'), "
            "(SELECT count(*) FROM pg_locks WHERE mode IN ('RowShareLock', 'AccessExclusiveLock', 'ExclusiveLock') "
            "AND locktype <> 'virtualxid' AND pid = pg_backend_pid()), (SELECT count(*) FROM pg_prepared_statements)"
        ).fetchone()


@pytest.fixture(scope="module")
def database(postgres_shared: Postgres) -> Iterator[Database]:
    with postgres_shared.database("judged") as url:
        yield Database(url)


BY_ATTRIBUTE = [
    "SELECT ('PG_VERSION'::text).pg_read_file",
    "SELECT ('s'::regclass).nextval",
    "SELECT x.wipe FROM generate_series(1, 1) x",
    "SELECT generate_series.wipe FROM generate_series(1, 1)",
    "SELECT 1 FROM generate_series(1, 1) x WHERE x.wipe = 1",
    "SELECT 1 FROM generate_series(1, 1) x ORDER BY x.wipe",
    "SELECT count(*) FROM generate_series(1, 1) x GROUP BY x.wipe",
    "SELECT count(*) FROM generate_series(1, 1) x GROUP BY x HAVING x.wipe = 1",
    "SELECT CASE WHEN x.wipe = 1 THEN 1 END FROM generate_series(1, 1) x",
    "SELECT (SELECT x.wipe) FROM generate_series(1, 1) x",
    "SELECT 1 WHERE EXISTS (SELECT x.wipe FROM generate_series(1, 1) x WHERE x.wipe = 1)",
    "SELECT DISTINCT ON (x.wipe) 1 FROM generate_series(1, 1) x",
    "SELECT row_number() OVER (ORDER BY x.wipe) FROM generate_series(1, 1) x",
    "SELECT row_number() OVER w FROM generate_series(1, 1) x WINDOW w AS (PARTITION BY x.wipe)",
    "SELECT sum(1) FILTER (WHERE x.wipe = 1) FROM generate_series(1, 1) x",
    "SELECT array_agg(1 ORDER BY x.wipe) FROM generate_series(1, 1) x",
    "SELECT ARRAY[x.wipe] FROM generate_series(1, 1) x",
    "SELECT abs(x.wipe) FROM generate_series(1, 1) x",
    "SELECT x.wipe::text FROM generate_series(1, 1) x",
    "SELECT x.wipe IS NULL FROM generate_series(1, 1) x",
    "SELECT 1 FROM generate_series(1, 1) x JOIN kept k ON x.wipe = k.a",
    "SELECT 1 FROM generate_series(1, 1) x, LATERAL (SELECT x.wipe) y",
    "SELECT 1 FROM generate_series(1, 1) x, generate_series(1, x.wipe) y",
    "SELECT 1 FROM generate_series(1, 1) x CROSS JOIN LATERAL (VALUES (x.wipe)) y",
    "WITH c AS (SELECT 1 AS a) SELECT c.wipe FROM c",
    "WITH c AS (SELECT 1 AS wipe) SELECT c.wipe FROM (SELECT 1) c",
    "WITH c(b) AS (SELECT 1 AS wipe) SELECT c.wipe FROM c",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT c.n + c.wipe FROM c WHERE n < 2) SELECT * FROM c",
    "WITH c AS (SELECT 1 AS a) SELECT d.wipe FROM c AS d",
    "SELECT v.wipe FROM (VALUES (1)) v(a)",
    "SELECT v.wipe FROM (VALUES (1, 2)) v",
    "SELECT q.wipe FROM (SELECT 1 AS a) q",
    "SELECT q.wipe FROM (SELECT 1 AS wipe) q(b)",
    "SELECT q.wipe FROM (SELECT 1 AS a UNION SELECT 2 AS wipe) q",
    "SELECT q.wipe FROM (SELECT * FROM (VALUES (1)) v(a)) q",
    "SELECT q.wipe FROM (SELECT v.* FROM (VALUES (1)) v(a), (VALUES (2)) w(wipe)) q",
    "SELECT j.wipe FROM ((VALUES (1)) v(a) CROSS JOIN (VALUES (2)) w(b)) j",
    "SELECT q.wipe FROM (SELECT * FROM (VALUES (1, 2)) v(a, b) JOIN (VALUES (1, 3)) w(a, wipe) USING (a)) q(p, r, t)",
    "SELECT q.wipe FROM (SELECT * FROM (VALUES (1, 2)) v(a, b) NATURAL JOIN (VALUES (1, 3)) w(a, wipe)) q(p, r, t)",
    "SELECT x.wipe FROM generate_series(1, 1) x(a)",
    "SELECT x.wipe FROM jsonb_array_elements('[1]') x",
    "SELECT x.wipe FROM jsonb_each('{\"a\": 1}') x",
    "SELECT x.wipe FROM ROWS FROM (generate_series(1, 1), generate_series(2, 2)) x",
    "SELECT x.wipe FROM generate_series(1, 1) WITH ORDINALITY x",
    "SELECT x.wipe FROM jsonb_to_record('{}') AS x(a int)",
    "SELECT x.wipe FROM unnest(ARRAY[1]) x",
    "SELECT wipe.wipe FROM unnest(ARRAY[1], ARRAY[2]) wipe",
    "SELECT wipe.wipe FROM unnest(ARRAY[1], ARRAY[2]) WITH ORDINALITY wipe",
    "SELECT erase.erase FROM kept k, unnest(ARRAY[k]) erase",
    "SELECT erase.erase FROM kept k, coalesce(k, k) erase",
    "SELECT erase.erase FROM kept k, LATERAL greatest(k, k) erase",
    "SELECT x.wipe FROM current_database() x",
    "SELECT x.wipe FROM coalesce(1, 2) x",
    "SELECT (x).wipe FROM generate_series(1, 1) x",
    "SELECT (x.x).wipe FROM generate_series(1, 1) x",
    "SELECT (1).wipe",
    "SELECT (1 + 1).wipe",
    "SELECT (1::int).wipe",
    "SELECT (SELECT 1).wipe",
    "SELECT (abs(1)).wipe",
    "SELECT (ARRAY[1])[1].wipe",
    "SELECT (ARRAY[1]).wipe",
    "SELECT ((ARRAY[1])[1:1]).wipe",
    "SELECT (CASE WHEN true THEN 1 END).wipe",
    "SELECT (jsonb_each('{\"a\": 1}')).value.wipe",
    "SELECT (jsonb_array_elements('[1]')).wipe",
    "SELECT ((jsonb_each('{\"a\": 1}')).value).wipe",
    "SELECT (k.a).wipe FROM kept k",
    "SELECT (k).erase FROM kept k",
    "SELECT (current_user).wipe",
    'SELECT x."wipe" FROM generate_series(1, 1) x',
    'SELECT x.U&"\\0077ipe" FROM generate_series(1, 1) x',
    "SELECT x /* */ . /* */ wipe FROM generate_series(1, 1) x",
    "SELECT x.wipe FROM kept k, generate_series(1, 1) x",
    "SELECT (SELECT k.wipe FROM (SELECT 1 AS a) k) FROM kept k",
    "SELECT k.wipe FROM kept o, LATERAL (SELECT o.a) k",
    "SELECT y.wipe FROM (SELECT x.a FROM (VALUES (1)) x(a)) y",
]


TWO_TOKENIZERS = [
    "SELECT interval |/*'*/ 2 FROM (SELECT 5 AS interval) x; DELETE FROM kept; --'",
    "SELECT 5 +/*'*/ 2; DELETE FROM kept; --'",
    "SELECT 5 </*'*/ 2; DELETE FROM kept; --'",
    "SELECT 5 <--'\n 2; DELETE FROM kept; --'",
    "SELECT e'a'\n'\\''; DELETE FROM kept; --'",
    "SELECT E'a' -- b\n'\\''; DELETE FROM kept; --'",
    "SELECT 1 /* /* */ ' */; DELETE FROM kept; --'",
    "SELECT 1 /*/**/*/; DELETE FROM kept",
    "SELECT $a$ $b$ $a$; DELETE FROM kept; --$b$",
    "SELECT $a1$'$a1$; DELETE FROM kept; --'",
    "SELECT '\\'; DELETE FROM kept; --'",
    "SELECT U&'\\0027'; DELETE FROM kept; --'",
    "SELECT U&'!0027' UESCAPE '!'; DELETE FROM kept; --'",
    'SELECT 1 AS "a""b"; DELETE FROM kept; --"',
    "SELECT b'1'\n'0'; DELETE FROM kept; --'",
    "SELECT 1 --\r; DELETE FROM kept",
    "SELECT 1 --'\r; DELETE FROM kept --'",
    "SELECT 1\f; DELETE FROM kept",
    "SELECT 1;;; DELETE FROM kept",
]

ACTING = [
    "SELECT wipe(1)",
    "SELECT wipe(x => 1)",
    "SELECT * FROM wipe(1)",
    "SELECT * FROM ROWS FROM (wipe(1), generate_series(1, 1))",
    "SELECT 1 LIMIT wipe(1)",
    "SELECT 1 OFFSET wipe(1)",
    "VALUES (wipe(1))",
    "SELECT 1 UNION SELECT wipe(1)",
    "WITH c AS (SELECT wipe(1)) SELECT * FROM c",
    "SELECT count(*) FROM kept TABLESAMPLE system (wipe(1))",
    "SELECT nextval('s')",
    "SELECT pg_catalog.nextval('s')",
    "SELECT * FROM nextval('s')",
    "SELECT setval('s', 7)",
    "SELECT set_config('my.value', 'x', false)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(nextval(''s'')::text)')",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT other.lower('x')",
    "SELECT 1 ~%~ 1",
    "SELECT 1 OPERATOR(public.~%~) 1",
    "SELECT 1 ~%~ ANY(ARRAY[1])",
    "SELECT 1 ~%~ ALL(SELECT 1)",
    "SELECT 'x'::acting",
    "SELECT acting 'x'",
    "SELECT CAST('x' AS acting)",
    "SELECT CAST('x' AS public.acting)",
    "SELECT '{x}'::acting[]",
    "SELECT 1::wrapped",
    'SELECT * FROM jsonb_to_record(\'{"a": "x"}\') AS x(a acting)',
    'SELECT * FROM jsonb_to_recordset(\'[{"a": "x"}]\') AS x(a acting)',
    "SELECT * INTO made FROM kept",
    "SELECT * FROM kept FOR UPDATE",
    "SELECT * FROM kept FOR SHARE",
    "SELECT * FROM (SELECT * FROM kept FOR UPDATE) x",
    "WITH d AS (DELETE FROM kept RETURNING a) SELECT * FROM d",
    "WITH d AS (INSERT INTO kept VALUES (1) RETURNING a) SELECT * FROM d",
    "SELECT * FROM (WITH d AS (SELECT 1) SELECT * FROM d) x; DELETE FROM kept",
    "EXPLAIN ANALYZE DELETE FROM kept",
    "DO 'BEGIN DELETE FROM kept; END'",
    "CALL wipe_all()",
    "SET work_mem = '7MB'",
    "CREATE TABLE made AS SELECT 1",
    "PREPARE p AS SELECT 1",
    "LOCK TABLE kept",
    "TRUNCATE kept",
    "TABLE kept; DELETE FROM kept",
]


@pytest.mark.parametrize("sql", [*BY_ATTRIBUTE, *TWO_TOKENIZERS, *ACTING])
def test_what_acts_in_postgresql_is_not_read_only(database: Database, sql: str) -> None:
    assert database.acts(sql), "PostgreSQL does nothing here: the input shows nothing"
    assert not is_read_only_sql(sql)
    with pytest.raises(ValueError, match="its tables cannot be told"):
        find_sql_tables(sql)


# What the PostgreSQL of these tests was not built for, or is not installed in it, or cannot be seen from here.
NOT_TO_BE_SEEN = [
    "SELECT query_to_xml('DELETE FROM kept RETURNING a', true, true, '')",
    "SELECT * FROM xmltable('/a' PASSING '<a>x</a>' COLUMNS y acting PATH '.')",
    "SELECT * FROM json_table('{}', '$' COLUMNS (a acting PATH '$.a'))",
    "SELECT json_value('{}', '$.a' RETURNING acting)",
    "SELECT dblink('host=x', 'DELETE FROM kept')",
    "SELECT * FROM dblink('host=x', 'DELETE FROM kept') AS t(a int)",
    "SELECT dblink_exec('host=x', 'DELETE FROM kept')",
    "SELECT * FROM kept TABLESAMPLE mine (1)",
    "SELECT * FROM kept TABLESAMPLE other.system (1)",
    "SELECT pg_sleep(1)",
    "SELECT t.pg_sleep FROM kept t",
    "SELECT t.nextval FROM kept t",
    "SELECT t.lo_import FROM kept t",
    "SELECT pg_notify('a', 'b')",
    "NOTIFY a",
    "LISTEN a",
    "SHOW search_path",
    "SELECT current_setting('primary_conninfo')",
    "COPY kept TO PROGRAM 'sh'",
    "COPY (SELECT 1) TO '/tmp/x'",
    "SELECT a FROM kept ORDER BY a USING OPERATOR(other.<)",
    "SELECT a FROM kept WHERE CURRENT OF c",
    "SELECT $1",
    "SELECT DEFAULT",
    "VALUES (DEFAULT)",
    "SELECT merge_action()",
    "SELECT x.y.z FROM kept",
    "SELECT nowhere.a FROM kept",
    "SELECT lower(variadic ARRAY[other.lower('x')])",
    "SELECT json_populate_record(NULL::wrapped, '{}')",
    "SELECT pg_input_is_valid('x', 'acting')",
    "SELECT txid_current()",
    "SELECT pg_current_xact_id()",
    "SELECT pg_export_snapshot()",
    "SELECT 1 \\gexec",
    "SELECT 1 \\! sh",
    "SELECT q.text FROM (SELECT 'a'::text::varchar) q",
    "SELECT 1\v; DELETE FROM kept",
    "SELECT 1;\\;DELETE FROM kept",
    "SELECT a FROM [DELETE FROM kept RETURNING a]",
]


@pytest.mark.parametrize("sql", NOT_TO_BE_SEEN)
def test_what_may_act_in_another_postgresql_is_not_read_only(sql: str) -> None:
    assert not is_read_only_sql(sql)


READING = [
    ("SELECT * FROM customers", ["customers"]),
    ("SELECT c.name, c.country FROM customers c WHERE c.since > now() - interval '3 years' ORDER BY c.name", None),
    ("SELECT customers.name, public.customers.country FROM customers", ["customers"]),
    ("SELECT c.name, sum(o.total)::numeric(10, 2) AS total FROM customers c LEFT JOIN orders o ON o.customer_id = c.id"
     " GROUP BY c.name HAVING count(o.id) > 0 ORDER BY total DESC NULLS LAST LIMIT 10", ["customers", "orders"]),
    ("WITH m AS (SELECT date_trunc('month', o.at) AS month, sum(total) AS total FROM orders o GROUP BY 1)"
     " SELECT m.month, m.total, lag(m.total) OVER (ORDER BY m.month), m.total - avg(m.total) OVER w FROM m"
     " WINDOW w AS (ORDER BY m.month ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)", ["orders"]),
    ("SELECT s.total, s.c FROM (SELECT count(*) AS c, sum(total) AS total FROM orders) AS s", ["orders"]),
    ("SELECT s.* FROM (SELECT * FROM orders) s WHERE s.total > 5 AND s.id IN (SELECT o.id FROM orders o)", ["orders"]),
    ("SELECT v.id, v.name FROM (VALUES (1, 'a'), (2, 'b')) AS v(id, name) WHERE v.id = 1", []),
    ("SELECT v.column1 FROM (VALUES (1)) v", []),
    ("SELECT g.day::date FROM generate_series(now() - interval '2 days', now(), interval '1 day') AS g(day)", []),
    ("SELECT d.d FROM generate_series(1, 3) d", []),
    ("SELECT c.name, t.tag, t.ordinality FROM customers c, unnest(c.tags) WITH ORDINALITY AS t(tag)", ["customers"]),
    ("SELECT o.id, i.value->>'sku', (i.value->>'n')::int FROM orders o CROSS JOIN LATERAL"
     " jsonb_array_elements(o.items) AS i", ["orders"]),
    ("SELECT e.key, e.value FROM customers c, jsonb_each_text(c.address) e", ["customers"]),
    ("SELECT (jsonb_each(address)).key, (jsonb_each_text(address)).value, (jsonb_each(address)).* FROM customers",
     ["customers"]),
    ("SELECT r.sku, r.n FROM orders o, jsonb_to_recordset(o.items) AS r(sku text, n int)", ["orders"]),
    ("SELECT address->'city', address #>> '{zip}', address @> '{\"city\": \"Bonn\"}', address ? 'zip' FROM customers",
     ["customers"]),
    ("SELECT c.tags[1], c.tags[1:2], array_length(c.tags, 1), 'a' = ANY(c.tags) FROM customers c", ["customers"]),
    ("SELECT DISTINCT ON (o.customer_id) o.customer_id, o.at FROM orders o ORDER BY o.customer_id, o.at DESC", None),
    ("WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT t.n + 1 FROM t WHERE t.n < 5) SELECT t.n, sum(t.n) OVER ()"
     " FROM t", []),
    ("WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t", []),
    ("SELECT country, count(*) FILTER (WHERE since >= DATE '2025-01-01') FROM customers GROUP BY ROLLUP (country)",
     ["customers"]),
    ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total), mode() WITHIN GROUP (ORDER BY customer_id) FROM"
     " orders", ["orders"]),
    ("SELECT string_agg(DISTINCT c.name, ', ' ORDER BY c.name), json_agg(c), to_jsonb(c) FROM customers c GROUP BY c",
     ["customers"]),
    ("SELECT CASE WHEN c.country = 'DE' THEN 'Germany' ELSE coalesce(c.country, '-') END FROM customers c",
     ["customers"]),
    ("SELECT extract(year FROM c.since), to_char(c.since, 'YYYY-MM'), age(c.since), c.since + 1, c.since AT TIME ZONE"
     " 'UTC' FROM customers c", ["customers"]),
    ("SELECT substring(name FROM 1 FOR 2), position('d' IN name), trim(name), overlay(name PLACING 'x' FROM 1),"
     " name ILIKE 'a%', name ~* '^a', name SIMILAR TO '(A|B)%', name || 'x' FROM customers", ["customers"]),
    ("SELECT regexp_replace(name, '\\s+', ' ', 'g'), split_part(name, ' ', 1), regexp_matches(name, 'd') FROM"
     " customers", ["customers"]),
    ("SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3 INTERSECT SELECT 4 ORDER BY 1 LIMIT 1", []),
    ("(SELECT id FROM customers) UNION (SELECT customer_id FROM orders)", ["customers", "orders"]),
    ("SELECT relname, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_catalog.pg_class WHERE relkind = 'r'",
     ["pg_catalog.pg_class"]),
    ("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'customers'",
     ["information_schema.columns"]),
    ("SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid ="
     " 'customers'::regclass AND a.attnum > 0", ["pg_attribute"]),
    ("SELECT pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class') FROM pg_class c WHERE c.relkind = 'v'", None),
    ("SELECT current_user, current_date, current_database(), version(), localtimestamp", []),
    ("SELECT j.key, j.total FROM (customers c JOIN orders o ON o.customer_id = c.id) j(key)", ["customers", "orders"]),
    ("SELECT c.id FROM customers c NATURAL JOIN (SELECT 1 AS id) x JOIN orders USING (id)", ["customers", "orders"]),
    ("SELECT c.name, (SELECT max(o.total) FROM orders o WHERE o.customer_id = c.id) AS best FROM customers c", None),
    ("SELECT c.name, l.total FROM customers c LEFT JOIN LATERAL (SELECT o.total FROM orders o WHERE o.customer_id ="
     " c.id ORDER BY o.total DESC LIMIT 1) l ON true", ["customers", "orders"]),
    ("SELECT x.a, x.b FROM (SELECT name AS a, country AS b FROM customers) x -- who is 'where'?", ["customers"]),
    ("/* report; ours */ SELECT /* inner */ name FROM customers; SELECT 2;", ["customers"]),
    ("SELECT E'a\\tb', $$it's$$, U&'\\00e4', 'it''s', B'01', X'ff'", []),
    ("SELECT to_tsvector('english', name) @@ plainto_tsquery('ada') FROM customers", ["customers"]),
    ("SELECT c.ctid, c.xmin FROM customers c TABLESAMPLE bernoulli (50) REPEATABLE (1)", ["customers"]),
    ("SELECT ROW(1, 2) = ROW(1, 2), (1, 2) IN (SELECT 1, 2), ARRAY(SELECT 1), NOT true, 1 BETWEEN SYMMETRIC 2 AND 0",
     []),
    ("SELECT width_bucket(total, 0, 100, 5), round(total, 1), greatest(total, 1), nullif(total, 0) FROM orders", None),
    ("SELECT s.coalesce, s.count, s.greatest, s.array FROM (SELECT coalesce(1, 2), count(*), greatest(1, 2), ARRAY[1]"
     ") s", []),
    ("SELECT u.tag, u.part FROM unnest(ARRAY[1], ARRAY[2]) AS u(tag, part)", []),
    ("SELECT tag FROM customers, unnest(tags) AS tag", ["customers"]),
    ("SELECT 1 FROM customers WHERE id <> ALL (ARRAY[1, 2]) AND id = SOME (ARRAY[1]) AND id > ALL (SELECT 0)", None),
    ("SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^x' COLLATE"
     " pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid)", ["pg_catalog.pg_class"]),
    ("SELECT l.load, l.copy AS call FROM (SELECT 1 AS load, 2 AS copy) l", []),
    ("SELECT s.int4, s.date FROM (SELECT 1::int, DATE '2026-01-01') s", []),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "tables"), READING)
def test_what_people_ask_of_a_database_is_read_only(
    database: Database, postgres_shared: Postgres, sql: str, tables: list[str] | None
) -> None:
    with psycopg.connect(postgres_shared.url_of("judged")) as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute(sql.encode())
    assert is_read_only_sql(sql)
    assert tables is None or find_sql_tables(sql) == tables


def test_a_column_of_a_table_is_a_column_and_that_is_the_limit_of_the_promise(database: Database) -> None:
    """PostgreSQL calls a function of the table's rows that somebody has made there, if there is no such column."""
    sql = "SELECT k.erase FROM kept k"
    assert is_read_only_sql(sql)
    assert database.acts(sql)


def _rows(server: Postgres, sql: str) -> list[tuple[str, ...]]:
    with psycopg.connect(server.url_of("judged")) as connection:
        return connection.execute(sql.encode()).fetchall()


# What a size or the time of day is, changes; nothing is changed by asking.
ASKED_ANEW = {"clock_timestamp", "timeofday", *(f"pg_{what}_size" for what in (
    "database", "indexes", "relation", "table", "total_relation"))}  # fmt: skip


def test_postgresql_knows_every_function_operator_and_type_and_says_that_it_does_not_act(
    database: Database, postgres_shared: Postgres
) -> None:
    functions = _rows(
        postgres_shared,
        "SELECT proname, provolatile::text, prosecdef::text, coalesce(array_to_string(ARRAY(SELECT n FROM "
        "unnest(proargnames, proargmodes) AS x(n, m) WHERE m IN ('o', 't')), ','), '') FROM pg_proc "
        "WHERE pronamespace = 'pg_catalog'::regnamespace",
    )
    assert {name for name, *_ in functions} >= FUNCTIONS
    acting = {name for name, volatile, definer, _ in functions if volatile == "v" or definer == "true"}
    assert acting & FUNCTIONS == ASKED_ANEW
    columns = {name: tuple(listed.split(",")) for name, _, _, listed in functions if listed}
    assert {name: columns[name] for name in FUNCTIONS & columns.keys() - {"unnest"}} == FUNCTION_COLUMNS
    records = {name for (name,) in _rows(
        postgres_shared, "SELECT DISTINCT proname FROM pg_proc WHERE prorettype = 'record'::regtype "
        "AND proargmodes IS NULL AND pronamespace = 'pg_catalog'::regnamespace")}  # fmt: skip
    assert records & FUNCTIONS == RECORD_FUNCTIONS
    operators = dict(_rows(postgres_shared, "SELECT oprname, max(provolatile::text) FROM pg_operator o JOIN pg_proc p "
        "ON p.oid = o.oprcode WHERE oprnamespace = 'pg_catalog'::regnamespace GROUP BY 1"))  # fmt: skip
    assert "v" not in operators.values()
    assert operators.keys() <= OPERATORS
    types = dict(_rows(postgres_shared, "SELECT typname, provolatile::text FROM pg_type t JOIN pg_proc p ON p.oid = "
        "t.typinput WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')"))  # fmt: skip
    assert types.keys() >= TYPES
    assert {types[name] for name in TYPES} <= {"i", "s"}


def test_no_function_of_postgresql_that_acts_takes_the_row_of_a_table(
    database: Database, postgres_shared: Postgres
) -> None:
    takers = _rows(
        postgres_shared,
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v' "
        "AND pronargs - pronargdefaults <= 1 AND prokind = 'f' AND proargtypes[0] IN ('record'::regtype, "
        "'\"any\"'::regtype, 'anyelement'::regtype, 'anynonarray'::regtype, 'anycompatible'::regtype, "
        "'anycompatiblenonarray'::regtype)",
    )
    assert not {name for (name,) in takers if name not in ACTING_NAMES and not name.startswith(ACTING_PREFIXES)}


_NAMES = st.sampled_from(["a", "x", "k", "wipe", "kept", "customers", "name", "interval", "value", "pg_read_file"])
_QUOTES = st.sampled_from(["'a'", "'it''s'", "E'a\\n'", "$$a$$", "$q$'$q$", "U&'a'", "'\\'", "B'1'", "''"])
_GLUE = st.sampled_from([" ", "", "/**/", "/*'*/", "--'\n", "\n", " /* /* */ */ ", ";", " . ", "\t"])


def _combine(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(parts, parts)
    return st.one_of(
        two.map(lambda p: f"{p[0]} + {p[1]}"),
        two.map(lambda p: f"({p[0]}, {p[1]})"),
        two.map(lambda p: f"coalesce({p[0]}, {p[1]})"),
        two.map(lambda p: f"CASE WHEN {p[0]} IS NULL THEN {p[1]} END"),
        two.map(lambda p: f"ARRAY[{p[0]}, {p[1]}]"),
        st.tuples(parts, st.sampled_from(["+", "|", "||", "~%~", "->", "<", "OPERATOR(public.~%~)"]), _GLUE, parts).map(
            lambda p: f"{p[0]} {p[1]}{p[2]}{p[3]}"
        ),
        st.tuples(parts, st.sampled_from(["int", "text", "acting", "wrapped", "regclass", "kept"])).map(
            lambda p: f"({p[0]})::{p[1]}"
        ),
        st.tuples(parts, _NAMES).map(lambda p: f"({p[0]}).{p[1]}"),
        st.tuples(parts, _NAMES).map(lambda p: f"({p[0]})[1].{p[1]}"),
        st.tuples(st.sampled_from(["abs", "wipe", "lower", "other.lower", "jsonb_each", "nextval"]), parts).map(
            lambda p: f"{p[0]}({p[1]})"
        ),
    )


_EXPRESSIONS = st.recursive(
    st.one_of(
        st.integers(0, 9).map(str), _QUOTES, _NAMES, st.tuples(_NAMES, _GLUE, _NAMES).map(lambda p: f"{p[0]}.{p[2]}")
    ),
    _combine,
    max_leaves=6,
)


def _query(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    source = st.one_of(
        st.sampled_from(["kept", "customers k", "generate_series(1, 1) x", "unnest(ARRAY[1]) a", "kept x"]),
        st.tuples(inner, _NAMES).map(lambda p: f"({p[0]}) {p[1]}"),
        st.tuples(inner, _NAMES, _NAMES).map(lambda p: f"LATERAL ({p[0]}) AS {p[1]}({p[2]})"),
        st.tuples(_EXPRESSIONS, _NAMES, _NAMES).map(lambda p: f"(VALUES ({p[0]})) AS {p[1]}({p[2]})"),
        st.tuples(_NAMES, _NAMES).map(lambda p: f"(kept {p[0]} CROSS JOIN generate_series(1, 1) {p[1]})"),
    )
    select = st.tuples(_EXPRESSIONS, _NAMES, st.lists(source, min_size=1, max_size=2), _EXPRESSIONS).map(
        lambda p: f"SELECT {p[0]} AS {p[1]} FROM {', '.join(p[2])} ORDER BY {p[3]}"
    )
    return st.one_of(
        select,
        st.tuples(_NAMES, inner, inner).map(lambda p: f"WITH {p[0]} AS ({p[1]}) {p[2]}"),
        st.tuples(_NAMES, inner, inner).map(lambda p: f"WITH RECURSIVE {p[0]} AS ({p[1]}) {p[2]}"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}) UNION ({p[1]})"),
    )


_STATEMENTS = st.tuples(
    st.recursive(_EXPRESSIONS.map(lambda p: f"SELECT {p}"), _query, max_leaves=3),
    st.sampled_from(["", "", ";", "; DELETE FROM kept; --'", "/*'*/; DELETE FROM kept; --'", " FOR UPDATE", " wipe"]),
).map("".join)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=_STATEMENTS)
def test_whatever_is_judged_to_read_changes_nothing_in_postgresql(database: Database, sql: str) -> None:
    if not is_read_only_sql(sql):
        return
    assert {kind for statement in pgparse.parse(sql) for kind in statement["stmt"]} == {"SelectStmt"}
    assert not database.acts(sql)
