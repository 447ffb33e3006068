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
from graphs.store.audit.chain import ChainHead, ChainReport, check_chain
from graphs.store.audit.record import (
    GENESIS_HASH,
    RECORD_NAMES,
    AuditEntry,
    AuditKind,
    AuditRecord,
    fit_text,
    seal_entry,
)
from graphs.store.backends import prepared_statements
from graphs.store.backends.base import Database
from graphs.store.tables import AnyRow, AnySelect, audit, audit_head
from graphs.text import dump_canonical_json

PRUNE_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which records: all that fit everything that is given. Times are seconds since the epoch."""

    owners: Sequence[str] | None = None
    turns: Sequence[str] | None = None
    calls: Sequence[str] | None = None
    """Call ids."""
    user: str | None = None
    key: str | None = None
    role: str | None = None
    tool: str | None = None
    """A pattern over `server/tool`, as rules write it."""
    graph: str | None = None
    verdict: str | None = None
    kind: AuditKind | None = None
    since: float | None = None
    until: float | None = None
    after: int | None = None
    """Only records with a greater number."""
    limit: int | None = 100
    """None: all."""


_ALL: AnySelect = select(*(audit.c[name] for name in RECORD_NAMES))
_IN_ORDER = _ALL.order_by(audit.c.seq)
_HEAD = select(audit_head.c.seq, audit_head.c.hash)
_HEAD_TO_CHANGE = _HEAD.with_for_update()
_NEW_HEAD = insert_new(audit_head).on_conflict_do_nothing()
_MOVE_HEAD = update(audit_head)
_ADD = insert(audit)
_LAST = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_EXISTING = select(audit.c.call_id, audit.c.kind, audit.c.verdict, audit.c.rule, audit.c.outcome).where(
    audit.c.call_id.in_(bindparam("calls", expanding=True))
)
_ASK_RECORDS = _ALL.where(
    audit.c.call_id.in_(bindparam("calls", expanding=True)), audit.c.kind == "decision", audit.c.verdict == "ask"
).order_by(audit.c.seq)
_FIRST = select(func.min(audit.c.seq))
_OLDEST = select(audit.c.seq, audit.c.time, audit.c.hash, audit.c.kind).order_by(audit.c.seq).limit(PRUNE_BATCH)
_DELETE = delete(audit).where(audit.c.seq <= bindparam("through"))


def append_entries(connection: Connection, entries: Sequence[AuditEntry], *, once: bool = False) -> None:
    """Append records to the chain, as the last thing that a writing transaction does.

    With `once`, a record that says the same of the same call as an earlier one is left out: a node that runs again adds
    nothing.
    """
    if not entries:
        return
    head = _lock_head(connection)
    if once:
        calls = list({fit_text(entry.call_id) for entry in entries})
        said = {tuple(row) for row in connection.execute(_EXISTING, {"calls": calls})}
        entries = [
            entry
            for entry in entries
            if (fit_text(entry.call_id), entry.kind, entry.verdict, fit_text(entry.rule), entry.outcome) not in said
        ]
        if not entries:
            return
    rows: list[dict[str, Any]] = []
    for entry in entries:
        values = seal_entry(entry, head.seq + 1, head.hash)
        head = ChainHead(seq=values["seq"], hash=values["hash"])
        args = values["args"]
        rows.append({**values, "args": None if args is None else dump_canonical_json(args)})
    prepared_statements.write(connection, _ADD, *rows)
    prepared_statements.write(connection, _MOVE_HEAD, {"seq": head.seq, "hash": head.hash})


def find_ask_records(connection: Connection, call_ids: Sequence[str]) -> Mapping[str, AuditRecord]:
    """Find the records that say that these calls are to be asked, by call id."""
    if not call_ids:
        return {}
    return {row.call_id: read_row(row) for row in connection.execute(_ASK_RECORDS, {"calls": list(call_ids)})}


class AuditLog:
    """The audit of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Append records in a transaction of their own; what an earlier record says of the same call is left out."""
        if entries:
            await self._database.write(lambda connection: append_entries(connection, entries, once=True))

    async def find(self, criteria: AuditFilter, *, oldest_first: bool = False) -> tuple[AuditRecord, ...]:
        """Find the newest records that fit, newest first; or the oldest ones, oldest first."""
        statement = _build_query(criteria).order_by(audit.c.seq if oldest_first else audit.c.seq.desc())

        def work(connection: Connection) -> tuple[AuditRecord, ...]:
            found: list[AuditRecord] = []
            rows = connection.execute(statement.execution_options(yield_per=500))
            for row in rows:
                # Patterns tell upper case from lower; not every database does.
                if criteria.tool is None or matches(criteria.tool, row.tool):
                    found.append(read_row(row))
                    if len(found) == criteria.limit:
                        break
            rows.close()
            return tuple(found)

        return await self._database.read(work)

    async def read_head(self) -> ChainHead:
        """Read the newest record's number and hash."""
        return await self._database.read(lambda connection: find_head(connection) or ChainHead())

    async def verify(self, anchors: Mapping[int, str] | None = None) -> ChainReport:
        """Check the whole chain. `anchors` are hashes by number that must still be in it."""

        def work(connection: Connection) -> ChainReport:
            head = find_head(connection)
            empty = connection.scalar(_FIRST) is None
            # A store in which nothing was ever recorded has no head.
            return check_chain(_read_records(connection), ChainHead() if head is None and empty else head, anchors)

        return await self._database.read(work)

    async def prune(self, before: float, *, now: float) -> int:
        """Delete the records before this time, and return how many there were.

        A record of the deletion is appended: with it the chain still holds, and nothing else can be missing.
        """
        # What this pruning records of itself is not its to forget, however its times compare.
        last = (await self.read_head()).seq
        forgotten = 0
        while count := await self._database.write(lambda connection: _prune(connection, before, last, now)):
            forgotten += count
        return forgotten


def find_head(connection: Connection) -> ChainHead | None:
    """Find the newest record's number and hash; None where nothing was ever recorded."""
    row = connection.execute(_HEAD).first()
    return None if row is None else ChainHead(seq=row.seq, hash=row.hash)


def _lock_head(connection: Connection) -> ChainHead:
    """Read the head and lock it until this transaction ends."""
    rows = prepared_statements.read(connection, _HEAD_TO_CHANGE, {})
    if not rows:
        last = connection.execute(_LAST).first()
        connection.execute(
            _NEW_HEAD, {"id": 1, "seq": last.seq if last else 0, "hash": last.hash if last else GENESIS_HASH}
        )
        # Another process may have been first.
        rows = prepared_statements.read(connection, _HEAD_TO_CHANGE, {})
    ((seq, hash),) = rows
    return ChainHead(seq=seq, hash=hash)


def _build_query(criteria: AuditFilter) -> AnySelect:
    statement = _ALL
    lists = ((audit.c.owner, criteria.owners), (audit.c.turn, criteria.turns), (audit.c.call_id, criteria.calls))
    for column, values in lists:
        if values is not None:
            statement = statement.where(column.in_(list(values)))
    for name in ("user", "key", "graph", "verdict", "kind"):
        if (value := getattr(criteria, name)) is not None:
            statement = statement.where(audit.c[name] == value)
    if (role := criteria.role) is not None:
        both = (
            audit.c.role.startswith(f"{role} & ", autoescape=True),
            audit.c.role.endswith(f" & {role}", autoescape=True),
        )
        statement = statement.where(or_(audit.c.role == role, *both))
    if criteria.tool is not None and not set("*?") & set(criteria.tool):
        statement = statement.where(audit.c.tool == criteria.tool)
    if criteria.since is not None:
        statement = statement.where(audit.c.time >= criteria.since)
    if criteria.until is not None:
        statement = statement.where(audit.c.time < criteria.until)
    if criteria.after is not None:
        statement = statement.where(audit.c.seq > criteria.after)
    return statement


def _read_records(connection: Connection) -> Iterator[tuple[AuditRecord, bool]]:
    """Yield all records, each with whether its arguments are stored in canonical form."""
    for row in connection.execute(_IN_ORDER.execution_options(yield_per=1000)):
        record = read_row(row)
        yield record, row.args is None or dump_canonical_json(record.args) == row.args


def read_row(row: AnyRow) -> AuditRecord:
    values = dict(zip(RECORD_NAMES, row, strict=True))
    try:
        values["args"] = None if row.args is None else json.loads(row.args)
    except (ValueError, TypeError, RecursionError):
        # Not ours: somebody changed it. `verify` says so; whoever shows records must not fail over it.
        values["args"] = {"unreadable": True}
    return AuditRecord(**values)


def _prune(connection: Connection, before: float, through: int, now: float) -> int:
    _lock_head(connection)
    # Only whole beginnings of the chain: clocks may differ, so a later record may be the older one.
    oldest = list(takewhile(lambda row: row.time < before and row.seq <= through, connection.execute(_OLDEST).all()))
    # To forget nothing but that something was forgotten would take a record in its place, for ever.
    if not oldest or (len(oldest) == 1 and oldest[0].kind == "pruned"):
        return 0
    last = oldest[-1]
    count = connection.execute(_DELETE, {"through": last.seq}).rowcount
    args = {"records": count, "through": last.seq, "hash": last.hash}
    append_entries(connection, [AuditEntry(time=now, kind="pruned", rule="gateway.yaml: retention.audit", args=args)])
    return count
