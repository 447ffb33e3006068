"""The tasks of `parallel` and `map`: nodes inside them, sent out to run at the same time, and joined.

LangGraph runs them (`Send`): what has ended stays, when another pauses or the process dies. A failure of one is kept
beside the results of the others, for the join to decide on.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, cast
from weakref import WeakValueDictionary

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy, Send

from graphs.config.spec.groups import MapNodeSpec
from graphs.config.spec.node import MODEL_ROLES, NodeSpec
from graphs.errors import ModelError, NodeFailure
from graphs.events import NodeNote
from graphs.expressions import TypeMismatch
from graphs.nodes.base import Node, NodeSite, Services, find_emitter
from graphs.nodes.call import count_own_visit
from graphs.nodes.failures import describe_error
from graphs.nodes.state import TASK, Context, InnerTask, OwnCall, State, TaskOutcome, build_token_use, find_most_rounds
from graphs.nodes.values import NodeValues, get_task, render_note
from graphs.policy.limits import limit_turn_calls
from graphs.telemetry.path import record_tasks

log = logging.getLogger(__name__)

COLLECT = "collect"
"""The part of a `parallel` or `map` that joins its tasks."""
_NEEDS_MESSAGES = frozenset(("message", "text", "tool_calls"))


def share(total: int, parts: int, at: int) -> int:
    """Return how much of a number the part at this place gets, where all get the same as far as that goes."""
    return total // parts + (at < total % parts)


def _describe_part(what: str, start: int, end: int) -> dict[str, int]:
    """Return the keys of the state for a part of a count; one that has nothing of it may go on without."""
    return {what: start, f"most_{what}": end} if end > start else {what: start}


def _find_most_tool_calls(node: NodeSpec) -> float:
    most = node.find_most_tool_calls()
    return math.inf if most is None else most


class CountDivider:
    """Divides what is left of a turn's limits among tasks that run at the same time."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._limits = site.plan.spec.limits

    def divide(self, needs: Sequence[tuple[float, float]], state: State, context: Context) -> list[dict[str, int]]:
        """Give each task its own part of the counts of the turn: where it begins, and where it must stop.

        So all together stay within the limits, and no rule that counts is passed by doing many things at once. `needs`:
        how many model calls and tool calls each can make. Raises NodeFailure where there is too little left.
        """
        role = self._services.snapshot.policy.find_turn_call_limit(context.caller.roles)
        most_calls, whose = limit_turn_calls((context.limits or self._limits).tool_calls, role)
        most_calls = min(most_calls, state.get("most_calls", most_calls))
        most_rounds = find_most_rounds(state, context, self._limits)
        rounds = self._divide([need[0] for need in needs], most_rounds, state.get("rounds", 0), "rounds")
        calls = self._divide([need[1] for need in needs], most_calls, state.get("calls", 0), f"tool calls{whose}")
        return [
            {**_describe_part("rounds", *round_part), **_describe_part("calls", *call_part)}
            for round_part, call_part in zip(rounds, calls, strict=True)
        ]

    def _divide(self, needs: Sequence[float], most: int, used: int, what: str) -> list[tuple[int, int]]:
        """Return where the count of each task begins and ends. `needs`: how much each can use at most."""
        left = max(0, most - used)
        number = sum(need > 0 for need in needs)
        if number > left:
            why = f"it has {number} tasks, and of the turn's limit of {most} {what} {left} are left"
            raise NodeFailure(f"node {self._site.name!r}: {why}", kind="limit")
        parts: list[tuple[int, int]] = []
        place, start = 0, used
        for need in needs:
            end = start + int(min(need, share(left, number, place))) if need > 0 else start
            place += need > 0
            parts.append((start, end))
            start = end
        return parts


class _Sender:
    """Sends out tasks, with what they read of the state and their share of what is left of the turn's limits."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._values = NodeValues(site, services)
        self._divider = CountDivider(site, services)
        inner = {f"{site.name}.{path[-1]}": node for path, node in site.spec.list_inner_nodes().items()}
        self._needs = {
            name: (node.find_most_model_calls(), _find_most_tool_calls(node)) for name, node in inner.items()
        }
        """How many model calls and tool calls each node inside can make."""
        self._reads = {name: self._list_state_keys(name) for name in inner}

    def _list_state_keys(self, name: str) -> tuple[str, ...]:
        """List what a node inside reads of the state."""
        plan = self._site.plan
        names = plan.list_reads(name)
        sees_conversation = plan.nodes[name].role in MODEL_ROLES and (name, "input") not in plan.templates
        keys = [each for each in plan.variables if each in names]
        keys += ["messages"] if sees_conversation or names & _NEEDS_MESSAGES else []
        return (*keys, "error", "visits", "agent", "started", "token_use")

    async def send(
        self, tasks: Sequence[tuple[str, Mapping[str, Any]]], state: State, runtime: Runtime[Context]
    ) -> Command[str]:
        """Send out these tasks, each with the name of its node and what is its own. Raises NodeFailure where the
        limits of the turn are too low for them."""
        context = self._services.find_context(runtime)
        name, plan = self._site.name, self._site.plan
        started = max(state.get("started") or time.time(), context.started)
        update: dict[str, Any] = {"task_outcomes": None, "started": started}
        visit = 0
        if plan.calls_tools:
            counts = count_own_visit(state, name)
            visit = counts[name]
            update["own_call"] = OwnCall(request=AIMessage(""), verdicts={}, counts=counts)
        record_tasks(plan.id, name, len(tasks))
        self._services.metrics.observe_tasks(plan.id, name, len(tasks))
        if not tasks:
            return Command(update=update, goto=f"{name}.{COLLECT}")
        note = await render_note(self._values, self._site, state, context)
        if note:
            find_emitter(context, runtime.stream_writer)(NodeNote(name, note))
        budgets = self._divider.divide([self._needs[node] for node, _ in tasks], state, context)
        values = cast("Mapping[str, Any]", state)
        common = {"total": len(tasks), "visit": visit, "began": time.time(), "note": note}
        sends = [
            Send(
                node,
                {
                    **{key: values[key] for key in self._reads[node] if key in values},
                    **budget,
                    "started": started,
                    TASK: {**common, **own},
                },
            )
            for (node, own), budget in zip(tasks, budgets, strict=True)
        ]
        return Command(update=update, goto=sends)


class ParallelNode:
    """Sends out the branches."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._sender = _Sender(site, services)
        self._names = [str(path[-1]) for path in site.spec.list_inner_nodes()]

    async def run(self, state: State, runtime: Runtime[Context]) -> Command[str]:
        """Send them out. Raises NodeFailure."""
        tasks = [(f"{self._site.name}.{name}", {"key": name}) for name in self._names]
        return await self._sender.send(tasks, state, runtime)


class MapNode:
    """Sends out one task for each item."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._values = NodeValues(site, services)
        self._sender = _Sender(site, services)
        self._most = site.spec.find_most_tasks(site.plan.spec.limits.width)

    async def run(self, state: State, runtime: Runtime[Context]) -> Command[str]:
        """Send them out. Raises NodeFailure."""
        context = self._services.find_context(runtime)
        items = await self._values.evaluate("over", state=state, context=context)
        if not isinstance(items, list):
            raise self._values.build_failure("over", "this is no list")
        found = cast("list[Any]", items)
        if len(found) > self._most:
            why = f"there are {len(found)} items, and at most {self._most} may be"
            raise NodeFailure(f"node {self._site.name!r}: {why}", kind="limit")
        name = f"{self._site.name}.do"
        tasks = [(name, {"key": index, "item": item}) for index, item in enumerate(found)]
        return await self._sender.send(tasks, state, runtime)


class Gate:
    """Lets so many tasks run at the same time, and counts those that have ended."""

    def __init__(self, at_once: int) -> None:
        self.room = asyncio.Semaphore(at_once)
        self._ended = 0

    def count_end(self) -> int:
        """Count one more that has ended; return how many have."""
        self._ended += 1
        return self._ended


class Gates:
    """The gates of one `parallel` or `map`, each for as long as a run needs it."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        spec = site.spec
        at_once = spec.at_once if isinstance(spec, MapNodeSpec) else len(spec.list_inner_nodes())
        self._at_once = min(at_once, services.most_tasks or at_once)
        self._gates: WeakValueDictionary[tuple[str, float], Gate] = WeakValueDictionary()

    def find(self, task: InnerTask, context: Context) -> Gate:
        """Find the gate that this task passes together with the others that were sent out with it."""
        key = (context.thread, task["began"])
        gate = self._gates.get(key)
        if gate is None:
            self._gates[key] = gate = Gate(self._at_once)
        context.gates[key] = gate  # while one waits for its next attempt, nothing else holds it
        return gate


class TaskNode:
    """Runs one task, and keeps what came of it."""

    def __init__(
        self, site: NodeSite, services: Services, *, node: Node, gates: Gates, retry: RetryPolicy | None
    ) -> None:
        self._site = site
        self._services = services
        self._node = node
        self._gates = gates
        self._retry = retry
        self._takes_config = "config" in signature(node.run).parameters
        self._into = site.spec.locate_outputs().get(("into",), "")
        # A call and an agent hold their own timeouts: what people take to decide does not count.
        sees_to_it = site.spec.role in ("caller", "agent")
        self._timeout: float | None = None if sees_to_it else getattr(site.spec, "timeout", None)

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Run it, once there is room. An attempt that LangGraph is to repeat fails; the last one never does."""
        task = get_task(state)
        context = self._services.find_context(runtime)
        info = runtime.execution_info
        if info is not None and info.task_id in context.withdrawn:
            before = state.get("calls", 0), state.get("rounds", 0)
            calls, rounds = context.paused_work.get(info.task_id, before)
            outcome = TaskOutcome(key=task["key"], rounds=rounds - before[1], calls=calls - before[0])
            return {"task_outcomes": [outcome]}
        gate = self._gates.find(task, context)
        async with gate.room:
            update, outcome = await self._run_attempt(task, state, runtime, config)
        if context.turn_tokens.has_begun:
            outcome["tokens"] = context.turn_tokens.tokens
        ended = gate.count_end()
        # Of those that ended before a pause nobody knows here.
        if task["note"] and not context.resumed:
            line = f"{task['note']} ({ended} of {task['total']})"
            find_emitter(context, runtime.stream_writer)(NodeNote(self._site.outer, line))
        return {**update, "task_outcomes": [outcome]}

    async def _run_attempt(
        self, task: InnerTask, state: State, runtime: Runtime[Context], config: RunnableConfig
    ) -> tuple[Mapping[str, Any], TaskOutcome]:
        """Return what the task adds to the conversation, and its outcome."""
        calls, rounds = state.get("calls", 0), state.get("rounds", 0)
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                more = {"config": config} if self._takes_config else {}
                made = await self._node.run(state, runtime=runtime, **more)
        except TimeoutError as error:
            if not limit.expired():
                raise
            why = f"node {self._site.name!r} took longer than {self._timeout:g} seconds"
            failure = NodeFailure(why, kind="timeout", is_repeatable=True)
            if self._is_repeated(failure, runtime):
                raise failure from error
            return {}, self._build_failed_outcome(task, failure, calls, rounds)
        except (NodeFailure, ModelError) as error:
            if self._is_repeated(error, runtime):
                raise
            return {}, self._build_failed_outcome(task, error, calls, rounds)
        rounds, calls = made.get("rounds", rounds) - rounds, made.get("calls", calls) - calls
        outcome = TaskOutcome(key=task["key"], rounds=rounds, calls=calls)
        if self._into in made:
            outcome["value"] = made[self._into]
        said = made.get("messages")
        return {"messages": said} if said else {}, outcome

    def _is_repeated(self, error: Exception, runtime: Runtime[Context]) -> bool:
        """Whether LangGraph is going to run the task again."""
        if self._retry is None:
            return False
        info = runtime.execution_info
        attempt = info.node_attempt if info is not None else 1
        retry_on = cast("Callable[[Exception], bool]", self._retry.retry_on)
        return attempt < self._retry.max_attempts and retry_on(error)

    def _build_failed_outcome(
        self, task: InnerTask, error: NodeFailure | ModelError, calls: int, rounds: int
    ) -> TaskOutcome:
        """`calls` and `rounds` are where the task began."""
        ran = error.calls if error.calls is not None else calls
        asked = error.rounds if error.rounds is not None else rounds
        record = describe_error(self._site.outer, error)
        assert record is not None  # noqa: S101  both have one
        return TaskOutcome(key=task["key"], error=record, rounds=asked - rounds, calls=ran - calls)


class CollectNode:
    """Joins what came of the tasks, in the order of the list or of the file."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        spec = site.spec
        self._site = site
        self._services = services
        self._values = NodeValues(site, services)
        self._into = spec.locate_outputs().get(("into",))
        self._drops_errors = isinstance(spec, MapNodeSpec) and spec.drop_errors
        self._order = {str(path[-1]): at for at, path in enumerate(spec.list_inner_nodes())}
        self._is_map = isinstance(spec, MapNodeSpec)

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Join them. Raises NodeFailure for the first that failed, unless those are to be left out."""
        context = self._services.find_context(runtime)
        outcomes = sorted(state.get("task_outcomes") or (), key=self._find_place)
        if used := [one["tokens"] for one in outcomes if "tokens" in one]:
            context.turn_tokens.begin(max(used))  # where no model was asked since a pause
        calls = state.get("calls", 0) + sum(one["calls"] for one in outcomes)
        rounds = state.get("rounds", 0) + sum(one["rounds"] for one in outcomes)
        failed = sum("error" in one for one in outcomes)
        record_tasks(self._site.plan.id, self._site.name, len(outcomes), failed)
        for one in outcomes:
            if (error := one.get("error")) is not None and not self._drops_errors:
                where = f"item {self._find_place(one) + 1}" if self._is_map else f"branch {one['key']!r}"
                words = f"{self._site.name}, {where}: {error['message']}"
                raise NodeFailure(words, kind=error["kind"], calls=calls, rounds=rounds)
        token_use = build_token_use(state, context)
        update: dict[str, Any] = {"task_outcomes": None, "calls": calls, "rounds": rounds, **token_use}
        if self._into is None:
            return update
        values = {one["key"]: one["value"] for one in outcomes if "value" in one}
        try:
            return {**update, self._into: self._values.fit(self._into, [*values.values()] if self._is_map else values)}
        except TypeMismatch as error:
            raise self._values.build_unfit("into", self._into, error) from error

    def _find_place(self, outcome: TaskOutcome) -> int:
        key = outcome["key"]
        return key if isinstance(key, int) else self._order.get(key, 0)
