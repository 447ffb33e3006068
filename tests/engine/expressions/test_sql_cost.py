"""Judging SQL is bounded work, whatever the SQL: no input stops, exhausts or crashes the process."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from graphs.expressions.effort import measure
from graphs.expressions.sqlcheck import MAX_SUBSCRIPTS, is_read_only_sql
from graphs.expressions.sqltables import find_sql_tables

# Measured: 160 ms for the worst of 4,000 random ones of up to MAX_TOKENS; the limit leaves room for a busy machine.
MOST_SECONDS = 1.0
# The work is the same parser's in all of them; these differ most.
DIALECTS = ("postgres", "clickhouse", "snowflake")


def is_quick(sql: str) -> bool:
    size = measure(sql)
    return size is not None and size.short_sql


def cpu_seconds(sql: str, dialect: str) -> float:
    """Of this thread, the best of three: a collection of what other tests left is not what is measured."""
    times: list[float] = []
    for _ in range(3):
        start = time.thread_time()
        is_read_only_sql(sql, dialect)
        times.append(time.thread_time() - start)
    return min(times)


CHAINS = [
    "SELECT a" + "[1]" * 6600,
    "SELECT a" + "[1]" * 1300,
    "SELECT a" + "[1].b" * 700,
    "SELECT a" + "[1:2]" * 700,
    "SELECT " + "1+" * 9990 + "1",
    "SELECT " + "1+" * 1990 + "1",
    "SELECT a" + ".b" * 1990,
    "SELECT 1" + "::int" * 1300,
    "SELECT 1" + " UNION SELECT 1" * 1300,
    "SELECT 1 WHERE a" + " AND a" * 1990,
    "SELECT 1 WHERE a" + " OR a" * 1990,
    "SELECT " + "NOT " * 3990 + "a",
    "SELECT " + "- " * 3990 + "1",
    "SELECT * FROM a" + " JOIN a ON true" * 900,
    "SELECT 1 WHERE a IN (1" + ",1" * 1990 + ")",
    "SELECT " + "CASE WHEN " * 1900 + "1",
    "SELECT 1" + ";" * 3990,
    "SELECT 1" + ";SELECT 1" * 1300,
    "VALUES (1)" + ",(1)" * 990,
    "SELECT " + "'a' " * 3990,
    "SELECT " + '"a".' * 3990 + "b",
    "WITH a AS (SELECT 1)" + ",a AS (SELECT 1)" * 550 + " SELECT 1",
    "SELECT " + "interval " * 2200 + "1",
    "SELECT 1 --" + "-" * 19_000,
    "SELECT 1 /*" + "*" * 19_000,
    "SELECT 1 " + "/* " * 6000,
    "'" * 20_000,
    "SELECT " + "a" * 19_000,
    " " * 20_000,
    "SELECT $" + "$a" * 9000,
]

# With twice the work for each bracket, were the parser not stopped: hours for the first of them.
NESTED = [
    ("date(", "1", ")"),
    ("array[", "1", "]"),
    ("decimal(", "1", ")"),
    ("a::int[", "1", "]"),
    ("tuple(", "1", ")"),
    ("json(", "1", ")"),
    ("(SELECT * FROM a, LATERAL ", "a", ")"),
    ("substring(convert((SELECT * FROM a, LATERAL ", "a", ")"),
    ("concat(trim(both date ", "a", " FROM b))"),
    ("date_add(a::point((SELECT vector(", "a", "))))"),
    ("(", "1", ")"),
    ("(SELECT ", "1", ")"),
    ("f(", "1", ")"),
    ("a[", "1", "]"),
    ("CASE WHEN ", "1", " THEN 1 END"),
    ("(SELECT * FROM ", "a", ") x"),
    ("(WITH RECURSIVE a AS (SELECT 1 UNION ", "SELECT 1", ") SELECT 1)"),
    ("(WITH RECURSIVE a AS (", "SELECT 1", " UNION SELECT 1) SELECT 1)"),
]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_long_chains_are_judged_in_bounded_time(dialect: str) -> None:
    times = {sql[:40]: cpu_seconds(sql, dialect) for sql in CHAINS}
    assert max(times.values()) < MOST_SECONDS, max(times.items(), key=lambda item: item[1])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_deep_nesting_is_judged_in_bounded_time(dialect: str) -> None:
    for opening, inside, closing in NESTED:
        for before in ("SELECT ", "SELECT * FROM ", ""):
            for depth in (25, 400):
                for after in (closing * depth, ""):
                    sql = before + opening * depth + inside + after
                    assert cpu_seconds(sql, dialect) < MOST_SECONDS, (before, opening, depth)


def test_what_is_said_to_be_quick_is_quick() -> None:
    quick = "SELECT c.name, sum(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.name LIMIT 5"
    assert is_quick(quick)
    assert is_read_only_sql(quick)
    assert not is_quick("SELECT a" + ",a" * 100)
    assert not is_quick("SELECT " + "a" * 10_000)
    for dialect in DIALECTS:
        for opening, inside, closing in NESTED:
            for depth in (5, 12, 24):
                sql = "SELECT " + opening * depth + inside + closing * depth
                if is_quick(sql):
                    assert cpu_seconds(sql, dialect) < 0.2


def test_what_people_write_is_not_too_long() -> None:
    assert is_read_only_sql(f"SELECT a FROM t WHERE b IN ({', '.join(map(str, range(1000)))})")
    assert is_read_only_sql("SELECT 1" + " UNION ALL SELECT 1" * 100)
    assert is_read_only_sql("SELECT 'a'" + " || b" * 60)
    assert is_read_only_sql("SELECT a" + "[1]" * MAX_SUBSCRIPTS)
    assert is_read_only_sql(
        "SELECT " + ", ".join(f"c.column_{number} AS c{number}" for number in range(300)) + " FROM c"
    )
    assert is_read_only_sql("SELECT * FROM a" + "".join(f" JOIN t{n} ON t{n}.id = a.id" for n in range(25)))
    assert len(find_sql_tables("SELECT * FROM a" + "".join(f" JOIN t{n} USING (id)" for n in range(25)))) == 26


def test_no_sql_exhausts_the_stack_of_a_small_thread() -> None:
    """PostgreSQL's grammar checks no stack outside its server: an overflow would end the process."""
    program = """
import threading
from graphs.expressions.sqlcheck import is_read_only_sql
from graphs.expressions.sqlpostgres import read_statements
from graphs.expressions.sqltext import MAX_TOKENS
nested = [("1+", ""), ("(", ")"), ("NOT ", ""), ("(SELECT ", ")"), ("CASE WHEN ", " THEN 1 END"), ("f(", ")"),
          ("ARRAY[", "]"), ("a AND (b OR ", ")"), ("1::int+", ""), ("- ", ""), ("a[", "]")]
def run():
    for opening, closing in nested:
        for depth in (30, 500, MAX_TOKENS // 2):
            sql = "SELECT " + opening * depth + "1" + closing * depth
            is_read_only_sql(sql)
            try:
                read_statements(sql)
            except ValueError:
                pass
    for part in (" UNION SELECT 1", " JOIN a ON true", "::int", " IS NULL", " COLLATE x"):
        try:
            read_statements("SELECT * FROM a" + part * (MAX_TOKENS // 2))
        except ValueError:
            pass
    print("alive")
threading.stack_size(2 << 20)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr
