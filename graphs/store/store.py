"""The store: one database, opened once per process, that holds everything a restart must not lose."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from graphs.store.approvals import Approvals
from graphs.store.audit.log import AuditLog
from graphs.store.audit.search import AuditPage, AuditSearch, search_audit
from graphs.store.backends.base import Database
from graphs.store.backends.health import Health
from graphs.store.backends.sqlite import SqliteDatabase, count_free_bytes, parse_sqlite_path
from graphs.store.checkpoints import Checkpoints
from graphs.store.deliveries import Deliveries
from graphs.store.memories import Memories
from graphs.store.notifications import Notifications
from graphs.store.questions import Questions
from graphs.store.tool_journal import ToolJournal
from graphs.store.turn_lookup import TurnLookup
from graphs.store.turns import TurnRow, Turns
from graphs.store.usage import RoleUsage

log = logging.getLogger(__name__)


DEATH_PATIENCE = 0.5
"""Seconds within which everybody sees that a process was killed; mostly at once."""
RETRY_WINDOW = 600.0
"""Seconds since a turn's last tool call, or its end, within which the same request is taken for another attempt."""


@dataclass(frozen=True)
class PruneResult:
    """How many rows were deleted."""

    turns: int
    calls: int
    approvals: int
    records: int


class Store:
    """One database with checkpoints, turns, approvals, tool journal, notifications, memories, usage and audit. Make one
    with `open`; many processes may share a database."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.place = database.place
        """Where it is, for people."""
        self.checkpoints = Checkpoints(database)
        self.workers = database.workers
        self.turns = Turns(database)
        self.turn_lookup = TurnLookup(database)
        self.approvals = Approvals(database)
        self.questions = Questions(database)
        self.notifications = Notifications(database)
        self.memories = Memories(database)
        self.journal = ToolJournal(database)
        self.audit = AuditLog(database)
        self.usage = RoleUsage(database)
        self.deliveries = Deliveries(database)
        self._database = database
        self._folder = folder
        """Of the SQLite file, or else of the data."""
        self._health = Health(database)
        self._latest_cut = 0.0
        """When an answer was cut off last, as this process knows."""

    @classmethod
    async def open(cls, url: str, data: Path, *, patience: float = 30.0, may_block: bool = True) -> Store:
        """Open the database that `url` names: PostgreSQL, or a SQLite file; empty = `data`/interlock.db. Folders, file
        and tables are made where missing.

        Waits up to `patience` seconds for a PostgreSQL that is not up yet. `may_block`: what is brief may block the
        event loop for well under a millisecond. Raises StorageError for anything but a usable database.
        """
        if not is_postgres(url):
            path = parse_sqlite_path(url, data)
            return cls(await SqliteDatabase.open(path, may_block=may_block), path.parent)
        # Not above: the driver takes 0.3 s to import, which who uses SQLite need not wait for.
        from graphs.store.backends.address import parse_postgres_address  # noqa: PLC0415
        from graphs.store.backends.postgres import PostgresDatabase  # noqa: PLC0415

        return cls(await PostgresDatabase.open(parse_postgres_address(url), patience), data)

    async def close(self) -> None:
        """End all connections and their threads. A second call does nothing."""
        await self.deliveries.close()
        await self._health.close()
        await self.journal.close()
        await self._database.close()

    async def find_trouble(self) -> str | None:
        """Find why the database cannot be used now, in words; None where it can. Answers within half a second."""
        return await self._health.find_trouble()

    def count_free_bytes(self) -> int | None:
        """Count the free bytes of the disk with the SQLite file, or else with the data folder; None without one."""
        try:
            return count_free_bytes(self._folder)
        except OSError:
            return None

    async def take_up(self, row: TurnRow) -> bool:
        """Make this process the one that runs a turn, if the process that ran it is dead: of several that try, in any
        process, one gets True."""
        dead = row.worker
        if row.status != "running" or dead is None or await self.workers.is_alive(dead, DEATH_PATIENCE):
            return False
        return await self.turns.take_up(row.id, dead, self.workers.id)

    def note_cut(self) -> None:
        """Note that a client may just have left before it had its whole answer."""
        self._latest_cut = time.time()

    async def learn_cuts(self) -> None:
        """Learn what was cut off before this process began."""
        self._latest_cut = max(self._latest_cut, await self.turns.find_newest_undelivered())

    def may_have_attempts(self) -> bool:
        """Whether a request may be another attempt of one whose answer did not arrive. A process that is alone with its
        database knows itself what was cut off since it began, and asks nobody."""
        if not self.workers.is_quiet() or not self.workers.is_alone():
            self.note_cut()  # what another one cut off may be asked for after it has gone
            return True
        return time.time() - self._latest_cut < RETRY_WINDOW

    async def take_delivery(self, row: TurnRow) -> bool:
        """Make this process the one that delivers a turn's answer: of several processes that try, one gets True."""
        return await self.turns.take_delivery(row.id, row.worker or "", self.workers.id)

    async def take_cut(self, row: TurnRow) -> bool:
        """Make this process the one that goes on with a turn that was stopped or failed: of several that try, one gets
        True."""
        return await self.turns.advance(row.id, row.status, status="running", worker=self.workers.id, delivered=None)

    async def search_audit(self, search: AuditSearch, *, before: int | None, limit: int) -> AuditPage:
        """Find a page of audit records, newest first: up to `limit` with numbers below `before`."""
        return await search_audit(self._database, search, before=before, limit=limit)

    async def delete_thread(self, thread: str) -> None:
        """Delete the checkpoints of one turn."""
        await self.checkpoints.adelete_thread(thread)

    async def prune(
        self,
        *,
        conversations: float,
        audit: float,
        memories: Mapping[str, float] = MappingProxyType({}),
        now: float | None = None,
    ) -> PruneResult:
        """Delete turns, their checkpoints, questions and tool results after `conversations` seconds, approvals and
        audit records after `audit` seconds, what is remembered after the seconds of its graph in `memories`, and what
        was used as soon as no limit looks at it. In small transactions, so that requests go on meanwhile."""
        moment = time.time() if now is None else now
        before = moment - conversations
        forgotten = 0
        while batch := await self.turns.find_older_than(before):
            ids = [id for id, _ in batch]
            await self.approvals.supersede_turns(ids, now=moment)
            # Checkpoints first: a process that dies here leaves turns that still name them.
            threads = [thread for _, thread in batch if thread is not None]
            await self.questions.close_threads(threads)
            for thread in threads:
                await self.delete_thread(thread)
            forgotten += await self.turns.delete(ids)
        # A killed process leaves threads that no turn names.
        for thread in await self.checkpoints.find_threads_before(before):
            await self.delete_thread(thread)
        # What was stopped goes on within the window, or never.
        for id, thread in await self.turns.find_cut(moment - RETRY_WINDOW):
            if thread is not None:
                await self.delete_thread(thread)
            await self.turns.advance(id, "stopped", thread=None, request=None, delivered=None)
        await self.workers.prune()
        await self.usage.prune(moment)
        calls = await self.journal.prune(before)
        await self.questions.prune(before)
        await self.notifications.prune(before)
        await self.memories.prune(moment, memories)
        approvals = await self.approvals.prune(moment - audit)
        records = await self.audit.prune(moment - audit, now=moment)
        if (head := await self.audit.read_head()).seq:
            # A log is kept elsewhere: who changes the audit would have to change it there as well.
            log.info("audit head %s", head)
        return PruneResult(turns=forgotten, calls=calls, approvals=approvals, records=records)


def is_postgres(url: str) -> bool:
    """Whether the address is PostgreSQL's, in one of the forms that its users know."""
    return url.partition("://")[0].lower() in {"postgresql", "postgres", "postgresql+psycopg"} and "://" in url
