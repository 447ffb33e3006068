"""One approval: who asked for what, who may decide, and what was decided."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from graphs.errors import InterlockError

ApprovalStatus = Literal["pending", "approved", "rejected", "expired", "superseded"]
ApprovalDecision = Literal["approve", "reject"]

APPROVAL_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def generate_approval_id() -> str:
    """Eight characters of `[a-z2-7]`: short enough to type."""
    return "".join(secrets.choice(APPROVAL_ID_ALPHABET) for _ in range(8))


@dataclass(frozen=True, kw_only=True)
class Approval:
    """One call that somebody must decide, and what was decided. Times are seconds since the epoch."""

    id: str
    turn: str
    thread: str
    call_id: str
    graph: str
    snapshot: str
    """Id of the configuration under which it was asked for."""
    tool: str
    """`server/tool`."""
    args: Mapping[str, Any]
    digest: str
    """`call_digest(tool, args)`: only this call may use the approval."""
    rule: str
    caller_owner: str
    caller: str
    """The caller's name for people."""
    approver: str | None = None
    """The role that may decide; None: whoever asked."""
    created: float
    expires: float | None = None
    status: ApprovalStatus = "pending"
    decided: float | None = None
    decided_by: str | None = None
    note: str | None = None
    used: float | None = None
    """When the call ran."""
    definition: str | None = None
    """Digest of the tool's definition when it was asked for; None in rows from before it was kept."""


class ApprovalError(InterlockError):
    """A decision that cannot be taken."""


class ApprovalNotFound(ApprovalError):
    """There is no approval with this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no approval {id!r}")
        self.id = id


class AlreadyDecided(ApprovalError):
    """It was decided before, or its conversation went on without it."""

    def __init__(self, approval: Approval) -> None:
        by = f" by {approval.decided_by}" if approval.decided_by else ""
        super().__init__(f"approval {approval.id} is already {approval.status}{by}; it cannot be decided again")
        self.approval = approval


class ApprovalExpired(ApprovalError):
    """Nobody decided in time."""

    def __init__(self, approval: Approval) -> None:
        super().__init__(f"approval {approval.id} has expired; ask for the call again")
        self.approval = approval
