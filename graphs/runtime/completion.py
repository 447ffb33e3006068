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
from graphs.events import Cited, Finished, ReasoningDelta, RefusalDelta, TextDelta, Weighed
from graphs.llm.stream import Kind
from graphs.policy.rules import Caller
from graphs.runtime.compiler import Served
from graphs.runtime.event_queue import Outbox
from graphs.telemetry.instrument import Turn, model_call
from graphs.telemetry.token_count import Tally

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """A turn as it was asked for."""

    served: Served
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
    tally: Tally | None = None
    """Counts the tokens, where a role of the caller limits them."""
    chat: str | None = None
    message: str | None = None
    """The client's id for the answer to come."""
    parent_message: str | None = None
    """The client's id of the answer that this message follows."""


class Answering:
    """Something that answers, in a task of its own: its events, or its error, are in the outbox."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.task: asyncio.Task[None] | None = None

    @property
    def seen(self) -> Turn | None:
        """What is seen of the turn, where it is one."""
        return None

    def delivered(self) -> None:
        """The last byte of the answer was handed to the server that writes it to the client."""

    def stop(self) -> None:
        """The client left: cancels the model's stream, the tools and the rest."""
        if self.task is not None:
            self.task.cancel()


class Asking(Answering):
    """One question to a model, without a graph."""

    def __init__(self, request: TurnRequest) -> None:
        super().__init__()
        served = request.served
        self._parts = served.parts
        self._graph = served.plan.id
        default = served.parts.snapshot.gateway.models.default
        own = next((node.model for node in served.plan.spec.nodes.values() if isinstance(node, ModelNodeSpec)), None)
        self._request = {**request.params, "model": request.model or own or default, "messages": request.messages}
        self._key = key_of(request)
        self._tally = request.tally
        self._seconds = served.plan.spec.limits.seconds

    def said(self, kind: Kind, text: str) -> None:
        """The next piece of the answer."""
        match kind:
            case "text":
                self.outbox.put(TextDelta(text))
            case "reasoning":
                self.outbox.put(ReasoningDelta(text))
            case "refusal":
                self.outbox.put(RefusalDelta(text))

    def cited(self, annotations: bytes) -> None:
        """Where it comes from."""
        self.outbox.put(Cited(annotations))

    def weighed(self, logprobs: Mapping[str, bytes]) -> None:
        """How likely the last piece was."""
        self.outbox.put(Weighed(logprobs))

    async def work(self) -> None:
        """Asks, and says what comes."""
        try:
            parts = self._parts
            async with asyncio.timeout(self._seconds):
                with model_call(parts.metrics, self._graph, self._request, parts.model.base_url, self._tally) as seen:
                    answer = await parts.model.stream(
                        self._request, self, key=self._key, tally=seen.tally, flow=self.outbox
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


def key_of(request: TurnRequest) -> SecretStr | None:
    """The caller's own key, where LiteLLM is to get it."""
    return request.key if request.served.parts.snapshot.gateway.models.key == "caller" else None
