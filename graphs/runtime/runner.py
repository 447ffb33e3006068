"""Start answers and keep hold of them until they end. What one turn does is in `turn.py`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from graphs.errors import StorageError
from graphs.llm.litellm_headers import HOP_HEADER
from graphs.runtime.admission import build_token_spend
from graphs.runtime.compiler import ServedGraph
from graphs.runtime.completion import Completion
from graphs.runtime.event_queue import EventQueue
from graphs.runtime.tasks import TaskSet
from graphs.runtime.turn import MayUse, Turn, TurnServices
from graphs.runtime.turn_request import TurnRequest
from graphs.store.store import Store
from graphs.store.usage import TokenSpend
from graphs.telemetry.instrument import Instrumentation, TurnSpan, find_current_turn

__all__ = ["HOP_HEADER", "Runner", "RunningAnswer", "TurnRequest", "TurnSpan", "find_current_turn"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunningAnswer:
    """An answer under way, for whoever passes it on to a client."""

    events: EventQueue
    """Its events, or its error."""
    task: asyncio.Task[None]
    turn: Turn | None
    """None where the model alone answers."""

    @property
    def span(self) -> TurnSpan | None:
        """What is measured of the turn."""
        return self.turn.span if self.turn is not None else None

    def stop(self) -> None:
        """End what is still done for this answer: the client has left, or has all of it."""
        if self.turn is not None:
            self.turn.leave(self.task)
        else:
            self.task.cancel()

    def mark_delivered(self) -> None:
        """Note that the last byte of the answer was handed to the server that writes it to the client."""
        if self.turn is not None:
            self.turn.mark_delivered()


class Runner:
    """Answers under way, until each has ended."""

    def __init__(
        self,
        store: Store,
        find_graph: Callable[[str], ServedGraph | None],
        may_use: MayUse,
        instrumentation: Instrumentation,
    ) -> None:
        self._store = store
        self._instrumentation = instrumentation
        self._answers = TaskSet()
        self._records = TaskSet()
        self._services = TurnServices(
            store=store,
            instrumentation=instrumentation,
            find_graph=find_graph,
            may_use=may_use,
            records=self._records,
        )

    def start(self, request: TurnRequest) -> RunningAnswer:
        """Begin a turn at once."""
        events = EventQueue()
        turn = Turn(self._services, request, events)
        task = self._answers.start(self._instrumentation.run_turn(turn.span, turn.run))
        return RunningAnswer(events=events, task=task, turn=turn)

    def ask_model(self, request: TurnRequest) -> RunningAnswer:
        """Ask the model alone: no graph, no tools, nothing kept. For what a chat page asks on its own account."""
        events = EventQueue()
        completion = Completion(request, events)
        task = self._answers.start(self._instrumentation.run_without_turn(completion.run))
        if request.token_count is not None:
            task.add_done_callback(lambda _: self._spend_later(build_token_spend(request.token_count)))
        return RunningAnswer(events=events, task=task, turn=None)

    async def close(self) -> None:
        """Stop every answer under way and wait until each turn is recorded."""
        self._answers.cancel()
        await self._answers.wait()
        await self._records.wait()

    def _spend_later(self, spend: TokenSpend | None) -> None:
        if spend is not None:
            self._records.start(self._spend(spend))

    async def _spend(self, spend: TokenSpend) -> None:
        try:
            await self._store.usage.spend(spend)
        except StorageError as error:
            log.warning("tokens that a question used were not counted: %s", error)
