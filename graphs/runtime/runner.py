"""Starts turns and keeps hold of them. What one turn does stands in `turn.py`."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from graphs.errors import StorageError
from graphs.llm.client import HOP_HEADER
from graphs.runtime.admission import spent
from graphs.runtime.compiler import Served
from graphs.runtime.completion import Answering, Asking, TurnRequest
from graphs.runtime.turn import Run
from graphs.runtime.walk import Allowed, hold
from graphs.store.store import Store
from graphs.store.usage import Spent
from graphs.telemetry.instrument import Seeing, Turn, current_turn

__all__ = ["HOP_HEADER", "Answering", "Run", "Runner", "Turn", "TurnRequest", "current_turn"]

log = logging.getLogger(__name__)


class Runner:
    """Starts turns and keeps hold of them until they have ended."""

    def __init__(self, store: Store, graph: Callable[[str], Served | None], allowed: Allowed, seeing: Seeing) -> None:
        self.store = store
        self.seeing = seeing
        self.graph = graph
        self.allowed = allowed
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: TurnRequest) -> Run:
        """Begins a turn at once."""
        run = Run(self, request)
        run.task = self.keep(self.seeing.over(run.seen, run.work), name=f"turn-{run.id}")
        hold(request.served, run.task)
        return run

    def ask_model(self, request: TurnRequest) -> Answering:
        """Asks the model alone: no graph, no tools, nothing kept. For what a chat page asks on its own account."""
        asking = Asking(request)
        asking.task = self.keep(self.seeing.aside(asking.work), name=f"turn-{uuid.uuid4().hex}")
        if request.tally is not None:
            asking.task.add_done_callback(lambda _: self._count(spent(request.tally)))
        hold(request.served, asking.task)
        return asking

    def _count(self, used: Spent | None) -> None:
        if used is not None:
            self.keep(self._spend(used))

    async def _spend(self, used: Spent) -> None:
        try:
            await self.store.usage.spend(used)
        except StorageError as error:
            log.warning("tokens that a question used were not counted: %s", error)

    def keep(self, work: Coroutine[Any, Any, None], name: str = "") -> asyncio.Task[None]:
        """Runs something to its end even when nobody waits for it."""
        task = asyncio.create_task(work, name=name or None)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stops every turn under way and waits until each is recorded."""
        for task in list(self._tasks):
            if task.get_name().startswith("turn-"):
                task.cancel()
        while self._tasks:
            await asyncio.wait(list(self._tasks))
