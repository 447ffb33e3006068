"""What is asked, and the simplest thing that answers: the model alone, without a graph."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from graphs.config.spec.graph import ModelNodeSpec
from graphs.errors import InterlockError, ModelError
from graphs.events import AnnotationsAdded, Finished, LogprobsDelta, ReasoningDelta, RefusalDelta, TextDelta
from graphs.llm.stream import PieceKind
from graphs.policy.rules import Caller
from graphs.runtime.compiler import ServedGraph
from graphs.runtime.event_queue import EventQueue
from graphs.telemetry.instrument import TurnSpan, record_model_call
from graphs.telemetry.token_count import TokenCount

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """A turn as it was asked for."""

    served_graph: ServedGraph
    caller: Caller
    owner: str
    """Whose conversations may be continued."""
    remembers: bool = True
    """False where many people share the owner and nobody says who asks: then nothing is restored."""
    messages: Sequence[Mapping[str, Any]]
    """The client's OpenAI messages, the newest last."""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tools: Sequence[Mapping[str, Any]] = ()
    """The client's own function tools (OpenAI tool objects)."""
    buttons: bool = False
    """The client has `ask_user`: approvals are asked for with buttons."""
    waits: bool = False
    """The answer stays open while an approval is pending, and goes on once it is decided."""
    model: str | None = None
    """The LiteLLM model asked for by name; None for a graph."""
    key: SecretStr | None = None
    """The caller's own key; used for the model where the gateway file says `key: caller`."""
    token_count: TokenCount | None = None
    """Counts the tokens, where a role of the caller limits them."""
    chat: str | None = None
    message: str | None = None
    """The client's id for the answer to come."""
    parent_message: str | None = None
    """The client's id of the answer that this message follows."""


class Answering:
    """Something that answers, in a task of its own: its events, or its error, are in the outbox."""

    def __init__(self) -> None:
        self.outbox = EventQueue()
        self.task: asyncio.Task[None] | None = None

    @property
    def seen(self) -> TurnSpan | None:
        """What is seen of the turn, where it is one."""
        return None

    def delivered(self) -> None:
        """The last byte of the answer was handed to the server that writes it to the client."""

    def stop(self) -> None:
        """The client left: cancels the model's stream, the tools and the rest."""
        if self.task is not None:
            self.task.cancel()


class Completion(Answering):
    """One question to a model, without a graph."""

    def __init__(self, request: TurnRequest) -> None:
        super().__init__()
        served_graph = request.served_graph
        self._services = served_graph.services
        self._graph = served_graph.plan.id
        default = served_graph.services.snapshot.gateway.models.default
        own = next(
            (node.model for node in served_graph.plan.spec.nodes.values() if isinstance(node, ModelNodeSpec)), None
        )
        self._request = {**request.params, "model": request.model or own or default, "messages": request.messages}
        self._key = find_caller_key(request)
        self._token_count = request.token_count
        self._seconds = served_graph.plan.spec.limits.seconds

    def add_text(self, kind: PieceKind, text: str) -> None:
        """The next piece of the answer."""
        match kind:
            case "text":
                self.outbox.put(TextDelta(text))
            case "reasoning":
                self.outbox.put(ReasoningDelta(text))
            case "refusal":
                self.outbox.put(RefusalDelta(text))

    def add_annotations(self, annotations: bytes) -> None:
        """Where it comes from."""
        self.outbox.put(AnnotationsAdded(annotations))

    def add_logprobs(self, logprobs: Mapping[str, bytes]) -> None:
        """How likely the last piece was."""
        self.outbox.put(LogprobsDelta(logprobs))

    async def run(self) -> None:
        """Asks, and says what comes."""
        try:
            services = self._services
            async with asyncio.timeout(self._seconds):
                with record_model_call(
                    services.metrics, self._graph, self._request, services.model.base_url, self._token_count
                ) as seen:
                    answer = await services.model.stream(
                        self._request, self, key=self._key, token_count=seen.token_count, flow=self.outbox
                    )
                    seen.usage, seen.reason = answer.usage, answer.reason
            self.outbox.put(Finished(answer.reason, answer.usage))
        except TimeoutError:
            self.outbox.fail(
                ModelError(
                    f"The model's answer was not finished within {self._seconds:g} seconds, the limit for one turn, so "
                    "it was given up.",
                    kind="interrupted",
                    code="timeout",
                )
            )
        except InterlockError as error:
            self.outbox.fail(error)
        except Exception as error:
            log.exception("a question to the model failed")
            self.outbox.fail(error)


def find_caller_key(request: TurnRequest) -> SecretStr | None:
    """The caller's own key, where LiteLLM is to get it."""
    return request.key if request.served_graph.services.snapshot.gateway.models.key == "caller" else None
