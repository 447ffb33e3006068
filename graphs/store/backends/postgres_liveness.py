"""Liveness of processes by PostgreSQL: each holds an advisory lock on a connection of its own, which the server
releases as soon as that connection ends."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import psycopg
from sqlalchemy import Connection, bindparam, func, select

from graphs.store.backends import locks

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_PAUSE = 0.1
"""Seconds between two attempts to get a lost lock back."""
RESTART_GRACE = 15.0
"""Seconds after its start for which a server may not know yet which processes outlived its restart."""
FREE_LOCK_WAIT = 2.0
"""Seconds for which a lock must be free at such a server: whoever lives has it back by then."""
KEEPALIVES = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""A machine that vanished without a word is given up after 25 s."""

_IS_RESTARTED = select(func.extract("epoch", func.now() - func.pg_postmaster_start_time()) < RESTART_GRACE)
# Shared, so that two who try do not see each other; let go at the end of the transaction.
_TRY_LOCK = select(func.pg_try_advisory_xact_lock_shared(bindparam("key")))


class Reader(Protocol):
    """Runs a function in a reading transaction."""

    def __call__(self, work: Callable[[Connection], T], /) -> Awaitable[T]:
        """Return what `work` returns."""
        ...


class PostgresWorkers:
    """The processes that share one PostgreSQL."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], read: Reader) -> None:
        self.id = uuid.uuid4().hex
        self._connect = connect
        self._read = read
        self._lock_connection: psycopg.Connection[Any] | None = None
        self._reconnect_task: asyncio.Task[None] | None = None
        self._closed = False

    def is_quiet(self) -> bool:
        """Always False: only the server knows, and asking it is a round trip like the question itself."""
        return False

    def is_alone(self) -> bool:
        """Always False, as above."""
        return False

    async def is_alive(self, worker: str, patience: float = 0.0) -> bool:
        """See Workers."""
        if worker == self.id:
            return True
        key = {"key": compute_worker_key(worker)}
        until = asyncio.get_running_loop().time() + patience
        while not await self._read(lambda connection: bool(connection.scalar(_TRY_LOCK, key))):
            if asyncio.get_running_loop().time() >= until:
                return True
            await asyncio.sleep(0.05)
        if await self._read(lambda connection: bool(connection.scalar(_IS_RESTARTED))):
            until = asyncio.get_running_loop().time() + FREE_LOCK_WAIT
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(RETRY_PAUSE)
                if not await self._read(lambda connection: bool(connection.scalar(_TRY_LOCK, key))):
                    return True
        return False

    async def prune(self) -> None:
        """Nothing to do: the server forgets by itself."""

    def hold(self) -> None:
        """Take this process's lock, on a thread that may wait. Raises psycopg.Error."""
        connection = self._connect()
        try:
            connection.autocommit = True
            connection.execute(KEEPALIVES)
            # Where the server has not noticed yet that an earlier connection of ours is gone, this waits for it.
            connection.execute("SELECT pg_advisory_lock(%s)", [compute_worker_key(self.id)])
        except BaseException:
            connection.close()
            raise
        self._lock_connection = connection
        if self._closed:  # meanwhile
            connection.close()

    def watch(self) -> None:
        """Take the lock again whenever its connection is lost. Call it in the event loop, once the lock is held."""
        if self._lock_connection is not None:
            asyncio.get_running_loop().add_reader(self._lock_connection.fileno(), self._handle_input)

    def _handle_input(self) -> None:
        """Handle input on a connection on which nothing is asked: the server says that it goes, or nothing of
        interest."""
        held = self._lock_connection
        if held is None:
            return
        descriptor = held.fileno()
        try:
            held.pgconn.consume_input()
        except psycopg.Error:
            asyncio.get_running_loop().remove_reader(descriptor)
            held.close()
            self._lock_connection = None
            log.warning("the connection by which other processes see that this one lives was lost; making a new one")
            self._reconnect_task = asyncio.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        while self._lock_connection is None:
            try:
                await asyncio.to_thread(self.hold)
            except psycopg.Error:
                await asyncio.sleep(RETRY_PAUSE)
        self.watch()

    async def close(self) -> None:
        """Release this process's lock."""
        self._closed = True
        if self._reconnect_task is not None:
            self._reconnect_task.cancel()
            await asyncio.wait([self._reconnect_task])
        if self._lock_connection is not None:
            asyncio.get_running_loop().remove_reader(self._lock_connection.fileno())
            self._lock_connection.close()
            self._lock_connection = None


def compute_worker_key(worker: str) -> int:
    """Compute the advisory lock of one process."""
    return locks.compute_key(f"worker {worker}")
