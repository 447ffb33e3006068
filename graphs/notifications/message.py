"""What a notification says: who asked, what exactly, by which rule, until when, and where to decide. Never a secret."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from graphs.config.loader import Snapshot
from graphs.config.spec.notifications import NotificationsSpec
from graphs.store.approvals import Approval
from graphs.store.audit.record import AuditRecord
from graphs.store.notifications import Notice
from graphs.store.questions import NodeQuestion
from graphs.store.store import Store
from graphs.text import dump_canonical_json, escape_invisible, escape_json, fit_json, format_cut

LONGEST_ARGUMENTS = 3_000
"""Characters of arguments: a message is no place to read long ones, and chats cut it."""
LONGEST_QUESTION = 1_000
LONGEST_NAME = 200
QUOTE = "> "
"""What each line begins with that a person or a model wrote."""

TEST_EVENT = "interlock.test"

_HEADLINES = {
    "approval.pending": "Approval needed",
    "approval.expiring": "Approval expires soon",
    "approval.failed": "Approved call failed",
    "question.pending": "Question",
    "question.expiring": "Question expires soon",
}
_OUTCOMES = {
    "failed": "It ran, and failed.",
    "stopped": "It was stopped while it ran. Whether it took effect is unknown.",
    "unknown": "It was begun, and its end is unknown. It may have taken effect.",
}


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One notification, in all forms that channels need."""

    id: str
    event: str
    time: float
    """When the event happened, in seconds since the epoch: not when it is sent."""
    headline: str
    """One line, without anything that a person or a model wrote, but the names of a tool or graph."""
    body: str
    """Lines of plain text. Channels show it behind `advice`."""
    link: str
    """The console's address. It decides nothing: the console asks for a key."""
    data: Mapping[str, Any]
    """The same for programs."""

    @property
    def advice(self) -> str:
        """What to do, with the link."""
        return f"Open the console, which asks for your key: {self.link}\nThis message decides nothing."


async def build_message(
    notice: Notice, store: Store, snapshot: Snapshot, spec: NotificationsSpec
) -> Notification | None:
    """Build the message of a notice; None where there is nothing to tell any more: somebody decided, it expired, it
    was forgotten, or the destination wants such events no more."""
    kind, _, what = notice.event.partition(".")
    destination = spec.destinations.get(notice.destination)
    if kind == "question":
        question = await store.questions.get(notice.subject)
        if question is None or question.status != "pending":
            return None
        if destination is None or not destination.wants(notice.event, question.role):
            return None
        return _describe_question(notice, question, snapshot, spec)
    approval = await store.approvals.get(notice.subject)
    if approval is None or (what != "failed" and approval.status != "pending"):
        return None
    if destination is None or not destination.wants(notice.event, approval.approver):
        return None
    record = await store.notifications.find_ask_record(approval.call_id)
    return _describe_approval(notice, approval, record, snapshot, spec)


def build_test_message(spec: NotificationsSpec, destination: str, now: float) -> Notification:
    """Build the message of `interlock notify test`."""
    return Notification(
        id=f"msg_test_{int(now * 1000)}",
        event=TEST_EVENT,
        time=now,
        headline="Test of Interlock's notifications",
        body=f"Destination: {destination}\nNothing waits for you because of this message.",
        link=spec.console,
        data={"destination": destination, "console": spec.console},
    )


def _describe_approval(
    notice: Notice, approval: Approval, record: AuditRecord | None, snapshot: Snapshot, spec: NotificationsSpec
) -> Notification:
    redact = snapshot.redaction.redact_text
    rule = record.rule if record is not None else redact(approval.rule)
    args = record.args if record is not None else None
    decides = f"the role {approval.approver}" if approval.approver is not None else "whoever asked"
    lines = [
        _OUTCOMES.get(notice.outcome or "", ""),
        f"Reason: {_show(redact(approval.reason))}" if approval.reason is not None else "",
        f"Asked by: {_describe_asker(redact(approval.caller, LONGEST_NAME), record)}",
        f"Graph: {approval.graph}",
        f"Call: {_show(approval.tool)}",
        f"Arguments, without secrets:\n{_quote(_show_arguments(args))}",
        f"Rule: {_show(rule)}",
    ]
    if notice.outcome is None:
        lines.append(f"Decided by: {decides}")
        lines += [f"Expires: {_show_time(approval.expires)}"] if approval.expires is not None else []
    else:
        lines.append(f"Approved by: {_show(redact(approval.decided_by or 'unknown', LONGEST_NAME))}")
    lines.append(f"Approval: {approval.id}")
    return Notification(
        id=notice.id,
        event=notice.event,
        time=_find_time(notice, approval.created, approval.expires, spec),
        headline=f"{_HEADLINES[notice.event]}: {_show(approval.tool, LONGEST_NAME)}",
        body="\n".join(line for line in lines if line),
        link=spec.console,
        data={
            "approval": approval.id,
            "status": approval.status,
            "graph": approval.graph,
            "tool": approval.tool,
            "args": args,
            "rule": rule,
            "reason": approval.reason and redact(approval.reason),
            "caller": redact(approval.caller, LONGEST_NAME),
            "caller_key": record.key if record is not None else None,
            "caller_role": record.role if record is not None else None,
            "approver": approval.approver,
            "created": approval.created,
            "expires": approval.expires,
            "decided_by": approval.decided_by and redact(approval.decided_by, LONGEST_NAME),
            "outcome": notice.outcome,
            "console": spec.console,
        },
    )


def _describe_question(
    notice: Notice, question: NodeQuestion, snapshot: Snapshot, spec: NotificationsSpec
) -> Notification:
    redact = snapshot.redaction.redact_text
    text, caller = redact(question.text, LONGEST_QUESTION), redact(question.caller, LONGEST_NAME)
    lines = [
        f"Asked in the turn of: {_show(caller)}",
        f"Graph: {question.graph}, node {question.node}",
        f"Question:\n{_quote(escape_invisible(text, keep=chr(10)))}",
        f"Answered by: the role {question.role}",
        f"Expires: {_show_time(question.expires)}",
        f"Id: {question.id}",
    ]
    return Notification(
        id=notice.id,
        event=notice.event,
        time=_find_time(notice, question.created, question.expires, spec),
        headline=f"{_HEADLINES[notice.event]}: graph {question.graph}",
        body="\n".join(lines),
        link=spec.console,
        data={
            "question": question.id,
            "text": text,
            "graph": question.graph,
            "node": question.node,
            "caller": caller,
            "role": question.role,
            "created": question.created,
            "expires": question.expires,
            "console": spec.console,
        },
    )


def _describe_asker(caller: str, record: AuditRecord | None) -> str:
    if record is None:
        return _show(caller)
    return f"{_show(caller)} (key {_show(record.key)}, role {_show(record.role)})"


def _find_time(notice: Notice, created: float, expires: float | None, spec: NotificationsSpec) -> float:
    if notice.event.endswith(".failed"):
        return notice.created
    if notice.event.endswith(".expiring") and expires is not None:
        return expires - spec.before_expiry
    return created


def _show(text: str, longest: int = 2_000) -> str:
    """Show a text on one line, with what cannot be seen escaped."""
    cut = text if len(text) <= longest else format_cut(text[:longest], len(text))
    return escape_invisible(cut)


def _show_arguments(args: Mapping[str, Any] | None) -> str:
    if args is None:
        return "(the audit has them no more; the console shows them)"
    try:
        if (whole := fit_json(dict(args), LONGEST_ARGUMENTS)) is not None:
            return whole
    except TypeError:
        pass  # a number over 64 bits or half a surrogate pair, which the form below writes
    text = escape_json(dump_canonical_json(args))
    if len(text) <= LONGEST_ARGUMENTS:
        return text
    return f"{format_cut(text[:LONGEST_ARGUMENTS], len(text))}\n(shortened; the console shows them whole)"


def _quote(text: str) -> str:
    """Begin each line with "> ", so that none passes for a line of the message's own."""
    return "\n".join(f"{QUOTE}{line}" for line in text.split("\n"))


def _show_time(moment: float) -> str:
    minutes = (moment - time.time()) / 60
    when = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{when}, in {minutes:.0f} minutes" if minutes >= 1 else when
