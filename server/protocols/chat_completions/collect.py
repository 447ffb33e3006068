"""A turn's events as one whole `chat.completion` object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

import orjson

from graphs.events import (
    AnnotationsAdded,
    ApprovalNeeded,
    CallJudged,
    ClientCalls,
    Event,
    Finished,
    LogprobsDelta,
    ModelFinished,
    NodeNote,
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
from server.protocols.chat_completions.objects import build_call_bodies, build_pause, build_usage, refuse_pause


class Collector:
    """Gathers a turn's events into one completion."""

    def __init__(self, completion_id: str, model: str, created: int, *, raises_pause: bool = False) -> None:
        """`raises_pause`: a turn that waits for approval is an error."""
        self._raises_pause = raises_pause
        self.pending: Sequence[str] = ()
        """Ids of the approvals that the turn waits for."""
        self._question: str | None = None
        """Id of the question that it waits for."""
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
        """Take events; true once the turn has ended. Raises ApprovalPending where the client wants that."""
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
                case ApprovalNeeded(pending):
                    self.pending = [entry.approval_id for entry in pending]
                case QuestionAsked(question):
                    self._question = question.question_id
                case Finished():
                    self._finished = event
                    if self._raises_pause:
                        refuse_pause(self.pending, self._question)
                case ModelFinished() | ToolStarted() | ToolRefused():
                    self.pending, self._question = (), None  # it went on
                case ToolProgress() | ToolFinished() | NodeNote() | CallJudged():
                    pass
        return self._finished is not None

    def build_body(self) -> dict[str, Any]:
        """Build the `chat.completion` object."""
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
        body = {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "choices": [
                {"index": 0, "message": message, "finish_reason": finished.reason, "logprobs": logprobs or None}
            ],
            "usage": build_usage(finished.usage),
        }
        return {**body, **build_pause(self.pending, self._question)}


def join_lists(lists: Sequence[bytes]) -> orjson.Fragment:
    """Join JSON lists into one."""
    return orjson.Fragment(b"[" + b",".join(inside for entries in lists if (inside := entries[1:-1])) + b"]")
