"""Limits on invalid keys: an address that shows too many has to wait, and what looking them up costs is bounded."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from server.auth.addresses import UNKNOWN

WINDOW = 60.0
"""Seconds for which failures are counted together."""
TRUSTED_FOR = 3600.0
"""Seconds after a valid key for which nothing is counted against its address."""
MOST_ADDRESSES = 20_000
"""Addresses that are remembered; the one that was not heard of for longest goes first."""
MOST_WAITING = 8
"""Keys of one locked address that wait to be looked up by whoever vouches for keys; one is looked up at a time."""


@dataclass(slots=True)
class _Failures:
    since: float
    count: int = 0
    waiting: int = 0
    lookup: asyncio.Lock = field(default_factory=asyncio.Lock)


class AddressLocked(Exception):
    """This address has shown too many invalid keys. `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"Too many requests from this address brought no valid API key; try again in {retry_after} s, or send a "
            "valid one as `Authorization: Bearer KEY`."
        )
        self.retry_after = retry_after


class FailedKeys:
    """Counts invalid keys by address, as `find_group` writes it. Not thread-safe."""

    def __init__(self, most: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._valid: OrderedDict[str, float] = OrderedDict()

    def note_valid(self, address: str) -> None:
        """Note that a valid key was shown, and forget what failed. Not of UNKNOWN: behind a proxy anybody is that."""
        if address == UNKNOWN:
            return
        if address not in self._valid:
            self._failures.pop(address, None)
            if len(self._valid) >= MOST_ADDRESSES:
                self._valid.popitem(last=False)
        self._valid[address] = self._clock()
        self._valid.move_to_end(address)

    def note_failure(self, address: str) -> None:
        """Note that no valid key was shown. Raises AddressLocked where that was once too often."""
        now = self._clock()
        if now - self._valid.get(address, -TRUSTED_FOR) < TRUSTED_FOR:
            return
        self._valid.pop(address, None)
        failures = self._failures.get(address)
        if failures is None or now - failures.since >= WINDOW:
            if failures is None and len(self._failures) >= MOST_ADDRESSES:
                self._failures.popitem(last=False)
            failures = self._failures[address] = _Failures(now)
        self._failures.move_to_end(address)
        failures.count += 1
        if failures.count > self._most():
            raise self._build_address_locked(failures, now)

    @asynccontextmanager
    async def guard_lookup(self, address: str) -> AsyncGenerator[None]:
        """Guard a question to LiteLLM or an issuer about a key: a locked address asks one after the other, and few
        wait.

        A valid key gets in that way although others of its address fail. Raises AddressLocked where many wait.
        """
        now = self._clock()
        failures = self._failures.get(address)
        if failures is None or failures.count < self._most() or now - failures.since >= WINDOW:
            yield
            return
        if failures.waiting >= MOST_WAITING:
            raise self._build_address_locked(failures, now)
        failures.waiting += 1
        try:
            async with failures.lookup:
                yield
        finally:
            failures.waiting -= 1

    @staticmethod
    def _build_address_locked(failures: _Failures, now: float) -> AddressLocked:
        return AddressLocked(max(1, round(failures.since + WINDOW - now)))
