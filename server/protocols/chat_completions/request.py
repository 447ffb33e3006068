"""The body of `POST /v1/chat/completions`, as far as we read it; all other fields are for the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Required, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from graphs.errors import describe_kind
from server.protocols.errors import BadRequest

MOST_MESSAGES = 10_000
"""Each one is looked at when a turn begins."""

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


def write_arguments(value: Any) -> Any:
    """Write arguments as the text that endpoints expect, where a client sends them as an object."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class FunctionCall(TypedDict, total=False):
    """The function of a tool call."""

    __pydantic_config__ = ConfigDict(extra="allow")  # pyright: ignore[reportGeneralTypeIssues]

    name: str
    arguments: Annotated[str, BeforeValidator(write_arguments)]
    """Some clients send back the object that it stands for."""


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


CONTENT = "a text, or a list of parts such as {'type': 'text', 'text': 'Hello'}"
EXPECTED = {
    "string_type": "a text",
    "dict_type": "an object",
    "model_type": "an object",
    "list_type": "a list",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
}
"""By pydantic's types of errors."""


def parse_body(raw: bytes) -> ChatBody:
    """Parse and validate a body. Raises BadRequest naming the field."""
    try:
        body = BODY.validate_json(raw)
    except ValidationError as error:
        raise describe_invalid(error) from None
    for index, message in enumerate(body.messages):
        if message["role"] in ("user", "system", "developer") and message.get("content") in (None, []):
            field = f"messages.{index}.content"
            raise BadRequest(f"{field}: a message of role {message['role']} needs {CONTENT}", param=field)
    if (body.n or 1) > 1:
        raise BadRequest("n: a turn with tools has one answer; ask once for each instead of n > 1", param="n")
    return body


def describe_invalid(error: ValidationError) -> BadRequest:
    """Describe what is wrong first, and of several ways to read one value the one that fits furthest."""
    errors = error.errors(include_url=False)
    field = find_field(errors[0]["loc"])
    found = max(
        (each for each in errors if find_field(each["loc"])[: len(field)] == field), key=lambda e: len(e["loc"])
    )
    field = find_field(found["loc"])
    where = ".".join(map(str, field))
    return BadRequest(
        f"{where}: {word_error(found, field)}" if where else word_error(found, field), param=where or None
    )


def find_field(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Find the field of an error; pydantic also names the kind that it tried, behind `content`, which may be two."""
    at = loc.index("content") + 1 if "content" in loc else len(loc)
    return (*loc[:at], *loc[at + 1 :])


def word_error(error: Mapping[str, Any], field: tuple[int | str, ...]) -> str:
    """Word what was found and what was expected."""
    name = field[-1] if field else None
    if name == "role":
        return f"a message needs a role, one of {', '.join(get_args(Role))}"
    if error["type"] == "missing":
        return "this is missing"
    expected = CONTENT if name == "content" else EXPECTED.get(error["type"])
    kind = "an object" if isinstance(error["input"], dict) else describe_kind(error["input"])
    return f"expected {expected}; found {kind}" if expected else str(error["msg"])


BODY = TypeAdapter(ChatBody)


TOOL_PARAMS = frozenset({"tool_choice", "parallel_tool_calls"})


def select_params(body: ChatBody, *, tools: bool = False) -> dict[str, Any]:
    """Select the fields that go to the model: all that we do not read ourselves, those about tools only where the
    client brought its own (`tools`)."""
    extra = body.model_extra or {}
    return extra if tools else {name: value for name, value in extra.items() if name not in TOOL_PARAMS}
