"""Delivery of answers: that one was written to its end is saved a moment later, with others, so that no client
waits."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Connection, bindparam, update

from graphs.errors import StorageError
from graphs.store.backends.base import Database
from graphs.store.tables import turns

log = logging.getLogger(__name__)

WRITE_DELAY = 0.1
"""Seconds for which deliveries are collected. A process that is killed within them may say an answer once more that had
arrived, where the same request comes again."""

_MARK_DELIVERED = (
    update(turns)
    .where(turns.c.id.in_(bindparam("ids", expanding=True)), turns.c.delivered.is_not(None))
    .values(delivered=True)
)


class Deliveries:
    """The deliveries of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: set[str] = set()
        self._write_task: asyncio.Task[None] | None = None

    def note(self, turn: str) -> None:
        """Note that the last byte of this turn's answer was handed to the server. Returns at once."""
        self._turns.add(turn)
        if self._write_task is None or self._write_task.done():
            self._write_task = asyncio.create_task(self._write_later())

    def is_noted(self, turn: str) -> bool:
        """Whether it is noted, and perhaps not saved yet, that this turn's answer was delivered."""
        return turn in self._turns

    async def close(self) -> None:
        """Write what is left."""
        if self._write_task is not None:
            self._write_task.cancel()
            await asyncio.wait([self._write_task])
        await self._write()

    async def _write_later(self) -> None:
        while self._turns:
            await asyncio.sleep(WRITE_DELAY)
            await self._write()

    async def _write(self) -> None:
        ids = sorted(self._turns)
        if not ids:
            return

        def work(connection: Connection) -> None:
            connection.execute(_MARK_DELIVERED, {"ids": ids})

        try:
            await self._database.write(work, brief=len(ids) <= MAX_BRIEF_TURNS)
        except StorageError as error:
            log.warning("that %d answers were delivered could not be noted: %s", len(ids), error)
        finally:
            self._turns.difference_update(ids)


MAX_BRIEF_TURNS = 40
"""Turns that are noted in well under a millisecond."""
