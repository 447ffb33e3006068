"""The audit of one store: records are added in the transaction that they are about, found, checked and forgotten.

The order of the chain is that of `audit_head`, one row, whose lock every writer takes: SQLite has one writer anyway,
and PostgreSQL lets transactions that append follow one another. So appending is the last thing a transaction does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_new

from graphs.policy.patterns import matches
from graphs.store import prepared_statements
from graphs.store.audit.chain import Checked, Head, check
from graphs.store.audit.record import NAMES, START, AuditEntry, AuditRecord, Kind, canonical_json, fit, sealed
from graphs.store.backends.base import Database
from graphs.store.tables import AnyRow, AnySelect, audit, audit_head

PRUNED_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which records: all that fit everything that is given. Times are seconds since the epoch."""

    owners: Sequence[str] | None = None
    turns: Sequence[str] | None = None
    user: str | None = None
    key: str | None = None
    role: str | None = None
    tool: str | None = None
    """A pattern over `server/tool`, as rules write it."""
    graph: str | None = None
    verdict: str | None = None
    kind: Kind | None = None
    since: float | None = None
    until: float | None = None
    after: int | None = None
    """Only records with a greater number."""
    limit: int | None = 100
    """None: all."""


_ALL: AnySelect = select(*(audit.c[name] for name in NAMES))
_IN_ORDER = _ALL.order_by(audit.c.seq)
_HEAD = select(audit_head.c.seq, audit_head.c.hash)
_HEAD_TO_CHANGE = _HEAD.with_for_update()
_NEW_HEAD = insert_new(audit_head).on_conflict_do_nothing()
_MOVE_HEAD = update(audit_head)
_ADD = insert(audit)
_LAST = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_SAID = select(audit.c.call_id, audit.c.kind, audit.c.verdict, audit.c.rule, audit.c.outcome).where(
    audit.c.call_id.in_(bindparam("calls", expanding=True))
)
_ASKED = _ALL.where(
    audit.c.call_id.in_(bindparam("calls", expanding=True)), audit.c.kind == "decision", audit.c.verdict == "ask"
).order_by(audit.c.seq)
_FIRST = select(func.min(audit.c.seq))
_OLDEST = select(audit.c.seq, audit.c.time, audit.c.hash, audit.c.kind).order_by(audit.c.seq).limit(PRUNED_AT_ONCE)
_FORGET = delete(audit).where(audit.c.seq <= bindparam("through"))


def append(connection: Connection, entries: Sequence[AuditEntry], *, once: bool = False) -> None:
    """Adds records at the end of the chain, as the last thing that a writing transaction does.

    With `once`, what is already said of a call in the same words is left out: a node that runs again says nothing new.
    """
    if not entries:
        return
    head = _held_head(connection)
    if once:
        calls = list({fit(entry.call_id) for entry in entries})
        said = {tuple(row) for row in connection.execute(_SAID, {"calls": calls})}
        entries = [
            entry
            for entry in entries
            if (fit(entry.call_id), entry.kind, entry.verdict, fit(entry.rule), entry.outcome) not in said
        ]
        if not entries:
            return
    rows: list[dict[str, Any]] = []
    for entry in entries:
        values = sealed(entry, head.seq + 1, head.hash)
        head = Head(seq=values["seq"], hash=values["hash"])
        args = values["args"]
        rows.append({**values, "args": None if args is None else canonical_json(args)})
    prepared_statements.write(connection, _ADD, *rows)
    prepared_statements.write(connection, _MOVE_HEAD, {"seq": head.seq, "hash": head.hash})


def asked(connection: Connection, call_ids: Sequence[str]) -> Mapping[str, AuditRecord]:
    """The records that say that these calls are to be asked, by call id."""
    if not call_ids:
        return {}
    return {row.call_id: _from_row(row) for row in connection.execute(_ASKED, {"calls": list(call_ids)})}


class Audit:
    """The audit of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Adds records in a transaction of their own; what is already said of a call is left out."""
        if entries:
            await self._database.write(lambda connection: append(connection, entries, once=True))

    async def find(self, wanted: AuditFilter, *, oldest_first: bool = False) -> tuple[AuditRecord, ...]:
        """The newest records that fit, newest first; or the oldest ones, oldest first."""
        statement = _chosen(wanted).order_by(audit.c.seq if oldest_first else audit.c.seq.desc())

        def work(connection: Connection) -> tuple[AuditRecord, ...]:
            found: list[AuditRecord] = []
            rows = connection.execute(statement.execution_options(yield_per=500))
            for row in rows:
                # Patterns tell upper case from lower; not every database does.
                if wanted.tool is None or matches(wanted.tool, row.tool):
                    found.append(_from_row(row))
                    if len(found) == wanted.limit:
                        break
            rows.close()
            return tuple(found)

        return await self._database.read(work)

    async def head(self) -> Head:
        """The newest record's number and hash."""
        return await self._database.read(lambda connection: _head(connection) or Head())

    async def verify(self, anchors: Mapping[int, str] | None = None) -> Checked:
        """Walks the whole chain. `anchors` are hashes by number that must still be in it."""

        def work(connection: Connection) -> Checked:
            head = _head(connection)
            empty = connection.scalar(_FIRST) is None
            # A store in which nothing was ever recorded has no head.
            return check(_read(connection), Head() if head is None and empty else head, anchors)

        return await self._database.read(work)

    async def prune(self, before: float, *, now: float) -> int:
        """Forgets the oldest records, those before this time, and returns how many there were.

        What was forgotten is a record itself: with it the chain still holds, and nothing else can be missing.
        """
        # What this pruning records of itself is not its to forget, however its times compare.
        last = (await self.head()).seq
        forgotten = 0
        while count := await self._database.write(lambda connection: _prune(connection, before, last, now)):
            forgotten += count
        return forgotten


def _head(connection: Connection) -> Head | None:
    row = connection.execute(_HEAD).first()
    return None if row is None else Head(seq=row.seq, hash=row.hash)


def _held_head(connection: Connection) -> Head:
    """The head, which nobody else can change until this transaction ends."""
    rows = prepared_statements.read(connection, _HEAD_TO_CHANGE, {})
    if not rows:
        last = connection.execute(_LAST).first()
        connection.execute(_NEW_HEAD, {"id": 1, "seq": last.seq if last else 0, "hash": last.hash if last else START})
        # Another process may have been first.
        rows = prepared_statements.read(connection, _HEAD_TO_CHANGE, {})
    ((seq, hash),) = rows
    return Head(seq=seq, hash=hash)


def _chosen(wanted: AuditFilter) -> AnySelect:
    statement = _ALL
    for column, values in ((audit.c.owner, wanted.owners), (audit.c.turn, wanted.turns)):
        if values is not None:
            statement = statement.where(column.in_(list(values)))
    for name in ("user", "key", "graph", "verdict", "kind"):
        if (value := getattr(wanted, name)) is not None:
            statement = statement.where(audit.c[name] == value)
    if (role := wanted.role) is not None:
        both = (
            audit.c.role.startswith(f"{role} & ", autoescape=True),
            audit.c.role.endswith(f" & {role}", autoescape=True),
        )
        statement = statement.where(or_(audit.c.role == role, *both))
    if wanted.tool is not None and not set("*?") & set(wanted.tool):
        statement = statement.where(audit.c.tool == wanted.tool)
    if wanted.since is not None:
        statement = statement.where(audit.c.time >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(audit.c.time < wanted.until)
    if wanted.after is not None:
        statement = statement.where(audit.c.seq > wanted.after)
    return statement


def _read(connection: Connection) -> Iterator[tuple[AuditRecord, bool]]:
    """All records, and whether their arguments are written as we write them."""
    for row in connection.execute(_IN_ORDER.execution_options(yield_per=1000)):
        record = _from_row(row)
        yield record, row.args is None or canonical_json(record.args) == row.args


def _from_row(row: AnyRow) -> AuditRecord:
    values = dict(zip(NAMES, row, strict=True))
    try:
        values["args"] = None if row.args is None else json.loads(row.args)
    except (ValueError, TypeError, RecursionError):
        # Not ours: somebody changed it. `verify` says so; whoever shows records must not fail over it.
        values["args"] = {"unreadable": True}
    return AuditRecord(**values)


def _prune(connection: Connection, before: float, through: int, now: float) -> int:
    _held_head(connection)
    # Only whole beginnings of the chain: clocks may differ, so a later record may be the older one.
    oldest = list(takewhile(lambda row: row.time < before and row.seq <= through, connection.execute(_OLDEST).all()))
    # To forget nothing but that something was forgotten would take a record in its place, for ever.
    if not oldest or (len(oldest) == 1 and oldest[0].kind == "pruned"):
        return 0
    last = oldest[-1]
    count = connection.execute(_FORGET, {"through": last.seq}).rowcount
    args = {"records": count, "through": last.seq, "hash": last.hash}
    append(connection, [AuditEntry(time=now, kind="pruned", rule="gateway.yaml: retention.audit", args=args)])
    return count
