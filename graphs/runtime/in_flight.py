"""Count who uses a revision, so that it is closed when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class InFlight:
    """A count of users. For one event loop."""

    def __init__(self) -> None:
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextmanager
    def hold(self) -> Generator[None]:
        """Use it while the block lasts."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Count one user more."""
        self._users += 1
        self._unused.clear()

    def leave(self) -> None:
        """Count one user less."""
        self._users -= 1
        if not self._users:
            self._unused.set()

    async def wait_drained(self) -> None:
        """Return once nobody uses it."""
        await self._unused.wait()
