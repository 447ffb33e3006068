"""Whether the database can be read and written now: for those who ask often and must not be kept waiting."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select

from graphs.errors import StorageError
from graphs.store import tables
from graphs.store.backends.base import Database

FRESH = 2.0
"""Seconds for which an answer is taken as it is."""
WAIT = 0.5
"""Seconds that whoever asks waits at most."""
SILENT = 3.0
"""Seconds without an answer after which there is trouble: less may be a busy moment."""
PROBE = 65_536
"""Characters that are written and taken away again: as much as a turn may need, so that a full disk shows."""


class Pulse:
    """Asks one database, one question at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._question: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._answered_at = float("-inf")
        self._trouble: str | None = None

    async def trouble(self) -> str | None:
        """Why the database cannot be used, in words; None where it can, as far as is known."""
        if self._question is None and time.monotonic() - self._answered_at >= FRESH:
            self._asked_at = time.monotonic()
            self._question = asyncio.create_task(self._ask(), name="pulse of the store")
        if self._question is not None:
            await asyncio.wait([self._question], timeout=WAIT)
        silence = time.monotonic() - self._asked_at
        if self._question is not None and silence >= SILENT:
            return f"{self._database.place} has given no answer for {silence:.0f} s"
        return self._trouble

    async def close(self) -> None:
        """Gives up what is still asked."""
        if (question := self._question) is not None:
            question.cancel()
            with suppress(asyncio.CancelledError):
                await question

    async def _ask(self) -> None:
        try:
            await self._database.probe(try_out)
            self._trouble = None
        except StorageError as error:
            self._trouble = str(error)
        finally:
            self._answered_at = time.monotonic()
            self._question = None


def try_out(connection: Connection) -> None:
    """Read from every table, and write a row that nobody will ever see."""
    for table in tables.metadata.sorted_tables:
        connection.execute(select(*table.primary_key.columns).limit(1)).all()
    name = f"probe-{uuid4().hex}"
    journal = tables.journal
    row = {"call_id": name, "thread": "", "tool": "", "digest": "", "claimed": 0.0, "finished": True, "failed": False}
    connection.execute(insert(journal), {**row, "result": "x" * PROBE})
    connection.execute(delete(journal).where(journal.c.call_id == name))
