"""A chat completion request as the rules see it: the question, what was done for it, which tools there are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

# Interlock's own words for deciding about a call; they say nothing new about what is wanted.
DECISION = re.compile(r"\s*(?:approve|reject)(?:\s+[a-z2-7]{8})?\s*\.?\s*", re.IGNORECASE)

Args = dict[str, Any]


class WirePart(BaseModel):
    type: str
    text: str = ""


class WireFunctionCall(BaseModel):
    name: str
    arguments: str = ""


class WireToolCall(BaseModel):
    id: str
    function: WireFunctionCall


class WireMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[WirePart] | None = None
    tool_calls: list[WireToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text of the content, whichever of the two forms it came in; pictures say nothing here."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class WireFunction(BaseModel):
    name: str


class WireTool(BaseModel):
    type: str = "function"
    function: WireFunction | None = None


class WireStreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The fields that matter here; whatever else OpenAI's API knows is accepted and has no effect."""

    model: str
    messages: list[WireMessage] = Field(min_length=1)
    tools: list[WireTool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: WireStreamOptions | None = None


@dataclass(frozen=True)
class PlannedCall:
    """A call that the rules want. `tool` is the tool's own name, without its server: `read_file`."""

    tool: str
    args: Args


@dataclass(frozen=True)
class PastCall:
    """A call that was made, and what came back. A tool that was refused answers too, with the refusal."""

    call: PlannedCall
    result: str


@dataclass(frozen=True)
class ParsedChat:
    question: str
    """The last thing the person asked for; a decision such as `approve abcd2345` is no question."""
    past_calls: tuple[PastCall, ...]
    """Since the question, oldest first."""
    earlier_calls: tuple[PastCall, ...]
    """Before the question."""
    undecided: bool
    """The person's last words are a decision, and nothing came of it."""
    tool_names: dict[str, str]
    """Tools that may be called now: own name to the name in this request (`read_file` to `filesystem__read_file`)."""
    parallel: bool


def parse_chat(request: ChatRequest) -> ParsedChat:
    """Parse what the rules need of one request."""
    messages = request.messages
    asked = [index for index, message in enumerate(messages) if message.role == "user"]
    questions = [index for index in asked if not DECISION.fullmatch(messages[index].text)]
    start = questions[-1] if questions else len(messages)
    decided = bool(asked) and asked[-1] != start
    return ParsedChat(
        question=messages[start].text.strip() if questions else "",
        past_calls=_pair_calls(messages[start:]),
        earlier_calls=_pair_calls(messages[:start]),
        undecided=decided and not _pair_calls(messages[start:]),
        tool_names=_find_offered_tools(request),
        parallel=request.parallel_tool_calls is not False,
    )


def strip_server(tool: str) -> str:
    """Strip the server from a tool's name: `filesystem__read_file` → `read_file`."""
    return tool.rsplit("__", 1)[-1]


def _find_offered_tools(request: ChatRequest) -> dict[str, str]:
    if request.tool_choice == "none":
        return {}
    offered: dict[str, str] = {}
    for tool in request.tools or []:
        if tool.function is not None:
            offered.setdefault(strip_server(tool.function.name), tool.function.name)
    return offered


def _pair_calls(messages: Sequence[WireMessage]) -> tuple[PastCall, ...]:
    results = {message.tool_call_id: message.text for message in messages if message.role == "tool"}
    return tuple(
        PastCall(PlannedCall(strip_server(call.function.name), _parse_args(call.function.arguments)), results[call.id])
        for message in messages
        for call in message.tool_calls or []
        if call.id in results
    )


def _parse_args(text: str) -> Args:
    try:
        return TypeAdapter(Args).validate_python(json.loads(text or "{}"))
    except (ValueError, ValidationError):
        return {}
