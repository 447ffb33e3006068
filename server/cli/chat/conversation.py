"""One conversation: its messages, as they are sent with each question, and what it waits for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, cast

from server.cli.chat.gateway_client import GatewayClient


@dataclass(frozen=True)
class ChatPause:
    """What an answer waits for; nothing: it is over."""

    approvals: Sequence[str] = ()
    """Ids of the calls that wait for a yes."""
    question: str | None = None
    """Id of the question that a graph asks."""


NOTHING = ChatPause()


class AnswerView(Protocol):
    """Shows an answer while it comes."""

    def show(self, event: Mapping[str, Any]) -> None:
        """Show one event of the stream."""
        ...

    def end(self, *, is_whole: bool) -> None:
        """Show what is left: nothing more comes. False: the answer was cut off."""
        ...


class ChatConversation:
    """A conversation with one model."""

    def __init__(self, model: str, messages: Sequence[Mapping[str, str]] = (), pause: ChatPause = NOTHING) -> None:
        self._model = model
        self._messages = [dict(message) for message in messages]
        self._pause = pause

    @property
    def model(self) -> str:
        """The graph or model that answers."""
        return self._model

    @property
    def messages(self) -> Sequence[Mapping[str, str]]:
        """What was said, oldest first."""
        return self._messages

    @property
    def pause(self) -> ChatPause:
        """What the last answer waits for."""
        return self._pause

    def choose_model(self, model: str) -> None:
        """Have another model answer from now on."""
        self._model = model

    def clear(self) -> None:
        """Begin anew, with the same model."""
        self._messages.clear()
        self._pause = NOTHING

    async def run_turn(self, client: GatewayClient, text: str, view: AnswerView) -> None:
        """Say something and show the answer. Raises ChatFailed.

        What was said of an answer that was cut off stays; a message without any answer is taken back, so that it can be
        sent again.
        """
        message = {"role": "user", "content": text}
        body = {"model": self._model, "messages": [*self._messages, message], "stream": True}
        answer: list[str] = []
        pause, is_whole = NOTHING, False
        try:
            async with aclosing(cast("AsyncGenerator[Mapping[str, Any]]", client.stream(body))) as events:
                async for event in events:
                    answer += read_texts(event)
                    pause = read_pause(event) or pause
                    view.show(event)
            is_whole = True
        finally:
            view.end(is_whole=is_whole)
            if answer or is_whole:
                self._messages += [message, {"role": "assistant", "content": "".join(answer)}]
                self._pause = pause


class StartedCalls:
    """The calls of an answer that were run. One that runs ends as completed first, as failed later; one that is
    refused ends as failed at once."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def take(self, event: Mapping[str, Any]) -> None:
        """Take note of a call that runs."""
        item: Mapping[str, Any] = event.get("item") or {}
        if event.get("type") == "response.output_item.done" and item.get("type") == "function_call":
            self._ids |= {item["call_id"]} if item["status"] == "completed" else set()

    def describe_status(self, result: Mapping[str, Any]) -> str:
        """Describe how a call ended, from its result: completed, failed or not run."""
        ran = result["status"] == "completed" or result.get("call_id") in self._ids
        return result["status"] if ran else "not run"


def read_texts(event: Mapping[str, Any]) -> Sequence[str]:
    """Read the pieces of the answer that an event brings."""
    return [text for choice in event.get("choices") or () if (text := choice["delta"].get("content"))]


def read_pause(event: Mapping[str, Any]) -> ChatPause | None:
    """Read what the answer waits for; None where the event does not say."""
    field: Mapping[str, Any] | None = event.get("interlock")
    if field is None:
        return None
    return ChatPause(tuple(field.get("approvals") or ()), next(iter(field.get("questions") or ()), None))
