"""Compile the plan of a graph file into a LangGraph graph."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from graphs.config.graph_plan import Branch, GraphPlan
from graphs.config.spec.node import END as THE_END
from graphs.config.spec.node import MODEL_ROLES
from graphs.events import TextDelta
from graphs.nodes import (
    AGENT_PARTS,
    CALL_PARTS,
    NodeSite,
    Services,
    find_emitter,
)
from graphs.nodes.state import Context, State, find_client_calls, find_most_rounds, has_last_answer
from graphs.nodes.state_types import build_state_type
from graphs.nodes.subgraph import InnerGraph
from graphs.nodes.values import NOTE, NodeValues
from graphs.runtime.in_flight import InFlight
from graphs.runtime.node_options import (
    UntracedRouter,
    announce_note,
    build_failure_options,
    record_visits,
    resolve_target,
)
from graphs.runtime.node_parts import (
    Graph,
    add_agent_parts,
    add_call_parts,
    add_input_node,
    add_task_parts,
    build_agent_router,
    build_node,
    is_agent_in_parts,
)
from graphs.telemetry import instrument
from graphs.telemetry.path import StepWay, record_way

log = logging.getLogger(__name__)


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


def assemble(
    plan: GraphPlan, services: Services, *, checkpointer: BaseCheckpointSaver[Any] | None, is_inner: bool = False
) -> Graph:
    """Compile one graph.

    `is_inner`: another graph runs it and gives its input, for which else whoever chats is asked. `checkpointer` is None
    there, and under `langgraph dev`, which brings its own. Costs milliseconds: once per snapshot.
    """
    state = build_state_type(plan, is_inner=is_inner)
    has_context = is_inner or checkpointer is not None
    builder = StateGraph(state, context_schema=Context) if has_context else StateGraph(state)
    for name, node in plan.spec.nodes.items():
        runner = build_node(NodeSite(plan=plan, name=name), services, assemble_inner)
        counts = plan.counts_visits and node.role not in ("caller", "group")
        run = record_visits(runner.run, name) if counts else runner.run
        if (name, NOTE) in plan.templates and node.role != "group":
            run = announce_note(run, NodeSite(plan=plan, name=name), services)
        function = instrument.instrument_node(run, graph=plan.id, name=name, kind=node.type, metrics=services.metrics)
        builder.add_node(  # pyright: ignore[reportUnknownMemberType]
            name, cast(Any, function), input_schema=state, **build_failure_options(name, plan, services.metrics)
        )
        branches = plan.branches[name]
        source = name
        if node.role == "caller":
            source = add_call_parts(builder, state, name, plan, services)
        elif node.role == "group":
            source = add_task_parts(builder, state, name, plan, services, assemble_inner)
        # After a node that asks for calls or runs them the turn may have to be handed to the client, whatever the file
        # says.
        if (
            node.role in ("gate", "caller", "group", "graph", "step")
            and len(branches) == 1
            and not branches[0].is_conditional
        ):
            builder.add_edge(source, resolve_target(branches[0].to))
            continue
        targets = {branch.to: resolve_target(branch.to) for branch in branches} | {THE_END: END}
        route = build_router(name, plan, services)
        if is_agent_in_parts(node):
            first = add_agent_parts(builder, state, name, plan, services)
            targets[first] = first
            route = build_agent_router(first, route, services)
        builder.add_conditional_edges(source, UntracedRouter(route), cast("dict[Any, str]", targets))
    first = START
    if plan.asks_for_input and not is_inner:
        first = add_input_node(builder, state, plan, services)
        builder.add_edge(START, first)
    builder.add_edge(first, plan.spec.start)
    return cast(Graph, builder.compile(checkpointer=checkpointer, name=plan.id))  # pyright: ignore[reportUnknownMemberType]


def compute_step_limit(plan: GraphPlan) -> int:
    """Compute the most supersteps of a turn: so many that our own limits, which end it in words, come first."""
    bounded = MOST_BOUNDED_STEPS if plan.counts_visits else 0
    parts = {"agent": len(AGENT_PARTS), "caller": len(CALL_PARTS), "group": 2}
    nodes = sum(1 + parts.get(node.role, 0) for node in plan.spec.nodes.values())
    return (plan.spec.limits.rounds + 2) * (nodes + 1) + 10 + bounded


def assemble_inner(plan: GraphPlan, services: Services) -> InnerGraph:
    """Compile a graph that another runs. It has the checkpointer of that one."""
    return InnerGraph(
        plan=plan,
        graph=assemble(plan, services, checkpointer=None, is_inner=True),
        step_limit=compute_step_limit(plan),
    )


def build_router(name: str, plan: GraphPlan, services: Services) -> Callable[[State, Runtime[Context]], Awaitable[str]]:
    """Build the function that picks the first branch that is true.

    A condition that fails, or no branch that is true, ends the turn in words that name the line: going on by chance
    would be worse.
    """
    branches = plan.branches[name]
    names = frozenset(name for branch in branches if branch.when is not None for name in branch.when.names)
    node_values = NodeValues(NodeSite(plan=plan, name=name), services)
    output = plan.spec.nodes[name].locate_outputs().get(("into",))
    is_asked = plan.spec.nodes[name].role in MODEL_ROLES and output is None
    ways = [build_way(branch, at, len(branches)) for at, branch in enumerate(branches)]

    async def route(state: State, runtime: Runtime[Context]) -> str:
        context = services.find_context(runtime)
        if context.client_names and find_client_calls(state, context):
            return THE_END
        if is_asked and has_last_answer(state, find_most_rounds(state, context, plan.spec.limits)):
            return THE_END
        values: Mapping[str, Any] | None = None
        for at, branch in enumerate(branches):
            if branch.value is not None:
                if cast("Mapping[str, Any]", state).get(output or "") == branch.value:
                    record_way(plan.id, name, ways[at])
                    return branch.to
                continue
            if branch.when is None:
                record_way(plan.id, name, ways[at])
                return branch.to
            if values is None:
                values = node_values.build(names, state, context, visits=state.get("visits", {}).get(name, 0))
            truth, why = await services.evaluator.evaluate_branch(branch.when, values, context.caller.user)
            if truth:
                record_way(plan.id, name, ways[at])
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


def build_way(branch: Branch, at: int, of: int) -> StepWay:
    """Build what is written down where this branch is taken."""
    way = StepWay(at=at, to=branch.to, of=of)
    if branch.value is not None:
        way["value"] = branch.value
    return way


def describe_stop(why: str) -> str:
    """Tell the person why the graph went no further."""
    return f"The graph stopped here: {why.removesuffix('.')}."


def stop(runtime: Runtime[Context], context: Context, problem: str) -> str:
    """End the turn, telling the person why."""
    find_emitter(context, runtime.stream_writer)(TextDelta(describe_stop(problem), new_paragraph=True))
    return THE_END
