"""What each caller used lately under each role: what limits are held against, the same for every process and replica.

Own code after a look at what there is: `limits` keeps its counts in Redis, Memcached or MongoDB; `pyrate-limiter` has
buckets in SQLite and PostgreSQL, each with a connection, a table and a lock of its own. Neither could add up a turn's
tokens in the transaction that ends the turn, nor count beside our migrations in the one database that all share.

A window slides: it is counted in slots, and the oldest leaves when the window's length has passed since it began. So
the limit holds within any window to the length of a slot, and when there is room again is known to the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from graphs.store.backends.base import Database
from graphs.store.tables import AnyRow, AnySelect, usage

Kind = Literal["requests_per_minute", "tokens_per_day"]

Slots = Sequence[tuple[int, int]]
"""Pairs of a slot's number, which counts from the epoch, and what was used in it; oldest first."""

_WHICH = (usage.c.owner == bindparam("which_owner"), usage.c.role == bindparam("which_role"))
_LOOK: AnySelect = select(usage.c.requests, usage.c.tokens).where(*_WHICH)
_HOLD: AnySelect = _LOOK.with_for_update()
_ADD = insert(usage).on_conflict_do_nothing()
_KEEP = update(usage).where(*_WHICH)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A time that slides."""

    slot: int
    """Seconds."""
    slots: int

    def lately(self, kept: Slots, now: float) -> Slots:
        """What of `kept` still counts. What a clock far ahead of this one wrote does not."""
        here = int(now // self.slot)
        return [(slot, used) for slot, used in kept if here - self.slots < slot <= here + self.slots]

    def more(self, kept: Slots, amount: int, now: float) -> Slots:
        """What is kept when `amount` more is used now."""
        here = int(now // self.slot)
        used = dict(self.lately(kept, now))
        used[here] = used.get(here, 0) + amount
        return [(slot, used[slot]) for slot in sorted(used)]

    def room_at(self, kept: Slots, most: int, now: float) -> float:
        """When something more may be used (seconds since the epoch): `now`, or when enough of it has left."""
        counted = self.lately(kept, now)
        left = sum(used for _, used in counted)
        for slot, used in counted:
            if left < most:
                break
            left -= used
            now = max(now, float((slot + self.slots) * self.slot))
        return now

    def until(self, kept: Slots) -> float:
        """When nothing of it counts any more."""
        return float((kept[-1][0] + self.slots) * self.slot) if kept else 0.0


MINUTE = Window(slot=1, slots=60)
DAY = Window(slot=1800, slots=48)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What binds a caller under one role; None: nothing."""

    role: str
    requests: int | None
    """In a minute."""
    tokens: int | None
    """In a day."""


@dataclass(frozen=True, kw_only=True)
class Full:
    """A limit that is reached."""

    role: str
    kind: Kind
    until: float
    """When there is room again, in seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Tokens that a caller used."""

    owner: str
    roles: tuple[str, ...]
    """Those that count tokens."""
    tokens: int
    now: float


class Usage:
    """What was used lately, in one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, owner: str, bounds: Sequence[Bound], now: float) -> Full | None:
        """Counts one request under each of these roles if there is room under all of them. Else nothing is counted,
        and what is returned is the limit that is full the longest."""
        # Always in the same order, so that no two processes wait for each other.
        ordered = sorted(bounds, key=lambda bound: bound.role)

        def work(connection: Connection) -> Full | None:
            rows = {bound.role: _held(connection, owner, bound.role) for bound in ordered if bound.requests is not None}
            full: list[Full] = []
            for bound in ordered:
                row = rows.get(bound.role) or connection.execute(_LOOK, _which(owner, bound.role)).first()
                full += _full(bound, row, now) if row is not None else ()
            if full:
                return max(full, key=lambda each: each.until)
            for role, (requests, tokens) in rows.items():
                _keep(connection, owner, role, MINUTE.more(requests, 1, now), tokens)
            return None

        if all(bound.requests is None for bound in ordered):
            return await self._database.read(work, brief=True)
        return await self._database.write(work, brief=True)

    async def spend(self, spent: Spent) -> None:
        """Counts tokens."""
        await self._database.write(lambda connection: write_spent(connection, spent))

    async def prune(self, now: float) -> int:
        """Forgets what counts no more, and returns how many rows there were of it."""
        statement = delete(usage).where(usage.c.until < now)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def write_spent(connection: Connection, spent: Spent) -> None:
    """Counts tokens, in a transaction under way."""
    for role in sorted(spent.roles):
        requests, tokens = _held(connection, spent.owner, role)
        _keep(connection, spent.owner, role, requests, DAY.more(tokens, spent.tokens, spent.now))


def _full(bound: Bound, row: AnyRow, now: float) -> Sequence[Full]:
    requests, tokens = row
    rooms: Sequence[tuple[Kind, float]] = (
        ("requests_per_minute", now if bound.requests is None else MINUTE.room_at(requests, bound.requests, now)),
        ("tokens_per_day", now if bound.tokens is None else DAY.room_at(tokens, bound.tokens, now)),
    )
    return [Full(role=bound.role, kind=kind, until=until) for kind, until in rooms if until > now]


def _held(connection: Connection, owner: str, role: str) -> AnyRow:
    """The row of one caller under one role, which nobody else changes until the transaction ends."""
    while (row := connection.execute(_HOLD, _which(owner, role)).first()) is None:
        connection.execute(_ADD, {"owner": owner, "role": role, "requests": [], "tokens": [], "until": 0.0})
    return row


def _keep(connection: Connection, owner: str, role: str, requests: Slots, tokens: Slots) -> None:
    until = max(MINUTE.until(requests), DAY.until(tokens))
    connection.execute(_KEEP, {**_which(owner, role), "requests": requests, "tokens": tokens, "until": until})


def _which(owner: str, role: str) -> dict[str, str]:
    return {"which_owner": owner, "which_role": role}
