"""What outlives a request: checkpoints, turns, approvals and the journal of tool calls, in one SQLite file."""

from __future__ import annotations

from graphs.store.approvals import (
    AlreadyDecided,
    Approval,
    ApprovalError,
    Approvals,
    ApprovalStatus,
    Decision,
    Expired,
    NotFound,
    new_approval_id,
)
from graphs.store.digests import call_digest, digest_chain, extend_digest
from graphs.store.journal import Claim, Claimed, Journal
from graphs.store.restore import Restored
from graphs.store.rows import TurnRow, TurnStatus
from graphs.store.store import Pruned, Store
from graphs.store.turns import TurnFields, Turns

__all__ = [
    "AlreadyDecided",
    "Approval",
    "ApprovalError",
    "ApprovalStatus",
    "Approvals",
    "Claim",
    "Claimed",
    "Decision",
    "Expired",
    "Journal",
    "NotFound",
    "Pruned",
    "Restored",
    "Store",
    "TurnFields",
    "TurnRow",
    "TurnStatus",
    "Turns",
    "call_digest",
    "digest_chain",
    "extend_digest",
    "new_approval_id",
]
