"""One turn as it is kept: a node in the tree of what was answered to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from sqlalchemy import select

from graphs.store.tables import AnySelect, make_storable, turns

TurnStatus = Literal["running", "waiting", "finished", "stopped", "failed", "continued"]


class TurnSummary(TypedDict):
    """What is told of a turn to its owner; nothing that it does depends on it. Times are seconds since the epoch."""

    question: str
    """The beginning of what the person said."""
    began: float
    rounds: int
    """Model calls, those before a pause included."""
    continues: str | None
    """The turn that waited and goes on in this one."""


@dataclass(frozen=True, kw_only=True)
class TurnRow:
    """What one turn said and did. Times are seconds since the epoch; digests are those of `digests.py`."""

    id: str
    parent: str | None = None
    """The turn that this one answers after."""
    owner: str
    """Whose it is; nobody else ever gets it."""
    chat: str | None = None
    message: str | None = None
    """The client's own id of the assistant message that holds this answer."""
    graph: str
    created: float
    status: TurnStatus
    base: str
    """Digest of the assistant texts before this answer."""
    digest: str = ""
    """`base` extended by this answer; empty as long as there is none."""
    text: str = ""
    user_digest: str = ""
    """Digest of the user's text that this turn answers: tells apart conversations where the assistant said the same."""
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What the client will not send again: assistant messages with tool calls, and their results, in OpenAI's form."""
    thread: str | None = None
    request: dict[str, Any] | None = None
    """What going on with this turn needs: the history before it where it waits, else what tells its request apart."""
    story: TurnSummary | None = None
    worker: str | None = None
    """The process that runs it; see `workers.py`."""
    delivered: bool | None = None
    """False as long as nobody knows that the last byte of its answer was written; None where it does not matter."""


NAMES = tuple(item.name for item in fields(TurnRow))
ALL: AnySelect = select(*(turns.c[name] for name in NAMES))


def from_row(row: Sequence[Any]) -> TurnRow:
    """A row of `ALL`."""
    return TurnRow(**dict(zip(NAMES, row, strict=True)))


def to_row(turn: TurnRow) -> dict[str, Any]:
    return {name: getattr(turn, name) for name in NAMES}


def find_unanswered_calls(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids of the calls in these messages whose results are not among them, in their order."""
    answered = {str(message.get("tool_call_id")) for message in messages if message.get("role") == "tool"}
    calls = (str(call.get("id")) for message in messages for call in message.get("tool_calls") or ())
    return [call for call in calls if call not in answered]


def collect_call_ids(messages: Sequence[dict[str, Any]]) -> set[str]:
    """The ids of all tool calls that these messages make."""
    return {
        make_storable(str(call["id"]))
        for message in messages
        for call in message.get("tool_calls") or ()
        if call.get("id")
    }
