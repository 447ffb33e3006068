"""The stream of one chat completion, read without a pydantic model per chunk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import orjson

from graphs.errors import ModelError
from graphs.events import FinishReason, Usage
from graphs.tally import CallTally


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


Kind = Literal["text", "reasoning", "refusal"]


class Listener(Protocol):
    """Whoever hears an answer as it comes."""

    def said(self, kind: Kind, text: str) -> None:
        """The next piece."""
        ...

    def cited(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        """Where it comes from, in OpenAI's words."""
        ...

    def weighed(self, logprobs: Mapping[str, Any]) -> None:
        """How likely the last piece was, in OpenAI's words."""
        ...


REASONS: Mapping[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}


class StreamReader:
    """Server-sent events of one chat completion, fed as bytes in whatever pieces the network makes of them."""

    def __init__(self, listener: Listener, tally: CallTally | None = None) -> None:
        self._listener = listener
        self._tally = tally
        self._rest = b""
        self._text: list[str] = []
        self._calls: dict[int, RawCall] = {}
        self._usage = Usage()
        self._finish: str | None = None
        self._kind: Kind = "text"
        self._waiting: list[str] = []
        self.done = False
        """Nothing that matters is still to come."""
        self.spoke = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes and says what they complete."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line[:5] == b"data:" and not self._simple(line[5:]):
                self._event(line[5:].strip())
        self._flush()

    def whole(self, body: bytes) -> None:
        """Takes an answer that came in one piece although a stream was asked for."""
        try:
            payload = loads(body)
            choice = dict(payload["choices"][0])
        except (ValueError, KeyError, IndexError, TypeError):
            raise unreadable() from None
        self._read({**payload, "choices": [{**choice, "delta": choice.get("message") or {}}]})
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

    def _simple(self, data: bytes) -> bool:
        """Takes what most of a stream is made of, a chunk with a piece of text and nothing else. False for any other,
        which is not taken: each step here is done for every word of every answer."""
        if self._kind != "text":
            return False
        try:
            payload = orjson.loads(data)
            (choice,) = payload["choices"]
            delta = choice["delta"]
            text = delta["content"]
            alone = len(delta) == 1 or (len(delta) == 2 and "role" in delta)
            if not text or not alone or choice.get("finish_reason") or payload.get("usage") or payload.get("error"):
                return False
            if choice.get("logprobs"):
                return False
            text.encode()  # half a surrogate pair cannot be sent on
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        self._text.append(text)
        self._waiting.append(text)
        return True

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        try:
            payload = loads(data)
        except ValueError:
            raise unreadable() from None
        if isinstance(payload, dict):
            self._read(cast("dict[str, Any]", payload))

    def _read(self, payload: Mapping[str, Any]) -> None:
        # Endpoints differ, and some err: what does not have the shape of a chunk must not end a turn without words.
        try:
            self._chunk(payload)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError):
            raise unreadable() from None

    def _chunk(self, payload: Mapping[str, Any]) -> None:
        error: object = payload.get("error")
        if error is not None:
            self._flush()
            if isinstance(error, Mapping) and str(cast("Mapping[str, object]", error).get("code")) in ("401", "403"):
                raise ModelError("The model endpoint refused Interlock's own key.", kind="authentication")
            raise ModelError(
                error_words(cast("object", error)) or "The model failed in the middle of its answer.",
                kind="interrupted" if self.spoke else "unavailable",
            )
        if usage := payload.get("usage"):
            self._usage = counted(usage) or self._usage
        choices = payload.get("choices") or ()
        if usage and not choices and self._finish is not None:
            self.done = True  # usage comes after all else; "[DONE]" says nothing more
        for choice in choices:
            delta = choice.get("delta")
            if delta:
                if content := delta.get("content"):
                    self._piece("text", plain(content))
                if thought := delta.get("reasoning_content"):
                    self._piece("reasoning", plain(thought))
                if refusal := delta.get("refusal"):
                    self._piece("refusal", plain(refusal))
                if notes := delta.get("annotations"):
                    self._flush()
                    self._listener.cited(notes)
                for call in delta.get("tool_calls") or ():
                    self._call(call)
            if logprobs := choice.get("logprobs"):
                self._flush()
                self._listener.weighed(logprobs)
            reason = choice.get("finish_reason")
            self._finish = reason if isinstance(reason, str) and reason else self._finish

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
            text = "".join(self._waiting)
            self._waiting.clear()
            if self._tally is not None:
                self._tally.heard(text)
            self._listener.said(self._kind, text)

    def _call(self, delta: Mapping[str, Any]) -> None:
        # Some endpoints leave the index out; a new id then means a new call.
        index = delta.get("index")
        if index is None:
            last = max(self._calls, default=-1)
            index = last + 1 if delta.get("id") or last < 0 else last
        elif not isinstance(index, int):
            raise TypeError("a tool call's index is a number")
        elif (known := self._calls.get(index)) is not None and delta.get("id") and known.id not in ("", delta["id"]):
            # Some endpoints give all parallel calls the same index; an id of its own makes a call of its own.
            index = max(self._calls) + 1
        call = self._calls.setdefault(index, RawCall())
        call.id = str(delta.get("id") or call.id)
        function = cast("Mapping[str, Any]", delta.get("function") or {})
        arguments = function.get("arguments") or ""
        call.name += str(function.get("name") or "")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        if self._tally is not None:
            self._tally.heard(text)
        call.arguments += text


def interrupted() -> ModelError:
    """The stream was cut after the person had read some of it."""
    return ModelError("The model's answer was cut off before its end. Please try again.", kind="interrupted")


def counted(usage: object) -> Usage | None:
    """Usage, where it is what it should be: it is never worth an answer."""
    if not isinstance(usage, Mapping):
        return None
    said = cast("Mapping[str, Any]", usage)
    prompt, completion = (said.get(name) or 0 for name in ("prompt_tokens", "completion_tokens"))
    if not (isinstance(prompt, int) and isinstance(completion, int)):
        return None
    return Usage(prompt, completion, detailed(said))


def detailed(usage: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]] | None:
    """The counts of `*_tokens_details`; None where there are none."""
    found: dict[str, Mapping[str, int]] = {}
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if isinstance(part := usage.get(name), Mapping):
            counts = cast("Mapping[str, Any]", part).items()
            found[name] = {kind: count for kind, count in counts if isinstance(count, int)}
    return found or None


def unreadable() -> ModelError:
    """The endpoint speaks another language."""
    return ModelError("The model endpoint sent something that is no chat completion.", kind="unavailable")


def loads(data: bytes) -> Any:
    """JSON, half a surrogate pair included: some endpoints cut characters in two. Raises ValueError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data.decode("utf-8", "replace").encode("utf-8", "replace"))


def plain(content: object) -> str:
    """Text, from a string or from a list of text parts. Raises TypeError for anything else."""
    if isinstance(content, list):
        parts = cast("list[Any]", content)
        content = "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in parts)
    if not isinstance(content, str):
        raise TypeError("text is a string")
    # Half a surrogate pair cannot be sent on.
    return content if content.isascii() else content.encode("utf-8", "replace").decode()


def error_words(error: object) -> str:
    """The sentence inside an OpenAI error object, or the error itself where it is a string."""
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping):
        message = cast("Mapping[str, object]", error).get("message")
        return message if isinstance(message, str) else ""
    return ""
