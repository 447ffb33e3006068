"""Which processes live, as PostgreSQL knows it: each holds an advisory lock on a connection of its own, which the
server takes back as soon as that connection ends."""

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

AGAIN = 0.1
"""Seconds between two attempts to get a lost lock back."""
YOUNG = 15.0
"""Seconds after its start for which a server may not know yet which processes outlived its restart."""
SETTLED = 2.0
"""Seconds for which a lock must be free at such a server: whoever lives has it back by then."""
KEEPALIVES = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""A machine that vanished without a word is given up after 25 s."""

_YOUNG = select(func.extract("epoch", func.now() - func.pg_postmaster_start_time()) < YOUNG)
# Shared, so that two who try do not see each other; let go at the end of the transaction.
_FREE = select(func.pg_try_advisory_xact_lock_shared(bindparam("key")))


class Reader(Protocol):
    """Runs a function in a reading transaction."""

    def __call__(self, work: Callable[[Connection], T], /) -> Awaitable[T]:
        """What `work` returns."""
        ...


class PostgresWorkers:
    """See Workers."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], read: Reader) -> None:
        self.id = uuid.uuid4().hex
        self._connect = connect
        self._read = read
        self._held: psycopg.Connection[Any] | None = None
        self._getting_back: asyncio.Task[None] | None = None
        self._closed = False

    def quiet(self) -> bool:
        """Always False: only the server knows, and asking it is a round trip like the question itself."""
        return False

    async def alive(self, worker: str, patience: float = 0.0) -> bool:
        """See Workers."""
        if worker == self.id:
            return True
        key = {"key": key_of(worker)}
        until = asyncio.get_running_loop().time() + patience
        while not await self._read(lambda connection: bool(connection.scalar(_FREE, key))):
            if asyncio.get_running_loop().time() >= until:
                return True
            await asyncio.sleep(0.05)
        if await self._read(lambda connection: bool(connection.scalar(_YOUNG))):
            until = asyncio.get_running_loop().time() + SETTLED
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(AGAIN)
                if not await self._read(lambda connection: bool(connection.scalar(_FREE, key))):
                    return True
        return False

    async def tidy(self) -> None:
        """Nothing to do: the server forgets by itself."""

    def hold(self) -> None:
        """Takes the lock, on a thread that may wait. Raises psycopg.Error."""
        connection = self._connect()
        try:
            connection.autocommit = True
            connection.execute(KEEPALIVES)
            # Where the server has not noticed yet that an earlier connection of ours is gone, this waits for it.
            connection.execute("SELECT pg_advisory_lock(%s)", [key_of(self.id)])
        except BaseException:
            connection.close()
            raise
        self._held = connection
        if self._closed:  # meanwhile
            connection.close()

    def watch(self) -> None:
        """Gets the lock back whenever its connection is lost. In the event loop, once it is held."""
        if self._held is not None:
            asyncio.get_running_loop().add_reader(self._held.fileno(), self._said)

    def _said(self) -> None:
        """Nobody asks anything on this connection: the server says that it goes, or something of no interest."""
        held = self._held
        if held is None:
            return
        descriptor = held.fileno()
        try:
            held.pgconn.consume_input()
        except psycopg.Error:
            asyncio.get_running_loop().remove_reader(descriptor)
            held.close()
            self._held = None
            log.warning("the connection by which other processes see that this one lives was lost; making a new one")
            self._getting_back = asyncio.create_task(self._get_back())

    async def _get_back(self) -> None:
        while self._held is None:
            try:
                await asyncio.to_thread(self.hold)
            except psycopg.Error:
                await asyncio.sleep(AGAIN)
        self.watch()

    async def close(self) -> None:
        """This process ends."""
        self._closed = True
        if self._getting_back is not None:
            self._getting_back.cancel()
            await asyncio.wait([self._getting_back])
        if self._held is not None:
            asyncio.get_running_loop().remove_reader(self._held.fileno())
            self._held.close()
            self._held = None


def key_of(worker: str) -> int:
    """The lock of one process."""
    return locks.key(f"worker {worker}")
