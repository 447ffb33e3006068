"""Addresses that show keys which are none."""

from __future__ import annotations

import asyncio

import pytest

from server.auth import failed_keys
from server.auth.addresses import UNKNOWN
from server.auth.failed_keys import MOST_WAITING, AddressLocked, FailedKeys


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> FailedKeys:
    return FailedKeys(lambda: 3, clock)


def fail(keys: FailedKeys, address: str, times: int) -> int:
    """How many of them were answered 429."""
    locked = 0
    for _ in range(times):
        try:
            keys.note_failure(address)
        except AddressLocked as error:
            locked += 1 <= error.retry_after <= 60
    return locked


def test_an_address_is_locked_for_the_rest_of_its_minute(keys: FailedKeys, clock: Clock) -> None:
    assert fail(keys, "a", 5) == 2
    assert fail(keys, "b", 3) == 0
    clock.now += 59
    assert fail(keys, "a", 1) == 1
    clock.now += 2
    assert fail(keys, "a", 3) == 0


def test_an_address_with_a_valid_key_is_never_locked(keys: FailedKeys, clock: Clock) -> None:
    assert fail(keys, "a", 9) == 6
    keys.note_valid("a")
    assert fail(keys, "a", 100) == 0
    clock.now += 3599
    assert fail(keys, "a", 100) == 0
    clock.now += 2
    assert fail(keys, "a", 4) == 1


def test_a_valid_key_frees_nobody_whose_address_is_unknown(keys: FailedKeys) -> None:
    keys.note_valid(UNKNOWN)
    assert fail(keys, UNKNOWN, 5) == 2
    keys.note_valid(UNKNOWN)
    assert fail(keys, UNKNOWN, 1) == 1


def test_so_many_addresses_are_remembered(keys: FailedKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_keys, "MOST_ADDRESSES", 10)
    for number in range(100):
        assert fail(keys, str(number), 4) == 1
        keys.note_valid(f"valid {number}")
    assert fail(keys, "0", 1) == 0  # forgotten
    assert fail(keys, "99", 1) == 1


async def test_a_locked_address_asks_one_after_the_other(keys: FailedKeys) -> None:
    running = most = 0

    async def ask() -> None:
        nonlocal running, most
        async with keys.guard_lookup("a"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    await asyncio.gather(*(ask() for _ in range(5)))
    assert most == 5
    fail(keys, "a", 3)
    most = 0
    results = await asyncio.gather(*(ask() for _ in range(MOST_WAITING + 5)), return_exceptions=True)
    assert most == 1
    assert [type(each) for each in results].count(AddressLocked) == 5
    await ask()  # and goes on
