"""A connection to the SQLite file that is kept open, as a pool would cost as much as the rest of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Literal, TypeVar, cast

from sqlalchemy import Connection, Engine

T = TypeVar("T")

BeginStatement = Literal["BEGIN", "BEGIN IMMEDIATE"]
"""For what only reads; for what writes. That one takes the write lock first: a transaction that reads and then writes
would fail if another wrote in between."""


class SqliteConnection:
    """The one connection of one thread."""

    def __init__(self, engine: Engine, *settings: str) -> None:
        self._engine = engine
        self._settings = settings
        self._connection: Connection | None = None

    def transact(self, work: Callable[[Connection], T], begin: BeginStatement) -> T:
        """Return what `work` returns, in a transaction of its own. Raises what SQLAlchemy and sqlite3 raise."""
        connection = self._connection
        if connection is None or connection.invalidated:
            connection = self._connect()
        # Past SQLAlchemy, whose own way to begin and to commit takes longer than SQLite itself. It has a transaction to
        # end where a statement went through it.
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        driver.execute(begin)
        try:
            result = work(connection)
            (connection if connection.in_transaction() else driver).commit()
        except BaseException:
            (connection if connection.in_transaction() else driver).rollback()
            raise
        return result

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Connection:
        self.close()
        self._connection = connection = self._engine.connect()
        for setting in self._settings:
            cast("sqlite3.Connection", connection.connection.driver_connection).execute(setting).close()
        return connection
