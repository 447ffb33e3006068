"""What becomes of approvals, for the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from graphs.redaction import Redaction
from graphs.store.approval import Approval
from graphs.store.audit.log import append_entries, find_ask_records
from graphs.store.audit.record import AuditEntry


def attach_approval_id(record: AuditEntry, stored: Mapping[str, Approval]) -> AuditEntry:
    """A record of a question, with the id under which it was asked."""
    if record.verdict != "ask" or record.call_id not in stored:
        return record
    return replace(record, approval=stored[record.call_id].id)


def record_outcomes(
    connection: Connection, closed: Sequence[Approval], moment: float, *, key: str = "", role: str = ""
) -> None:
    """What became of approvals, for the audit: with who decided them, or else whose call it was."""
    questions = find_ask_records(connection, [approval.call_id for approval in closed])
    entries: list[AuditEntry] = []
    for approval in closed:
        question = questions.get(approval.call_id)
        decided = approval.decided_by is not None
        entries.append(
            AuditEntry(
                time=moment,
                kind="approval",
                turn=approval.turn,
                thread=approval.thread,
                user=approval.decided_by or approval.caller,
                owner=approval.caller_owner,
                key=key if decided or question is None else question.key,
                role=role if decided or question is None else question.role,
                graph=approval.graph,
                snapshot=approval.snapshot,
                node=question.node if question is not None else "",
                tool=approval.tool,
                call_id=approval.call_id,
                args_digest=approval.digest,
                args=question.args if question is not None else None,
                verdict=approval.status,
                rule=question.rule if question is not None else Redaction().redact_text(approval.rule),
                approval=approval.id,
                note=None if approval.note is None else Redaction().redact_text(approval.note),
            )
        )
    append_entries(connection, entries)
