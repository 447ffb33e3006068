"""What outlives a request: checkpoints, turns, approvals, the journal of calls and the audit, in one SQLite file."""

from __future__ import annotations

from graphs.store.approval import (
    AlreadyDecided,
    Approval,
    ApprovalError,
    ApprovalStatus,
    Decision,
    Expired,
    NotFound,
    new_approval_id,
)
from graphs.store.approvals import Approvals
from graphs.store.audit import Audit, AuditFilter
from graphs.store.audit_chain import Checked, Flaw, Head, check_export
from graphs.store.audit_record import AuditEntry, AuditRecord, Kind, NotARecord, from_line, line
from graphs.store.digests import call_digest, digest_chain, extend_digest
from graphs.store.journal import Begun, Claim, Claimed, Journal
from graphs.store.restore import Restored
from graphs.store.rows import Story, TurnRow, TurnStatus, unanswered_calls
from graphs.store.store import Pruned, Store
from graphs.store.turns import Ended, Progress, TakenUp, TurnFields, Turns
from graphs.store.usage import Bound, Full, Spent, Usage
from graphs.store.workers import Workers

__all__ = [
    "AlreadyDecided",
    "Approval",
    "ApprovalError",
    "ApprovalStatus",
    "Approvals",
    "Audit",
    "AuditEntry",
    "AuditFilter",
    "AuditRecord",
    "Begun",
    "Bound",
    "Checked",
    "Claim",
    "Claimed",
    "Decision",
    "Ended",
    "Expired",
    "Flaw",
    "Full",
    "Head",
    "Journal",
    "Kind",
    "NotARecord",
    "NotFound",
    "Progress",
    "Pruned",
    "Restored",
    "Spent",
    "Store",
    "Story",
    "TakenUp",
    "TurnFields",
    "TurnRow",
    "TurnStatus",
    "Turns",
    "Usage",
    "Workers",
    "call_digest",
    "check_export",
    "digest_chain",
    "extend_digest",
    "from_line",
    "line",
    "new_approval_id",
    "unanswered_calls",
]
