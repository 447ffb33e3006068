"""The SQLite file: one thread that writes and one that reads, each with a connection of its own, and one more for what
is brief, which runs where it is asked for.

A thread that runs Python beside the event loop fights with it for the interpreter: measured on two idle cores, a chat
turn costs 2.8 ms CPU when both share a core, and 6.2 ms when each has its own. So what takes well under a millisecond
does not leave the loop; it never blocks there for another's lock, but asks again soon, and goes to the thread at last.

Measured against SQLAlchemy's asyncio engine over aiosqlite: that hops to a thread and back for every statement, fetch
and commit, and costs three to four times the CPU. Here a whole transaction is one hop. It is also safe to cancel: the
transaction always commits or rolls back, so a client that leaves never keeps a lock or half a claim.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from graphs.config.spec.gateway import find_storage_fault
from graphs.errors import StorageError
from graphs.store.backends import schema_version
from graphs.store.backends.liveness import FileWorkers
from graphs.store.backends.sqlite_connection import SqliteConnection
from graphs.store.backends.sqlite_saver import make_saver, set_up

T = TypeVar("T")

log = logging.getLogger(__name__)

BUSY_SECONDS = 30.0
"""How long a transaction waits for the write lock of another connection or process."""

CHECKPOINT_EVERY = 250
"""Brief transactions between two moves of what was written ahead into the file: some thousand pages."""

PAUSES = (0.001, 0.001, 0.002, 0.004, 0.008, 0.016)
"""Seconds after which the event loop asks again for the write lock, before the thread waits for it. A thread that is
soon done is not worth another hop: while it writes, the next would have to hop too, and so on."""

RESTART_WAIT_MS = 500
"""Milliseconds for which the beginning anew of what is written ahead waits for others. While it waits for those who
read it holds the write lock, and some read for minutes: a backup, an export of the audit."""

LOOP_SETTINGS = ("PRAGMA busy_timeout=0", "PRAGMA wal_autocheckpoint=0")
"""The connection of the event loop's own thread waits for nothing."""

MIN_FREE_BYTES = 1_000_000
"""Bytes of free disk below which nothing can be relied on to be written."""

FAULT_SECONDS = 10.0
"""Seconds for which a failure of the disk counts, though a small write has succeeded since."""

ERROR_CODE_ATTRIBUTE = "sqlite_errorcode"
"""What the driver sets on the errors that the database itself reports, and not on its own."""

PERMANENT_ERRORS = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""The file is damaged: that does not pass."""

DISK_ERRORS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
"""The disk is full, fails, or is not to be written."""


@dataclass(frozen=True)
class DiskFault:
    """A failure of the file or its disk."""

    message: str
    is_permanent: bool
    until: float
    """Of the monotonic clock."""


def count_free_bytes(folder: Path) -> int:
    """Count the bytes that this process may still write there."""
    found = os.statvfs(folder)
    return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize


def parse_sqlite_path(url: str, data: Path) -> Path:
    """Find the file that `url` names: empty = `data`/interlock.db, `sqlite:///relative`, `sqlite:////absolute` or a
    path.

    Raises StorageError for everything that is no SQLite file. Its words never hold the URL, which may hold a password.
    """
    if not url:
        return data / "interlock.db"
    if (fault := find_storage_fault(url)) is not None:
        raise StorageError(f"storage: {fault}")
    return Path(url.partition("://")[2][1:] if "://" in url else url)


class SqliteDatabase:
    """A `Database` in one file. Make one with `open`; many processes may share the file."""

    def __init__(self, path: Path, engine: Engine, *, may_block: bool) -> None:
        self._may_block = may_block
        self.place = str(path)
        self._path = path
        self._engine = engine
        self._read_connection, self._write_connection, self._loop_connection = (
            SqliteConnection(engine),
            SqliteConnection(engine),
            SqliteConnection(engine, *LOOP_SETTINGS),
        )
        self._brief_writes = 0
        self._lock_waiters = 0
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._workers: FileWorkers | None = None
        self._closed = False
        self._fault: DiskFault | None = None

    @classmethod
    async def open(cls, path: Path, *, may_block: bool = True) -> SqliteDatabase:
        """Open or make the file and its tables, in their newest form; many processes may do so at once.

        `may_block`: what is brief may run on the event loop's own thread; it is always the same loop's then. Raises
        StorageError if the file cannot be used.
        """
        database = cls(path, _make_engine(path), may_block=may_block)
        try:
            await database._call(database._writer, database._prepare)
        except BaseException:
            await database.close()
            raise
        return database

    @property
    def workers(self) -> FileWorkers:
        if self._workers is None:
            raise StorageError(f"the database {self.place} is not open")
        return self._workers

    def make_checkpointer(self, connection: Connection, serde: SerializerProtocol) -> BaseCheckpointSaver[str]:
        return make_saver(connection, serde)

    async def read(self, work: Callable[[Connection], T], *, brief: bool = False) -> T:
        self._check_open()
        if brief and self._may_block:
            with self._translate_errors():
                return self._loop_connection.transact(work, "BEGIN")
        return await self._call(self._reader, lambda: self._read_connection.transact(work, "BEGIN"))

    async def write(self, work: Callable[[Connection], T], *, brief: bool = False) -> T:
        self._check_open()
        if brief and self._may_block:
            begun = False

            def run_work(connection: Connection) -> T:
                nonlocal begun
                begun = True
                return work(connection)

            self._lock_waiters += 1
            try:
                for pause in PAUSES:
                    try:
                        with self._translate_errors():
                            result = self._loop_connection.transact(run_work, "BEGIN IMMEDIATE")
                    except StorageError:
                        # Before it began there was nothing but the wish for the lock, which another has.
                        if begun:
                            raise
                    else:
                        self._count_brief_write()
                        return result
                    await asyncio.sleep(pause)
            finally:
                self._lock_waiters -= 1
        return await self._call(self._writer, lambda: self._write_connection.transact(work, "BEGIN IMMEDIATE"))

    async def run_on_thread(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, run on the writing thread: for what takes a moment and is no transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def probe(self, work: Callable[[Connection], None]) -> None:
        self._check_open()
        await self._call(self._writer, lambda: self._probe(work))
        if self._fault is not None and (self._fault.is_permanent or time.monotonic() < self._fault.until):
            raise StorageError(self._fault.message)

    def _probe(self, work: Callable[[Connection], None]) -> None:
        """Run `work` on a connection of its own: one that is kept open reads from memory what the file may have
        lost."""
        if (free := count_free_bytes(self._path.parent)) < MIN_FREE_BYTES:
            raise StorageError(f"the database {self.place} cannot be written: its disk is full ({free:,} bytes free)")
        probe = SqliteConnection(self._engine)
        try:
            probe.transact(work, "BEGIN IMMEDIATE")
        finally:
            probe.close()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        while self._lock_waiters:  # noqa: ASYNC110  they are done here within milliseconds, or queued below
            await asyncio.sleep(PAUSES[0])
        self._loop_connection.close()
        await loop.run_in_executor(self._reader, self._read_connection.close)
        # Everything queued has run by then, so the shutdowns below do not block the loop.
        await loop.run_in_executor(self._writer, self._disconnect)
        self._reader.shutdown()
        self._writer.shutdown()

    async def _call(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        with self._translate_errors():
            return await asyncio.get_running_loop().run_in_executor(executor, work)

    def _check_open(self) -> None:
        # A connection of the event loop's own thread would be opened again, and nobody would ever close it.
        if self._closed:
            raise StorageError(f"the database {self.place} is closed")

    @contextmanager
    def _translate_errors(self) -> Generator[None]:
        """Turn the database's errors into StorageError."""
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            said = error.orig if isinstance(error, DBAPIError) else error
            words = f"the database {self.place} cannot be used: {said}"
            kind = (
                said.sqlite_errorcode & 0xFF
                if isinstance(said, sqlite3.Error) and hasattr(said, ERROR_CODE_ATTRIBUTE)
                else None
            )
            if kind in PERMANENT_ERRORS or kind in DISK_ERRORS:
                self._fault = DiskFault(
                    words, is_permanent=kind in PERMANENT_ERRORS, until=time.monotonic() + FAULT_SECONDS
                )
            raise StorageError(words) from error

    def _count_brief_write(self) -> None:
        """Count a brief write; every so often, have the thread move the write-ahead log into the file, which may wait
        for the disk."""
        self._brief_writes += 1
        if self._brief_writes >= CHECKPOINT_EVERY and not self._closed:
            self._brief_writes = 0
            self._writer.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        try:
            with self._engine.connect() as connection:
                # PASSIVE moves nearly all while others write. But where writing never pauses it never comes to the end,
                # so RESTART holds the write lock for the little that is left.
                _, _, before = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
                _, ahead, moved = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
                if before == moved < ahead:  # held back by somebody who reads; the next one comes soon
                    return
                connection.exec_driver_sql(f"PRAGMA busy_timeout={RESTART_WAIT_MS}")
                busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(RESTART)").one()[0]
                connection.exec_driver_sql(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
                if busy:
                    return
                # Whoever writes first after that waits for the disk: so this thread does, with a change of nothing.
                version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
                connection.exec_driver_sql(f"PRAGMA user_version={version}")
        except DBAPIError:
            log.exception("%s: what was written ahead could not be moved into the file", self.place)

    def _prepare(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Conversations are private: the file is its owner's only, and SQLite gives its -wal and -shm the same mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StorageError(f"the database {self.place} cannot be opened: {error.strerror}") from error
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                self._write_connection.transact(schema_version.prepare, "BEGIN IMMEDIATE")
            except (OperationalError, sqlite3.OperationalError) as error:
                # While another process switches the new file to WAL, SQLite answers "locked" without waiting.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                break
        set_up(self._path, BUSY_SECONDS)
        try:
            self._workers = FileWorkers(self._path.with_name(f"{self._path.name}.workers"), self.run_on_thread)
        except OSError as error:
            raise StorageError(f"{error.filename}, where processes show that they live: {error.strerror}") from error

    def _disconnect(self) -> None:
        self._write_connection.close()
        self._engine.dispose()
        if self._workers is not None:
            self._workers.close()


def _make_engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        # No transaction of the driver's own making: it would begin without the write lock and fail half-way.
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
        # Errors are logged; what people said is not.
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:  # pyright: ignore[reportUnusedFunction]
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    return engine
