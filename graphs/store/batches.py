"""Work that comes at the same time and is done together: one transaction for many small writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Waiter(Generic[Item, Result]):
    item: Item
    keys: frozenset[Hashable]
    done: asyncio.Future[Result]


class Batches(Generic[Item, Result]):
    """Does what comes within one round of the event loop in one go, and what comes meanwhile in the next: one batch at
    a time, in the order in which things came.

    Whoever waits for an item gets the outcome of its batch, also where that is an error. Items whose waiters were
    cancelled before their batch began are left out; what has begun is done to its end.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Awaitable[Result]], *, most: int, is_repeatable: bool = False
    ) -> None:
        """`run` does a batch of at most `most` items, or nothing of it. `is_repeatable`: where it fails it is done once
        more for each item alone, so that nobody gets the error of another's."""
        self._run = run
        self._most = most
        self._is_repeatable = is_repeatable
        self._waiters: list[_Waiter[Item, Result]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: Item, *keys: Hashable) -> Result:
        """Do this together with what comes at the same time; return what its batch came to, or raise its error. Items
        with one key are never in one batch."""
        waiter = _Waiter[Item, Result](item, frozenset(keys), asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        if self._task is None:
            self._task = asyncio.create_task(self._run_all())
        return await waiter.done

    async def drain(self) -> None:
        """Return once nothing is under way."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run_all(self) -> None:
        try:
            while batch := self._take_batch():
                await self._run_batch(batch)
        finally:
            self._task = None

    async def _run_batch(self, batch: Sequence[_Waiter[Item, Result]]) -> None:
        try:
            result = await self._run([waiter.item for waiter in batch])
        except asyncio.CancelledError:
            for waiter in batch:
                waiter.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001  raised again where it is waited for
            if self._is_repeatable and len(batch) > 1:
                for waiter in batch:
                    await self._run_batch([waiter])
                return
            for waiter in batch:
                if not waiter.done.done():
                    waiter.done.set_exception(error)
        else:
            for waiter in batch:
                if not waiter.done.done():
                    waiter.done.set_result(result)

    def _take_batch(self) -> list[_Waiter[Item, Result]]:
        batch: list[_Waiter[Item, Result]] = []
        later: list[_Waiter[Item, Result]] = []
        keys: set[Hashable] = set()
        for waiter in self._waiters:
            if waiter.done.done():
                continue
            if len(batch) == self._most or not keys.isdisjoint(waiter.keys):
                later.append(waiter)
                keys |= waiter.keys  # what comes after it in order stays after it
                continue
            batch.append(waiter)
            keys |= waiter.keys
        self._waiters = later
        return batch
