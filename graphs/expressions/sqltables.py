"""`sql_tables` of the rules: the tables that a piece of SQL names."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp
from sqlglot import parse as parse_sql
from sqlglot.errors import SqlglotError
from sqlglot.expressions.core import Expr
from sqlglot.optimizer.scope import traverse_scope

from graphs.expressions.sqlcheck import sql_read_only


def sql_tables(sql: str, dialect: str = "postgres") -> list[str]:
    """The tables and views that `sql` reads, each once, sorted: `customers`, or `sales.customers` where it says so, in
    lower case unless quoted. Names that the statement itself defines (`WITH`) are not among them.

    Raises ValueError where that cannot be said for sure: SQL that cannot be parsed, or that does more than read.
    """
    if not sql_read_only(sql, dialect):
        raise ValueError("its tables cannot be told: this is not SQL that surely only reads")
    try:
        statements = [statement for statement in parse_sql(sql, dialect=dialect) if statement is not None]
        return sorted({name for statement in statements for name in _tables(statement)})
    except (SqlglotError, RecursionError) as error:
        raise ValueError("its tables cannot be told: this SQL cannot be parsed") from error


def _tables(statement: Expr) -> Iterator[str]:
    # By the table's own name, not by its alias: an alias may be called like something that WITH defines.
    defined = {
        id(table)
        for scope in traverse_scope(statement)
        for table in scope.tables
        if not table.db and table.name in scope.cte_sources
    }
    for table in statement.find_all(exp.Table):
        # A function may stand in a table's place; that it reads no table was checked before.
        if id(table) not in defined and isinstance(table.this, exp.Identifier):
            yield ".".join(_name(part) for part in table.parts)


def _name(part: Expr) -> str:
    name = part.name
    if not name or "." in name or "`" in name or '"' in name:
        raise ValueError("its tables cannot be told: a quoted name holds a dot or a quote")
    return name if part.args.get("quoted") else name.lower()
