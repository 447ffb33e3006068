"""Asking for approval in plain text, and reading the answer, for clients that have no buttons."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import orjson

from graphs.events import ApprovalNeeded, PendingApproval

LONGEST_ARGUMENTS = 6000


class Reply(NamedTuple):
    """A message that decides: nothing but the word and the id."""

    decision: Literal["approve", "reject"]
    approval_id: str


PATTERN = re.compile(r"\s*(approve|reject)\s+([a-z2-7]{8})\s*", re.IGNORECASE)


def read(text: str) -> Reply | None:
    """The decision that a whole message is, or None. `approve ID` anywhere inside a sentence decides nothing."""
    match = PATTERN.fullmatch(text)
    if match is None:
        return None
    return Reply("approve" if match[1].lower() == "approve" else "reject", match[2].lower())


def question(event: ApprovalNeeded) -> str:
    """The paused turn's last words: each call with its arguments and rule, and how to answer (Markdown)."""
    one = len(event.pending) == 1
    head = "This call needs approval before it runs:" if one else "These calls need approval before they run:"
    return "\n\n".join([head, *(described(entry) for entry in event.pending)])


def described(entry: PendingApproval) -> str:
    """One pending call in Markdown."""
    lines = [f"**{entry.tool}**", "```json", arguments(entry.args), "```", f"Rule: {entry.rule}."]
    if entry.expires is not None:
        lines.append(f"Open until {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(entry.expires))}.")
    if entry.approver is not None:
        lines.append(f"Only the role {entry.approver} may decide.")
    lines.append(f"Reply `approve {entry.approval_id}` or `reject {entry.approval_id}`.")
    return "\n".join(lines)


def arguments(args: Mapping[str, Any]) -> str:
    """Arguments as indented JSON, shortened where they are long. A person must see that something is missing."""
    text = orjson.dumps(args, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    # A fence inside an argument must not close the block around it.
    text = text.replace("```", "`\u200b``")
    if len(text) <= LONGEST_ARGUMENTS:
        return text
    return f"{text[:LONGEST_ARGUMENTS]}\n… ({len(text) - LONGEST_ARGUMENTS} more characters, not shown)"
