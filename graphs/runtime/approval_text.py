"""Asking for approval in plain text, and reading the answer, for clients that have no buttons."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from graphs.events import ApprovalNeeded, PendingApproval
from graphs.text import (
    end_sentence,
    escape_invisible,
    escape_on_one_line,
    fit_json,
    fit_members,
    format_code_block,
    format_code_span,
)

LONGEST_ARGUMENTS = 12_000
"""Characters of one call's arguments that are shown in a chat. What is longer is approved where it is shown whole."""
MOST_MEMBERS = 100
"""Arguments that are listed of a call that has too many to be shown whole."""
LONGEST_NAME = 60
ONE_CALL = "This call needs approval before it runs:"
SEVERAL_CALLS = "These calls need approval before they run:"
GO_ON_THEN = (
    "Once it is decided, write any message and the chat goes on from it; a message before that gives the call up."
)
WAITS_THEN = "This answer goes on by itself once it is decided."


class RoleHolder(Protocol):
    """Who acts with a role."""

    def has_role(self, role: str) -> bool:
        """Whether they act with this role, wholly."""
        ...


@dataclass(frozen=True)
class ApprovalReader:
    """Who reads that a call waits: what they may decide, and where others do."""

    caller: RoleHolder
    console: str | None = None
    """The address of the console, where it is known."""
    waits: bool = False
    """Their answer stays open until the call is decided."""

    def may_decide(self, approver: str | None) -> bool:
        """Whether they decide what this role decides; None: whoever asked does."""
        return approver is None or self.caller.has_role(approver)


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


def render_question(event: ApprovalNeeded, reader: ApprovalReader) -> str:
    """Render the last words of a paused turn: each call with its reason, its arguments, how to answer, and its rule
    (Markdown)."""
    one = len(event.pending) == 1
    head = ONE_CALL if one else SEVERAL_CALLS
    calls = [
        f"{describe_call(entry)}\n{render_instructions(entry, reader)}\n\n{render_why(entry.rule, entry.reason)}"
        for entry in event.pending
    ]
    return "\n\n".join([head, *calls])


def describe_call(entry: PendingApproval) -> str:
    """Describe one pending call in Markdown: the reason why it is asked about, and what exactly would run."""
    whole = show_whole(entry.args)
    arguments = (
        format_code_block(whole, "json") if whole is not None else format_code_block(show_beginnings(entry.args))
    )
    lines = [f"**{format_code_span(escape_invisible(entry.tool))}**", arguments]
    if entry.reason is not None:
        lines.insert(0, f"{render_sentence(entry.reason)}\n")
    if entry.expires is not None:
        lines.append(f"Open until {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(entry.expires))}.")
    return "\n".join(lines)


def render_why(rule: str, reason: str | None) -> str:
    """Say which rule asks, for whoever looks after the rules. Its reason stands elsewhere."""
    return f"Why: {escape_invisible(remove_reason(rule, reason))}."


def remove_reason(rule: str, reason: str | None) -> str:
    """The rule alone, with its place: an approval's `rule` has the reason behind it."""
    return rule if reason is None else rule.removesuffix(f": {reason}")


def render_sentence(words: str) -> str:
    """Write words of an author as a sentence on one line."""
    return end_sentence(escape_on_one_line(words))


def render_decider(approval_id: str, approver: str, console: str | None, *, waits: bool = False) -> str:
    """Say to somebody who may not decide a call who does, where, and how the chat goes on."""
    then = WAITS_THEN if waits else GO_ON_THEN
    return f"Only the role {approver} may decide `{approval_id}`, {render_places(approval_id, console)}. {then}"


def render_places(approval_id: str, console: str | None) -> str:
    """Say where a call is decided outside the chat. `console`: its address, where it is known."""
    return f"on Interlock's console ({console or '`/console`'}) or over its API (`POST /v1/approvals/{approval_id}`)"


def render_instructions(entry: PendingApproval, reader: ApprovalReader) -> str:
    """Say how one pending call can be answered in a chat, or by whom else."""
    if entry.approver is not None and not reader.may_decide(entry.approver):
        return render_decider(entry.approval_id, entry.approver, reader.console, waits=reader.waits)
    if is_shown_whole(entry.args):
        return f"Reply `approve {entry.approval_id}` or `reject {entry.approval_id}`."
    then = WAITS_THEN if reader.waits else GO_ON_THEN
    return (
        f"This call is too long to be shown whole in a chat, so it is not approved here. Approve it "
        f"{render_places(entry.approval_id, reader.console)}, or reply `reject {entry.approval_id}`. {then}"
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
