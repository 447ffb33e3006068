"""The values that expressions of a node may look at, and the variables that a node writes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

from langchain_core.messages import HumanMessage

from graphs.config.graph_plan import GraphPlan
from graphs.config.group_checks import INDEX, ITEM
from graphs.config.source import Path
from graphs.errors import NodeFailure
from graphs.expressions import ANY, ExpressionError, GraphExpression, Template, TypeMismatch
from graphs.llm.messages import text_of
from graphs.nodes.base import NodeSite, Services
from graphs.nodes.state import TASK, Context, InnerTask, State, count_visits, find_last_answer
from graphs.text import truncate

log = logging.getLogger(__name__)

NOTE = "note"
"""The field that says what a node does."""
LONGEST_NOTE = 200
"""Characters of a status line."""
INPUT_MESSAGE = "input-"
"""How the ids of messages begin that give a graph its input: what the person said before is still the message."""


class NodeValues:
    """What the expressions of one node may look at. Built once for each node and snapshot."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._variables = site.plan.variables
        self._builders: Mapping[str, Callable[[State, Context], Any]] = {
            "message": find_message,
            "text": _find_text,
            "turn": _count_turn,
            "error": lambda state, _: state.get("error", {}),
            "tool_calls": self._build_calls,
            "caller": lambda _, context: context.caller if context.trial is None else context.trial.player,
            "graph": lambda _, __: site.plan.id,
            "now": _find_time,
            ITEM: lambda state, _: get_task(state).get("item"),
            INDEX: lambda state, _: get_task(state)["key"],
        }

    def build(self, names: Collection[str], state: State, context: Context, *, visits: int) -> dict[str, Any]:
        """Build the values of these names; a variable without a value is left out. `visits`: how often the node ran."""
        found: dict[str, Any] = {}
        for name in names:
            if name in self._variables:
                if (value := read_variable(self._site.plan, state, name)) is not MISSING:
                    found[name] = value
                elif name == self._site.plan.message_input:  # Studio may leave it out
                    found[name] = find_message(state, context)
            elif name == "visits":
                found[name] = visits
            else:
                found[name] = self._builders[name](state, context)
        return found

    async def render(self, field: str, state: State, context: Context) -> str | None:
        """Fill in a text of the node; None: it has none. Raises NodeFailure."""
        template = self._site.plan.templates.get((self._site.name, field))
        return None if template is None else await self._fill((field,), template, state, context)

    async def render_value(self, path: Path, text: str, state: State, context: Context) -> Any:
        """Fill in a text of the node that is a value: one `{{ … }}` with nothing beside it keeps the type of its value.
        Raises NodeFailure."""
        template = self._site.plan.templates.get((self._site.name, *path))
        if template is None:
            return text
        if template.alone is None:
            return await self._fill(path, template, state, context)
        return await self._compute(path, template.alone, state, context, {})

    async def render_text(self, path: Path, text: str, state: State, context: Context) -> str:
        """Fill in a text of the node that stays a text, whatever its value is. Raises NodeFailure."""
        template = self._site.plan.templates.get((self._site.name, *path))
        return text if template is None else await self._fill(path, template, state, context)

    async def fill_in(self, value: object, path: Path, state: State, context: Context) -> Any:
        """Fill in the texts of a value of the node, which may hold others. Raises NodeFailure."""
        match value:
            case str():
                return await self.render_value(path, value, state, context)
            case dict():
                entries = cast("dict[str, object]", value).items()
                return {key: await self.fill_in(item, (*path, key), state, context) for key, item in entries}
            case list():
                items = enumerate(cast("list[object]", value))
                return [await self.fill_in(item, (*path, at), state, context) for at, item in items]
            case _:
                return value

    async def evaluate(
        self, *path: str, state: State, context: Context, own: Mapping[str, Any] = MappingProxyType({})
    ) -> Any:
        """Evaluate a field of the node that is CEL; `own` are the values that only this node has. Raises
        NodeFailure."""
        return await self._compute(path, self._site.plan.expressions[self._site.name, *path], state, context, own)

    async def _fill(self, path: Path, template: Template, state: State, context: Context) -> str:
        values = self.build(template.names, state, context, visits=count_visits(state, self._site.outer))
        try:
            return await self._services.evaluator.render(template, values, context.caller.user)
        except ExpressionError as error:
            raise self.build_failure(_join(path), str(error)) from error

    async def _compute(
        self, path: Path, expression: GraphExpression, state: State, context: Context, own: Mapping[str, Any]
    ) -> Any:
        names = expression.names - own.keys()
        values = self.build(names, state, context, visits=count_visits(state, self._site.outer))
        values |= dict(own)
        value, why = await self._services.evaluator.evaluate_value(expression, values, context.caller.user)
        if why:
            raise self.build_failure(_join(path), f"{expression.text} cannot be evaluated: {why}")
        return value

    def fit(self, name: str, value: Any) -> Any:
        """Return a value as its variable keeps it. Raises TypeMismatch."""
        variable = self._site.plan.find_output(name)
        return (variable.type if variable is not None else ANY).fit(value)

    def build_failure(self, field: str, why: str) -> NodeFailure:
        """Build the failure of a field of the node."""
        plan, name = self._site.plan, self._site.name
        return NodeFailure(f"graphs/{plan.id}.yaml, node {name!r}, {field}: {why}", kind="invalid")

    def build_unfit(self, field: str, name: str, error: TypeMismatch) -> NodeFailure:
        """Build the failure of a value that does not fit its variable."""
        return self.build_failure(field, f"what would go into {name!r} {error}")

    def _build_calls(self, state: State, context: Context) -> list[dict[str, Any]]:
        return build_call_values(state, context, self._services)


def _join(path: Path) -> str:
    return ".".join(map(str, path))


async def render_note(values: NodeValues, site: NodeSite, state: State, context: Context) -> str:
    """Fill in the `note` of a node, as one line. Empty where it has none or it cannot be filled in: a status line ends
    no turn."""
    try:
        text = await values.render(NOTE, state, context)
    except NodeFailure as error:
        log.warning("graph %s, node %s: no note is shown: %s", site.plan.id, site.name, error)
        return ""
    return truncate(" ".join((text or "").split()), LONGEST_NOTE)


MISSING = object()
"""Stands for the value of a variable that has none."""


def read_variable(plan: GraphPlan, state: State, name: str) -> Any:
    """Read a variable of a turn: what a node wrote last, else its default, else MISSING."""
    values = cast("Mapping[str, Any]", state)
    if name in values:
        return values[name]
    variable = plan.variables[name]
    return deepcopy(variable.default) if variable.has_default else MISSING


def build_first_state(plan: GraphPlan, context: Context) -> dict[str, Any]:
    """Build the state in which a turn of this graph begins: with the person's message where that is its input."""
    message = plan.message_input
    given = {} if message is None else {message: plan.inputs[message].type.fit(find_message({}, context))}
    return {"messages": [], **given}


def find_message(state: State, context: Context) -> str:
    """Find the person's latest text; empty: they said nothing."""
    for message in reversed(state.get("messages", [])):
        if isinstance(message, HumanMessage) and not (message.id or "").startswith(INPUT_MESSAGE):
            return message.text
    if context.message is not None:
        return context.message
    return next((text_of(message) for message in reversed(context.history) if message.get("role") == "user"), "")


def build_call_values(state: State, context: Context, services: Services) -> list[dict[str, Any]]:
    """Build what expressions see of the latest round's tool calls."""
    answer = find_last_answer(state)
    verdicts = state.get("verdicts", {})
    calls: list[dict[str, Any]] = []
    tools = services.find_tools(context)
    for call in answer.tool_calls if answer else ():
        if call["name"] in context.client_names:
            continue
        served = tools.find(call["name"])
        verdict = verdicts.get(call["id"] or "")
        calls.append(
            {
                "id": call["id"],
                "tool": served.people_name if served else call["name"],
                "args": call["args"],
                "verdict": verdict["decision"] if verdict else "",
            }
        )
    for broken in answer.invalid_tool_calls if answer else ():
        calls.append({"id": broken["id"], "tool": broken["name"] or "", "args": {}, "verdict": ""})
    return calls


def get_task(state: State) -> InnerTask:
    """Return which of several tasks runs with this state. Raises NodeFailure where it is none: Studio lets people write
    a state in the name of a node."""
    task = cast("InnerTask | None", cast("Mapping[str, Any]", state).get(TASK))
    if task is None:
        raise NodeFailure("this node runs only as a task of the one around it", kind="invalid")
    return task


def _find_time(state: State, _: Context) -> datetime:
    """Find what `now` is: to a task, which may run again, the time when it was sent out."""
    task = cast("InnerTask | None", cast("Mapping[str, Any]", state).get(TASK))
    return datetime.now(UTC) if task is None else datetime.fromtimestamp(task["began"], UTC)


def _find_text(state: State, _: Context) -> str:
    answer = find_last_answer(state)
    return answer.text if answer else ""


def _count_turn(state: State, _: Context) -> dict[str, int]:
    return {"rounds": state.get("rounds", 0), "calls": state.get("calls", 0)}
