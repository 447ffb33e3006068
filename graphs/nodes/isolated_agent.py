"""The agent that keeps its work to itself: one with `input`, `into`, `rounds` or `timeout`, or inside another node.

Its model, its permission check and its tools are a graph of their own (a subgraph, to LangGraph), with messages that
nothing else sees. What it says goes to the person, or with `into` into a variable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime

from graphs.config.spec.node_types import AgentNodeSpec
from graphs.errors import NodeFailure
from graphs.nodes.base import NodeSite, Services, find_emitter
from graphs.nodes.delegation import AgentOffer
from graphs.nodes.isolation import InnerRun, isolate
from graphs.nodes.model_call import ModelCall
from graphs.nodes.state import Context, State, build_token_use, find_most_rounds
from graphs.nodes.structured_model import SilentListener, ValueQuestion

VALUE_WANTED = "Your work is done. Give its result now, and nothing else."


class IsolatedAgentNode:
    """Runs an agent from its first request to its answer."""

    def __init__(self, site: NodeSite, services: Services, graph: Pregel[Any, Any, Any, Any]) -> None:
        """`graph` is the agent's own: a model, a permission check and tools in a circle."""
        spec = cast(AgentNodeSpec, site.spec)
        self._site = site
        self._services = services
        self._graph = graph
        self._has_input = (site.name, "input") in site.plan.templates
        self._timeout = spec.timeout
        self._into = spec.into
        self._agents = AgentOffer([site.plan.subgraphs[f"{site.name}.{graph}"] for graph in spec.agents], services)
        self._rounds = spec.rounds
        self._call = ModelCall(site, services)
        variable = site.plan.find_output(spec.into) if spec.into is not None else None
        self._type = variable.type if variable is not None else None
        self._question: ValueQuestion | None = None
        if self._type is not None and not self._type.is_plain_text:
            self._question = ValueQuestion(site, self._call, spec.into or "", self._type)

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Run it to its answer. Raises NodeFailure and ModelError."""
        context = self._services.find_context(runtime)
        used, calls = state.get("rounds", 0), state.get("calls", 0)
        most = find_most_rounds(state, context, self._site.plan.spec.limits)
        if used >= most and self._into is not None:
            raise NodeFailure(f"node {self._site.name!r} has no round left", kind="limit")
        own: list[AnyMessage] = [] if self._has_input else [*state.get("messages", [])]
        begin: dict[str, Any] = {**state, "messages": own, "verdicts": {}}
        if self._rounds is not None:
            begin["most_rounds"] = used + self._rounds
        limit = asyncio.timeout(self._timeout)
        work = InnerRun(begin, context, runtime)
        with work.count_work():
            try:
                async with limit:
                    await work.run(self._graph, config, self._isolate(context, runtime, state, most))
                    value, asked = await self._read_value(work.state, context, runtime, config)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                why = f"node {self._site.name!r} took longer than {self._timeout:g} seconds"
                raise NodeFailure(why, kind="timeout") from error
        end = work.state
        made = end.get("messages", [])[len(own) :]
        update: dict[str, Any] = {
            "rounds": end.get("rounds", used) + asked,
            "calls": end.get("calls", calls),
            "started": end.get("started", state.get("started", 0.0)),
        }
        if self._into is not None:
            update |= {self._into: value, **build_token_use(state, context)}
        elif "token_use" in end:
            update["token_use"] = end["token_use"]
        said = "\n\n".join(message.text for message in made if isinstance(message, AIMessage) and message.text)
        added: list[AnyMessage] = [AIMessage(said)] if said and self._into is None else []
        if context.addendum is not None:  # what the person said instead of deciding, whoever asked
            added.insert(0, context.addendum)
        return {**update, "messages": added} if added else update

    async def _read_value(
        self, end: State, context: Context, runtime: Runtime[Context], config: RunnableConfig
    ) -> tuple[Any, int]:
        """Return what goes into the variable, and how many more model calls that took."""
        if self._into is None:
            return None, 0
        if self._question is None:
            answer = next((m for m in reversed(end.get("messages", [])) if isinstance(m, AIMessage)), None)
            text = str(answer.text) if answer is not None else ""
            if not text.strip():
                raise NodeFailure(f"node {self._site.name!r}: the agent gave no answer", kind="invalid")
            return text if self._type is None else self._type.fit(text), 0
        messages = await self._call.build_messages(end, context, note=VALUE_WANTED)
        listener = SilentListener(find_emitter(context, runtime.stream_writer))
        return await self._question.ask(messages, listener, context, runtime, config), 1

    def _isolate(self, context: Context, runtime: Runtime[Context], state: State, most_rounds: int) -> Context:
        """Return the context of the agent's own graph: with the graphs that it can give work to in the place of the
        client's tools, and without listeners to its words where they go into a variable."""
        limits = (context.limits or self._site.plan.spec.limits).model_copy(update={"rounds": most_rounds})
        emit = find_emitter(context, runtime.stream_writer)
        inner = isolate(context, state, emit, is_silent=self._into is not None)
        tools = self._agents.list_tools(context)
        names = frozenset(str(tool["function"]["name"]) for tool in tools)
        outer = state.get("messages", []) if self._has_input else None
        return replace(inner, limits=limits, outer_messages=outer, client_tools=tools, client_names=names)
