"""`sql_tables` of the rules: the tables that a piece of SQL names."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp
from sqlglot.expressions.core import Expr
from sqlglot.optimizer.scope import traverse_scope

from graphs.expressions.sqlcheck import SQLGLOT_FAULTS, judge_sql
from graphs.expressions.sqltext import NotReadOnly


def find_sql_tables(sql: str, dialect: str = "postgres") -> list[str]:
    """Find the tables and views that `sql` reads, each once, sorted: `customers`, or `sales.customers` as written.

    Names are in lower case unless quoted. Those that the statement itself defines (`WITH`) are not among them.

    Raises ValueError where that cannot be said for sure: SQL that cannot be parsed, that does more than read, or of
    which PostgreSQL's grammar and sqlglot say different things.
    """
    try:
        judged = judge_sql(sql, dialect)
    except NotReadOnly as error:
        raise ValueError("its tables cannot be told: this is not SQL that surely only reads") from error
    for tree in judged.trees:
        _check_in(tree, dialect)
    try:
        found = [{_join(table) for table in _find_tables(tree)} for tree in judged.trees]
    except SQLGLOT_FAULTS as error:
        raise ValueError("its tables cannot be told: this SQL cannot be parsed") from error
    if judged.tables is not None and found != [{_join(table) for table in tables} for tables in judged.tables]:
        raise ValueError("its tables cannot be told: two parsers read them differently")
    return sorted(set[str]().union(*found))


def _check_in(statement: Expr, dialect: str) -> None:
    """Refuse `x IN t`, where SQLite and ClickHouse read the table `t` and the parser sees a column. DuckDB has lists
    there. To ClickHouse `(t)` is the same as `t`."""
    for node in statement.find_all(exp.In):
        name = node.args.get("field")
        if name is None and dialect == "clickhouse" and len(node.expressions) == 1:
            name = node.expressions[0]
            name = name if isinstance(name, exp.Column | exp.Dot) else None
        if name is not None and dialect != "duckdb" and not isinstance(name, exp.Func):
            raise ValueError("its tables cannot be told: a name after IN may be a table's")


def _find_tables(statement: Expr) -> Iterator[tuple[str, ...]]:
    # By the table's own name, not by its alias: an alias may be called like something that WITH defines.
    defined = {
        id(table)
        for scope in traverse_scope(statement)
        for table in scope.tables
        if not table.db and table.name in scope.cte_sources
    }
    for table in statement.find_all(exp.Table):
        # A function may stand in a table's place; that it reads no table was checked before.
        if id(table) not in defined and table.this is not None and not isinstance(table.this, exp.Func):
            if not isinstance(table.this, exp.Identifier | exp.Dot):
                raise ValueError("its tables cannot be told: one is named by a text")
            yield tuple(part.name if part.args.get("quoted") else part.name.lower() for part in table.parts)


def _join(parts: tuple[str, ...]) -> str:
    if any(not part or "." in part or "`" in part or '"' in part for part in parts):
        raise ValueError("its tables cannot be told: a quoted name holds a dot or a quote")
    return ".".join(parts)
