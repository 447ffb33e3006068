"""The body of `POST /v1/chat/completions`, as far as we read it; all other fields are for the model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Required

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

MOST_MESSAGES = 10_000
"""Each one is looked at when a turn begins."""

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class FunctionCall(TypedDict, total=False):
    """The function of a tool call."""

    __pydantic_config__ = ConfigDict(extra="allow")  # pyright: ignore[reportGeneralTypeIssues]

    name: str
    arguments: str


class ToolCall(TypedDict, total=False):
    """One tool call in the history."""

    __pydantic_config__ = ConfigDict(extra="allow")  # pyright: ignore[reportGeneralTypeIssues]

    id: str
    type: str
    function: FunctionCall


class Message(TypedDict, total=False):
    """One message, handed on as it came."""

    __pydantic_config__ = ConfigDict(extra="allow")  # pyright: ignore[reportGeneralTypeIssues]

    role: Required[Role]
    content: str | Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None
    tool_call_id: str | None


class ChatBody(BaseModel):
    """A chat completion request (OpenAI API reference, "Create chat completion")."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None


BODY = TypeAdapter(ChatBody)


TOOL_PARAMS = frozenset({"tool_choice", "parallel_tool_calls"})


def select_params(body: ChatBody, *, tools: bool = False) -> dict[str, Any]:
    """Select the fields that go to the model: all that we do not read ourselves, those about tools only where the
    client brought its own (`tools`)."""
    extra = body.model_extra or {}
    return extra if tools else {name: value for name, value in extra.items() if name not in TOOL_PARAMS}
