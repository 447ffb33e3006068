"""Messages in OpenAI's form: what stands in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

Message = Mapping[str, Any]
"""One message of the Chat Completions API: `role`, `content`, `tool_calls`, `tool_call_id`."""


def text_of(message: Message) -> str:
    """The text of an OpenAI message: its string, or its text parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = cast("list[Mapping[str, Any]]", content)
        return "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
    return ""


def calls_of(message: Message) -> Sequence[Mapping[str, Any]]:
    """The tool calls of an assistant message."""
    return cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ())


def client_call_ids(messages: Sequence[Message]) -> list[str]:
    """Ids of the tool calls that these messages make."""
    return [
        str(call["id"])
        for message in messages
        if message.get("role") == "assistant"
        for call in calls_of(message)
        if call.get("id")
    ]
