"""Keep tasks until they end, although nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class TaskSet:
    """Tasks of one kind. asyncio itself holds tasks only weakly, so one that nobody awaits could vanish."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run `work` to its end."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancel every task that has not ended."""
        for task in list(self._tasks):
            task.cancel()

    async def wait(self) -> None:
        """Return once none is left, those included that others start meanwhile."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
