"""The subgraph node: runs another graph, with variables and a checkpoint namespace of its own, within this turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import Runtime

from graphs.config.compile_graph import GraphPlan
from graphs.config.spec.subgraph import SubgraphNodeSpec
from graphs.errors import NodeFailure
from graphs.expressions import TypeMismatch
from graphs.nodes.base import NodeSite, Services, find_emitter
from graphs.nodes.call import count_own_visit
from graphs.nodes.isolated_agent import isolate
from graphs.nodes.question import is_question
from graphs.nodes.state import (
    TASK,
    Context,
    InnerTask,
    OwnCall,
    State,
    build_token_use,
    find_most_rounds,
)
from graphs.nodes.values import MISSING, NodeValues, find_message, read_variable


@dataclass(frozen=True, kw_only=True)
class InnerGraph:
    """A compiled graph that another runs."""

    plan: GraphPlan
    graph: Runnable[Any, Any]
    step_limit: int
    """The most supersteps that it may take."""


class SubgraphNode:
    """Runs another graph to its end."""

    def __init__(self, site: NodeSite, services: Services, inner: InnerGraph) -> None:
        spec = cast(SubgraphNodeSpec, site.spec)
        self._site = site
        self._services = services
        self._inner = inner
        self._arguments = spec.arguments
        self._into = spec.into
        self._values = NodeValues(site, services)

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Run it. Raises NodeFailure and ModelError."""
        context = self._services.find_context(runtime)
        plan = self._inner.plan
        counts = count_own_visit(state, self._site.name)
        begin = await self._build_first_state(state, context)
        before = len(begin["messages"])
        end = cast(
            State,
            await self._inner.graph.ainvoke(
                begin,
                {**config, "recursion_limit": self._inner.step_limit},
                context=self._build_context(state, counts[self._site.name], context, runtime),
            ),
        )
        made = end.get("messages", [])[before:]
        said = "\n\n".join(
            message.text
            for message in made
            if isinstance(message, AIMessage) and message.text and not is_question(message)
        )
        update: dict[str, Any] = {
            "rounds": end.get("rounds", state.get("rounds", 0)),
            "calls": end.get("calls", state.get("calls", 0)),
            "started": end.get("started", begin["started"]),
            "own_call": OwnCall(request=AIMessage(""), verdicts={}, counts=counts),
            **build_token_use(state, context),
        }
        added: list[AnyMessage] = [] if context.addendum is None else [context.addendum]
        if self._into is None:
            added += [AIMessage(said)] if said else []
        else:
            update[self._into] = self._fit_result(plan, end, said)
        return {**update, "messages": added} if added else update

    async def _build_first_state(self, state: State, context: Context) -> dict[str, Any]:
        """Build the state in which the graph begins. Raises NodeFailure where a value does not fit its input."""
        plan, limits = self._inner.plan, self._inner.plan.spec.limits
        rounds, calls = state.get("rounds", 0), state.get("calls", 0)
        own = self._site.plan.spec.limits
        most_calls = (context.limits or own).tool_calls
        begin: dict[str, Any] = {
            "messages": [] if plan.inputs else [*state.get("messages", [])],
            "verdicts": {},
            "rounds": rounds,
            "calls": calls,
            "most_rounds": min(find_most_rounds(state, context, own), rounds + limits.rounds),
            "most_calls": min(state.get("most_calls", most_calls), calls + limits.tool_calls),
            "started": state.get("started") or context.started,
        }
        for name, written in self._arguments.items():
            value = await self._values.fill_in(written, ("with", name), state, context)
            try:
                begin[name] = plan.inputs[name].type.fit(value)
            except TypeMismatch as error:
                raise self._values.build_failure(f"with.{name}", f"what would go into {name!r} {error}") from error
        return begin

    def _build_context(self, state: State, visit: int, context: Context, runtime: Runtime[Context]) -> Context:
        task = cast("InnerTask | None", cast("Mapping[str, Any]", state).get(TASK))
        place = f"{self._site.name}/{visit}" if task is None else f"{self._site.name}/{task['visit']}/{task['key']}"
        limits = context.limits or self._site.plan.spec.limits
        if limits.tokens is not None:
            earlier = state.get("token_use")
            context.turn_tokens.begin(earlier["tokens"] if earlier is not None else 0)
        emit = find_emitter(context, runtime.stream_writer)
        inner = isolate(context, state, emit, is_silent=self._into is not None)
        inner = replace(inner, limits=limits, place=f"{context.place}/{place}")
        if self._inner.plan.inputs:
            inner = replace(inner, history=(), message=find_message(state, context))
        return inner

    def _fit_result(self, plan: GraphPlan, end: State, said: str) -> Any:
        assert self._into is not None  # noqa: S101  who asks has looked
        output = plan.spec.output
        value = said if output is None else read_variable(plan, end, output)
        if value is MISSING:
            why = f"node {self._site.name!r}: graph {plan.id!r} came to an end without a value for {output!r}"
            raise NodeFailure(why, kind="invalid")
        try:
            return self._values.fit(self._into, value)
        except TypeMismatch as error:
            raise self._values.build_unfit("into", self._into, error) from error
