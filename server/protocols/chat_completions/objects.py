"""Parts that a chunk and a whole completion have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphs.events import ClientCalls, TokenUsage
from server.protocols.errors import ApprovalPending, QuestionPending


def build_call_bodies(event: ClientCalls) -> list[dict[str, Any]]:
    """Build `tool_calls` of a message: the calls that the client is to run."""
    return [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in event.calls
    ]


def build_usage(usage: TokenUsage) -> dict[str, Any]:
    """Build the `usage` object."""
    return {
        **(usage.details or {}),
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }


def build_pause(pending: Sequence[str], question: str | None) -> dict[str, Any]:
    """Build our own field of an answer that ends with a question: the ids of the approvals that it waits for, or that
    of the question. Empty where it waits for nothing."""
    found = {"approvals": list(pending)} if pending else {}
    if question is not None:
        found["questions"] = [question]
    return {"interlock": found} if found else {}


def refuse_pause(pending: Sequence[str], question: str | None) -> None:
    """Do nothing where the turn waits for nobody. Raises ApprovalPending and QuestionPending."""
    if pending:
        raise ApprovalPending(pending)
    if question is not None:
        raise QuestionPending(question)
