"""Queue the events of a run for whoever reads them."""

from __future__ import annotations

import asyncio

from graphs.events import (
    AnnotationsAdded,
    Event,
    LogprobsDelta,
    NodeNote,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolRefused,
)

MOST_WEIGHT = 2**18
"""Weight of the events that wait for a reader before whoever makes them has to wait: about as many characters."""
EVENT_WEIGHT = 128
"""Weight of an event besides its text."""


class EventQueue:
    """Events on their way to one reader, who takes all there are at a time.

    Adding one never waits, because nodes speak in the middle of other things. Whoever adds many looks at `full` and
    waits for `room` where it can: a model's stream before it reads on, a round of tools before it begins. So what waits
    here is bounded, and a reader who does not read makes the model endpoint wait.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._weight = 0
        self._waiter: asyncio.Future[None] | None = None
        """Of the reader, while it waits for events."""
        self._has_room = asyncio.Event()
        self._error: BaseException | None = None
        self.full = False
        """More should not be added before there is `room`."""

    def put(self, event: Event) -> None:
        """Add one event. How far a tool is, is forgotten once it is further, and while the reader does not keep up."""
        if isinstance(event, ToolProgress):
            if self.full:
                return
            last = self._events[-1] if self._events else None
            if isinstance(last, ToolProgress) and last.call_id == event.call_id:
                self._events[-1] = event
                return
        self._events.append(event)
        self._weight += weigh(event)
        if self._weight >= MOST_WEIGHT:
            self.full = True
        self._wake()

    async def wait_for_room(self) -> None:
        """Return once the reader has taken what is here."""
        while self.full:
            self._has_room.clear()
            await self._has_room.wait()

    def fail(self, error: BaseException) -> None:
        """End the events with an error, which the reader gets after the last of them."""
        self._error = error
        self._wake()

    async def take(self, patience: float) -> list[Event]:
        """All events there are; waits up to `patience` seconds for the first, then returns none.

        Raises the run's own error once its events are taken.
        """
        if not self._events:
            if self._error is not None:
                raise self._error
            await self._wait(patience)
            if not self._events and self._error is not None:
                raise self._error
        events, self._events = self._events, []
        self._weight = 0
        if self.full:
            self.full = False
            self._has_room.set()
        return events

    async def _wait(self, patience: float) -> None:
        """Wait for an event. A future and a timer: an Event within a timeout costs twice as much, for each chunk."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(patience, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def weigh(event: Event) -> int:
    """Estimate how many characters an event holds."""
    match event:
        case TextDelta(text) | ReasoningDelta(text) | RefusalDelta(text):
            return EVENT_WEIGHT + len(text)
        case LogprobsDelta(logprobs):
            return EVENT_WEIGHT + sum(EVENT_WEIGHT + len(entries) for entries in logprobs.values())
        case AnnotationsAdded(annotations):
            return EVENT_WEIGHT + len(annotations)
        case ToolFinished(text=text, images=images):
            return EVENT_WEIGHT + len(text) + sum(map(len, images))
        case ToolProgress(text=text) | ToolRefused(reason=text) | NodeNote(text=text):
            return EVENT_WEIGHT + len(text)
        case _:
            return EVENT_WEIGHT
