"""What an agent with `agents` is made of beside its model and its tools: it gives work to other graphs.

To its model each of them is a tool, `agent__NAME`, with the graph's `input` as parameters. The calls of one round run
at the same time, each as a task of LangGraph (`Send`), so that what they wait for shows together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from graphs.config.graph_plan import GraphPlan
from graphs.errors import ModelError, NodeFailure
from graphs.events import ToolFinished, ToolStarted
from graphs.expressions import TypeMismatch, format_value
from graphs.nodes.base import NodeSite, Services, find_emitter
from graphs.nodes.state import (
    TASK,
    Context,
    InnerTask,
    State,
    TaskOutcome,
    build_token_use,
    find_client_calls,
)
from graphs.nodes.subgraph import GraphRunner, InnerGraph
from graphs.nodes.tasks import CountDivider
from graphs.nodes.values import get_task
from graphs.tools.names import make_model_name

AGENT_SERVER = "agent"
"""What stands in the place of a server's name."""
MESSAGE = "message"
"""The one parameter of a graph that has no `input`."""


def make_agent_name(graph: str) -> str:
    """Make the name by which a model gives work to a graph."""
    return make_model_name(AGENT_SERVER, graph)


def build_agent_tool(plan: GraphPlan) -> dict[str, Any]:
    """Build what a model is shown of a graph: an OpenAI tool object."""
    inputs = {name: one.type.build_schema() for name, one in plan.inputs.items()}
    required = [name for name, one in plan.inputs.items() if not one.has_default]
    if not inputs:
        inputs, required = {MESSAGE: {"type": "string", "description": "The task, with all that it needs."}}, [MESSAGE]
    parameters = {"type": "object", "properties": inputs, "required": required, "additionalProperties": False}
    description = plan.spec.description or f"Runs the graph {plan.id}."
    function = {"name": make_agent_name(plan.id), "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


class DelegateNode:
    """Sends out the calls of a round that are for other graphs; where there is none, the model goes on."""

    def __init__(self, site: NodeSite, services: Services, *, nodes: Mapping[str, str], model: str) -> None:
        """`nodes`: the node that runs each graph, by the name that the model calls it; `model`: the agent's model."""
        self._services = services
        self._nodes = nodes
        self._model = model
        self._divider = CountDivider(site, services)

    async def run(self, state: State, runtime: Runtime[Context]) -> Command[str]:
        """Send them out, each with its part of the limits."""
        context = self._services.find_context(runtime)
        calls = find_client_calls(state, context)
        if not calls:
            return Command(goto=self._model)
        # The agent's own number of rounds is for the agent alone; those of the turn are for all.
        whole = cast(State, {key: value for key, value in state.items() if key != "most_rounds"})
        try:
            parts = self._divider.divide([(math.inf, math.inf)] * len(calls), whole, context)
        except NodeFailure as failure:
            refused = [_build_message(call, f"{call['name']} was not run: {failure}", "error") for call in calls]
            return Command(update={"messages": refused}, goto=self._model)
        shared = {key: value for key in ("started", "token_use") if (value := state.get(key)) is not None}
        sends = [
            Send(
                self._nodes[call["name"]],
                {
                    **shared,
                    **part,
                    TASK: InnerTask(key=at, item=call, total=len(calls), visit=0, began=time.time(), note=""),
                },
            )
            for at, (call, part) in enumerate(zip(calls, parts, strict=True))
        ]
        return Command(update={"task_outcomes": None}, goto=sends)


class AgentCallNode:
    """Runs one graph for an agent. What goes wrong is the answer to the call."""

    def __init__(self, site: NodeSite, services: Services, inner: InnerGraph) -> None:
        self._services = services
        self._runner = GraphRunner(site, services, inner)
        self._people_name = f"{AGENT_SERVER}/{inner.plan.id}"

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Run it; what it says goes to the agent alone."""
        context = self._services.find_context(runtime)
        task = get_task(state)
        call = cast(ToolCall, task.get("item"))
        call_id = call["id"] or ""
        emit = find_emitter(context, runtime.stream_writer)
        emit(ToolStarted(call_id, self._people_name, call["args"]))
        began = time.monotonic()
        rounds, calls = state.get("rounds", 0), state.get("calls", 0)
        outcome = TaskOutcome(key=task["key"], rounds=0, calls=0)
        try:
            begin = self._read_arguments(call["args"])
            place = f"{self._people_name}/{call_id}"
            end, said = await self._runner.run(
                begin, state, context, runtime, config, place=place, is_silent=True, is_apart=True
            )
            outcome["rounds"], outcome["calls"] = end.get("rounds", rounds) - rounds, end.get("calls", calls) - calls
            message = _build_message(call, format_value(self._runner.find_result(end, said)), "success")
        except (NodeFailure, ModelError, TypeMismatch) as error:
            if isinstance(error, NodeFailure):
                outcome["rounds"] = max(0, (error.rounds or rounds) - rounds)
                outcome["calls"] = max(0, (error.calls or calls) - calls)
            message = _build_message(call, f"{self._people_name} failed: {error}", "error")
        seconds = time.monotonic() - began
        emit(ToolFinished(call_id, self._people_name, message.text, message.status == "error", seconds, ()))
        outcome["value"] = message
        return {"task_outcomes": [outcome]}

    def _read_arguments(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Read what the graph begins with. Raises TypeMismatch."""
        inputs = self._runner.plan.inputs
        known = [*inputs] or [MESSAGE]
        if unknown := [name for name in args if name not in known]:
            raise TypeMismatch(f"there is no parameter {unknown[0]!r}; there is {', '.join(known)}")
        needed = [name for name in known if name not in inputs or not inputs[name].has_default]
        if missing := [name for name in needed if name not in args]:
            raise TypeMismatch(f"the parameter {missing[0]!r} is missing")
        if not inputs:
            return {"messages": [HumanMessage(str(args[MESSAGE]))]}
        begin: dict[str, Any] = {"messages": []}
        for name, value in args.items():
            try:
                begin[name] = inputs[name].type.fit(value)
            except TypeMismatch as error:
                raise TypeMismatch(f"the parameter {name!r} {error}") from error
        return begin


class CollectAnswersNode:
    """Gives the answers of a round's graphs to the agent's model."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Give them, in the order of the calls."""
        outcomes = sorted(state.get("task_outcomes") or (), key=lambda one: int(one["key"]))
        rounds = sum(one["rounds"] for one in outcomes)
        more = {"most_rounds": most + rounds} if (most := state.get("most_rounds")) is not None else {}
        return {
            "messages": [one.get("value") for one in outcomes],
            "rounds": state.get("rounds", 0) + rounds,
            **more,
            "calls": state.get("calls", 0) + sum(one["calls"] for one in outcomes),
            "task_outcomes": None,
            **build_token_use(state, self._services.find_context(runtime)),
        }


def _build_message(call: ToolCall, text: str, status: str) -> ToolMessage:
    return ToolMessage(text, tool_call_id=call["id"] or "", name=call["name"], status=cast(Any, status))


class AgentOffer:
    """What the model of an agent is shown of graphs. Built once for each node and snapshot."""

    def __init__(self, plans: Sequence[GraphPlan], services: Services) -> None:
        self._tools = {plan.id: build_agent_tool(plan) for plan in plans}
        self._policy = services.snapshot.policy

    def list_tools(self, context: Context) -> list[dict[str, Any]]:
        """List those graphs as tools that the caller's roles may use."""
        return [tool for graph, tool in self._tools.items() if self._policy.may_use_graph(context.caller, graph)]
