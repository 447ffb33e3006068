"""`graphs/*.yaml`: one file, one graph, one name in the model list."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self, Union

from pydantic import Field, WithJsonSchema, create_model, field_validator

from graphs.config.spec.base import NO_SWITCH, Duration, Seconds, Spec
from graphs.config.spec.node import END, MODEL_ROLES, DefaultsSpec, NodeSpec
from graphs.config.spec.registry import NODE_SPECS

_WEEK = 7 * 86400.0


class LimitsSpec(Spec):
    """Where a turn ends at the latest, with one last answer without tools."""

    rounds: Annotated[int, Field(ge=1, le=1000), NO_SWITCH] = 12
    """How many answers of models a turn may have, before one last answer without tools."""
    tool_calls: Annotated[int, Field(ge=1, le=10_000), NO_SWITCH] = 40
    """How many tool calls may run."""
    width: Annotated[int, Field(ge=1, le=1000), NO_SWITCH] = 20
    """How many items one `map` may have, and how many branches one `parallel`."""
    tokens: Annotated[int, Field(ge=1, le=1_000_000_000), NO_SWITCH] | None = None
    """How many tokens the model calls of a turn may use together, prompts and answers. Absent: any number."""
    seconds: Seconds = 300.0
    """How long a turn may take, without the time that it waits for an approval. At most 7d."""

    @field_validator("seconds")
    @classmethod
    def _limits_something(cls, value: float) -> float:
        if value > _WEEK:
            raise ValueError("is longer than 7d, which limits nothing; write a shorter time")
        return value


MemoryScope = Literal["user", "chat", "graph"]


class MemorySpec(Spec):
    """Whose memory the memory nodes of a graph use, and how long it lasts."""

    scope: MemoryScope = "user"
    """Whose it is: `user` is the person where somebody vouches for who that is, else the key; `chat` is one chat of
    theirs; `graph` is everybody who may use the graph."""
    ttl: Duration = 90 * 86400.0
    """How long a value is remembered after it was written. Default: 90 days."""
    embed: Annotated[str, Field(min_length=1)] | None = None
    """The embedding model by which searches find what is near in meaning, as LiteLLM calls it. Of each entry, its key
    and value are embedded, the first 4,000 characters. Absent: searches go by words."""


_PLAIN_TYPE = {"type": "string", "pattern": r"^(string|int|number|bool|any)(\[\])*$"}
_CHOICE_TYPE = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_WRITTEN_TYPE: dict[str, Any] = {
    "anyOf": [
        _PLAIN_TYPE,
        _CHOICE_TYPE,
        {
            "type": "object",
            "properties": {
                "fields": {
                    "type": "object",
                    "description": "The type of each field; a '?' behind a name: may be absent.",
                },
                "list": {"description": "The type of a list's items."},
                "schema": {
                    "type": "string",
                    "pattern": r"\.schema\.(json|ya?ml)(#.*)?$",
                    "description": "A file with a JSON Schema, by its path from this one: ./NAME.schema.json.",
                },
                "type": {"description": "The type."},
                "default": {"description": "The value that it has from the start."},
            },
            "additionalProperties": False,
        },
    ]
}
WrittenType = Annotated[Any, WithJsonSchema(_WRITTEN_TYPE)]
"""A type as it is written; `graphs.expressions.types` reads it."""


class GraphSpec(Spec):
    """One graph: nodes, and the way from each to the next."""

    description: str = ""
    """What people read beside its name."""
    vars: dict[str, WrittenType] = {}
    """The variables of a turn, each with its type: string, int, number, bool, any, one of these with [] behind it, a
    choice such as [low, high], {fields: {name: TYPE, "name?": TYPE}}, {list: TYPE}, {schema: ./NAME.schema.json}, or
    {type: TYPE, default: VALUE}."""
    input: dict[str, WrittenType] = {}
    """What whoever starts the graph gives, each with its type as under `vars`: a `subgraph` node gives it under `with`.
    From a chat, the only text without a default is the person's message; a form asks for what else has none, before the
    first node. Absent: a chat."""
    output: str | None = None
    """The variable that is the graph's result where another graph runs it. Absent: the text that it said."""
    start: str
    """The first node."""
    nodes: Annotated[dict[str, NodeSpec], Field(min_length=1)]
    """The nodes, by name."""
    memory: MemorySpec | None = None
    """Whose memory the memory nodes use, and how long it lasts. Absent: `{scope: user, ttl: 90d}`."""
    limits: LimitsSpec = LimitsSpec()
    """Where a turn ends at the latest."""
    defaults: DefaultsSpec = DefaultsSpec()
    """What holds for every node that does not say it itself."""

    @classmethod
    def find_stand_in(cls, path: tuple[str | int, ...]) -> str | None:
        """Let the end stand in for a start and for a node's way on."""
        is_way = path == ("start",) or (len(path) == 3 and path[0] == "nodes" and path[2] == "next")
        return END if is_way else None

    def list_all_nodes(self) -> Mapping[str, NodeSpec]:
        """List the nodes and, behind each, those inside it: the path to one is its name, such as `read.do`."""
        return {
            name: node
            for outer, spec in self.nodes.items()
            for name, node in {
                outer: spec,
                **{f"{outer}.{path[-1]}": inner for path, inner in spec.list_inner_nodes().items()},
            }.items()
        }

    def locate_node(self, name: str) -> tuple[str | int, ...]:
        """Locate a node of `list_all_nodes` in the file."""
        outer, _, inner = name.partition(".")
        if not inner:
            return ("nodes", outer)
        return next(("nodes", outer, *path) for path in self.nodes[outer].list_inner_nodes() if str(path[-1]) == inner)

    def fill_in_defaults(self) -> Self:
        """Return the graph with `defaults` in all nodes that they hold for."""
        return self.model_copy(
            update={"nodes": {name: node.fill_in(self.defaults) for name, node in self.nodes.items()}}
        )

    def find_model(self) -> str | None:
        """Find the model of the first node that asks one; None: it names none, or there is no such node."""
        return next((node.find_model() for node in self.list_all_nodes().values() if node.role in MODEL_ROLES), None)


def get_graph_spec() -> type[GraphSpec]:
    """Build the page of a graph file: `GraphSpec`, with nodes of the types in `NODE_SPECS`."""
    return _build_graph_spec(tuple(NODE_SPECS.values()))


@cache
def _build_graph_spec(node_specs: tuple[type[NodeSpec], ...]) -> type[GraphSpec]:
    described = GraphSpec.model_fields["nodes"].description
    node: Any = Annotated[Union[node_specs], Field(discriminator="type")]  # noqa: UP007
    nodes: Any = Annotated[dict[str, node], Field(min_length=1, description=described)]
    return create_model(GraphSpec.__name__, __base__=GraphSpec, __doc__=GraphSpec.__doc__, nodes=(nodes, ...))
