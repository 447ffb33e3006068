"""PostgreSQL: one pool of connections for our tables and LangGraph's checkpoints, each used on a thread of its own.

The synchronous driver on threads, for the reason given in `sqlite.py`: a transaction is one hop, and a task that is
cancelled leaves none half done. It waits for what it began, so that nothing it does afterwards overtakes that.

A lost connection (PostgreSQL restarts, a load balancer forgets) is made anew: what was not committed for certain is run
again, for `RETRY_SECONDS`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import Connection, Engine, create_engine, text

from graphs.errors import StorageError
from graphs.store.backends import locks, schema_version
from graphs.store.backends.address import PostgresAddress
from graphs.store.backends.postgres_liveness import PostgresWorkers
from graphs.store.backends.postgres_saver import get_driver_connection, is_set_up, make_saver, set_up
from graphs.store.backends.retry import Retry
from graphs.text import make_storable

T = TypeVar("T")

MAX_CONNECTIONS = 8
"""Of one process, at most, made when they are needed; and one more shows that it lives. PostgreSQL allows 100 if nobody
says otherwise."""
RETRY_SECONDS = 10.0
"""Seconds for which a transaction is tried again while PostgreSQL cannot be reached."""
MIGRATION_TIMEOUT = 600.0
"""Seconds for which a process waits for another one that migrates."""
SESSION_SETTINGS = """
SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s';
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off
"""
"""Nobody waits for ever, not even for a process that was halted in the middle of a transaction. And everything is
looked up by an index: PostgreSQL guesses 100 items in every list that travels as JSON, and then reads whole tables."""


class PostgresDatabase:
    """A `Database` in PostgreSQL, which any number of processes may share. Make one with `open`."""

    def __init__(self, address: PostgresAddress) -> None:
        self.place = address.place
        self._address = address
        engine = create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            pool_size=MAX_CONNECTIONS,
            max_overflow=0,
            # One round trip, and a connection that ended while nobody used it is replaced unseen.
            pool_pre_ping=True,
            pool_use_lifo=True,
            use_native_hstore=False,
            # Errors are logged; what people said is not.
            hide_parameters=True,
        )
        self._read_engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._write_engine = engine.execution_options(isolation_level="READ COMMITTED")
        self._autocommit_engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="store")
        self._workers = PostgresWorkers(self._connect, self.read)

    @classmethod
    async def open(cls, address: PostgresAddress, patience: float) -> PostgresDatabase:
        """Connect, and make or migrate the tables; many processes may do so at once.

        Waits up to `patience` seconds for a server that cannot be reached yet. Raises StorageError if it cannot be
        used.
        """
        database = cls(address)
        try:
            await database._call(lambda given_up: database._prepare(given_up, patience))
            database._workers.watch()
        except BaseException:
            await database.close()
            raise
        return database

    @property
    def workers(self) -> PostgresWorkers:
        return self._workers

    def make_checkpointer(self, connection: Connection, serde: SerializerProtocol) -> BaseCheckpointSaver[str]:
        return make_saver(connection, serde)

    async def read(self, work: Callable[[Connection], T], *, brief: bool = False) -> T:
        return await self._call(
            lambda given_up: self._run_with_retry(self._read_engine, work, given_up, is_repeatable=True)
        )

    async def write(self, work: Callable[[Connection], T], *, brief: bool = False) -> T:
        return await self._call(lambda given_up: self._run_with_retry(self._write_engine, work, given_up))

    async def probe(self, work: Callable[[Connection], None]) -> None:
        await self.write(work)

    async def close(self) -> None:
        await self._workers.close()
        # Elsewhere, since it waits for what is under way.
        await asyncio.get_running_loop().run_in_executor(None, self._shut_down)

    def _shut_down(self) -> None:
        self._threads.shutdown()
        self._read_engine.dispose()

    async def _call(self, work: Callable[[threading.Event], T]) -> T:
        """Return what `work` returns, run on a thread of ours. Cancelled, it waits for the end of what has begun."""
        given_up = threading.Event()
        future = self._threads.submit(work, given_up)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            given_up.set()
            if not future.cancel():
                while not waiting.done():
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([waiting])
            raise

    def _run_with_retry(
        self,
        engine: Engine,
        work: Callable[[Connection], T],
        cancelled: threading.Event,
        *,
        is_repeatable: bool = False,
        patience: float = RETRY_SECONDS,
    ) -> T:
        """Return what `work` returns, after as many attempts as it takes; see `Retry`. Raises StorageError."""
        return Retry(self._address, patience, cancelled, is_repeatable=is_repeatable).run(engine, work)

    def _prepare(self, cancelled: threading.Event, patience: float) -> None:
        if not self._run_with_retry(self._read_engine, is_ready, cancelled, is_repeatable=True, patience=patience):
            self._run_with_retry(
                self._autocommit_engine,
                lambda connection: self._make_tables(connection, cancelled),
                cancelled,
                is_repeatable=True,
            )
        self._run_with_retry(self._autocommit_engine, lambda _: self._workers.hold(), cancelled, is_repeatable=True)

    def _make_tables(self, connection: Connection, cancelled: threading.Event) -> None:
        """Make or migrate all tables, one process at a time. Raises StorageError."""
        until = time.monotonic() + MIGRATION_TIMEOUT
        key = {"key": locks.compute_key("migrations")}
        connection.exec_driver_sql("SET lock_timeout = 0")
        # Asked for again and again, as LangGraph makes indexes concurrently, which waits for everyone who waits.
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
            if time.monotonic() > until or cancelled.wait(0.05):
                raise StorageError(f"{self.place}: another process has been migrating for {MIGRATION_TIMEOUT:.0f} s")
        try:
            self._run_with_retry(self._write_engine, schema_version.prepare, cancelled)
            set_up(get_driver_connection(connection))
        finally:
            if not connection.invalidated:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
                connection.exec_driver_sql("RESET lock_timeout")

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._address.conninfo, autocommit=True)
        connection.adapters.register_dumper(str, StorableTextDumper)
        connection.execute(SESSION_SETTINGS)
        connection.autocommit = False
        return connection


class StorableTextDumper(StrDumperUnknown):
    """Writes text without what PostgreSQL does not take: NUL and lone surrogates."""

    def dump(self, obj: str) -> bytes:
        return make_storable(obj).encode()


def is_ready(connection: Connection) -> bool:
    """Whether all tables are there, in their newest form. Raises StorageError for a database that cannot hold every
    text."""
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise StorageError(f"the database's encoding is {encoding}; make one with ENCODING 'UTF8'")
    return schema_version.is_newest(connection) and is_set_up(connection)
