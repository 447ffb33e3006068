"""The type of a graph's state: what every turn has, and one key for each variable of the graph."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, cast, get_type_hints

from pydantic import Field
from typing_extensions import TypedDict

from graphs.config.graph_plan import GraphPlan
from graphs.expressions import VarType
from graphs.nodes.state import TASK, InnerTask, State

_PLAIN: dict[str, Any] = {"string": str, "int": int, "number": float, "bool": bool, "any": Any}


def build_state_type(plan: GraphPlan, *, is_inner: bool = False) -> type[State]:
    """Build the type of a graph's state: LangGraph makes a channel of each key, and Studio a field of its forms.

    A graph has no key that nothing in it uses: each is looked at in every step. `is_inner`: for a part of the graph
    that is a subgraph to LangGraph.
    """
    counts = plan.counts_visits
    unused = {
        "visits": not counts,
        "agent": not counts,
        "error": not plan.error_ways,
        "own_call": not plan.calls_tools,
        "task_outcomes": not (plan.has_groups or is_inner),
        "token_use": plan.spec.limits.tokens is None,
        "most_rounds": not is_inner,
        "most_calls": not is_inner,
    }
    keys = {name: hint for name, hint in get_type_hints(State, include_extras=True).items() if not unused.get(name)}
    variables = {name: build_annotation(name, variable.type) for name, variable in plan.variables.items()}
    task: dict[str, Any] = {TASK: InnerTask} if is_inner else {}
    make: Any = TypedDict  # a type checker wants the keys written out
    return cast("type[State]", make("State", {**keys, **task, **variables}, total=False))


def build_annotation(name: str, type_: VarType) -> Any:
    """Build the type annotation of values of this type; `name` is what an object's type is called."""
    made: Any = _build_plain_annotation(name, type_)
    if type_.schema is not None and type_.schema.shown != "{}":
        # Studio's forms show it. Nothing else reads it: values are checked where they are written.
        made = Annotated[made, Field(json_schema_extra=type_.schema.build_shown())]
    return made | None if type_.is_nullable and made is not Any else made


def _build_plain_annotation(name: str, type_: VarType) -> Any:
    match type_.kind:
        case "list":
            return list[build_annotation(name, type_.item) if type_.item is not None else Any]
        case "enum":
            return Literal[type_.values]
        case "object" if type_.is_loose:
            return dict[str, Any]
        case "object":
            fields = {field.name: build_annotation(f"{name}_{field.name}", field.type) for field in type_.fields}
            optional = {field.name for field in type_.fields if field.is_optional}
            keys = {key: NotRequired[value] if key in optional else value for key, value in fields.items()}
            make: Any = TypedDict
            return make(name, keys)
        case kind:
            return _PLAIN[kind]
