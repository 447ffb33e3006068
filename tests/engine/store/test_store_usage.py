"""What callers used, as the store counts it: windows that slide, and one count for all who count at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from graphs.store.store import Store
from graphs.store.turns import TurnEnd, TurnRow
from graphs.store.usage import DAY, MINUTE, ExhaustedLimit, RoleLimits, Slots, TokenSpend, Window

NOON = 1_800_000_000.0
"""Begins a slot of each window."""


def bound(role: str = "dev", requests: int | None = None, tokens: int | None = None) -> RoleLimits:
    return RoleLimits(role=role, requests=requests, tokens=tokens)


def spent(tokens: int, now: float, owner: str = "ada", roles: tuple[str, ...] = ("dev",)) -> TokenSpend:
    return TokenSpend(owner=owner, roles=roles, tokens=tokens, now=now)


# --- windows ---


@given(some.lists(some.floats(0, 200), max_size=60), some.integers(1, 8))
def test_a_minute_never_holds_more_than_its_limit_and_room_comes_when_it_was_said(
    times: Sequence[float], most: int
) -> None:
    kept: Slots = []
    let_in: list[float] = []
    for now in (NOON + time for time in sorted(times)):
        room = MINUTE.find_room_time(kept, most, now)
        if room <= now:
            kept = MINUTE.add(kept, 1, now)
            let_in.append(now)
        else:
            assert room - now <= 60
            assert MINUTE.find_room_time(kept, most, room - 0.001) == room
            assert MINUTE.find_room_time(kept, most, room) == room
    for first, next_one in zip(let_in, let_in[most:], strict=False):
        assert next_one - first > 59
    assert len(kept) <= MINUTE.slots


@pytest.mark.parametrize(
    ("later", "left"), [(0, 30), (23.4 * 3600, 30), (23.6 * 3600, 20), (24.1 * 3600, 20), (48 * 3600, 0)]
)
def test_a_day_forgets_half_hour_by_half_hour(later: float, left: int) -> None:
    kept = DAY.add(DAY.add([], 10, NOON - 900), 20, NOON + 1800)
    assert sum(used for _, used in DAY.select_current(kept, NOON + later)) == left


def test_there_is_room_when_enough_has_left_and_not_before() -> None:
    kept = DAY.add(DAY.add(DAY.add([], 10, NOON), 20, NOON + 1800), 5, NOON + 3600)
    rooms = [DAY.find_room_time(kept, most, NOON + 3600) - NOON for most in (36, 35, 26, 25, 5)]
    assert rooms == [3600, 86400, 86400, 88200, 90000]


def test_what_a_clock_that_is_a_year_ahead_has_written_binds_nobody() -> None:
    kept = MINUTE.add([], 99, NOON + 365 * 86400)
    assert MINUTE.find_room_time(kept, 1, NOON) == NOON
    assert len(MINUTE.add(kept, 1, NOON)) == 1


def test_a_window_that_is_empty_counts_until_nothing() -> None:
    assert (MINUTE.compute_end([]), Window(slot=10, slots=3).compute_end([(5, 1)])) == (0.0, 80.0)


# --- callers ---


async def test_requests_are_counted_for_each_owner_and_role_and_refused_ones_are_not(store: Store) -> None:
    two = [bound(requests=2)]
    for _ in range(2):
        assert await store.usage.admit("ada", two, NOON) is None
    for _ in range(5):
        assert await store.usage.admit("ada", two, NOON + 59) == ExhaustedLimit(
            role="dev", kind="requests_per_minute", until=NOON + 60
        )
    assert await store.usage.admit("bob", two, NOON) is None
    assert await store.usage.admit("ada", [bound("admin", requests=1)], NOON) is None
    assert await store.usage.admit("ada", two, NOON + 60) is None


async def test_a_request_that_one_role_refuses_counts_under_none(store: Store) -> None:
    both = [bound("wide", requests=9), bound("narrow", requests=1)]
    assert await store.usage.admit("ada", both, NOON) is None
    for _ in range(20):
        refused = await store.usage.admit("ada", both, NOON)
        assert refused is not None
        assert refused.role == "narrow"
    for _ in range(8):
        assert await store.usage.admit("ada", both[:1], NOON) is None
    assert await store.usage.admit("ada", both[:1], NOON) is not None


async def test_of_two_limits_that_are_full_the_one_that_is_full_longer_is_told(store: Store) -> None:
    both = [bound(requests=1, tokens=10)]
    assert await store.usage.admit("ada", both, NOON) is None
    await store.usage.spend(spent(10, NOON))
    assert await store.usage.admit("ada", both, NOON) == ExhaustedLimit(
        role="dev", kind="tokens_per_day", until=NOON + 86400
    )


async def test_tokens_are_counted_with_the_end_of_their_turn_also_where_another_process_has_taken_it_up(
    store: Store,
) -> None:
    limit = [bound(tokens=50), bound("base", tokens=1000)]
    row = TurnRow(id="t1", owner="ada", graph="g", created=NOON, status="finished", base="", worker="mine")
    used = spent(25, NOON, roles=("dev", "base"))
    assert await store.turns.end(TurnEnd(row=row, may_exist=False, spend=used))
    assert await store.usage.admit("ada", limit, NOON) is None
    await store.turns.update("t1", status="running", worker="theirs")
    assert not await store.turns.end(TurnEnd(row=row, may_exist=True, spend=used))
    assert await store.usage.admit("ada", limit, NOON) == ExhaustedLimit(
        role="dev", kind="tokens_per_day", until=NOON + 86400
    )


async def test_what_counts_no_more_is_forgotten_with_the_rest_that_is_old(store: Store) -> None:
    await store.usage.admit("ada", [bound(requests=2)], NOON)
    await store.usage.spend(spent(10, NOON, "bob"))
    month = 30 * 86400.0
    await store.prune(conversations=month, audit=month, now=NOON + 3600)
    assert await store.usage.prune(NOON + 3600) == 0
    assert await store.usage.admit("bob", [bound(tokens=10)], NOON + 3600) is not None
    await store.prune(conversations=month, audit=month, now=NOON + 2 * 86400)
    assert await store.usage.prune(NOON + 365 * 86400) == 0


async def test_of_many_at_once_in_two_processes_as_many_get_in_as_may(storage: str, tmp_path: Path) -> None:
    stores = [await Store.open(storage, tmp_path) for _ in range(2)]
    both = [bound("a", requests=10), bound("b", requests=30)]
    orders = [both, both[::-1]]
    answers = await asyncio.gather(
        *(stores[n % 2].usage.admit("ada", orders[n % 3 % 2], NOON + n / 100) for n in range(64)),
        *(stores[n % 2].usage.spend(spent(7, NOON, roles=("b", "a")[:: 1 - 2 * (n % 2)])) for n in range(20)),
    )
    assert answers[:64].count(None) == 10
    tokens = [bound("a", tokens=140), bound("b", tokens=141)]
    assert await stores[0].usage.admit("ada", tokens[:1], NOON) is not None
    assert await stores[1].usage.admit("ada", tokens[1:], NOON) is None
    for store in stores:
        await store.close()
