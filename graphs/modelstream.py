"""The stream of one chat completion, read without a pydantic model per chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import orjson

from graphs.errors import ModelError
from graphs.events import FinishReason, Usage


@dataclass(slots=True)
class RawCall:
    """A tool call as the stream spelled it; `arguments` is the text, which may not be JSON."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Answer:
    """One model call, collected."""

    text: str = ""
    calls: list[RawCall] = field(default_factory=list[RawCall])
    reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)


Kind = Literal["text", "reasoning"]


class Listener(Protocol):
    """Whoever hears an answer as it comes."""

    def said(self, kind: Kind, text: str) -> None:
        """The next piece."""
        ...

    def cited(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        """Where it comes from, in OpenAI's words."""
        ...


REASONS: Mapping[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}


class StreamReader:
    """Server-sent events of one chat completion, fed as bytes in whatever pieces the network makes of them."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._rest = b""
        self._text: list[str] = []
        self._calls: dict[int, RawCall] = {}
        self._usage = Usage()
        self._finish: str | None = None
        self._kind: Kind = "text"
        self._waiting: list[str] = []
        self.done = False
        self.spoke = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes and says what they complete."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip())
        self._flush()

    def whole(self, body: bytes) -> None:
        """Takes an answer that came in one piece although a stream was asked for."""
        try:
            payload = orjson.loads(body)
            choice = payload["choices"][0]
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            raise ModelError(
                "The model endpoint answered with something that is no chat completion.", kind="unavailable"
            ) from None
        self._chunk({**payload, "choices": [{**choice, "delta": choice.get("message") or {}}]})
        self._flush()
        self.done = True

    def answer(self) -> Answer:
        """What was read. Raises ModelError (`interrupted`) when the stream stopped before its end."""
        if self._rest.startswith(b"data:"):  # the last line, when the connection closed without a line end
            self._event(self._rest[5:].strip())
            self._flush()
        if not self.done and self._finish is None:
            raise (
                interrupted()
                if self.spoke
                else ModelError(
                    "The model's answer was cut off before it began. Please try again.",
                    kind="unavailable",
                    retryable=True,
                )
            )
        return Answer(
            text="".join(self._text),
            calls=[self._calls[index] for index in sorted(self._calls)],
            reason=REASONS.get(self._finish or "", "stop"),
            usage=self._usage,
        )

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        try:
            payload = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        if isinstance(payload, dict):
            self._chunk(cast("dict[str, Any]", payload))

    def _chunk(self, payload: Mapping[str, Any]) -> None:
        if (error := payload.get("error")) is not None:
            self._flush()
            raise ModelError(
                error_words(error) or "The model failed in the middle of its answer.",
                kind="interrupted" if self.spoke else "unavailable",
            )
        if usage := payload.get("usage"):
            self._usage = Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
        for choice in payload.get("choices") or ():
            delta = choice.get("delta")
            if delta:
                if text := delta.get("content"):
                    self._piece("text", text)
                if thought := delta.get("reasoning_content"):
                    self._piece("reasoning", thought)
                if notes := delta.get("annotations"):
                    self._flush()
                    self._listener.cited(notes)
                for call in delta.get("tool_calls") or ():
                    self._call(call)
            self._finish = choice.get("finish_reason") or self._finish

    def _piece(self, kind: Kind, text: str) -> None:
        if kind != self._kind:
            self._flush()
            self._kind = kind
        if kind == "text":
            self._text.append(text)
        self._waiting.append(text)

    def _flush(self) -> None:
        if self._waiting:
            self.spoke = True
            self._listener.said(self._kind, "".join(self._waiting))
            self._waiting.clear()

    def _call(self, delta: Mapping[str, Any]) -> None:
        # Some endpoints leave the index out; a new id then means a new call.
        index = delta.get("index")
        if index is None:
            last = max(self._calls, default=-1)
            index = last + 1 if delta.get("id") or last < 0 else last
        call = self._calls.setdefault(index, RawCall())
        call.id = delta.get("id") or call.id
        function = cast("Mapping[str, str | None]", delta.get("function") or {})
        call.name += function.get("name") or ""
        call.arguments += function.get("arguments") or ""


def interrupted() -> ModelError:
    """The stream was cut after the person had read some of it."""
    return ModelError("The model's answer was cut off before its end. Please try again.", kind="interrupted")


def error_words(error: object) -> str:
    """The sentence inside an OpenAI error object, or the error itself where it is a string."""
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping):
        message = cast("Mapping[str, object]", error).get("message")
        return message if isinstance(message, str) else ""
    return ""
