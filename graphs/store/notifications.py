"""Notifications that are to be sent: written in the transaction of what they are about, so that a restart loses none,
and claimed by one process each.

A row is one event for one destination. Its id is made of these, so a node that runs again adds nothing. It names the
addressees that the destination has then, by digest: nobody else gets it, whatever the file says later.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from sqlalchemy import Connection, and_, bindparam, delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert

from graphs.config.spec.notifications import NotificationEvent, NotificationsSpec
from graphs.store.audit.log import find_ask_records
from graphs.store.audit.record import AuditEntry, AuditRecord
from graphs.store.backends.base import Database
from graphs.store.tables import AnySelect, approvals, journal, notification_addressees, notifications, turns

NoticeStatus = Literal["waiting", "sent", "dropped", "failed"]
"""`dropped`: there was nothing to tell any more; `failed`: given up."""

WaitingKind = Literal["approval", "question"]
_EVENTS: Mapping[WaitingKind, tuple[NotificationEvent, NotificationEvent]] = {
    "approval": ("approval.pending", "approval.expiring"),
    "question": ("question.pending", "question.expiring"),
}
FAILURES = ("failed", "stopped", "unknown")
"""Outcomes of an approved call that people hear of."""
MOST_STRANDED = 100
"""Calls without an end that are looked at in one go."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One event for one destination. Times are seconds since the epoch."""

    id: str
    """The same for every attempt, so that a receiver can tell a repetition."""
    event: NotificationEvent
    destination: str
    subject: str
    """Id of the approval or question."""
    outcome: str | None = None
    """Of an approved call: failed, stopped or unknown."""
    created: float
    due: float
    """When it is to be sent, or tried again."""
    status: NoticeStatus = "waiting"
    attempts: int = 0
    """How many were begun."""
    addressees: str | None = None
    """Digests of those that have not got it, with a blank between; None: a row of before they were noted."""


@dataclass(frozen=True, kw_only=True)
class StrandedCall:
    """An approved call that was begun, that has no end, and whose turn is to be running."""

    approval: str
    approver: str | None
    asked: float
    """Seconds since the epoch."""
    worker: str
    """The process that ran its turn last."""


_NAMES = tuple(item.name for item in fields(Notice))
_ALL: AnySelect = select(*(notifications.c[name] for name in _NAMES))
_ADD = insert(notifications).on_conflict_do_nothing()
_WAITING = notifications.c.status == "waiting"
_DUE = (
    select(notifications.c.id)
    .where(_WAITING, notifications.c.destination == bindparam("where"), notifications.c.due <= bindparam("now"))
    .order_by(notifications.c.due)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_FIND_DUE = (
    select(notifications.c.destination)
    .where(
        _WAITING,
        notifications.c.destination.in_(bindparam("among", expanding=True)),
        notifications.c.due <= bindparam("now"),
    )
    .distinct()
)
_CLAIM = (
    update(notifications)
    .where(notifications.c.id.in_(bindparam("ids", expanding=True)), _WAITING)
    .values(due=bindparam("until"), attempts=notifications.c.attempts + 1)
    .returning(*(notifications.c[name] for name in _NAMES))
)
_CHANGE = update(notifications).where(notifications.c.id == bindparam("which"), _WAITING)
_GET_REPORT = (
    select(notifications.c.id)
    .where(notifications.c.event == "approval.failed", notifications.c.subject == bindparam("which"))
    .limit(1)
)
_ADD_ADDRESSEES = insert(notification_addressees).on_conflict_do_nothing()
_GET_ADDRESSEES = select(
    notification_addressees.c.destination, notification_addressees.c.addressee, notification_addressees.c.since
)
_GET_APPROVER = select(approvals.c.approver).where(approvals.c.id == bindparam("which"))
_IS_REPORTED = exists().where(notifications.c.event == "approval.failed", notifications.c.subject == approvals.c.id)
# A turn that goes on with one that waited has no row of its own while it runs: that one's stands for it. They share the
# thread.
_STRANDED: AnySelect = (
    select(approvals.c.id, approvals.c.approver, approvals.c.created, turns.c.worker)
    .select_from(approvals)
    .join(journal, and_(journal.c.call_id == approvals.c.call_id, journal.c.finished.is_(False)))
    .join(
        turns,
        and_(
            turns.c.owner == approvals.c.caller_owner,
            turns.c.thread == approvals.c.thread,
            turns.c.status == "running",
            turns.c.worker != bindparam("own"),
        ),
    )
    .where(
        approvals.c.status == "approved",
        approvals.c.created > bindparam("since"),
        approvals.c.used.is_not(None),
        ~_IS_REPORTED,
    )
    .order_by(approvals.c.created.desc())
    .limit(MOST_STRANDED)
)


def build_notices(
    spec: NotificationsSpec,
    event: NotificationEvent,
    subject: str,
    role: str | None,
    *,
    due: float | None = None,
    outcome: str | None = None,
) -> list[Notice]:
    """Build the notices of an event, one for each destination that wants it. `role` is the one that decides or answers;
    `due`, when it is to be sent: None: now."""
    now = time.time()
    return [
        Notice(
            id=build_notice_id(event, subject, name, outcome),
            event=event,
            destination=name,
            subject=subject,
            outcome=outcome,
            created=now,
            due=now if due is None else due,
            addressees=" ".join(spec.destinations[name].addressees),
        )
        for name in spec.list_wanting(event, role)
    ]


def build_waiting_notices(
    spec: NotificationsSpec | None,
    kind: WaitingKind,
    subject: str,
    role: str | None,
    created: float,
    expires: float | None,
) -> list[Notice]:
    """Build what is sent of something that waits for a person: now, and once before it expires."""
    if spec is None:
        return []
    pending, expiring = _EVENTS[kind]
    found = build_notices(spec, pending, subject, role)
    if expires is not None and expires - created > spec.before_expiry:
        found += build_notices(spec, expiring, subject, role, due=expires - spec.before_expiry)
    return found


def build_notice_id(event: str, subject: str, destination: str, outcome: str | None = None) -> str:
    """Build the id of a notice. It holds no period: Standard Webhooks signs `id.timestamp.body`."""
    text = " ".join((event, subject, destination, *([] if outcome is None else [outcome])))
    return "msg_" + hashlib.sha256(text.encode()).hexdigest()[:32]


def add_notices(connection: Connection, notices: Sequence[Notice]) -> None:
    """Add notices in a transaction under way; those that were added before stay as they are."""
    if notices:
        # Always in the same order, so that no two processes wait for each other.
        in_order = sorted(notices, key=lambda notice: notice.id)
        connection.execute(_ADD, [{name: getattr(notice, name) for name in _NAMES} for notice in in_order])


def add_failure_notices(connection: Connection, spec: NotificationsSpec, records: Sequence[AuditEntry]) -> None:
    """Add what is sent of those of these calls that were approved and failed, or of which nobody knows."""
    for record in records:
        if record.approval is not None and record.outcome in FAILURES:
            # After another end, that none is known says nothing; the other way round, the end is news.
            if record.outcome == "unknown" and connection.scalar(_GET_REPORT, {"which": record.approval}):
                continue
            approver = connection.scalar(_GET_APPROVER, {"which": record.approval})
            add_notices(
                connection,
                build_notices(spec, "approval.failed", record.approval, approver, outcome=record.outcome),
            )


class Notifications:
    """The notifications of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, notices: Sequence[Notice]) -> None:
        """Add notices in a transaction of their own."""
        if notices:
            await self._database.write(lambda connection: add_notices(connection, notices))

    async def report_stranded_call(
        self, spec: NotificationsSpec, call: StrandedCall, since: Mapping[tuple[str, str], float]
    ) -> None:
        """Add that the end of this call is unknown, for those addressees that were there when it was asked for; `since`
        is what `note_addressees` returned."""
        notices: list[Notice] = []
        for notice in build_notices(spec, "approval.failed", call.approval, call.approver, outcome="unknown"):
            digests = spec.destinations[notice.destination].addressees
            earlier = [one for one in digests if since.get((notice.destination, one), call.asked) < call.asked]
            notices += [replace(notice, addressees=" ".join(earlier))] if earlier else []
        await self.add(notices)

    async def report_failures(self, spec: NotificationsSpec, records: Sequence[AuditEntry]) -> None:
        """Add what is sent of these calls, in a transaction of its own."""
        await self._database.write(lambda connection: add_failure_notices(connection, spec, records))

    async def claim(self, destination: str, *, most: int, lease: float) -> tuple[Notice, ...]:
        """Claim what is due for a destination, the oldest first: of many processes that claim, each row goes to one. It
        is due again after `lease` seconds, for whoever asks then, unless it is settled before."""
        now = time.time()

        def work(connection: Connection) -> tuple[Notice, ...]:
            ids = [id for (id,) in connection.execute(_DUE, {"where": destination, "now": now, "most": most})]
            if not ids:
                return ()
            rows = connection.execute(_CLAIM, {"ids": ids, "until": now + lease})
            return tuple(Notice(**dict(zip(_NAMES, row, strict=True))) for row in rows)

        return await self._database.write(work)

    async def find_due(self, destinations: Sequence[str]) -> tuple[str, ...]:
        """Find those of these destinations for which anything is due: cheaper than to claim."""
        values = {"among": list(destinations), "now": time.time()}
        rows = await self._database.read(lambda connection: connection.execute(_FIND_DUE, values).all(), brief=True)
        return tuple(row[0] for row in rows)

    async def settle(self, id: str, status: Literal["sent", "dropped", "failed"]) -> None:
        """Note that nothing is to be sent any more."""
        await self._change(id, status=status)

    async def postpone(self, id: str, due: float, addressees: str | None) -> None:
        """Let it be tried again at this time, for these addressees."""
        await self._change(id, due=due, addressees=addressees)

    async def note_addressees(self, spec: NotificationsSpec) -> Mapping[tuple[str, str], float]:
        """Note to whom the destinations send, and return since when, by destination and digest."""
        pairs = sorted((name, digest) for name, one in spec.destinations.items() for digest in one.addressees)
        now = time.time()

        def work(connection: Connection) -> Mapping[tuple[str, str], float]:
            values = [{"destination": name, "addressee": digest, "since": now} for name, digest in pairs]
            connection.execute(_ADD_ADDRESSEES, values)
            return {(name, digest): since for name, digest, since in connection.execute(_GET_ADDRESSEES)}

        return await self._database.write(work)

    async def find_ask_record(self, call_id: str) -> AuditRecord | None:
        """Find what the audit says of a call that was to be asked: who asked, and arguments without secrets."""
        found = await self._database.read(lambda connection: find_ask_records(connection, [call_id]))
        return found.get(call_id)

    async def find_stranded_calls(self, own_worker: str, since: float) -> tuple[StrandedCall, ...]:
        """Find approved calls that were begun and have no end, whose turn another process runs or ran until it died,
        and that nobody heard of yet; those that were asked for after `since`."""
        values = {"own": own_worker, "since": since}

        def work(connection: Connection) -> tuple[StrandedCall, ...]:
            return tuple(
                StrandedCall(approval=id, approver=approver, asked=created, worker=worker)
                for id, approver, created, worker in connection.execute(_STRANDED, values)
            )

        return await self._database.read(work)

    async def prune(self, before: float) -> int:
        """Delete what was added before this time, and return how many there were."""
        statement = delete(notifications).where(notifications.c.created < before)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def _change(self, id: str, **values: Any) -> None:
        statement = _CHANGE.values(**values)
        await self._database.write(lambda connection: connection.execute(statement, {"which": id}))
