"""Call a function of the operator's, so that it neither holds nor ends this process, whatever it does.

A plain function runs on a daemon thread of its own: one that never comes back keeps no pool busy and no process alive.
An `async` function runs in a task of its own. Both are left to themselves when whoever waits for them goes.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, cast

MOST_THREADS = 32
"""Functions that run on threads at the same time; further ones wait. One that never ends takes a place for good."""


@dataclass(frozen=True, kw_only=True)
class CallOutcome:
    """What came of a call: a value, or what was raised."""

    value: Any = None
    error: BaseException | None = None


class FunctionThreads:
    """The threads for the functions of one revision."""

    def __init__(self, most: int = MOST_THREADS) -> None:
        self._places = asyncio.Semaphore(most)
        self._tasks: set[asyncio.Task[CallOutcome]] = set()
        """Held, since the loop itself holds no task."""

    async def call(
        self, function: Callable[..., Any], arguments: dict[str, Any], read: Callable[[object], Any], *, is_async: bool
    ) -> CallOutcome:
        """Call a function and read what it returns. Raises nothing that the function raises."""
        called = (
            await self._await(lambda: function(**arguments))
            if is_async
            else await self._run(lambda: _read_unless_awaitable(function(**arguments), read))
        )
        if inspect.isawaitable(called.value):  # a plain decorator around an async function
            called = await self._await(lambda: called.value)
        elif not is_async:
            return called
        return called if called.error is not None else await self._run(lambda: read(called.value))

    async def _run(self, work: Callable[[], Any]) -> CallOutcome:
        """Do something on a thread."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[CallOutcome] = loop.create_future()

        def finish(outcome: CallOutcome) -> None:
            self._places.release()
            if not future.done():  # else nobody waits any more
                future.set_result(outcome)

        def run() -> None:
            outcome = _attempt(work)
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(finish, outcome)

        threading.Thread(target=copy_context().run, args=(run,), name="python node", daemon=True).start()
        return await future

    async def _await(self, begin: Callable[[], Awaitable[Any]]) -> CallOutcome:
        """Begin something and await it in a task of its own, which is cancelled and not waited for where this is."""
        task = asyncio.create_task(_attempt_awaiting(begin))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        return CallOutcome(error=asyncio.CancelledError()) if task.cancelled() else task.result()


def _read_unless_awaitable(value: object, read: Callable[[object], Any]) -> Any:
    return cast("Any", value) if inspect.isawaitable(value) else read(value)


def _attempt(work: Callable[[], Any]) -> CallOutcome:
    try:
        return CallOutcome(value=work())
    except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt end nothing but the call
        return CallOutcome(error=error)


async def _attempt_awaiting(begin: Callable[[], Awaitable[Any]]) -> CallOutcome:
    try:
        return CallOutcome(value=await begin())
    except BaseException as error:  # noqa: BLE001  SystemExit would end the loop
        return CallOutcome(error=error)
