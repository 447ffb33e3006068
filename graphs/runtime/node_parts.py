"""The parts of nodes that are several to LangGraph: an agent's, a call's, and what runs inside `parallel` and `map`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, cast

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from graphs.config.graph_input import INPUT_NODE
from graphs.config.graph_plan import GraphPlan
from graphs.config.spec.node import END as THE_END
from graphs.config.spec.node import NodeSpec
from graphs.config.spec.node_types import AgentNodeSpec, CallNodeSpec
from graphs.config.spec.subgraph import SubgraphNodeSpec
from graphs.nodes import (
    AGENT_PARTS,
    CALL_PARTS,
    COLLECT,
    NODE_CLASSES,
    TASK_CLASSES,
    CollectNode,
    Gates,
    InputNode,
    IsolatedAgentNode,
    Node,
    NodeSite,
    Services,
    TaskNode,
)
from graphs.nodes.delegation import AgentCallNode, CollectAnswersNode, DelegateNode, make_agent_name
from graphs.nodes.state import Context, State, find_client_calls, find_last_request
from graphs.nodes.state_types import build_state_type
from graphs.nodes.subgraph import InnerGraph, SubgraphNode
from graphs.nodes.values import NOTE
from graphs.runtime.node_options import (
    UntracedRouter,
    announce_note,
    build_call_retry,
    build_error_handler,
    build_retry_policy,
    record_visits,
)
from graphs.telemetry import instrument

Graph = CompiledStateGraph[State, Context, State, State]


AssembleInner = Callable[[GraphPlan, Services], InnerGraph]
"""Compiles a graph that another runs."""


def build_node(site: NodeSite, services: Services, assemble_inner: AssembleInner) -> Node:
    """Build what runs a node, or the first part of one."""
    spec = site.spec
    if isinstance(spec, SubgraphNodeSpec):
        return SubgraphNode(site, services, assemble_inner(site.plan.subgraphs[site.name], services))
    if isinstance(spec, AgentNodeSpec) and (spec.is_isolated or site.is_inner):
        return IsolatedAgentNode(site, services, build_agent_graph(site, services, assemble_inner))
    return (TASK_CLASSES if site.is_inner else NODE_CLASSES)[spec.type](site, services)


def add_input_node(builder: Any, state: type[State], plan: GraphPlan, services: Services) -> str:
    """Add what asks whoever chats for the input of the graph. Returns its name."""
    run = InputNode(plan, services).run
    function = instrument.instrument_node(run, graph=plan.id, name=INPUT_NODE, kind="input", metrics=services.metrics)
    builder.add_node(INPUT_NODE, cast(Any, function), input_schema=state)
    return INPUT_NODE


def is_agent_in_parts(node: NodeSpec) -> bool:
    """Whether a node is an agent whose parts are nodes of the graph itself."""
    return isinstance(node, AgentNodeSpec) and not node.is_isolated


def build_agent_graph(site: NodeSite, services: Services, assemble_inner: AssembleInner) -> Graph:
    """Build the graph of an agent that keeps its work to itself. It has the checkpointer of the graph around it."""
    state = build_state_type(site.plan, is_inner=True)
    builder = StateGraph(state, context_schema=Context)
    model, permission, tools = (f"{site.name}.{kind}" for kind in ("model", *AGENT_PARTS))
    makers = {model: NODE_CLASSES["agent"], permission: AGENT_PARTS["permission"], tools: AGENT_PARTS["tools"]}
    for name, make in makers.items():
        function = instrument.instrument_node(
            make(site, services).run,
            graph=site.plan.id,
            name=name,
            kind=name.rpartition(".")[2],
            metrics=services.metrics,
        )
        retry = build_retry_policy(site.spec) if name == model else None
        builder.add_node(name, cast(Any, function), input_schema=state, retry_policy=retry)  # pyright: ignore[reportUnknownMemberType]

    async def route(state: State, _: Runtime[Context]) -> str:
        return THE_END if find_last_request(state) is None else permission

    builder.add_edge(START, model)
    builder.add_conditional_edges(model, UntracedRouter(route), {permission: permission, THE_END: END})
    builder.add_edge(permission, tools)
    graphs = cast(AgentNodeSpec, site.spec).agents
    if graphs:
        builder.add_edge(tools, add_delegation(builder, state, site, services, assemble_inner, model=model))
    else:
        builder.add_edge(tools, model)
    return builder.compile(name=site.name)  # pyright: ignore[reportUnknownMemberType]


def record_tools_of(agent: str, run: Callable[..., Awaitable[Mapping[str, Any]]]) -> Callable[..., Any]:
    """Wrap what runs an agent's tools, so that the agent's next round is known to be part of the same visit."""

    @wraps(run)
    async def run_recorded(*args: Any, **kwargs: Any) -> Mapping[str, Any]:
        return {**await run(*args, **kwargs), "agent": agent}

    return run_recorded


def add_delegation(
    builder: Any,
    state: type[State],
    site: NodeSite,
    services: Services,
    assemble_inner: AssembleInner,
    *,
    model: str,
) -> str:
    """Add what runs the graphs that an agent gives work to. Returns the name of the first part."""
    first, last = f"{site.name}.delegate", f"{site.name}.{COLLECT}"
    graphs = cast(AgentNodeSpec, site.spec).agents
    nodes = {make_agent_name(graph): f"{site.name}.{graph}" for graph in graphs}
    runs: dict[str, Callable[..., Any]] = {
        first: DelegateNode(site, services, nodes=nodes, model=model).run,
        last: CollectAnswersNode(services).run,
    }
    for graph in graphs:
        name = f"{site.name}.{graph}"
        runs[name] = AgentCallNode(site, services, assemble_inner(site.plan.subgraphs[name], services)).run
    for name, run in runs.items():
        kind = name.rpartition(".")[2] if name in (first, last) else "graph"
        function = instrument.instrument_node(run, graph=site.plan.id, name=name, kind=kind, metrics=services.metrics)
        destinations = {"destinations": (*nodes.values(), model)} if name == first else {}
        builder.add_node(name, cast(Any, function), input_schema=state, **destinations)
        if name in nodes.values():
            builder.add_edge(name, last)
    builder.add_edge(last, model)
    return first


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
            options["error_handler"] = build_error_handler(plan, services.metrics)
        function = instrument.instrument_node(run, graph=plan.id, name=part, kind=kind, metrics=services.metrics)
        builder.add_node(part, cast(Any, function), input_schema=state, **options)
        builder.add_edge(last, part)
        last = part
    return last


def add_task_parts(
    builder: Any,
    state: type[State],
    name: str,
    plan: GraphPlan,
    services: Services,
    assemble_inner: AssembleInner,
) -> str:
    """Add the nodes inside a node, and what joins them. Returns the name of the join."""
    site = NodeSite(plan=plan, name=name)
    gates = Gates(site, services)
    collect = f"{name}.{COLLECT}"
    for path in site.spec.list_inner_nodes():
        inner = NodeSite(plan=plan, name=f"{name}.{path[-1]}")
        # An agent's attempts are those of its model.
        policy = build_retry_policy(inner.spec) if inner.spec.role != "agent" else None
        run = TaskNode(inner, services, node=build_node(inner, services, assemble_inner), gates=gates, retry=policy).run
        if (inner.name, NOTE) in plan.templates:
            run = announce_note(run, inner, services)
        function = instrument.instrument_node(
            run, graph=plan.id, name=inner.name, kind=inner.spec.type, metrics=services.metrics
        )
        builder.add_node(inner.name, cast(Any, function), input_schema=state, retry_policy=policy)
        builder.add_edge(inner.name, collect)
    run = CollectNode(site, services).run
    run = record_visits(run, name) if plan.counts_visits else run
    options = {"error_handler": build_error_handler(plan, services.metrics)} if name in plan.error_ways else {}
    function = instrument.instrument_node(run, graph=plan.id, name=collect, kind=COLLECT, metrics=services.metrics)
    builder.add_node(collect, cast(Any, function), input_schema=state, **options)
    return collect


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
