"""`graphs/*.yaml`: one file, one graph, one name in the model list."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import BeforeValidator, Field, create_model, field_validator, model_validator

from graphs.config.spec.base import NO_SWITCH, Seconds, Spec

_WEEK = 7 * 86400.0

END = "end"
"""The target that ends the turn."""


class BranchSpec(Spec):
    """One way on from a node."""

    when: str | None = None
    """A CEL condition over tool_calls, text, turn, caller and now. Absent: always."""
    to: str
    """The node to go to, or `end`."""

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("is a text; write 'next: NODE' without brackets, or {to: NODE}")  # noqa: TRY004
        return value


def _parse_branches(value: Any) -> Any:
    return [{"to": value}] if isinstance(value, str) else value


Next = Annotated[
    list[BranchSpec],
    BeforeValidator(_parse_branches, json_schema_input_type=str | list[BranchSpec]),
    Field(min_length=1),
]
"""Where to go: the name of a node, or a list of which the first branch that is true is taken."""


NodeRole = Literal["model", "gate", "executor", "step"]
"""What a node does for the tool calls of a turn: asks for them, decides them, runs them, or leaves them alone."""


# Every page is frozen by its settings; said once more for the type checker, so that `type` may be narrowed.
class NodeSpec(Spec, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """The base of every node type.

    A new type is a subclass here with its entry in `NODE_SPECS`, and a class in `graphs/nodes/` with its entry in
    `NODE_CLASSES` there. Nothing else has to know of it.
    """

    role: ClassVar[NodeRole] = "step"
    """What the checks, the compiler and the drawings know this type by."""
    templates: ClassVar[tuple[str, ...]] = ()
    """The fields whose text holds CEL in `{{ … }}`."""
    retries: ClassVar[bool] = False
    """Whether the node runs again after an error of the model endpoint that may pass."""

    type: str
    """The name of the node type."""
    next: Next
    """Where to go then."""

    def locate_tool_patterns(self) -> dict[tuple[str | int, ...], str]:
        """List the patterns over `server/tool` of the tools that this node may use, by their paths in the node."""
        return {}

    def find_model(self) -> str | None:
        """Find the model that the node names; None: it names none."""
        return None


class ModelNodeSpec(NodeSpec, frozen=True):
    """Asks a model, which answers or calls tools."""

    role = "model"
    templates = ("prompt",)
    retries = True

    type: Literal["model"]
    """Asks a model, which answers or calls tools."""
    prompt: str = ""
    """What the model is told first. `{{ … }}` holds CEL over caller, now and graph."""
    model: str | None = None
    """The model. Absent: the one asked for, or the gateway's default."""
    tools: list[str] = []
    """Patterns over `server/tool` of what this node may see; the caller's role narrows it further."""
    temperature: Annotated[float, Field(ge=0, le=2), NO_SWITCH] | None = None
    """How freely the model picks its words."""
    max_tokens: Annotated[int, Field(ge=1), NO_SWITCH] | None = None
    """The longest answer."""

    def locate_tool_patterns(self) -> dict[tuple[str | int, ...], str]:
        """List the patterns under `tools`."""
        return {("tools", at): pattern for at, pattern in enumerate(self.tools)}

    def find_model(self) -> str | None:
        """Find the model under `model`."""
        return self.model


class PermissionNodeSpec(NodeSpec, frozen=True):
    """Decides every tool call that was asked for: allow, ask or deny."""

    role = "gate"

    type: Literal["permission"]
    """Decides every tool call that was asked for: allow, ask or deny."""


class ToolsNodeSpec(NodeSpec, frozen=True):
    """Runs the tool calls that carry an allow, and no others."""

    role = "executor"

    type: Literal["tools"]
    """Runs the tool calls that carry an allow, and no others."""


NODE_SPECS: dict[str, type[NodeSpec]] = {
    "model": ModelNodeSpec,
    "permission": PermissionNodeSpec,
    "tools": ToolsNodeSpec,
}
"""The node types that a graph file may use, by name, in the order in which messages list them."""


class LimitsSpec(Spec):
    """Where a turn ends at the latest, with one last answer without tools."""

    rounds: Annotated[int, Field(ge=1, le=1000), NO_SWITCH] = 12
    """How many rounds of tool calls a turn may have."""
    tool_calls: Annotated[int, Field(ge=1, le=10_000), NO_SWITCH] = 40
    """How many tool calls may run."""
    seconds: Seconds = 300.0
    """How long a turn may take, without the time that it waits for an approval. At most 7d."""

    @field_validator("seconds")
    @classmethod
    def _limits_something(cls, value: float) -> float:
        if value > _WEEK:
            raise ValueError("is longer than 7d, which limits nothing; write a shorter time")
        return value


class GraphSpec(Spec):
    """One graph: nodes, and the way from each to the next."""

    description: str = ""
    """What people read beside its name."""
    start: str
    """The first node."""
    nodes: Annotated[dict[str, NodeSpec], Field(min_length=1)]
    """The nodes, by name."""
    limits: LimitsSpec = LimitsSpec()
    """Where a turn ends at the latest."""

    def find_model(self) -> str | None:
        """Find the model of the first node that asks one; None: it names none, or there is no such node."""
        return next((node.find_model() for node in self.nodes.values() if node.role == "model"), None)


def get_graph_spec() -> type[GraphSpec]:
    """Build the page of a graph file: `GraphSpec`, with nodes of the types in `NODE_SPECS`."""
    return _build_graph_spec(tuple(NODE_SPECS.values()))


@cache
def _build_graph_spec(node_specs: tuple[type[NodeSpec], ...]) -> type[GraphSpec]:
    described = GraphSpec.model_fields["nodes"].description
    node: Any = Annotated[Union[node_specs], Field(discriminator="type")]  # noqa: UP007
    nodes: Any = Annotated[dict[str, node], Field(min_length=1, description=described)]
    return create_model(GraphSpec.__name__, __base__=GraphSpec, __doc__=GraphSpec.__doc__, nodes=(nodes, ...))
