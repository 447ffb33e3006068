"""The interface of the store's databases, which `sqlite.py` and `postgres.py` implement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from sqlalchemy import Connection

from graphs.store.backends.liveness import Workers

T = TypeVar("T")


MAX_BRIEF_CHARACTERS = 100_000
"""Characters that are stored in well under a millisecond."""


def is_brief(*values: object) -> bool:
    """Whether values are small, counted in the characters of their strings, lists and objects."""
    room = MAX_BRIEF_CHARACTERS
    left: list[Any] = [*values]
    while left:
        value = left.pop()
        if isinstance(value, str):
            room -= len(value)
        elif isinstance(value, list):
            left += value
            room -= len(cast("list[Any]", value))
        elif isinstance(value, dict):
            left += value.values()
            room -= len(cast("dict[str, Any]", value))
        if room < 0:
            return False
    return True


class Database(Protocol):
    """Runs plain functions of a SQLAlchemy `Connection`, each in a transaction of its own.

    Such a function may run twice (where PostgreSQL asks for it), so it changes nothing but the database. Cancelling
    the waiter does not cancel the transaction; it always commits or rolls back.
    """

    place: str
    """Where it is, for people; never with a password."""

    @property
    def workers(self) -> Workers:
        """The processes that share the database."""
        ...

    def make_checkpointer(self, connection: Connection, serde: SerializerProtocol) -> BaseCheckpointSaver[str]:
        """Make LangGraph's own saver inside a transaction under way; only its blocking methods are for use."""
        ...

    async def read(self, work: Callable[[Connection], T], *, brief: bool = False) -> T:
        """Return what `work` returns; all of its statements see one state. Raises StorageError if the database fails.

        `brief`: it takes well under a millisecond, so that SQLite may do it on the caller's own thread.
        """
        ...

    async def write(self, work: Callable[[Connection], T], *, brief: bool = False) -> T:
        """Return what `work` returns, committed; nothing is kept if it raises. Raises StorageError if the database
        fails.

        SQLite holds its write lock from the start: what `work` reads stays true until it ends. PostgreSQL lets others
        write meanwhile (READ COMMITTED: each statement sees what is committed when it begins). So never decide by a
        plain SELECT what to write. Decide by the write itself (`INSERT … ON CONFLICT … RETURNING`, an UPDATE whose
        WHERE says what must still hold, and its rowcount), read with `.with_for_update()`, or call `locks.hold` first.
        All of them are right on SQLite too.
        """
        ...

    async def probe(self, work: Callable[[Connection], None]) -> None:
        """Run `work`, which reads and writes, as a transaction of a connection that remembers nothing.

        Raises StorageError where the database cannot be read or written now, its disk is full, or what it holds was
        found damaged.
        """
        ...

    async def close(self) -> None:
        """Wait for what is under way, then ends the connections and the threads."""
        ...
