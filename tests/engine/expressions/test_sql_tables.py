"""`sql_tables` names every table that a statement reads, or says that it cannot."""

from __future__ import annotations

import pytest

from graphs.expressions import compile_rule_condition
from graphs.expressions.sqltables import find_sql_tables


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select 1", []),
        ("select * from customers", ["customers"]),
        ("select * from Customers c", ["customers"]),
        ('select * from "Customers"', ["Customers"]),
        ('select * from "customers"', ["customers"]),
        ("select * from Sales.Customers", ["sales.customers"]),
        ("select * from db.sales.customers", ["db.sales.customers"]),
        ("select * from a, b as x join c using (id) cross join d natural join e", ["a", "b", "c", "d", "e"]),
        ("select (select 1 from hidden)", ["hidden"]),
        ("select 1 where exists (select 1 from hidden)", ["hidden"]),
        ("select * from a where x in (select y from b where z = (select max(q) from c))", ["a", "b", "c"]),
        ("select a from x, lateral (select * from y where y.i = x.i) z", ["x", "y"]),
        ("values (1, (select 1 from hidden))", ["hidden"]),
        ("select 1 union select a from b except select c from d intersect select e from f", ["b", "d", "f"]),
        ("(select * from a) union all (select * from b)", ["a", "b"]),
        ("select * from a; select * from b", ["a", "b"]),
        ("select case when (select true from a) then 1 else (select 2 from b) end", ["a", "b"]),
        ("select array(select x from a)", ["a"]),
        ("select count(*) filter (where exists (select 1 from b)) from a", ["a", "b"]),
        ("select sum(x) over (partition by (select y from b)) from a", ["a", "b"]),
        ("select * from a order by (select 1 from b) limit (select 2 from c)", ["a", "b", "c"]),
        ("select * from generate_series(1, 3) g", []),
        ("select r.n from rows from (generate_series(1, 3), unnest(array[1])) as r(n, s), a", ["a"]),
        ("select * from generate_series(1, (select max(x) from a)) g", ["a"]),
        ("select * from a tablesample system (1)", ["a"]),
        ("with t as (select * from a) select * from t", ["a"]),
        ("with t as (select 1) select * from t", []),
        ("with t as (select 1), u as (select * from t) select * from u", []),
        ("with a as (select * from b), b as (select 1) select * from a, b", ["b"]),
        ("with recursive t as (select 1 as n union all select n + 1 from t) select * from t, a", ["a"]),
        ("with customers as (select * from customers) select * from customers", ["customers"]),
        ("with t as (select 1) select * from public.t", ["public.t"]),
        ("with t as (select 1) select * from secret as t", ["secret"]),
        ("with t as (select 1) select * from secret as t, t", ["secret"]),
        ("with t as (select 1) select * from (select * from secret) as t", ["secret"]),
        ("with t as (select 1) select * from (with t as (select * from secret) select * from t) x", ["secret"]),
        ("select * from (with t as (select 1) select * from t) x, t", ["t"]),
        ("select * from a where x in (with a as (select 1) select * from a)", ["a"]),
        ('with "T" as (select 1) select * from t', ["t"]),
        ("select 'from b' /* from c */ from a -- from d", ["a"]),
    ],
)
def test_every_table_is_named(sql: str, tables: list[str]) -> None:
    assert find_sql_tables(sql) == tables


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "not sql",
        "insert into a values (1)",
        "delete from a",
        "with d as (delete from a returning *) select * from d",
        "select * from a; drop table b",
        "select * into b from a",
        "select pg_read_file('/etc/passwd')",
        "select * from dblink('x', 'select 1') as t(a int)",
        "select query_to_xml('select * from secret', true, true, '')",
        'select * from "sales.customers"',
        'select * from "a""b"',
        "select * from a for update",
        "table a; select 1",
        "select * from a where x = $1",
        "select 'unclosed from a",
    ],
)
def test_what_cannot_be_told_is_an_error(sql: str) -> None:
    with pytest.raises(ValueError, match="its tables cannot be told"):
        find_sql_tables(sql)


def test_a_rule_that_names_tables_fails_closed() -> None:
    rule = compile_rule_condition('sql_tables(args.sql).all(t, t in ["customers", "orders"])')
    assert rule.evaluate({"args": {"sql": "select * from customers join orders using (id)"}}) is True
    assert rule.evaluate({"args": {"sql": "select * from customers, salaries"}}) is False
    assert rule.evaluate({"args": {"sql": "delete from customers"}}) is None


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("sqlite", "select 1 from t where a in secret"),
        ("sqlite", "select 1 from t where a not in main.secret"),
        ("sqlite", "select a in 'secret' from t"),
        ("clickhouse", "select 1 from t where a in secret"),
        ("clickhouse", "select 1 from t where (a, b) global in db.secret"),
        ("clickhouse", "select 1 from t where a in (secret)"),
        ("clickhouse", "select in(a, secret) from t"),
        ("tsql", "select * from t cross apply secret"),
        ("tsql", "select * from t outer apply dbo.secret s"),
        ("oracle", "select * from t cross apply secret"),
        ("snowflake", "select * from 'secret'"),
    ],
)
def test_a_table_in_a_place_where_others_have_a_value_cannot_be_told(dialect: str, sql: str) -> None:
    with pytest.raises(ValueError, match="its tables cannot be told"):
        find_sql_tables(sql, dialect)


def test_lists_after_in_are_no_tables() -> None:
    assert find_sql_tables("select 1 from t where a in (b, c)", "clickhouse") == ["t"]
    assert find_sql_tables("select 1 from t where a in (1) and b in (select c from u)", "clickhouse") == ["t", "u"]
    assert find_sql_tables("select 1 from t where a in (b)", "sqlite") == ["t"]
    assert find_sql_tables("select 1 from t where a in b", "duckdb") == ["t"]


def test_other_dialects_have_their_quotes() -> None:
    assert find_sql_tables("select * from `Orders` o join `shop`.items", "mysql") == ["Orders", "shop.items"]
    assert find_sql_tables("select * from [Orders]", "tsql") == ["Orders"]
