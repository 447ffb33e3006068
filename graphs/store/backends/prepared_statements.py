"""Statements that SQLAlchemy compiles once and SQLite then runs directly.

What SQLAlchemy does anew at each execution takes 50 µs; SQLite itself takes 5 to 20. SQLAlchemy's types still convert
every value. PostgreSQL runs the same statements in SQLAlchemy's own way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, cast

from sqlalchemy import Connection, Select, TextClause, UpdateBase
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.selectable import TextualSelect
from sqlalchemy.types import TypeEngine

ValueConverter: TypeAlias = Callable[[Any], Any] | None
Statement: TypeAlias = UpdateBase | Select[*tuple[Any, ...]] | TextClause | TextualSelect


@dataclass(frozen=True, kw_only=True)
class _PreparedStatement:
    sql: str
    values: Sequence[tuple[str, Any, ValueConverter]]
    """In their order: name, what stands there if nothing is given, conversion."""
    columns: Sequence[ValueConverter]
    """Of what comes back; empty where nothing is to be converted."""

    def bind(self, row: Mapping[str, Any]) -> list[Any]:
        return [
            row.get(name, constant) if convert is None else convert(row.get(name, constant))
            for name, constant, convert in self.values
        ]


def write(connection: Connection, statement: UpdateBase, row: Mapping[str, Any], *more: Mapping[str, Any]) -> int:
    """Run an INSERT, UPDATE or DELETE for each of these rows, which have the same names; return how many it changed.

    Columns without a value stay empty: defaults that SQLAlchemy would fill in are not known here.
    """
    if connection.dialect.name != "sqlite":
        return connection.execute(statement, [row, *more] if more else row).rowcount
    prepared = _prepare(statement, tuple(row))
    if not more:
        return _get_driver_connection(connection).execute(prepared.sql, prepared.bind(row)).rowcount
    return _get_driver_connection(connection).executemany(prepared.sql, map(prepared.bind, (row, *more))).rowcount


def read(
    connection: Connection, statement: Statement, row: Mapping[str, Any], *more: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    """Run a SELECT, or what returns rows, for each of these rows of values, which have the same names;
    return what came back, each with its values in the order of the columns."""
    if connection.dialect.name != "sqlite":
        return connection.execute(statement, [row, *more] if more else row).all()
    prepared, driver = _prepare(statement, tuple(row)), _get_driver_connection(connection)
    rows: list[tuple[Any, ...]] = []
    for each in (row, *more):
        rows += driver.execute(prepared.sql, prepared.bind(each)).fetchall()
    if not prepared.columns:
        return rows
    return [
        [value if convert is None else convert(value) for value, convert in zip(row, prepared.columns, strict=True)]
        for row in rows
    ]


@lru_cache(maxsize=256)
def _prepare(statement: Statement, names: tuple[str, ...]) -> _PreparedStatement:
    dialect = sqlite.dialect()

    def resolve_type(type: TypeEngine[Any]) -> TypeEngine[Any]:
        return type.dialect_impl(dialect)

    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    constants = compiled.params
    if missing := {name for name in compiled.positiontup or () if compiled.binds[name].required} - {*names}:
        raise TypeError(f"the statement needs a value for {', '.join(sorted(missing))}: {compiled}")
    back: Sequence[TypeEngine[Any]] = ()
    if isinstance(statement, Select | TextualSelect):
        back = [column.type for column in statement.selected_columns]
    columns: list[ValueConverter] = [resolve_type(type).result_processor(dialect, None) for type in back]
    return _PreparedStatement(
        sql=str(compiled),
        values=[
            (name, constants.get(name), resolve_type(compiled.binds[name].type).bind_processor(dialect))
            for name in compiled.positiontup or ()
        ],
        columns=columns if any(columns) else (),
    )


def _get_driver_connection(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)
