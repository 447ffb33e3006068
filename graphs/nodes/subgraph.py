"""The subgraph node: runs another graph, with variables and a checkpoint namespace of its own, within this turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime

from graphs.config.graph_plan import GraphPlan
from graphs.config.spec.subgraph import SubgraphNodeSpec
from graphs.errors import NodeFailure
from graphs.expressions import TypeMismatch
from graphs.nodes.base import NodeSite, Services, find_emitter
from graphs.nodes.call import count_own_visit
from graphs.nodes.isolation import InnerRun, isolate
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
    graph: Pregel[Any, Any, Any, Any]
    step_limit: int
    """The most supersteps that it may take."""


class GraphRunner:
    """Runs another graph to its end, within the limits of the turn."""

    def __init__(self, site: NodeSite, services: Services, inner: InnerGraph) -> None:
        self.plan = inner.plan
        self._site = site
        self._services = services
        self._inner = inner

    async def run(
        self,
        begin: Mapping[str, Any],
        state: State,
        context: Context,
        runtime: Runtime[Context],
        config: RunnableConfig,
        *,
        place: str,
        is_silent: bool,
        is_apart: bool = False,
    ) -> tuple[State, str]:
        """Run it; return its last state, and what it said. `begin` are its input and its messages; `place` tells this
        run from all others of the turn; `is_apart`: it sees nothing of the conversation, as if it had input. Raises
        NodeFailure and ModelError."""
        first: dict[str, Any] = {**self._build_counts(state, context), "verdicts": {}, **begin}
        inner = self._build_context(
            state, context, runtime, place, is_silent=is_silent, is_apart=is_apart or bool(self.plan.inputs)
        )
        work = InnerRun(first, context, runtime)
        with work.count_work():
            await work.run(self._inner.graph, {**config, "recursion_limit": self._inner.step_limit}, inner)
        end = work.state
        made = end.get("messages", [])[len(begin["messages"]) :]
        texts = [each.text for each in made if isinstance(each, AIMessage) and each.text and not is_question(each)]
        return end, "\n\n".join(texts)

    def find_result(self, end: State, said: str) -> Any:
        """Find what it gives: its output, else what it said. Raises NodeFailure where there is none."""
        output = self.plan.spec.output
        value = said if output is None else read_variable(self.plan, end, output)
        if value is MISSING:
            why = f"node {self._site.name!r}: graph {self.plan.id!r} came to an end without a value for {output!r}"
            raise NodeFailure(why, kind="invalid")
        return value

    def _build_counts(self, state: State, context: Context) -> dict[str, Any]:
        limits, own = self.plan.spec.limits, self._site.plan.spec.limits
        rounds, calls = state.get("rounds", 0), state.get("calls", 0)
        most_calls = (context.limits or own).tool_calls
        return {
            "rounds": rounds,
            "calls": calls,
            "most_rounds": min(find_most_rounds(state, context, own), rounds + limits.rounds),
            "most_calls": min(state.get("most_calls", most_calls), calls + limits.tool_calls),
            "started": state.get("started") or context.started,
        }

    def _build_context(
        self,
        state: State,
        context: Context,
        runtime: Runtime[Context],
        place: str,
        *,
        is_silent: bool,
        is_apart: bool,
    ) -> Context:
        limits = context.limits or self._site.plan.spec.limits
        if limits.tokens is not None:
            earlier = state.get("token_use")
            context.turn_tokens.begin(earlier["tokens"] if earlier is not None else 0)
        inner = isolate(context, state, find_emitter(context, runtime.stream_writer), is_silent=is_silent)
        inner = replace(inner, limits=limits, outer_messages=None, place=f"{context.place}/{place}")
        if is_apart:
            inner = replace(inner, history=(), message=find_message(state, context))
        return inner


class SubgraphNode:
    """Runs another graph, with values from variables."""

    def __init__(self, site: NodeSite, services: Services, inner: InnerGraph) -> None:
        spec = cast(SubgraphNodeSpec, site.spec)
        self._site = site
        self._services = services
        self._runner = GraphRunner(site, services, inner)
        self._arguments = spec.arguments
        self._into = spec.into
        self._values = NodeValues(site, services)

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Run it. Raises NodeFailure and ModelError."""
        context = self._services.find_context(runtime)
        counts = count_own_visit(state, self._site.name)
        task = cast("InnerTask | None", cast("Mapping[str, Any]", state).get(TASK))
        visit = counts[self._site.name] if task is None else f"{task['visit']}/{task['key']}"
        begin = await self._build_input(state, context)
        end, said = await self._runner.run(
            begin,
            state,
            context,
            runtime,
            config,
            place=f"{self._site.name}/{visit}",
            is_silent=self._into is not None,
        )
        update: dict[str, Any] = {
            "rounds": end.get("rounds", state.get("rounds", 0)),
            "calls": end.get("calls", state.get("calls", 0)),
            "started": end.get("started", context.started),
            "own_call": OwnCall(request=AIMessage(""), verdicts={}, counts=counts),
            **build_token_use(state, context),
        }
        added: list[AnyMessage] = [] if context.addendum is None else [context.addendum]
        if self._into is None:
            added += [AIMessage(said)] if said else []
        else:
            update[self._into] = self._fit(self._into, self._runner.find_result(end, said))
        return {**update, "messages": added} if added else update

    async def _build_input(self, state: State, context: Context) -> dict[str, Any]:
        """Build what the graph begins with. Raises NodeFailure where a value does not fit its input."""
        inputs = self._runner.plan.inputs
        begin: dict[str, Any] = {"messages": [] if inputs else [*state.get("messages", [])]}
        for name, written in self._arguments.items():
            value = await self._values.fill_in(written, ("with", name), state, context)
            try:
                begin[name] = inputs[name].type.fit(value)
            except TypeMismatch as error:
                raise self._values.build_failure(f"with.{name}", f"what would go into {name!r} {error}") from error
        return begin

    def _fit(self, into: str, value: Any) -> Any:
        try:
            return self._values.fit(into, value)
        except TypeMismatch as error:
            raise self._values.build_unfit("into", into, error) from error
