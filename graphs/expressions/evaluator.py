"""Evaluate conditions without blocking the event loop, each within a time limit: here if small, else elsewhere.

What waits for a file system or a name server goes to a thread, which costs nothing while it waits; what computes goes
to a process of its own, since CEL's library keeps the interpreter's lock, and is killed when its time is over. A
condition that is not evaluated in time has no value: `allow` then does not match, `ask` and `deny` do.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import pickle
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, cast

from graphs.expressions.conditions import Condition, NeedsTime
from graphs.expressions.effort import MAX_INLINE_UNITS
from graphs.expressions.graph_expressions import (
    TOO_MUCH_IN_GRAPH,
    GraphExpression,
    Template,
    ValueOutcome,
    build_piece_error,
    format_value,
    read_truth,
)
from graphs.expressions.language import ScopeName
from graphs.expressions.prepared import ConditionOutcome, PreparedValues
from graphs.expressions.urls import RESOLVER_CACHE, ResolverCache

log = logging.getLogger(__name__)

EVALUATION_TIMEOUT = 3.0
"""Seconds for all that is evaluated for one call, waiting for a place included."""
START_TIMEOUT = 15.0
"""Seconds for a process to come up, which is not held against the call that it was started for."""
PROCESS_SLOTS = 2
FILE_SLOTS = 32
NAME_SLOTS = 64
"""Places for what waits for file systems, and for name servers."""
MAX_ANSWER_SIZE = 2**24
"""Bytes of a value that a process may answer with."""

_T = TypeVar("_T")


class UserSemaphore:
    """Places for work of one kind, of which one person may hold only some: whoever is slow is slow for themselves."""

    def __init__(self, places: int, each: int) -> None:
        self._all = asyncio.Semaphore(places)
        self._each = each
        self._own: dict[str, tuple[asyncio.Semaphore, int]] = {}

    async def enter(self, user: str, ends: float) -> None:
        """Take a place. Raises TimeoutError where none is free in time."""
        own, count = self._own.get(user) or (asyncio.Semaphore(self._each), 0)
        self._own[user] = own, count + 1
        taken = False
        try:
            async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                await own.acquire()
                taken = True
                await self._all.acquire()
        except BaseException:
            if taken:
                own.release()
            self._forget(user)
            raise

    def leave(self, user: str) -> None:
        """Give the place back."""
        self._all.release()
        self._own[user][0].release()
        self._forget(user)

    def _forget(self, user: str) -> None:
        own, count = self._own[user]
        if count == 1:
            del self._own[user]
        else:
            self._own[user] = own, count - 1


class _Process:
    """One process that evaluates, for one condition at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> _Process:
        command = (sys.executable, "-P", "-m", "graphs.expressions.worker")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
        self = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._read()  # that it is ready
        except BaseException:
            await self.kill()
            raise
        return self

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, request: bytes) -> ValueOutcome:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(len(request).to_bytes(4, "big") + request)
        await self._process.stdin.drain()
        value, why = json.loads(await self._read())
        return value, str(why)

    async def _read(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        size = int.from_bytes(await self._process.stdout.readexactly(4), "big")
        if size > MAX_ANSWER_SIZE:
            raise OSError("a process that evaluates conditions gave an answer that is none")
        return await self._process.stdout.readexactly(size)

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Evaluator:
    """Evaluates conditions for everybody. Its processes are started when they are first needed."""

    def __init__(self, patience: float = EVALUATION_TIMEOUT) -> None:
        self._patience = patience
        self._names = ResolverCache()
        self._semaphores: dict[str, UserSemaphore] = {}
        self._idle: list[_Process] = []
        self._closed = False

    async def resolve(self, attempt: Callable[[], _T], values: PreparedValues) -> _T:
        """Return what `attempt` returns, which looks at `values` and is tried again after each condition evaluated."""
        values.is_bounded = True
        ends = time.monotonic() + self._patience
        user = str(values.get("caller", {}).get("user", ""))
        while True:
            values.spent_units = 0
            try:
                return attempt()
            except NeedsTime as found:
                condition, units = found.condition, found.units
            if condition is None:
                await asyncio.sleep(0)
            elif condition.effort.waits and units <= MAX_INLINE_UNITS:
                values.outcomes[condition] = await self._evaluate_on_thread(condition, values, user, ends)
            else:
                request = (
                    "access",
                    condition.source,
                    values.export_values(condition.argument_names),
                    values.explain_missing,
                )
                values.outcomes[condition] = read_truth(await self._evaluate_in_process(request, user, ends))

    async def evaluate_branch(
        self, condition: GraphExpression, values: Mapping[str, Any], user: str
    ) -> ConditionOutcome:
        """Evaluate a branch's condition on a step; None, and why, where it cannot be evaluated."""
        return read_truth(await self.evaluate_value(condition, values, user))

    async def evaluate_value(self, expression: GraphExpression, values: Mapping[str, Any], user: str) -> ValueOutcome:
        """Evaluate an expression of a graph file; None, and why, where it cannot be evaluated."""
        if expression.alone is not None:
            return expression.compute_value(values)
        size = expression.measure(values)
        if size is None:
            return None, TOO_MUCH_IN_GRAPH
        data, wrong = expression.build_data(values)
        if data is None:
            return None, wrong
        effort = expression.effort
        if not effort.waits and effort.estimate_units(size) <= MAX_INLINE_UNITS:
            return expression.evaluate_data(data)
        request = (expression.scope, expression.source, data, expression.variables)
        return await self._evaluate_in_process(request, user, time.monotonic() + self._patience)

    async def render(self, template: Template, values: Mapping[str, Any], user: str) -> str:
        """Fill in a text of a graph file. Raises ExpressionError naming the `{{ … }}` that cannot be evaluated."""
        if template.is_plain:
            return template.render(values)
        pieces: list[str] = []
        for piece in template.pieces:
            if isinstance(piece, str):
                pieces.append(piece)
                continue
            value, why = await self.evaluate_value(piece, values, user)
            if why:
                raise build_piece_error(piece, why)
            pieces.append(format_value(value))
        return "".join(pieces)

    async def close(self) -> None:
        """End the processes. What waits on a thread is left to itself."""
        self._closed = True
        while self._idle:
            await self._idle.pop().kill()

    def _get_semaphore(self, name: str, places: int, each: int) -> UserSemaphore:
        if name not in self._semaphores:
            self._semaphores[name] = UserSemaphore(places, each)
        return self._semaphores[name]

    async def _evaluate_on_thread(
        self, condition: Condition, values: PreparedValues, user: str, ends: float
    ) -> ConditionOutcome:
        asks = condition.effort.waits == "names"
        lane = self._get_semaphore("names", NAME_SLOTS, 8) if asks else self._get_semaphore("files", FILE_SLOTS, 8)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[ConditionOutcome] = loop.create_future()
        # The thread has values of its own: it may go on after its time.
        own = PreparedValues(values.export_values(condition.argument_names), values.explain_missing)

        def post(outcome: ConditionOutcome) -> None:
            lane.leave(user)
            if not done.done():
                done.set_result(outcome)

        def run() -> None:
            RESOLVER_CACHE.set(self._names)
            try:
                outcome = condition.compute_outcome(own)
            except Exception:  # a rule that fails is closed
                log.exception("a condition could not be evaluated")
                outcome = None, "it fails on these values"
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(post, outcome)

        try:
            await lane.enter(user, ends)
        except TimeoutError:
            return self._build_timeout_outcome()
        # A thread for each: one that hangs in a dead file system holds up no other, and not the process's end.
        try:
            threading.Thread(target=contextvars.copy_context().run, args=(run,), name="condition", daemon=True).start()
        except RuntimeError:  # the machine has no more
            lane.leave(user)
            return None, "there is no thread to evaluate it on"
        await asyncio.wait([done], timeout=max(0.0, ends - time.monotonic()))
        return done.result() if done.done() else self._build_timeout_outcome()

    async def _evaluate_in_process(self, request: object, user: str, ends: float) -> ValueOutcome:
        packed = pickle.dumps(request)
        try:
            async with self._acquire_process(user, ends) as process, asyncio.timeout(max(0.05, self._patience)):
                return await process.ask(packed)
        except TimeoutError:
            return self._build_timeout_outcome()
        except (OSError, EOFError, ValueError) as error:
            log.warning("a process that evaluates conditions ended: %s", type(error).__name__)
            return None, "the process that evaluates it ended"

    @asynccontextmanager
    async def _acquire_process(self, user: str, ends: float) -> AsyncGenerator[_Process]:
        lane = self._get_semaphore("processes", PROCESS_SLOTS, 1)
        await lane.enter(user, ends)
        process: _Process | None = None
        try:
            while self._idle and process is None:
                process = self._idle.pop()
                process = process if process.is_alive else None
            process = process or await _Process.start()
            yield process
        except BaseException:
            # Late, gone, or nobody waits for it any more: whatever it does now, it is not asked again.
            if process is not None:
                await process.kill()
            raise
        else:
            if self._closed:
                await process.kill()
            else:
                self._idle.append(process)
        finally:
            lane.leave(user)

    def _build_timeout_outcome(self) -> ConditionOutcome:
        return None, f"it took longer than {self._patience:g} s"


def unpack(request: bytes) -> tuple[ScopeName, str, dict[str, Any], Any]:
    """Read a request to the process: scope, expression, values, and the variables that it may name; of a rule, what
    says why a name is not known."""
    return cast("tuple[ScopeName, str, dict[str, Any], Any]", pickle.loads(request))  # noqa: S301 - made by this program
