"""Batches do what comes at the same time together, in order, and nobody gets lost in them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from graphs.store.batches import Batches


class Log:
    """Runs batches, and notes them. An item below zero fails its batch; nothing runs while `open` is clear."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def run(self, items: Sequence[int]) -> int:
        await self.open.wait()
        self.batches.append([*items])
        if min(items) < 0:
            raise ValueError(f"{min(items)} is below zero")
        return len(items)


async def test_what_comes_together_is_done_together_and_what_comes_meanwhile_is_next() -> None:
    log = Log()
    log.open.clear()
    batches = Batches(log.run, most=3)
    waiting = [asyncio.create_task(batches.add(number)) for number in range(4)]
    await asyncio.sleep(0.01)
    waiting += [asyncio.create_task(batches.add(number)) for number in (4, 5)]
    await asyncio.sleep(0.01)
    log.open.set()

    assert await asyncio.gather(*waiting) == [3, 3, 3, 3, 3, 3]
    assert log.batches == [[0, 1, 2], [3, 4, 5]]


async def test_items_with_one_key_are_done_one_after_the_other() -> None:
    log = Log()
    batches = Batches(log.run, most=9)
    await asyncio.gather(batches.add(0, "a"), batches.add(1, "b", "a"), batches.add(2, "b"), batches.add(3, "c"))

    assert log.batches == [[0, 3], [1], [2]]


async def test_an_error_reaches_all_of_its_batch_and_nobody_else() -> None:
    log = Log()
    batches = Batches(log.run, most=2)
    found = await asyncio.gather(*map(batches.add, (0, -1, 2)), return_exceptions=True)

    assert [type(one) for one in found] == [ValueError, ValueError, int]


async def test_where_a_batch_may_be_repeated_nobody_gets_the_error_of_another() -> None:
    log = Log()
    batches = Batches(log.run, most=3, is_repeatable=True)
    found = await asyncio.gather(*map(batches.add, (0, -1, 2)), return_exceptions=True)

    assert [type(one) for one in found] == [int, ValueError, int]
    assert log.batches == [[0, -1, 2], [0], [-1], [2]]


async def test_who_leaves_before_a_batch_begins_is_left_out_and_what_has_begun_ends() -> None:
    log = Log()
    log.open.clear()
    batches = Batches(log.run, most=1)
    first, second, third = (asyncio.create_task(batches.add(number)) for number in range(3))
    await asyncio.sleep(0.01)
    for task in (first, second):
        task.cancel()
    await asyncio.sleep(0)
    log.open.set()
    await batches.drain()

    assert log.batches == [[0], [2]]
    assert await third == 1
    with pytest.raises(asyncio.CancelledError):
        await first
