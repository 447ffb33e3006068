"""Ask the model alone, without a graph, tools or a row: for what a chat page asks on its own account."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from graphs.errors import InterlockError, ModelError
from graphs.events import AnnotationsAdded, Finished, LogprobsDelta, ReasoningDelta, RefusalDelta, TextDelta
from graphs.llm.stream import PieceKind
from graphs.runtime.event_queue import EventQueue
from graphs.runtime.turn_request import TurnRequest, find_caller_key
from graphs.telemetry.instrument import record_model_call
from graphs.telemetry.token_count import begin_call_count

log = logging.getLogger(__name__)


class Completion:
    """One question to a model, without a graph."""

    def __init__(self, request: TurnRequest, events: EventQueue) -> None:
        self._events = events
        served_graph = self._served_graph = request.served_graph
        self._services = served_graph.services
        self._graph = served_graph.plan.id
        default = served_graph.services.snapshot.gateway.models.default
        own = served_graph.plan.spec.find_model()
        self._request = {**request.params, "model": request.model or own or default, "messages": request.messages}
        self._key = find_caller_key(request)
        self._token_count = request.token_count
        self._seconds = served_graph.plan.spec.limits.seconds

    def add_text(self, kind: PieceKind, text: str) -> None:
        """Add the next piece of the answer."""
        match kind:
            case "text":
                self._events.put(TextDelta(text))
            case "reasoning":
                self._events.put(ReasoningDelta(text))
            case "refusal":
                self._events.put(RefusalDelta(text))

    def add_annotations(self, annotations: bytes) -> None:
        """Add where the answer comes from."""
        self._events.put(AnnotationsAdded(annotations))

    def add_logprobs(self, logprobs: Mapping[str, bytes]) -> None:
        """Add how likely the last piece was."""
        self._events.put(LogprobsDelta(logprobs))

    async def run(self) -> None:
        """Asks, and puts what comes into the queue."""
        with self._served_graph.in_flight.hold():
            await self._run()

    async def _run(self) -> None:
        try:
            services = self._services
            async with asyncio.timeout(self._seconds):
                count = begin_call_count(self._request, [self._token_count])
                with record_model_call(
                    services.metrics, self._graph, self._request, services.model.base_url, count
                ) as span:
                    answer = await services.model.stream(
                        self._request, self, key=self._key, token_count=span.token_count, flow=self._events
                    )
                    span.note_answer(answer.usage, answer.reason)
            self._events.put(Finished(answer.reason, answer.usage))
        except TimeoutError:
            self._events.fail(
                ModelError(
                    f"The model's answer was not finished within {self._seconds:g} seconds, the limit for one turn, so "
                    "it was given up.",
                    kind="interrupted",
                    code="timeout",
                )
            )
        except InterlockError as error:
            self._events.fail(error)
        except Exception as error:
            log.exception("a question to the model failed")
            self._events.fail(error)
