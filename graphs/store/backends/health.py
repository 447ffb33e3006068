"""Health of the database: whether it can be read and written now, for probes that ask often and cannot wait."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select

from graphs.errors import StorageError
from graphs.store import tables
from graphs.store.backends.base import Database

ANSWER_LIFETIME = 2.0
"""Seconds for which an answer is taken as it is."""
MAX_WAIT = 0.5
"""Seconds that whoever asks waits at most."""
MAX_SILENCE = 3.0
"""Seconds without an answer after which there is trouble: less may be a busy moment."""
PROBE_CHARACTERS = 65_536
"""Characters that are written and taken away again: as much as a turn may need, so that a full disk shows."""


class Health:
    """Probes one database, with one probe at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._probe_task: asyncio.Task[None] | None = None
        self._probe_start = float("-inf")
        self._answer_time = float("-inf")
        self._trouble: str | None = None

    async def find_trouble(self) -> str | None:
        """Find why the database cannot be used, in words; None where it can, as far as is known."""
        if self._probe_task is None and time.monotonic() - self._answer_time >= ANSWER_LIFETIME:
            self._probe_start = time.monotonic()
            self._probe_task = asyncio.create_task(self._probe(), name="probe of the store")
        if self._probe_task is not None:
            await asyncio.wait([self._probe_task], timeout=MAX_WAIT)
        silence = time.monotonic() - self._probe_start
        if self._probe_task is not None and silence >= MAX_SILENCE:
            return f"{self._database.place} has given no answer for {silence:.0f} s"
        return self._trouble

    async def close(self) -> None:
        """Cancel the probe under way."""
        if (question := self._probe_task) is not None:
            question.cancel()
            with suppress(asyncio.CancelledError):
                await question

    async def _probe(self) -> None:
        try:
            await self._database.probe(probe_tables)
            self._trouble = None
        except StorageError as error:
            self._trouble = str(error)
        finally:
            self._answer_time = time.monotonic()
            self._probe_task = None


def probe_tables(connection: Connection) -> None:
    """Read from every table, and write a row that nobody will ever see."""
    for table in tables.metadata.sorted_tables:
        connection.execute(select(*table.primary_key.columns).limit(1)).all()
    name = f"probe-{uuid4().hex}"
    journal = tables.journal
    row = {"call_id": name, "thread": "", "tool": "", "digest": "", "claimed": 0.0, "finished": True, "failed": False}
    connection.execute(insert(journal), {**row, "result": "x" * PROBE_CHARACTERS})
    connection.execute(delete(journal).where(journal.c.call_id == name))
