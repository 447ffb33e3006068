"""The conversation before a turn: what the client sent, with the tool results that clients do not keep put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from graphs.chatmodel import ChatModel
from graphs.store import extend_digest

Message = Mapping[str, Any]

CUT_OFF = "The turn was stopped before this call ended. Whether it took effect is unknown."
NOT_RUN = "Not run: it waited for approval, and nobody approved it."


def text_of(message: Message) -> str:
    """The text of an OpenAI message: its string, or its text parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = cast("list[Mapping[str, Any]]", content)
        return "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
    return ""


def answers(messages: Sequence[Message]) -> list[int]:
    """Indexes of the messages that a person saw as an answer: one that calls tools belongs to the answer after it."""
    return [
        index
        for index, message in enumerate(messages)
        if message.get("role") == "assistant" and not message.get("tool_calls")
    ]


def client_call_ids(messages: Sequence[Message]) -> list[str]:
    """Ids of the tool calls that the client's own history holds."""
    return [
        str(call.get("id"))
        for message in messages
        if message.get("role") == "assistant"
        for call in cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ())
        if call.get("id")
    ]


def last_user_text(messages: Sequence[Message]) -> str | None:
    """The text of the last message, if it is a user's; None otherwise."""
    if messages and messages[-1].get("role") == "user":
        return text_of(messages[-1])
    return None


def user_digests(messages: Sequence[Message]) -> list[str]:
    """Digest of the user's text before each answer, and before the answer to come. Only breaks ties between turns that
    said the same: clients rewrite user messages."""
    ends = [*answers(messages), len(messages)]
    return [extend_digest("", last_user_text(messages[:end]) or "") for end in ends]


def weave(messages: Sequence[Message], restored: Mapping[int, Sequence[Message]]) -> list[Message]:
    """The client's messages with each answer's stored tool messages put before it.

    `restored`: by index of the assistant message. The client's text wins: a stored turn adds tool messages only, and
    only where the history lacks them.
    """
    if not restored:
        return list(messages)
    known = set(client_call_ids(messages))
    woven: list[Message] = []
    for index, message in enumerate(messages):
        stored = restored.get(index, ())
        if stored and not known.intersection(client_call_ids(stored)):
            woven += stored
        woven.append(message)
    return woven


def kept(messages: Sequence[AnyMessage], model: ChatModel, *, unanswered: str = CUT_OFF) -> list[dict[str, Any]]:
    """What a turn leaves for the next one: its tool calls and their results, as OpenAI messages.

    A call without a result gets one that says so (`unanswered`): an endpoint refuses calls that were never answered.
    The texts between are left out; the client has them in the answer.
    """
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    complete: list[AnyMessage] = []
    for message in messages:
        if isinstance(message, AIMessage):
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            if not calls:
                continue
            complete.append(message.model_copy(update={"content": ""}))
            complete += [
                ToolMessage(unanswered, tool_call_id=call["id"] or "", name=call["name"], status="error")
                for call in calls
                if call["id"] not in answered
            ]
        elif isinstance(message, ToolMessage):
            complete.append(message)
    return model.messages(complete)
