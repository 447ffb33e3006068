"""The usage of each caller under each role, which limits are held against, the same for every process and replica.

No library does this: `limits` keeps its counts in Redis, Memcached or MongoDB; `pyrate-limiter` has
buckets in SQLite and PostgreSQL, each with a connection, a table and a lock of its own. Neither could add up a turn's
tokens in the transaction that ends the turn, nor count beside our migrations in the one database that all share.

A window slides: it is counted in slots, and the oldest leaves when the window's length has passed since it began. So
the limit holds within any window to the length of a slot, and when there is room again is known to the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from graphs.store.backends.base import Database
from graphs.store.tables import AnyRow, AnySelect, usage

RequestKind = Literal["requests_per_minute", "endpoint_requests_per_minute"]
"""What a request counts as: one that is asked for many at a time has a limit of its own."""
LimitKind = Literal[RequestKind, "tokens_per_day"]

Slots = Sequence[tuple[int, int]]
"""Pairs of a slot's number, which counts from the epoch, and what was used in it; oldest first."""

_KEY = (usage.c.owner == bindparam("which_owner"), usage.c.role == bindparam("which_role"))
_GET: AnySelect = select(usage.c.requests, usage.c.endpoint_requests, usage.c.tokens).where(*_KEY)
_LOCK: AnySelect = _GET.with_for_update()
_ADD = insert(usage).on_conflict_do_nothing()
_UPDATE = update(usage).where(*_KEY)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A sliding window of time."""

    slot: int
    """Seconds."""
    slots: int

    def select_current(self, usage_slots: Slots, now: float) -> Slots:
        """Select the slots that still count. What a clock far ahead of this one wrote does not."""
        here = int(now // self.slot)
        return [(slot, used) for slot, used in usage_slots if here - self.slots < slot <= here + self.slots]

    def add(self, usage_slots: Slots, amount: int, now: float) -> Slots:
        """Add `amount` that is used now."""
        here = int(now // self.slot)
        used = dict(self.select_current(usage_slots, now))
        used[here] = used.get(here, 0) + amount
        return [(slot, used[slot]) for slot in sorted(used)]

    def find_room_time(self, usage_slots: Slots, most: int, now: float) -> float:
        """Find when there is room again (seconds since the epoch): `now`, or when enough has left the window."""
        counted = self.select_current(usage_slots, now)
        left = sum(used for _, used in counted)
        for slot, used in counted:
            if left < most:
                break
            left -= used
            now = max(now, float((slot + self.slots) * self.slot))
        return now

    def compute_end(self, usage_slots: Slots) -> float:
        """Compute when nothing of it counts any more."""
        return float((usage_slots[-1][0] + self.slots) * self.slot) if usage_slots else 0.0


MINUTE = Window(slot=1, slots=60)
DAY = Window(slot=1800, slots=48)
_WINDOWS: Mapping[str, Window] = {"requests": MINUTE, "endpoint_requests": MINUTE, "tokens": DAY}
"""The columns of slots."""
_COLUMNS: Mapping[RequestKind, str] = {
    "requests_per_minute": "requests",
    "endpoint_requests_per_minute": "endpoint_requests",
}


@dataclass(frozen=True, kw_only=True)
class RoleLimits:
    """The limits of a caller under one role; None: no limit."""

    role: str
    requests: int | None
    """In a minute, of `kind`."""
    tokens: int | None
    """In a day."""
    kind: RequestKind = "requests_per_minute"


@dataclass(frozen=True, kw_only=True)
class ExhaustedLimit:
    """A limit that is reached."""

    role: str
    kind: LimitKind
    until: float
    """When there is room again, in seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class TokenSpend:
    """Tokens that a caller used."""

    owner: str
    roles: tuple[str, ...]
    """Those that count tokens."""
    tokens: int
    now: float


class RoleUsage:
    """The usage in one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, owner: str, limits: Sequence[RoleLimits], now: float) -> ExhaustedLimit | None:
        """Count one request under each of these roles if there is room under all of them. Else count nothing, and
        return the limit that stays full the longest."""
        # Always in the same order, so that no two processes wait for each other.
        ordered = sorted(limits, key=lambda bound: bound.role)

        def work(connection: Connection) -> ExhaustedLimit | None:
            rows = {
                bound.role: _lock_row(connection, owner, bound.role) for bound in ordered if bound.requests is not None
            }
            full: list[ExhaustedLimit] = []
            for bound in ordered:
                row = rows.get(bound.role) or connection.execute(_GET, _make_key(owner, bound.role)).first()
                full += _find_exhausted(bound, row, now) if row is not None else ()
            if full:
                return max(full, key=lambda each: each.until)
            for bound in ordered:
                if (row := rows.get(bound.role)) is not None:
                    name = _COLUMNS[bound.kind]
                    _update_row(connection, owner, bound.role, row, **{name: MINUTE.add(getattr(row, name), 1, now)})
            return None

        if all(bound.requests is None for bound in ordered):
            return await self._database.read(work, brief=True)
        return await self._database.write(work, brief=True)

    async def spend(self, spend: TokenSpend) -> None:
        """Add used tokens."""
        await self._database.write(lambda connection: write_token_spend(connection, spend))

    async def prune(self, now: float) -> int:
        """Delete what counts no more, and return how many rows there were."""
        statement = delete(usage).where(usage.c.until < now)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def write_token_spend(connection: Connection, spend: TokenSpend) -> None:
    """Add used tokens, in a transaction under way."""
    for role in sorted(spend.roles):
        row = _lock_row(connection, spend.owner, role)
        _update_row(connection, spend.owner, role, row, tokens=DAY.add(row.tokens, spend.tokens, spend.now))


def _find_exhausted(limits: RoleLimits, row: AnyRow, now: float) -> Sequence[ExhaustedLimit]:
    requests: Slots = getattr(row, _COLUMNS[limits.kind])
    rooms: Sequence[tuple[LimitKind, float]] = (
        (limits.kind, now if limits.requests is None else MINUTE.find_room_time(requests, limits.requests, now)),
        ("tokens_per_day", now if limits.tokens is None else DAY.find_room_time(row.tokens, limits.tokens, now)),
    )
    return [ExhaustedLimit(role=limits.role, kind=kind, until=until) for kind, until in rooms if until > now]


def _lock_row(connection: Connection, owner: str, role: str) -> AnyRow:
    """Lock the row of one caller under one role until the transaction ends."""
    while (row := connection.execute(_LOCK, _make_key(owner, role)).first()) is None:
        empty: Mapping[str, Slots] = {"requests": [], "endpoint_requests": [], "tokens": []}
        connection.execute(_ADD, {"owner": owner, "role": role, **empty, "until": 0.0})
    return row


def _update_row(connection: Connection, owner: str, role: str, row: AnyRow, **changes: Slots) -> None:
    """Change some of the columns of slots; what is used counts until the last of all of them is over."""
    slots: Mapping[str, Slots] = {**{name: getattr(row, name) for name in _WINDOWS}, **changes}
    until = max(window.compute_end(slots[name]) for name, window in _WINDOWS.items())
    connection.execute(_UPDATE, {**_make_key(owner, role), **changes, "until": until})


def _make_key(owner: str, role: str) -> dict[str, str]:
    return {"which_owner": owner, "which_role": role}
