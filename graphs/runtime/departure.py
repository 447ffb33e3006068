"""What a turn may still do once its client has left: calls that were claimed may end, nothing else begins."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

from graphs.runtime.turn_request import TurnRequest

LOOKS_AT_SOCKETS = 10
"""Rounds of the event loop within which a connection that was closed is seen to be, and its turn stopped."""

Question: TypeAlias = tuple[str, str, str]
"""An owner, and the base and user digest of a turn."""


class Departure:
    """The client's leaving of one turn."""

    def __init__(self, grace: float, note: Callable[[], None]) -> None:
        """`grace`: seconds for which claimed calls may go on. `note` is called where they do."""
        self._grace = grace
        self._note = note
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._calls = 0
        self.has_left = False

    @contextmanager
    def hold_calls(self) -> Generator[None]:
        """Let the calls of one round be claimed and run to their end while the block lasts."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    def leave(self, task: asyncio.Task[None]) -> None:
        """Stop the turn that runs in this task: at once, or as soon as its claimed calls have ended."""
        if self.has_left:
            return
        self.has_left = True
        self._task = task
        if not self._calls:
            task.cancel()
            return
        self._timer = asyncio.get_running_loop().call_later(self._grace, task.cancel)
        self._note()

    async def pass_gate(self) -> None:
        """Go on where the client is still there. Else the turn is cancelled here, before anything else begins."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.Event().wait()

    def end(self) -> None:
        """End the wait for calls: the turn is over."""
        if self._timer is not None:
            self._timer.cancel()


class Departures:
    """The turns that one process runs, and whose clients are there."""

    def __init__(self) -> None:
        self._running: defaultdict[Question, dict[Departure, TurnRequest]] = defaultdict(dict)
        """What is asked of each turn that answers a question now, in the order in which they came."""
        self._by_row: dict[str, Departure] = {}
        self._rows: defaultdict[Departure, list[str]] = defaultdict(list)

    @contextmanager
    def count(self, question: Question, departure: Departure, request: TurnRequest) -> Generator[None]:
        """Count a turn that answers this question while the block lasts."""
        self._running[question][departure] = request
        try:
            yield
        finally:
            self.forget(departure)
            del self._running[question][departure]
            if not self._running[question]:
                del self._running[question]

    async def show_closed_sockets(self, question: Question) -> None:
        """Let the loop see what its sockets hold, where the same is answered already: that client may have left just
        before this one asked, and be this one."""
        for _ in range(LOOKS_AT_SOCKETS if len(self._running[question]) > 1 else 0):
            await asyncio.sleep(0)

    def has_earlier(self, question: Question, request: TurnRequest) -> bool:
        """Whether this process still runs an attempt that came before this one, which says that it is a retry. As long
        as an attempt has claimed nothing, it has no row."""
        for other in self._running[question].values():
            if other is request:
                return False
            is_named = request.repeats or other.idempotency_key == request.idempotency_key
            if is_named and other.message == request.message and other.digest == request.digest:
                return True
        return False

    def enter(self, row: str, departure: Departure) -> None:
        """Note whose client waits for the turn for which this row stands."""
        self._by_row[row] = departure
        self._rows[departure].append(row)

    def forget(self, departure: Departure) -> None:
        """Forget a turn that has ended."""
        for row in self._rows.pop(departure, ()):
            self._by_row.pop(row, None)

    def is_awaited(self, row: str) -> bool:
        """Whether this process runs that turn and its client is there."""
        found = self._by_row.get(row)
        return found is not None and not found.has_left
