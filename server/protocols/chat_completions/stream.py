"""A turn's events as a stream of `chat.completion.chunk` objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from graphs.events import (
    AnnotationsAdded,
    ApprovalNeeded,
    CallJudged,
    ClientCall,
    ClientCalls,
    Event,
    Finished,
    LogprobsDelta,
    ModelFinished,
    NodeNote,
    Pause,
    QuestionAsked,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenUsage,
    ToolFinished,
    ToolProgress,
    ToolRefused,
    ToolStarted,
)
from server.protocols import sse
from server.protocols.chat_completions.objects import build_call_bodies, build_pause, build_usage, refuse_pause
from server.protocols.errors import HttpError
from server.protocols.sse import encode_sse

DONE = b"data: [DONE]\n\n"


class ToolItems(Protocol):
    """Encodes tool calls for a client that wants to see them in the stream."""

    def start_call(self, event: ToolStarted) -> bytes:
        """Encode the beginning of a call."""
        ...

    def report_progress(self, event: ToolProgress) -> bytes:
        """Encode how far a call is."""
        ...

    def show_note(self, event: NodeNote) -> bytes:
        """Encode what a node does."""
        ...

    def close_note(self) -> bytes:
        """Encode that the last note is over; empty where there was none."""
        ...

    def show_waiting(self, pause: Pause, panel: ClientCall) -> bytes:
        """Encode what the panel that ends the answer waits for."""
        ...

    def hide_waiting(self) -> bytes:
        """Encode that the panel was answered with which this answer ended before."""
        ...

    def finish_call(self, event: ToolFinished) -> bytes:
        """Encode the result of a call."""
        ...

    def refuse_call(self, event: ToolRefused) -> bytes:
        """Encode that a call was not run."""
        ...

    def begin_text(self) -> None:
        """Note that text follows."""
        ...

    def begin_thoughts(self) -> None:
        """Note that reasoning follows."""
        ...


class ChunkEncoder:
    """Encodes one stream: one role delta, content deltas, one finish_reason, usage when asked for.

    What does not change from chunk to chunk is serialised once.
    """

    content_type = sse.CONTENT_TYPE

    def __init__(
        self,
        completion_id: str,
        model: str,
        created: int,
        *,
        include_usage: bool,
        items: ToolItems | None,
        raises_pause: bool = False,
        names_pause: bool = True,
        answers_panel: bool = False,
    ) -> None:
        """`raises_pause`: a turn that waits for approval is an error. `names_pause`: its last chunk names what it waits
        for. `answers_panel`: this answer goes on with what a panel asked."""
        self._raises_pause = raises_pause
        self._names_pause = names_pause
        self._pending: Sequence[str] = ()
        self._question: str | None = None
        self._answers_panel = answers_panel
        self._pause: Pause | None = None
        self._panel: ClientCall | None = None
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
        self.done = False
        """The last event was encoded."""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Encode events; empty where the client sees nothing of them. Raises ApprovalPending and QuestionPending where
        the client wants that."""
        parts: list[bytes] = [] if self._is_open else [self._encode_opening()]
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
                case NodeNote():
                    if self._items:
                        parts.append(self._items.show_note(event))
                case ToolFinished():
                    if self._items:
                        parts.append(self._items.finish_call(event))
                case ToolRefused():
                    if self._items:
                        parts.append(self._items.refuse_call(event))
                case ClientCalls():
                    self._panel = event.calls[0] if self._pause is not None else None
                    calls = [{"index": index, **body} for index, body in enumerate(build_call_bodies(event))]
                    parts.append(self._encode_chunk({"tool_calls": calls}, None))
                case Finished(reason, usage):
                    if self._raises_pause:
                        refuse_pause(self._pending, self._question)
                    if self._items:
                        parts.append(self._items.close_note())
                        if self._pause is not None and self._panel is not None:
                            parts.append(self._items.show_waiting(self._pause, self._panel))
                    parts += (self._encode_chunk({}, reason), *self._encode_usage(usage), DONE)
                    self.done = True
                case ApprovalNeeded(pending):
                    self._pause = event
                    self._pending = [entry.approval_id for entry in pending]
                case QuestionAsked(question):
                    self._pause = event
                    self._question = question.question_id
                case ModelFinished():
                    self._pending, self._question, self._pause = (), None, None  # it went on
                case CallJudged():
                    pass
        return b"".join(parts)

    def encode_heartbeat(self) -> bytes:
        """Encode a sign of life."""
        return sse.HEARTBEAT

    def encode_error(self, error: HttpError) -> bytes:
        """Encode an error after the first byte: one error chunk, then the end."""
        self.done = True
        return encode_sse(error.build_body()) + DONE

    def _encode_opening(self) -> bytes:
        """Encode the role delta, once, before everything else."""
        self._is_open = True
        opening = self._encode_chunk({"role": "assistant", "content": ""}, None)
        return opening + self._items.hide_waiting() if self._items and self._answers_panel else opening

    def _encode_chunk(
        self, delta: dict[str, Any], finish: str | None, logprobs: Mapping[str, bytes] | None = None
    ) -> bytes:
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
        if logprobs is not None:
            choice["logprobs"] = {kind: orjson.Fragment(entries) for kind, entries in logprobs.items()}
        body = {**self._head, "choices": [choice]}
        if finish is not None and self._names_pause:
            body |= build_pause(self._pending, self._question)
        if self._include_usage:
            body["usage"] = None
        return encode_sse(body)

    def _encode_usage(self, usage: TokenUsage) -> Iterable[bytes]:
        if self._include_usage:
            yield encode_sse({**self._head, "choices": [], "usage": build_usage(usage)})
