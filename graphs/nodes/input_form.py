"""The form of a graph's input: asks whoever chats for what their message does not give, before the graph starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from graphs.config.graph_input import INPUT_NODE, build_form_type, complete_input, describe_formless, list_required
from graphs.config.graph_plan import GraphPlan
from graphs.errors import NodeFailure
from graphs.expressions import TypeMismatch
from graphs.nodes.base import NodeSite, Services
from graphs.nodes.question import Asker
from graphs.nodes.state import Context, State, find_origin
from graphs.nodes.values import INPUT_MESSAGE

EXPIRES = 86400.0
"""Seconds for which the input is waited for: as long as for the answer to a question that says nothing else."""


class InputNode:
    """Asks for the input of a graph. No node of its file: the compiler puts it before the first one."""

    def __init__(self, plan: GraphPlan, services: Services) -> None:
        self._site = NodeSite(plan=plan, name=INPUT_NODE)
        self._services = services

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Ask for what is not given yet, and wait for it. Raises NodeFailure where it is not given, or cannot be."""
        plan, values = self._site.plan, cast("Mapping[str, Any]", state)
        # Studio's own form may have given it.
        given = [name for name in plan.inputs if name in values or name == plan.message_input]
        if all(name in given for name in list_required(plan.inputs)):
            return {}
        if (why := describe_formless(plan.id, plan.inputs, given=given)) is not None:
            raise NodeFailure(why, kind="invalid")
        context = self._services.find_context(runtime)
        asker = Asker(
            site=self._site,
            services=self._services,
            subject="its input",
            type=build_form_type(plan.inputs, given=given),
            expires=EXPIRES,
        )
        question = await asker.ask(find_place(context, config), self._render, context, runtime)
        try:
            answer = asker.read_answer(question)
        except TypeMismatch as error:
            raise NodeFailure(f"the input of graph {plan.id!r} {error}", kind="invalid") from error
        messages = asker.build_messages(question, answer, context, runtime, answer_id=f"{INPUT_MESSAGE}{question.id}")
        needed = {name: one for name, one in plan.inputs.items() if name not in given}
        return {**complete_input(needed, answer), "messages": messages}

    async def _render(self) -> str:
        return f"The graph {self._site.plan.id!r} needs its input first."


def find_place(context: Context, config: RunnableConfig) -> str:
    """Find the place where a turn asks for its input: once, so that one that begins again after its process died finds
    the answer."""
    if context.interactive:  # a thread of Studio has many turns
        return f"{context.thread}/{config.get('configurable', {}).get('checkpoint_ns', '')}"
    return f"{find_origin(context.thread)}/{INPUT_NODE}"
