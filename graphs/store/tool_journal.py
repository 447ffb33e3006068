"""The journal: which tool calls were begun and what came of them, so that none runs twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from graphs.config.spec.notifications import NotificationsSpec
from graphs.store.audit.log import append_entries
from graphs.store.audit.record import AuditEntry
from graphs.store.backends import prepared_statements
from graphs.store.backends.base import Database, is_brief
from graphs.store.batches import Batches
from graphs.store.notifications import add_failure_notices
from graphs.store.tables import AnyRow, approvals, journal
from graphs.store.turns import TurnProgress, write_progress

MAX_BRIEF_CALLS = 8
"""Calls that are claimed or finished in well under a millisecond."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A call that somebody wants to run. `digest` is `compute_call_digest(tool, args)`; `now` is seconds since the
    epoch."""

    call_id: str
    thread: str
    tool: str
    digest: str
    needs_approval: bool
    now: float
    record: AuditEntry | None = None
    """What the audit says of it, once it is claimed."""


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """Whether a claimed call may run.

    `claimed`: run it, nobody else will; `done`: it ran, here is its result; `running`: somebody began it (at `since`)
    and has not finished, so its outcome is unknown; `refused`: no unused approval for exactly this call; `taken`: its
    id belongs to another call.
    """

    state: Literal["claimed", "done", "running", "refused", "taken"]
    result: dict[str, Any] | None = None
    failed: bool = False
    since: float | None = None


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """A call that was begun, and how far it came."""

    tool: str
    at: float
    """Seconds since the epoch."""
    finished: bool
    failed: bool


@dataclass(frozen=True)
class _End:
    """What came of a call: the changes of its row, its audit record, and what is sent to people of it."""

    row: dict[str, Any]
    record: AuditEntry | None
    notifications: NotificationsSpec | None


_GET_ENTRIES = select(journal.c.call_id, journal.c.tool, journal.c.claimed, journal.c.finished, journal.c.failed).where(
    journal.c.call_id.in_(bindparam("calls", expanding=True))
)
_GET_OUTCOMES = select(
    journal.c.call_id,
    journal.c.tool,
    journal.c.digest,
    journal.c.claimed,
    journal.c.finished,
    journal.c.failed,
    journal.c.result,
).where(journal.c.call_id.in_(bindparam("calls", expanding=True)))
_COUNT = (
    select(func.count())
    .select_from(journal)
    .where(journal.c.thread == bindparam("which"), journal.c.call_id.not_in(bindparam("others", expanding=True)))
)
_ADD = insert(journal).on_conflict_do_nothing().returning(journal.c.call_id)
_DELETE = delete(journal).where(journal.c.call_id == bindparam("call"))
_USE_APPROVAL = (
    update(approvals)
    .where(
        approvals.c.call_id == bindparam("call"),
        approvals.c.digest == bindparam("exactly"),
        approvals.c.status == "approved",
        approvals.c.used.is_(None),
    )
    .values(used=bindparam("moment"))
)
_FINISH = (
    update(journal)
    .where(journal.c.call_id == bindparam("call"), journal.c.finished.is_(False))
    .values(finished=True, failed=bindparam("badly"), result=bindparam("outcome", type_=journal.c.result.type))
)


class ToolJournal:
    """The journal of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ends = Batches(self._write_ends, most=MAX_BRIEF_CALLS, is_repeatable=True)

    async def close(self) -> None:
        """Return once what came of every call is written."""
        await self._ends.drain()

    async def claim(self, calls: Sequence[Claim], progress: TurnProgress | None = None) -> dict[str, ClaimResult]:
        """Decide for each call, by call id, whether to run it: of many that claim it, in any process, one may.

        An approval that is needed is used up, and what is claimed is recorded, in the same transaction; and where any
        call may run, its turn's row is brought to `progress`, so that the turn can be found if this process dies.
        Raises ValueError if two claims have one id, TurnTakenUp if another process has taken the turn up: then nothing
        was claimed.
        """
        if len({call.call_id for call in calls}) != len(calls):
            raise ValueError("two tool calls with one id cannot be claimed together")
        if not calls:
            return {}

        def work(connection: Connection) -> dict[str, ClaimResult]:
            answers = _claim(connection, calls)
            claimed = [call.record for call in calls if answers[call.call_id].state == "claimed"]
            if claimed and progress is not None:
                write_progress(connection, progress)
            append_entries(connection, [record for record in claimed if record is not None])
            return answers

        brief = len(calls) <= MAX_BRIEF_CALLS and (progress is None or progress.is_brief())
        return await self._database.write(work, brief=brief)

    async def finish(
        self,
        call_id: str,
        result: dict[str, Any],
        *,
        failed: bool,
        record: AuditEntry | None = None,
        notifications: NotificationsSpec | None = None,
    ) -> None:
        """Save what came of a call, with its audit record, and what `notifications` says is to be sent of it, together
        with the other calls that end at the same time. The first result of a call stays."""
        await self._ends.add(_End({"call": call_id, "outcome": result, "badly": failed}, record, notifications))

    async def _write_ends(self, ends: Sequence[_End]) -> None:
        rows = [end.row for end in ends]

        def work(connection: Connection) -> None:
            prepared_statements.write(connection, _FINISH, *rows)
            for end in ends:
                if end.record is not None and end.notifications is not None:
                    add_failure_notices(connection, end.notifications, [end.record])
            append_entries(connection, [end.record for end in ends if end.record is not None])

        await self._database.write(work, brief=is_brief(rows))

    async def find_outcomes(self, call_ids: Sequence[str]) -> dict[str, ClaimResult]:
        """Find what became of these calls, by call id: `done` or `running`. Calls that were never begun are left
        out."""
        if not call_ids:
            return {}

        def work(connection: Connection) -> dict[str, ClaimResult]:
            rows = connection.execute(_GET_OUTCOMES, {"calls": list(call_ids)})
            return {row.call_id: _from_row(row) for row in rows}

        return await self._database.read(work)

    async def find_entries(self, call_ids: Sequence[str]) -> dict[str, JournalEntry]:
        """Find the entries of these calls, by call id; calls that nobody began are left out."""
        if not call_ids:
            return {}

        def work(connection: Connection) -> dict[str, JournalEntry]:
            rows = connection.execute(_GET_ENTRIES, {"calls": call_ids})
            return {
                row.call_id: JournalEntry(tool=row.tool, at=row.claimed, finished=row.finished, failed=row.failed)
                for row in rows
            }

        return await self._database.read(work)

    async def count(self, thread: str, *, excluded_ids: Sequence[str] = ()) -> int:
        """Count the calls of this thread that were begun, those of `excluded_ids` left out. It looks at every row: for
        Studio."""
        values = {"which": thread, "others": list(excluded_ids)}
        return await self._database.read(lambda connection: connection.scalar(_COUNT, values) or 0)

    async def prune(self, before: float) -> int:
        """Delete calls that were claimed before this time, and return how many there were."""
        statement = delete(journal).where(journal.c.claimed < before)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _claim(connection: Connection, calls: Sequence[Claim]) -> dict[str, ClaimResult]:
    mine: set[str] = set()
    known: dict[str, AnyRow] = {}
    # Always in the same order, so that no two processes wait for each other.
    unsettled: list[Claim] = sorted(calls, key=lambda call: call.call_id)
    while unsettled:
        # The insert decides: where another process claims the same call, it waits until that one is through.
        mine.update(id for (id,) in prepared_statements.read(connection, _ADD, *map(_to_row, unsettled)))
        if others := [call.call_id for call in calls if call.call_id not in mine]:
            known = {row.call_id: row for row in connection.execute(_GET_OUTCOMES, {"calls": others})}
        # Neither: it was pruned between the two statements.
        unsettled = [call for call in unsettled if call.call_id not in mine and call.call_id not in known]
    answers: dict[str, ClaimResult] = {}
    for call in calls:
        if call.call_id in mine:
            answers[call.call_id] = ClaimResult(state="claimed", since=call.now)
            if call.needs_approval and not _use_approval(connection, call):
                connection.execute(_DELETE, {"call": call.call_id})
                answers[call.call_id] = ClaimResult(state="refused")
            continue
        row = known[call.call_id]
        if (row.tool, row.digest) != (call.tool, call.digest):
            answers[call.call_id] = ClaimResult(state="taken")
        else:
            answers[call.call_id] = _from_row(row)
    return answers


def _to_row(call: Claim) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "thread": call.thread,
        "tool": call.tool,
        "digest": call.digest,
        "claimed": call.now,
        "finished": False,
        "failed": False,
    }


def _from_row(row: AnyRow) -> ClaimResult:
    if row.finished:
        return ClaimResult(state="done", result=row.result, failed=row.failed, since=row.claimed)
    return ClaimResult(state="running", since=row.claimed)


def _use_approval(connection: Connection, call: Claim) -> bool:
    which = {"call": call.call_id, "exactly": call.digest, "moment": call.now}
    return connection.execute(_USE_APPROVAL, which).rowcount == 1
