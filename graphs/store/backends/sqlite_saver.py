"""LangGraph's SQLite saver inside a transaction of the store.

Its asyncio sister (`AsyncSqliteSaver`) hops to a thread and back for every statement, and when it was cancelled between
an insert and its commit it was seen to hold the file's write lock for good. Here checkpoints are kept in one
transaction with what they belong to, which always commits or rolls back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver
from sqlalchemy import Connection


class TransactionSaver(SqliteSaver):
    """A saver on a connection whose transactions belong to its caller."""

    def __init__(self, connection: sqlite3.Connection, serde: SerializerProtocol) -> None:
        super().__init__(connection, serde=serde)
        self.is_setup = True

    @contextmanager
    def cursor(self, transaction: bool = True) -> Generator[sqlite3.Cursor]:
        """Open a cursor; nothing is committed after it."""
        with closing(self.conn.cursor()) as cursor:
            yield cursor


def make_saver(connection: Connection, serde: SerializerProtocol) -> SqliteSaver:
    """Make a saver on a transaction under way; only its blocking methods are for use."""
    saver = connection.info.get(TransactionSaver)
    if not isinstance(saver, TransactionSaver) or saver.serde is not serde:
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        saver = connection.info[TransactionSaver] = TransactionSaver(driver, serde)
    return saver


def set_up(path: Path, patience: float) -> None:
    """Make LangGraph's tables. Waits up to `patience` seconds for other processes."""
    with closing(sqlite3.connect(path, timeout=patience)) as connection:
        SqliteSaver(connection).setup()
