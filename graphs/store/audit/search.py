"""Search of the audit, newest records first: in pages, each of which looks at a bounded number of records.

No index is made for it: each would have to be written with every call that runs. A search walks down the number of the
records (the primary key), or the owner's (`audit_by_owner`), and a time is first turned into a number by the index on
times; so what it costs does not grow with the audit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from graphs.events import AuditKind
from graphs.policy.patterns import matches
from graphs.store.audit.log import read_row
from graphs.store.audit.record import RECORD_NAMES, AuditRecord
from graphs.store.backends.base import Database
from graphs.store.tables import audit
from graphs.text import dump_canonical_json

MOST_LOOKED_AT = 5_000
"""Records that one page looks at."""
CLOCK_SLACK = 1_000
"""Records by which the order of numbers may differ from that of times: clocks of processes differ."""
_TEXTS = ("user", "key", "role", "graph", "node", "tool", "rule", "note", "approval", "turn", "call_id")
"""The columns in which a text is searched, beside the arguments."""


@dataclass(frozen=True, kw_only=True)
class AuditSearch:
    """What is searched: all that fit everything that is given. Times are seconds since the epoch."""

    owner: str | None
    """Whose conversations; None: everybody's."""
    who: str = ""
    """A part of the user's or the key's name, in any case of letters."""
    tool: str = ""
    """A pattern over `server/tool`, as rules write it."""
    kind: AuditKind | None = None
    verdict: str = ""
    outcome: str = ""
    since: float | None = None
    until: float | None = None
    text: str = ""
    """A part of any name, rule, note or argument, in any case of letters."""


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """One page of what was found."""

    records: tuple[AuditRecord, ...]
    """The newest first."""
    next: int | None
    """Where the next page begins: records with smaller numbers. None: there are no more."""
    reached: float | None
    """The time of the oldest record that was looked at; None: there was none to look at."""


async def search_audit(database: Database, search: AuditSearch, *, before: int | None, limit: int) -> AuditPage:
    """Find up to `limit` records with numbers smaller than `before`, if that is given. Raises StorageError."""
    return await database.read(lambda connection: _read_page(connection, search, before, limit))


def _read_page(connection: Connection, search: AuditSearch, before: int | None, limit: int) -> AuditPage:
    bounds = _find_bounds(connection, search, before)
    window = (
        select(audit.c.seq, audit.c.time).where(*bounds).order_by(audit.c.seq.desc()).limit(MOST_LOOKED_AT).subquery()
    )
    count, floor = connection.execute(select(func.count(), func.min(window.c.seq)).select_from(window)).one()
    if not count:
        return AuditPage(records=(), next=None, reached=None)
    statement = (
        select(*(audit.c[name] for name in RECORD_NAMES))
        .where(*bounds, audit.c.seq >= floor, *_build_conditions(search))
        .order_by(audit.c.seq.desc())
    )
    found: list[AuditRecord] = []
    rows = connection.execute(statement.execution_options(yield_per=200))
    for row in rows:
        # Patterns tell upper case from lower; not every database does.
        if not search.tool or matches(search.tool, row.tool):
            found.append(read_row(row))
            if len(found) == limit:
                break
    rows.close()
    if len(found) == limit:
        return AuditPage(records=tuple(found), next=found[-1].seq, reached=found[-1].time)
    reached = connection.scalar(select(audit.c.time).where(audit.c.seq == floor))
    return AuditPage(records=tuple(found), next=floor if count == MOST_LOOKED_AT else None, reached=reached)


def _find_bounds(connection: Connection, search: AuditSearch, before: int | None) -> Sequence[ColumnElement[bool]]:
    """Find between which numbers the records stand: conditions that an index answers."""
    bounds: list[ColumnElement[bool]] = []
    if search.owner is not None:
        bounds.append(audit.c.owner == search.owner)
    if before is not None:
        bounds.append(audit.c.seq < before)
    if search.until is not None:
        last = select(audit.c.seq).where(audit.c.time < search.until).order_by(audit.c.time.desc()).limit(1)
        bounds.append(audit.c.seq <= (connection.scalar(last) or 0) + CLOCK_SLACK)
    if search.since is not None:
        first = select(audit.c.seq).where(audit.c.time >= search.since).order_by(audit.c.time).limit(1)
        found = connection.scalar(first)
        # Nothing is so new: no record, not even by another clock.
        bounds.append(audit.c.seq >= (found - CLOCK_SLACK if found is not None else 2**62))
    return bounds


def _build_conditions(search: AuditSearch) -> Sequence[ColumnElement[bool]]:
    made: list[ColumnElement[bool]] = []
    for name in ("kind", "verdict", "outcome"):
        if value := getattr(search, name):
            made.append(audit.c[name] == value)
    if search.since is not None:
        made.append(audit.c.time >= search.since)
    if search.until is not None:
        made.append(audit.c.time < search.until)
    if search.who:
        made.append(_contain(("user", "key"), search.who))
    if search.tool and not set("*?") & set(search.tool):
        made.append(audit.c.tool == search.tool)
    if search.text:
        # Arguments are kept as JSON, in which letters may be escaped.
        written: Any = dump_canonical_json(search.text)[1:-1]
        made.append(or_(_contain(_TEXTS, search.text), audit.c.args.icontains(written, autoescape=True)))
    return made


def _contain(names: Sequence[str], text: str) -> ColumnElement[bool]:
    return or_(*(audit.c[name].icontains(text, autoescape=True) for name in names))
