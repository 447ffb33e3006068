"""The open connections of this process: how many there may be, which one is closed first, and the log of refusals."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from graphs.config.spec.gateway import HttpSpec
from graphs.telemetry.metrics import Metrics
from server.auth.addresses import Network, parse_networks
from server.auth.failed_keys import FailedKeys

log = logging.getLogger(__name__)

EXTENSION = "interlock.connection"
"""Under `extensions` of the ASGI scope: the connection that a request came over."""
SPARE = 32
"""Connections beyond the limit that may ask for /health and its like, so that a full server still says it lives."""
SWEEP = 0.5
"""Seconds between two looks at what is overdue."""
YOUNG = 1.0
"""Seconds that a connection gets to show a key before it counts for its address."""
RESERVED_FILES = 64
"""Files that no connection of a client gets: turns that run open some too."""
OWN_FILES = 128
"""Files that the process itself keeps open: database, logs, watchers, pipes of MCP servers."""
MOST_FILES = 65_536
"""The soft limit on open files is raised to at most that: programs that MCP servers start inherit it, and some go
through all of it."""
LINES_A_MINUTE = 100
"""Lines on refusals in the log, whatever the number of addresses."""


class ClientConnection(Protocol):
    """A connection, as far as the table knows it."""

    address: str | None
    """None: a trusted proxy, behind which many are."""
    authenticated: bool
    spare: bool
    deadline: float

    def expire(self, now: float) -> None:
        """End what the deadline was for."""
        ...

    def evict(self) -> None:
        """Close the connection at once, to make room."""
        ...


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """The limits of one snapshot (`http:` in gateway.yaml), ready for use."""

    spec: HttpSpec
    trusted: Sequence[Network]
    connections: int
    body_size: int


def build_limits(spec: HttpSpec, max_body: int | None, files: int) -> HttpLimits:
    """Build the limits of a spec on a machine where the process may open `files` files."""
    connections = min(spec.connections, max((files - OWN_FILES) // 2, 16))
    if connections < spec.connections:
        log.warning(
            "http.connections: %d of %d, since this process may open no more than %d files (ulimit -n)",
            connections,
            spec.connections,
            files,
        )
    return HttpLimits(
        spec=spec,
        trusted=parse_networks(spec.trusted_proxies),
        connections=connections,
        body_size=max_body or spec.body_size,
    )


def read_file_limit() -> int:
    """Read how many files this process may open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


def is_short_of_files(limit: int) -> bool:
    """Whether this process has so many of its `limit` files open that the reserve is in use; costs a look at each."""
    try:
        return len(os.listdir("/dev/fd")) > limit - RESERVED_FILES
    except OSError:  # the look itself takes a file
        return True


def raise_file_limit() -> int:
    """Raise the soft limit on open files as far as it goes, for this process and those it starts; return the new
    limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_FILES if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a limit of its own beneath an infinite one
        return soft
    return wanted


class ConnectionTable:
    """Table of all open connections. Those that wait for a request, oldest first, can be closed to make room."""

    def __init__(self, spec: Callable[[], HttpSpec], metrics: Metrics, max_body: int | None) -> None:
        self._spec = spec
        self._metrics = metrics
        self._max_body = max_body
        self.failed_keys = FailedKeys(lambda: self.limits.spec.failed_keys)
        self._files = raise_file_limit()
        self._limits = build_limits(spec(), max_body, self._files)
        self._short_of_files = False
        self._all: set[ClientConnection] = set()
        self._spare = 0
        self._waiting: dict[ClientConnection, float] = {}
        self._strangers: Counter[str] = Counter()
        """Connections without a valid key, by address."""
        self._refusals: dict[str, int] = {}
        """Refusals in this minute, by address."""

    @property
    def limits(self) -> HttpLimits:
        """The limits of the current snapshot; a connection keeps those it began with."""
        spec = self._spec()
        if spec is not self._limits.spec:
            self._limits = build_limits(spec, self._max_body, self._files)
        return self._limits

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, connection: ClientConnection, now: float, file: int = 0) -> bool:
        """Admit a new connection, at the cost of the longest waiting one where all places or files are taken; False
        where each of them is at work. `file` is its descriptor: systems give the lowest one that is free. One from the
        reserve says that files run short, a low one does not say that they no longer do: `sweep` finds that out."""
        self._short_of_files |= file >= self._files - RESERVED_FILES
        full = self._short_of_files or len(self._all) - self._spare >= self.limits.connections
        if full and not self._evict_one(spare=False):
            if self._spare >= SPARE and not self._evict_one(spare=True):
                return False
            connection.spare = True
            self._spare += 1
        self._all.add(connection)
        self._waiting[connection] = now
        if connection.address is not None:
            self._strangers[connection.address] += 1
        return True

    def remove(self, connection: ClientConnection) -> None:
        """Remove a connection that is closed, or will be; may be called again."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        self._waiting.pop(connection, None)
        self._spare -= connection.spare
        self._leave_strangers(connection)

    def start_request(self, connection: ClientConnection) -> None:
        """Note that a connection has brought a request, so that it is not closed to make room."""
        self._waiting.pop(connection, None)

    def end_request(self, connection: ClientConnection, now: float) -> None:
        """Note that a connection's request was answered, so that it waits again."""
        if connection in self._all:
            self._waiting[connection] = now

    def note_valid_key(self, connection: ClientConnection) -> None:
        """Note that a connection showed a valid key; may be called again."""
        if not connection.authenticated:
            self._leave_strangers(connection)
            connection.authenticated = True

    def note_refusal(self, address: str, reason: str) -> None:
        """Count a refusal, and log the first of an address in a minute."""
        self._metrics.count_refused_connection(reason)
        count = self._refusals.get(address, 0)
        if count == 0 and len(self._refusals) >= LINES_A_MINUTE:
            return
        self._refusals[address] = count + 1
        if count == 0:
            log.warning("%s: refused (%s); what follows in this minute is counted, not logged", address, reason)

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[None]:
        """End what is overdue, while the block lasts."""
        task = asyncio.create_task(self._sweep_forever(), name="connections")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _sweep_forever(self) -> None:
        loop = asyncio.get_running_loop()
        minute = loop.time()
        while True:
            await asyncio.sleep(SWEEP)
            now = loop.time()
            if now - minute >= 60:
                minute = now
                self._end_minute()
            try:
                self.sweep(now)
            except Exception:
                log.exception("a connection could not be ended")

    def sweep(self, now: float) -> None:
        """End what is overdue, and what one address has too much of."""
        self._files = read_file_limit()
        self._short_of_files = self._short_of_files and is_short_of_files(self._files)
        for connection in [one for one in self._all if one.deadline <= now]:
            connection.expire(now)
        most = self.limits.spec.connections_per_address
        over = {address for address, count in self._strangers.items() if count > most}
        if not over:
            return
        for connection, since in list(self._waiting.items()):
            address = connection.address
            if address in over and not connection.authenticated and now - since >= YOUNG:
                self._evict(connection, "connections_per_address")
                if self._strangers[address] <= most:
                    over.discard(address)

    def _end_minute(self) -> None:
        more = {address: count - 1 for address, count in self._refusals.items() if count > 1}
        self._refusals.clear()
        if more:
            worst = max(more, key=lambda address: more[address])
            log.warning(
                "%d more refusals in the last minute, of %d addresses; most of %s", sum(more.values()), len(more), worst
            )

    def _evict_one(self, *, spare: bool) -> bool:
        """Close the longest waiting connection, of those without a key before all others; False where none waits."""
        found = next((one for one in self._waiting if one.spare == spare and not one.authenticated), None)
        found = found or next((one for one in self._waiting if one.spare == spare), None)
        if found is None:
            return False
        self._evict(found, "connections")
        return True

    def _evict(self, connection: ClientConnection, reason: str) -> None:
        address = connection.address or "a trusted proxy"
        self.remove(connection)
        connection.evict()
        self.note_refusal(address, reason)

    def _leave_strangers(self, connection: ClientConnection) -> None:
        address = connection.address
        if address is None or connection.authenticated:
            return
        self._strangers[address] -= 1
        if self._strangers[address] <= 0:
            del self._strangers[address]
