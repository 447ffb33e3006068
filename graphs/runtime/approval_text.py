"""Asking for approval in plain text, and reading the answer, for clients that have no buttons."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from graphs.events import ApprovalNeeded, PendingApproval
from graphs.text import escape_invisible, fit_json, fit_members, format_code_block, format_code_span

LONGEST_ARGUMENTS = 12_000
"""Characters of one call's arguments that are shown in a chat. What is longer is approved where it is shown whole."""
MOST_MEMBERS = 100
"""Arguments that are listed of a call that has too many to be shown whole."""
LONGEST_NAME = 60
ONE_CALL = "This call needs approval before it runs:"
SEVERAL_CALLS = "These calls need approval before they run:"
CONSOLE_HINT = "Approve it in Interlock's console (`/console`) or over its API (`POST /v1/approvals/{id}`)"


class ApprovalReply(NamedTuple):
    """A message that decides: nothing but the word and the id."""

    decision: Literal["approve", "reject"]
    approval_id: str


REPLY_PATTERN = re.compile(r"\s*(approve|reject)\s+([a-z2-7]{8})\s*", re.IGNORECASE)


def parse_reply(text: str) -> ApprovalReply | None:
    """Read the decision that a whole message is, or None. `approve ID` anywhere inside a sentence decides nothing."""
    match = REPLY_PATTERN.fullmatch(text)
    if match is None:
        return None
    return ApprovalReply("approve" if match[1].lower() == "approve" else "reject", match[2].lower())


def render_question(event: ApprovalNeeded) -> str:
    """Render the last words of a paused turn: each call with its arguments and rule, and how to answer (Markdown)."""
    one = len(event.pending) == 1
    head = ONE_CALL if one else SEVERAL_CALLS
    return "\n\n".join([head, *(f"{describe_call(entry)}\n{render_instructions(entry)}" for entry in event.pending)])


def describe_call(entry: PendingApproval) -> str:
    """Describe one pending call in Markdown: what exactly would run, and why it is asked."""
    whole = show_whole(entry.args)
    arguments = (
        format_code_block(whole, "json") if whole is not None else format_code_block(show_beginnings(entry.args))
    )
    lines = [
        f"**{format_code_span(escape_invisible(entry.tool))}**",
        arguments,
        f"Rule: {escape_invisible(entry.rule)}.",
    ]
    if entry.expires is not None:
        lines.append(f"Open until {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(entry.expires))}.")
    if entry.approver is not None:
        lines.append(f"Only the role {entry.approver} may decide.")
    return "\n".join(lines)


def render_instructions(entry: PendingApproval) -> str:
    """Say how one pending call can be answered in a chat."""
    if is_shown_whole(entry.args):
        return f"Reply `approve {entry.approval_id}` or `reject {entry.approval_id}`."
    return (
        f"This call is too long to be shown whole in a chat, so it is not approved here. "
        f"{CONSOLE_HINT.format(id=entry.approval_id)}, then write any message; or reply `reject {entry.approval_id}`."
    )


def is_shown_whole(args: Mapping[str, Any]) -> bool:
    """Whether a chat shows these arguments whole. What a person could not read, they do not approve in it."""
    return show_whole(args) is not None


def show_whole(args: Mapping[str, Any]) -> str | None:
    """Render arguments as JSON that reads back as the same; None where that is too long for a chat."""
    return fit_json(args, LONGEST_ARGUMENTS)


def show_beginnings(args: Mapping[str, Any]) -> str:
    """Render arguments that are too long, each shortened by itself, with its length."""
    shown = [*args.items()][:MOST_MEMBERS]
    fitted = fit_members(shown, LONGEST_ARGUMENTS, separator=",\n  ", longest_name=LONGEST_NAME)
    members = fitted[0] if fitted is not None else ()
    rest = len(args) - len(members)
    more = f"\n  … ({rest:,} more arguments)" if rest else ""
    return "{\n  " + ",\n  ".join(members) + more + "\n}"
