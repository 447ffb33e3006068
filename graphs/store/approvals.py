"""Approvals: one person's yes or no to one exact call, given once and used once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from graphs.config.spec.notifications import NotificationsSpec
from graphs.errors import InterlockError
from graphs.redaction import Redaction
from graphs.store.audit.log import append_entries, find_ask_records
from graphs.store.audit.record import AuditEntry
from graphs.store.backends.base import Database
from graphs.store.notifications import Notice, add_notices, build_waiting_notices
from graphs.store.tables import AnyRow, AnySelect, approvals

ApprovalStatus = Literal["pending", "approved", "rejected", "expired", "superseded"]
ApprovalDecision = Literal["approve", "reject"]

APPROVAL_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, kw_only=True)
class Approval:
    """One call that a person must decide, and what was decided. Times are seconds since the epoch."""

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
    """`compute_call_digest(tool, args)`: only this call may use the approval."""
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
    reason: str | None = None
    """The sentence that the rule gives as its reason; None where it gives none, and in rows from before it was kept."""


class ApprovalError(InterlockError):
    """A decision that cannot be taken."""


class ApprovalNotFound(ApprovalError):
    """There is no approval with this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no approval {id!r}")
        self.id = id


class AlreadyDecided(ApprovalError):
    """The approval was decided before, or its conversation went on without it."""

    def __init__(self, approval: Approval) -> None:
        by = f" by {approval.decided_by}" if approval.decided_by else ""
        super().__init__(f"approval {approval.id} is already {approval.status}{by}; it cannot be decided again")
        self.approval = approval


class ApprovalExpired(ApprovalError):
    """Nobody decided in time."""

    def __init__(self, approval: Approval) -> None:
        super().__init__(f"approval {approval.id} has expired; ask for the call again")
        self.approval = approval


_NAMES = tuple(item.name for item in fields(Approval))
_ALL: AnySelect = select(*(approvals.c[name] for name in _NAMES))
_GET = _ALL.where(approvals.c.id == bindparam("which"))
_GET_TO_DECIDE = _GET.with_for_update()
_GET_BY_CALLS = _ALL.where(approvals.c.call_id.in_(bindparam("calls", expanding=True)))
_GET_BY_TURN = _ALL.where(approvals.c.turn == bindparam("which")).order_by(approvals.c.created)
_ADD = insert(approvals).on_conflict_do_nothing()
_DECIDE = update(approvals).where(approvals.c.id == bindparam("which"), approvals.c.status == "pending")
_NOT_EXPIRED = approvals.c.expires.is_(None) | (approvals.c.expires > bindparam("now"))
_CURRENT_STATUS = select(
    case((approvals.c.status != "pending", approvals.c.status), (_NOT_EXPIRED, "pending"), else_="expired").label(
        "status"
    )
).subquery()
_COUNT_BY_STATUS = select(_CURRENT_STATUS.c.status, func.count()).group_by(_CURRENT_STATUS.c.status)
_OLDEST_PENDING = select(func.min(approvals.c.created)).where(approvals.c.status == "pending", _NOT_EXPIRED)
_SUPERSEDE = (
    update(approvals)
    .where(approvals.c.status == "pending")
    .values(status=case((_NOT_EXPIRED, "superseded"), else_="expired"))
    .returning(*(approvals.c[name] for name in _NAMES))
)


def generate_approval_id() -> str:
    """Make up an id: eight characters of `[a-z2-7]`, short enough to type."""
    return "".join(secrets.choice(APPROVAL_ID_ALPHABET) for _ in range(8))


class Approvals:
    """The approvals of one store. Whoever calls `decide` has checked that the person may."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def request(
        self,
        requests: Sequence[Approval],
        records: Sequence[AuditEntry] = (),
        notifications: NotificationsSpec | None = None,
    ) -> tuple[Approval, ...]:
        """Ask for these calls, and return what is now stored, in the same order. What is new of `records` goes into the
        audit in the same transaction, and so does what `notifications` says is to be sent.

        A call that was asked for before keeps its first approval, with its id and its decision: a node that runs again
        asks for nothing new.
        """
        if not requests:
            return ()

        def work(connection: Connection) -> dict[str, Approval]:
            # Always in the same order, so that no two processes wait for each other.
            in_order = sorted(requests, key=lambda approval: approval.call_id)
            connection.execute(_ADD, [_to_row(approval) for approval in in_order])
            stored = _find_by_calls(connection, [approval.call_id for approval in requests])
            # An id of eight characters can be taken: then its row is the only one missing.
            while missing := [approval for approval in requests if approval.call_id not in stored]:
                connection.execute(
                    _ADD, [_to_row(replace(approval, id=generate_approval_id())) for approval in missing]
                )
                stored = _find_by_calls(connection, [approval.call_id for approval in requests])
            add_notices(connection, [notice for found in stored.values() for notice in _notify(notifications, found)])
            append_entries(connection, [_attach_approval_id(record, stored) for record in records], once=True)
            return stored

        stored = await self._database.write(work)
        return tuple(_apply_expiry(stored[approval.call_id], time.time()) for approval in requests)

    async def get(self, id: str, *, now: float | None = None) -> Approval | None:
        approval = await self._database.read(lambda connection: _get(connection, id))
        return None if approval is None else _apply_expiry(approval, now)

    async def find_by_calls(self, call_ids: Sequence[str], *, now: float | None = None) -> dict[str, Approval]:
        """Find approvals by call id; calls that nobody asked for are left out."""
        if not call_ids:
            return {}
        stored = await self._database.read(lambda connection: _find_by_calls(connection, call_ids))
        return {call_id: _apply_expiry(approval, now) for call_id, approval in stored.items()}

    async def find_by_turn(self, turn: str, *, now: float | None = None) -> dict[str, Approval]:
        """Find the approvals that a turn asked for, by call id, the oldest first."""
        rows = await self._database.read(
            lambda connection: [*map(_from_row, connection.execute(_GET_BY_TURN, {"which": turn}))]
        )
        return {approval.call_id: _apply_expiry(approval, now) for approval in rows}

    async def list(
        self,
        status: ApprovalStatus | None = None,
        owner: str | None = None,
        *,
        approver: str | None = None,
        limit: int = 200,
        now: float | None = None,
    ) -> tuple[Approval, ...]:
        """List the newest `limit` approvals with this status, newest first: this caller's, and those that wait for the
        role `approver`."""
        moment = time.time() if now is None else now
        statement = _ALL.order_by(approvals.c.created.desc()).limit(limit)
        if owner is not None:
            mine = approvals.c.caller_owner == owner
            statement = statement.where(mine if approver is None else mine | (approvals.c.approver == approver))
        if status == "pending":
            statement = statement.where(approvals.c.status == "pending", _NOT_EXPIRED).params(now=moment)
        elif status == "expired":
            late = (approvals.c.status == "pending") & ~_NOT_EXPIRED
            statement = statement.where((approvals.c.status == "expired") | late).params(now=moment)
        elif status is not None:
            statement = statement.where(approvals.c.status == status)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return tuple(_apply_expiry(_from_row(row), moment) for row in rows)

    async def count_by_status(self, *, now: float | None = None) -> dict[ApprovalStatus, int]:
        """Count the approvals of each status."""
        moment = time.time() if now is None else now

        def work(connection: Connection) -> dict[ApprovalStatus, int]:
            found = {row[0]: row[1] for row in connection.execute(_COUNT_BY_STATUS, {"now": moment})}
            return {status: found.get(status, 0) for status in get_args(ApprovalStatus)}

        return await self._database.read(work)

    async def find_oldest_wait(self, *, now: float | None = None) -> float:
        """Find for how many seconds the oldest pending approval has waited; 0 while none waits."""
        moment = time.time() if now is None else now
        created = await self._database.read(lambda connection: connection.scalar(_OLDEST_PENDING, {"now": moment}))
        return 0.0 if created is None else max(moment - created, 0.0)

    async def decide(
        self,
        id: str,
        decision: ApprovalDecision,
        by: str,
        note: str | None = None,
        now: float | None = None,
        *,
        key: str = "",
        role: str = "",
    ) -> Approval:
        """Record one decision: of many that try, in any process, one succeeds. `key` and `role` are for the audit.

        Raises ApprovalNotFound, AlreadyDecided or ApprovalExpired.
        """
        moment = time.time() if now is None else now

        def work(connection: Connection) -> tuple[bool, Approval | None]:
            # Nobody else can change the row from here on.
            before = _get(connection, id, _GET_TO_DECIDE)
            if before is None or before.status != "pending":
                return False, before
            if (after := _apply_expiry(before, moment)).status == "pending":
                status = "approved" if decision == "approve" else "rejected"
                after = replace(before, status=status, decided=moment, decided_by=by, note=note)
            changed = {"status": after.status, "decided": after.decided, "decided_by": after.decided_by}
            connection.execute(_DECIDE, {"which": id, **changed, "note": after.note})
            _record_outcomes(connection, [after], moment, key=key, role=role)
            return after.status != "expired", after

        decided, approval = await self._database.write(work)
        if approval is None:
            raise ApprovalNotFound(id)
        if approval.status == "expired":
            raise ApprovalExpired(approval)
        if not decided:
            raise AlreadyDecided(approval)
        return approval

    async def supersede(self, call_ids: Sequence[str], *, now: float | None = None) -> dict[str, Approval]:
        """Close the pending approvals of these calls, because the conversation goes on without a decision.

        What was decided stays. Returns the approvals of these calls as they now are.
        """
        if not call_ids:
            return {}
        which = approvals.c.call_id.in_(call_ids)

        def work(connection: Connection) -> dict[str, Approval]:
            _supersede(connection, which, time.time() if now is None else now)
            return _find_by_calls(connection, call_ids)

        return await self._database.write(work)

    async def supersede_turns(self, turn_ids: Sequence[str], *, now: float | None = None) -> None:
        """Close every pending approval that these turns asked for."""
        which = approvals.c.turn.in_(turn_ids)
        moment = time.time() if now is None else now
        await self._database.write(lambda connection: _supersede(connection, which, moment))

    async def prune(self, before: float) -> int:
        """Delete what was asked before this time, and return how many there were."""
        statement = delete(approvals).where(approvals.c.created < before)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _get(connection: Connection, id: str, statement: AnySelect = _GET) -> Approval | None:
    row = connection.execute(statement, {"which": id}).first()
    return None if row is None else _from_row(row)


def _find_by_calls(connection: Connection, call_ids: Sequence[str]) -> dict[str, Approval]:
    rows = map(_from_row, connection.execute(_GET_BY_CALLS, {"calls": call_ids}))
    return {approval.call_id: approval for approval in rows}


def _supersede(connection: Connection, which: ColumnElement[bool], moment: float) -> None:
    closed = [_from_row(row) for row in connection.execute(_SUPERSEDE.where(which), {"now": moment})]
    _record_outcomes(connection, closed, moment)


def _apply_expiry(approval: Approval, now: float | None) -> Approval:
    """The approval as it is now: it expires by the clock, whether or not anybody wrote that down."""
    moment = time.time() if now is None else now
    if approval.status == "pending" and approval.expires is not None and approval.expires <= moment:
        return replace(approval, status="expired")
    return approval


def _from_row(row: AnyRow) -> Approval:
    return Approval(**dict(zip(_NAMES, row, strict=True)))


def _to_row(approval: Approval) -> dict[str, Any]:
    return {name: getattr(approval, name) for name in _NAMES}


def _notify(spec: NotificationsSpec | None, approval: Approval) -> list[Notice]:
    """Build what is sent of an approval that waits."""
    if approval.status != "pending":
        return []
    return build_waiting_notices(spec, "approval", approval.id, approval.approver, approval.created, approval.expires)


def _attach_approval_id(record: AuditEntry, stored: Mapping[str, Approval]) -> AuditEntry:
    """Add the approval's id to a record that says that a call is to be asked."""
    if record.verdict != "ask" or record.call_id not in stored:
        return record
    return replace(record, approval=stored[record.call_id].id)


def _record_outcomes(
    connection: Connection, closed: Sequence[Approval], moment: float, *, key: str = "", role: str = ""
) -> None:
    """Append to the audit what became of approvals: who decided them, or else whose call it was."""
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
