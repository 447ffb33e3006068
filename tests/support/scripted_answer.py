"""What the scripted model answers, and the forms that OpenAI's wire gives it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """One tool call. Arguments given as a string are sent verbatim, so they may be broken on purpose."""

    name: str
    args: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None

    @property
    def arguments(self) -> str:
        return self.args if isinstance(self.args, str) else json.dumps(dict(self.args))


@dataclass(frozen=True)
class Answer:
    """What one request gets. Times are seconds."""

    text: str | Sequence[str] = ""
    """A string is streamed word by word; a sequence is streamed as these very chunks."""
    calls: Sequence[Call] = ()
    reasoning: str = ""
    first: float = 0.0
    """Before the first byte."""
    delay: float = 0.0
    """Before each chunk of text."""
    usage: tuple[int, int] = (10, 5)
    """Prompt and completion tokens."""
    finish: str | None = None
    """`finish_reason`; None: "tool_calls" with calls, else "stop"."""
    status: int = 200
    error: str = "scripted failure"
    """The message of a failure."""
    body: bytes | None = None
    """The whole body of a failure, in the place of OpenAI's."""
    code: str | None = None
    """The `code` of a failure; None: its status."""
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stall_after: int | None = None
    cut_after: int | None = None
    raw: Sequence[bytes] | None = None

    @property
    def chunks(self) -> list[str]:
        return re.findall(r"\S+\s*|\s+", self.text) if isinstance(self.text, str) else list(self.text)

    @property
    def finish_reason(self) -> str:
        return self.finish or ("tool_calls" if self.calls else "stop")


def text_of(content: Any) -> str:
    """The text of a message's content, be it a string or a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def usage_of(answer: Answer) -> dict[str, int]:
    prompt, completion = answer.usage
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def call_deltas(calls: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Calls as models stream them: a head with id and name, then the arguments in two halves."""
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        head = call | {"index": index, "function": {"name": call["function"]["name"], "arguments": ""}}
        yield {"tool_calls": [head]}
        half = len(arguments) // 2
        for piece in (arguments[:half], arguments[half:]):
            if piece:
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def stream_calls(*events: dict[str, Any] | list[dict[str, Any]]) -> Answer:
    """An answer whose stream has these pieces of `delta.tool_calls`, one piece or a list of them an event."""
    head = {"id": "chatcmpl-pieces", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    deltas = [{"tool_calls": event if isinstance(event, list) else [event]} for event in events]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    chunks = [b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n" for choice in choices]
    return Answer(raw=[*chunks, b"data: [DONE]\n\n"])
