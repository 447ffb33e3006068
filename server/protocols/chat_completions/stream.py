"""A run's events as OpenAI's answers: a stream of chunks, or one whole completion. Both read the same events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any, Protocol

import orjson

from graphs.events import (
    AnnotationsAdded,
    ApprovalNeeded,
    ClientCalls,
    Event,
    Finished,
    LogprobsDelta,
    ModelFinished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenUsage,
    ToolFinished,
    ToolProgress,
    ToolRefused,
    ToolStarted,
)
from server.protocols.errors import HttpError

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": working\n\n"


class ToolItems(Protocol):
    """How tool calls are shown to a client that wants to see them."""

    def start_call(self, event: ToolStarted) -> bytes:
        """A call begins."""
        ...

    def report_progress(self, event: ToolProgress) -> bytes:
        """A call says how far it is."""
        ...

    def finish_call(self, event: ToolFinished) -> bytes:
        """A call ended."""
        ...

    def refuse_call(self, event: ToolRefused) -> bytes:
        """A call was not run."""
        ...

    def begin_text(self) -> None:
        """Text follows."""
        ...

    def begin_thoughts(self) -> None:
        """Thinking follows."""
        ...


def encode_sse(payload: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def build_call_deltas(event: ClientCalls) -> list[dict[str, Any]]:
    """The calls that the client is to run, whole, in OpenAI's words."""
    return [{"index": index, **body} for index, body in enumerate(build_call_bodies(event))]


def build_call_bodies(event: ClientCalls) -> list[dict[str, Any]]:
    """The same as a whole message holds them."""
    return [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in event.calls
    ]


def build_usage(usage: TokenUsage) -> dict[str, Any]:
    """Usage in OpenAI's words."""
    return {
        **(usage.details or {}),
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }


class ChunkEncoder:
    """Events into the bytes of one stream: one role delta, content deltas, one finish_reason, usage when asked for.

    What does not change from chunk to chunk is serialised once.
    """

    def __init__(
        self, completion_id: str, model: str, created: int, *, include_usage: bool, items: ToolItems | None
    ) -> None:
        self._head: dict[str, Any] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        head = orjson.dumps(self._head)[:-1]
        none = b',"usage":null' if include_usage else b""
        self._before = b"data: " + head + b',"choices":[{"index":0,"delta":{"content":'
        self._before_thought = b"data: " + head + b',"choices":[{"index":0,"delta":{"reasoning_content":'
        self._after = b'},"finish_reason":null}]' + none + b"}\n\n"
        self._include_usage = include_usage
        self._items = items
        self._is_open = False

    def encode(self, events: Iterable[Event]) -> bytes:
        """The bytes of these events; empty where the client sees nothing of them."""
        parts: list[bytes] = [] if self._is_open else [self.encode_opening()]
        for event in events:
            match event:
                case TextDelta(text):
                    if self._items:
                        self._items.begin_text()
                    parts += (self._before, orjson.dumps(text), self._after)
                case ReasoningDelta(text):
                    if self._items:
                        self._items.begin_thoughts()
                    parts += (self._before_thought, orjson.dumps(text), self._after)
                case RefusalDelta(text):
                    # Open WebUI knows no refusal and would show an empty bubble.
                    parts.append(self._encode_chunk({"content" if self._items else "refusal": text}, None))
                case AnnotationsAdded(annotations):
                    parts.append(self._encode_chunk({"annotations": orjson.Fragment(annotations)}, None))
                case LogprobsDelta(logprobs):
                    parts.append(self._encode_chunk({}, None, logprobs))
                case ToolStarted():
                    if self._items:
                        parts.append(self._items.start_call(event))
                case ToolProgress():
                    if self._items:
                        parts.append(self._items.report_progress(event))
                case ToolFinished():
                    if self._items:
                        parts.append(self._items.finish_call(event))
                case ToolRefused():
                    if self._items:
                        parts.append(self._items.refuse_call(event))
                case ClientCalls():
                    parts.append(self._encode_chunk({"tool_calls": build_call_deltas(event)}, None))
                case Finished(reason, usage):
                    parts += (self._encode_chunk({}, reason), *self._encode_usage(usage), DONE)
                case ModelFinished() | ApprovalNeeded():
                    pass
        return b"".join(parts)

    def encode_opening(self) -> bytes:
        """The role delta, once, before everything else."""
        self._is_open = True
        return self._encode_chunk({"role": "assistant", "content": ""}, None)

    def encode_error(self, error: HttpError) -> bytes:
        """An error after the first byte: one error chunk, then the end."""
        return encode_sse(error.build_body()) + DONE

    def _encode_chunk(
        self, delta: dict[str, Any], finish: str | None, logprobs: Mapping[str, bytes] | None = None
    ) -> bytes:
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
        if logprobs is not None:
            choice["logprobs"] = {kind: orjson.Fragment(entries) for kind, entries in logprobs.items()}
        body = {**self._head, "choices": [choice]}
        if self._include_usage:
            body["usage"] = None
        return encode_sse(body)

    def _encode_usage(self, usage: TokenUsage) -> Iterable[bytes]:
        if self._include_usage:
            yield encode_sse({**self._head, "choices": [], "usage": build_usage(usage)})


def join_lists(lists: Sequence[bytes]) -> orjson.Fragment:
    """One JSON list of the entries of several."""
    return orjson.Fragment(b"[" + b",".join(inside for entries in lists if (inside := entries[1:-1])) + b"]")


class Collector:
    """The same events as one completion."""

    def __init__(self, completion_id: str, model: str, created: int) -> None:
        self._id = completion_id
        self._model = model
        self._created = created
        self._text = StringIO()
        self._thoughts = StringIO()
        self._refusal = StringIO()
        self._finished: Finished | None = None
        self._calls: list[dict[str, Any]] = []
        self._annotations: list[bytes] = []
        self._logprobs: dict[str, list[bytes]] = {}

    def add(self, events: Iterable[Event]) -> bool:
        """Takes events; true once the turn has ended."""
        for event in events:
            match event:
                case TextDelta(text):
                    self._text.write(text)
                case ReasoningDelta(text):
                    self._thoughts.write(text)
                case RefusalDelta(text):
                    self._refusal.write(text)
                case ClientCalls():
                    self._calls = build_call_bodies(event)
                case AnnotationsAdded(annotations):
                    self._annotations.append(annotations)
                case LogprobsDelta(logprobs):
                    for kind, entries in logprobs.items():
                        known = self._logprobs.setdefault(kind, [])
                        if entries[:1] == b"[":
                            known.append(entries)
                case Finished():
                    self._finished = event
                case (
                    ModelFinished() | ToolStarted() | ToolProgress() | ToolFinished() | ToolRefused() | ApprovalNeeded()
                ):
                    pass
        return self._finished is not None

    def build_body(self) -> dict[str, Any]:
        """The `chat.completion` object."""
        finished = self._finished or Finished("stop", TokenUsage())
        message: dict[str, Any] = {"role": "assistant", "content": self._text.getvalue(), "refusal": None}
        if refusal := self._refusal.getvalue():
            message["refusal"] = refusal
            message["content"] = message["content"] or None
        if self._annotations:
            message["annotations"] = join_lists(self._annotations)
        if self._calls:
            message["tool_calls"] = self._calls
            message["content"] = message["content"] or None
        if thoughts := self._thoughts.getvalue():
            message["reasoning_content"] = thoughts
        logprobs = {kind: join_lists(lists) if lists else None for kind, lists in self._logprobs.items()}
        return {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "choices": [
                {"index": 0, "message": message, "finish_reason": finished.reason, "logprobs": logprobs or None}
            ],
            "usage": build_usage(finished.usage),
        }
