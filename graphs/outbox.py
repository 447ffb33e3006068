"""Events on their way from a run to whoever reads them."""

from __future__ import annotations

import asyncio

from graphs.events import Event


class Outbox:
    """Events on their way to one reader, who takes all there are at a time."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._news = asyncio.Event()
        self._error: BaseException | None = None

    def put(self, event: Event) -> None:
        """Adds one event."""
        self._events.append(event)
        self._news.set()

    def fail(self, error: BaseException) -> None:
        """Ends the events with an error, which the reader gets after the last of them."""
        self._error = error
        self._news.set()

    async def take(self, patience: float) -> list[Event]:
        """All events there are; waits up to `patience` seconds for the first, then returns none.

        Raises the run's own error once its events are taken.
        """
        if not self._events:
            if self._error is not None:
                raise self._error
            self._news.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._news.wait()
            except TimeoutError:
                return []
            if not self._events and self._error is not None:
                raise self._error
        events, self._events = self._events, []
        return events
