"""Starts turns and keeps hold of them. What one turn does stands in `turn.py`."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from graphs.errors import StorageError
from graphs.llm.client import HOP_HEADER
from graphs.runtime.admission import build_token_spend
from graphs.runtime.compiler import ServedGraph
from graphs.runtime.completion import Answering, Completion, TurnRequest
from graphs.runtime.turn import Run
from graphs.runtime.walk import MayUse, hold_services
from graphs.store.store import Store
from graphs.store.usage import TokenSpend
from graphs.telemetry.instrument import Instrumentation, TurnSpan, find_current_turn

__all__ = ["HOP_HEADER", "Answering", "Run", "Runner", "TurnRequest", "TurnSpan", "find_current_turn"]

log = logging.getLogger(__name__)


class Runner:
    """Starts turns and keeps hold of them until they have ended."""

    def __init__(
        self, store: Store, graph: Callable[[str], ServedGraph | None], allowed: MayUse, seeing: Instrumentation
    ) -> None:
        self.store = store
        self.seeing = seeing
        self.graph = graph
        self.allowed = allowed
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: TurnRequest) -> Run:
        """Begins a turn at once."""
        run = Run(self, request)
        run.task = self.keep(self.seeing.run_turn(run.seen, run.work), name=f"turn-{run.id}")
        hold_services(request.served_graph, run.task)
        return run

    def ask_model(self, request: TurnRequest) -> Answering:
        """Asks the model alone: no graph, no tools, nothing kept. For what a chat page asks on its own account."""
        completion = Completion(request)
        completion.task = self.keep(self.seeing.run_without_turn(completion.run), name=f"turn-{uuid.uuid4().hex}")
        if request.token_count is not None:
            completion.task.add_done_callback(lambda _: self._count(build_token_spend(request.token_count)))
        hold_services(request.served_graph, completion.task)
        return completion

    def _count(self, used: TokenSpend | None) -> None:
        if used is not None:
            self.keep(self._spend(used))

    async def _spend(self, used: TokenSpend) -> None:
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
