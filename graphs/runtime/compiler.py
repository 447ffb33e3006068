"""Compile the plan of a graph file into a LangGraph graph."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_RUNTIME  # pyright: ignore[reportPrivateUsage]
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import NodeError, NodeTimeoutError
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy

from graphs.config.compile_graph import GraphPlan
from graphs.config.spec.node import END as THE_END
from graphs.config.spec.node import MODEL_ROLES, RetrySpec
from graphs.config.spec.node_types import CallNodeSpec
from graphs.errors import ModelError, NodeFailure
from graphs.events import NodeNote, TextDelta
from graphs.nodes import AGENT_PARTS, CALL_PARTS, NODE_CLASSES, NodeSite, Services, find_emitter
from graphs.nodes.state import Context, ErrorRecord, State, count_visits, find_client_calls, find_last_request
from graphs.nodes.state_types import build_state_type
from graphs.nodes.values import NodeValues
from graphs.runtime.in_flight import InFlight
from graphs.telemetry import instrument
from graphs.telemetry.path import ERROR_WAY, record_branch
from graphs.text import truncate

log = logging.getLogger(__name__)

Graph = CompiledStateGraph[State, Context, State, State]


@dataclass(frozen=True, kw_only=True)
class ServedGraph:
    """One graph, ready to run."""

    plan: GraphPlan
    graph: Graph
    services: Services
    in_flight: InFlight
    """Held while the graph runs, so that its services stay."""


MOST_BOUNDED_STEPS = 100_000
"""Supersteps of ways that `visits` bounds; a graph's limit of seconds comes long before."""


def is_worth_retrying(error: Exception) -> bool:
    """Whether the same request may succeed a moment later, and nobody has read any of the answer yet."""
    return isinstance(error, ModelError) and error.retryable


MODEL_RETRY = RetryPolicy(
    initial_interval=0.3,
    max_interval=2.0,
    max_attempts=3,
    retry_on=is_worth_retrying,
)
"""Only failures before the first word: what a person has read is never said again."""


NOTE = "note"
"""The field that says what a node does."""
LONGEST_NOTE = 200
"""Characters of a status line."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts that a graph asks for."""


def assemble(plan: GraphPlan, services: Services, *, checkpointer: BaseCheckpointSaver[Any] | None) -> Graph:
    """Compile one graph.

    `checkpointer` is None under `langgraph dev`, which brings its own. Costs milliseconds: once per snapshot.
    """
    state = build_state_type(plan)
    builder = StateGraph(state) if checkpointer is None else StateGraph(state, context_schema=Context)
    for name, node in plan.spec.nodes.items():
        runner = NODE_CLASSES[node.type](NodeSite(plan=plan, name=name), services)
        counts = plan.counts_visits and node.role != "caller"
        run = record_visits(runner.run, name) if counts else runner.run
        if (name, NOTE) in plan.templates:
            run = announce_note(run, NodeSite(plan=plan, name=name), services)
        function = instrument.instrument_node(run, graph=plan.id, name=name, kind=node.type, metrics=services.metrics)
        builder.add_node(  # pyright: ignore[reportUnknownMemberType]
            name, cast(Any, function), input_schema=state, **build_failure_options(name, plan)
        )
        branches = plan.branches[name]
        source = name if node.role != "caller" else add_call_parts(builder, state, name, plan, services)
        # After a node that asks for calls or runs them the turn may have to be handed to the client, whatever the file
        # says.
        if node.role in ("gate", "caller", "step") and len(branches) == 1 and not branches[0].is_conditional:
            builder.add_edge(source, resolve_target(branches[0].to))
            continue
        targets = {branch.to: resolve_target(branch.to) for branch in branches} | {THE_END: END}
        route = build_router(name, plan, services)
        if node.role == "agent":
            first = add_agent_parts(builder, state, name, plan, services)
            targets[first] = first
            route = build_agent_router(first, route, services)
        builder.add_conditional_edges(source, UntracedRouter(route), cast("dict[Any, str]", targets))
    builder.add_edge(START, plan.spec.start)
    return cast(Graph, builder.compile(checkpointer=checkpointer, name=plan.id))  # pyright: ignore[reportUnknownMemberType]


def record_visits(run: Callable[..., Awaitable[Mapping[str, Any]]], name: str) -> Callable[..., Any]:
    """Wrap a node, so that the state says how often a way led to it."""

    @wraps(run)
    async def run_recorded(state: State, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        return {**await run(state, *args, **kwargs), **build_visits(state, name)}

    return run_recorded


def announce_note(
    run: Callable[..., Awaitable[Mapping[str, Any]]], site: NodeSite, services: Services
) -> Callable[..., Any]:
    """Wrap a node, so that its `note` is shown when it begins. What cannot be filled in is not shown: a status line
    ends no turn."""
    values = NodeValues(site, services)

    @wraps(run)
    async def run_announced(state: State, runtime: Runtime[Context], **kwargs: Any) -> Mapping[str, Any]:
        context = services.find_context(runtime)
        try:
            text = await values.render(NOTE, state, context)
        except NodeFailure as error:
            log.warning("graph %s, node %s: no note is shown: %s", site.plan.id, site.name, error)
            text = None
        if text and (line := truncate(" ".join(text.split()), LONGEST_NOTE)):
            find_emitter(context, runtime.stream_writer)(NodeNote(site.name, line))
        return await run(state, runtime=runtime, **kwargs)

    return run_announced


def record_tools_of(agent: str, run: Callable[..., Awaitable[Mapping[str, Any]]]) -> Callable[..., Any]:
    """Wrap what runs an agent's tools, so that the agent's next round is known to be part of the same visit."""

    @wraps(run)
    async def run_recorded(*args: Any, **kwargs: Any) -> Mapping[str, Any]:
        return {**await run(*args, **kwargs), "agent": agent}

    return run_recorded


def build_visits(state: State, name: str) -> dict[str, Any]:
    """Build what changes in the state where a node has come to its end, or failed."""
    return {"visits": {**state.get("visits", {}), name: count_visits(state, name)}, "agent": ""}


def build_failure_options(name: str, plan: GraphPlan) -> dict[str, Any]:
    """Build what LangGraph is told of a node's failures: how often it is tried, how long it may take, where to go."""
    node = plan.spec.nodes[name]
    retry: RetrySpec | None = getattr(node, "retry", None)
    timeout: float | None = getattr(node, "timeout", None)
    options: dict[str, Any] = {"retry_policy": MODEL_RETRY if node.retries else None}
    if node.role == "caller":  # what takes time and may be repeated is its last part
        retry = timeout = None
    if retry is not None:
        options["retry_policy"] = RetryPolicy(
            initial_interval=retry.wait,
            max_interval=LONGEST_WAIT,
            max_attempts=retry.times,
            # What a person has read is never said again.
            retry_on=is_worth_another_attempt if node.locate_outputs() else is_worth_retrying,
        )
    if timeout is not None:
        options["timeout"] = timeout
    if name in plan.error_ways:
        options["error_handler"] = build_error_handler(plan)
    return options


def is_worth_another_attempt(error: Exception) -> bool:
    """Whether an author who asked for attempts gets another: what failed may succeed, and nobody has read any of it."""
    is_invalid = isinstance(error, NodeFailure) and error.kind == "invalid"
    return is_worth_retrying(error) or is_invalid or isinstance(error, NodeTimeoutError)


def build_error_handler(plan: GraphPlan) -> Callable[..., Awaitable[Command[str]]]:
    """Build the function that leads a failure of a node where its `on_error` says."""

    async def handle(state: State, error: NodeError) -> Command[str]:
        name = error.node.partition(".")[0]
        record = describe_error(name, error.error)
        if record is None:
            raise error.error
        update: dict[str, Any] = {"error": record}
        if isinstance(error.error, NodeFailure) and error.error.calls is not None:
            update["calls"] = error.error.calls
        if plan.counts_visits:
            update |= build_visits(state, name)
        record_branch(plan.id, name, ERROR_WAY)
        return Command(update=update, goto=resolve_target(plan.error_ways[name].to))

    return handle


def describe_error(node: str, error: BaseException) -> ErrorRecord | None:
    """Describe a failure as expressions see it; None: it is none that a graph may go on after."""
    match error:
        case NodeFailure():
            return ErrorRecord(node=node, kind=error.kind, message=str(error))
        case ModelError():
            return ErrorRecord(node=node, kind="model", message=str(error))
        case NodeTimeoutError():
            return ErrorRecord(node=node, kind="timeout", message=describe_timeout(error))
        case _:
            return None


def describe_timeout(error: NodeTimeoutError) -> str:
    """Say that a node took too long."""
    return f"node {error.node!r} took longer than {error.timeout:g} seconds"


def add_agent_parts(builder: Any, state: type[State], name: str, plan: GraphPlan, services: Services) -> str:
    """Add what decides and runs an agent's tool calls behind its model. Returns the name of the first part."""
    site = NodeSite(plan=plan, name=name)
    names = {kind: f"{name}.{kind}" for kind in AGENT_PARTS}
    for kind, part in names.items():
        run = AGENT_PARTS[kind](site, services).run
        if kind == "tools" and plan.counts_visits:
            run = record_tools_of(name, run)
        function = instrument.instrument_node(run, graph=plan.id, name=part, kind=kind, metrics=services.metrics)
        builder.add_node(part, cast(Any, function), input_schema=state)

    async def route(state: State, runtime: Runtime[Context]) -> str:
        context = services.find_context(runtime)
        return THE_END if context.client_names and find_client_calls(state, context) else name

    builder.add_edge(names["permission"], names["tools"])
    builder.add_conditional_edges(names["tools"], UntracedRouter(route), {name: name, THE_END: END})
    return names["permission"]


def add_call_parts(builder: Any, state: type[State], name: str, plan: GraphPlan, services: Services) -> str:
    """Add what decides and runs the call that a node has built. Returns the name of the last part."""
    site = NodeSite(plan=plan, name=name)
    last = name
    for kind, make in CALL_PARTS.items():
        part = f"{name}.{kind}"
        run = make(site, services).run
        options: dict[str, Any] = {}
        if kind == "run":
            run = record_visits(run, name) if plan.counts_visits else run
            options["retry_policy"] = build_call_retry(cast(CallNodeSpec, site.spec))
        if name in plan.error_ways:
            options["error_handler"] = build_error_handler(plan)
        function = instrument.instrument_node(run, graph=plan.id, name=part, kind=kind, metrics=services.metrics)
        builder.add_node(part, cast(Any, function), input_schema=state, **options)
        builder.add_edge(last, part)
        last = part
    return last


def build_call_retry(spec: CallNodeSpec) -> RetryPolicy | None:
    """Build when a tool is called again; None: never."""
    if spec.retry is None:
        return None
    is_polling = spec.retry.until is not None
    return RetryPolicy(
        initial_interval=spec.retry.wait,
        backoff_factor=1.0 if is_polling else 2.0,
        max_interval=spec.retry.wait if is_polling else LONGEST_WAIT,
        jitter=not is_polling,
        max_attempts=spec.retry.times,
        retry_on=is_repeatable,
    )


def is_repeatable(error: Exception) -> bool:
    """Whether a node says of its failure that it may be tried again."""
    return isinstance(error, NodeFailure) and error.is_repeatable


def build_agent_router(
    first: str, route_on: Callable[[State, Runtime[Context]], Awaitable[str]], services: Services
) -> Callable[[State, Runtime[Context]], Awaitable[str]]:
    """Build the function that leads an agent's tool calls to its first part, and an answer without any on."""

    async def route(state: State, runtime: Runtime[Context]) -> str:
        request = find_last_request(state)
        if request is None:
            return await route_on(state, runtime)
        context = services.find_context(runtime)
        return THE_END if context.client_names and find_client_calls(state, context) else first

    return route


def resolve_target(name: str) -> str:
    """Return LangGraph's name for where a branch leads."""
    return END if name == THE_END else name


def compute_step_limit(plan: GraphPlan) -> int:
    """Compute the most supersteps of a turn: so many that our own limits, which end it in words, come first."""
    bounded = MOST_BOUNDED_STEPS if plan.counts_visits else 0
    parts = {"agent": len(AGENT_PARTS), "caller": len(CALL_PARTS)}
    nodes = sum(1 + parts.get(node.role, 0) for node in plan.spec.nodes.values())
    return (plan.spec.limits.rounds + 2) * (nodes + 1) + 10 + bounded


class UntracedRouter(Runnable[State, str]):
    """A router that LangGraph runs without a run of its own in LangChain's traces, which would cost two tasks."""

    def __init__(self, route: Callable[[State, Runtime[Context]], Awaitable[str]]) -> None:
        self._route = route
        self.name = "route"

    def invoke(self, input: State, config: RunnableConfig | None = None, **_: Any) -> str:
        """Raise TypeError: graphs run asynchronously."""
        raise TypeError("a graph runs asynchronously: its conditions may have to wait")

    async def ainvoke(self, input: State, config: RunnableConfig | None = None, **_: Any) -> str:
        """Decide where to go next, here and not on another thread."""
        return await self._route(input, find_runtime(config))


def find_runtime(config: RunnableConfig | None) -> Runtime[Context]:
    """Find the runtime of a step; an empty one where none runs: Studio writes a state in the name of a node."""
    found = (config or {}).get("configurable", {}).get(CONFIG_KEY_RUNTIME)
    return cast("Runtime[Context]", found or Runtime())


def build_router(name: str, plan: GraphPlan, services: Services) -> Callable[[State, Runtime[Context]], Awaitable[str]]:
    """Build the function that picks the first branch that is true.

    A condition that fails, or no branch that is true, ends the turn in words that name the line: going on by chance
    would be worse.
    """
    branches = plan.branches[name]
    names = frozenset(name for branch in branches if branch.when is not None for name in branch.when.names)
    node_values = NodeValues(NodeSite(plan=plan, name=name), services)
    output = plan.spec.nodes[name].locate_outputs().get(("into",))
    rounds = plan.spec.limits.rounds if plan.spec.nodes[name].role in MODEL_ROLES else None

    async def route(state: State, runtime: Runtime[Context]) -> str:
        context = services.find_context(runtime)
        if context.client_names and find_client_calls(state, context):
            return THE_END
        # The round after the last was the last answer, which says so: whatever the graph would do next, it is over.
        if rounds is not None and state.get("rounds", 0) > rounds:
            return THE_END
        values: Mapping[str, Any] | None = None
        for at, branch in enumerate(branches):
            if branch.value is not None:
                if cast("Mapping[str, Any]", state).get(output or "") == branch.value:
                    record_branch(plan.id, name, at)
                    return branch.to
                continue
            if branch.when is None:
                record_branch(plan.id, name, at)
                return branch.to
            if values is None:
                values = node_values.build(names, state, context, visits=state.get("visits", {}).get(name, 0))
            truth, why = await services.evaluator.evaluate_branch(branch.when, values, context.caller.user)
            if truth:
                record_branch(plan.id, name, at)
                return branch.to
            if truth is None:
                return stop(
                    runtime,
                    context,
                    f"the condition at {branch.where} could not be evaluated{f': {why}' if why else ''}",
                )
        first, last = branches[0].where, branches[-1].where
        return stop(runtime, context, f"no branch of node {name!r} is true ({first} to {last}); add one without `when`")

    return route


def describe_stop(why: str) -> str:
    """Tell the person why the graph went no further."""
    return f"The graph stopped here: {why.removesuffix('.')}."


def stop(runtime: Runtime[Context], context: Context, problem: str) -> str:
    """End the turn, telling the person why."""
    find_emitter(context, runtime.stream_writer)(TextDelta(describe_stop(problem), new_paragraph=True))
    return THE_END
