"""`graphs/*.yaml`: one file, one graph, one name in the model list."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from graphs.config.spec.base import Seconds, Spec

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


class ModelNodeSpec(Spec):
    """Asks a model, which answers or calls tools."""

    type: Literal["model"]
    """Asks a model, which answers or calls tools."""
    prompt: str = ""
    """What the model is told first. `{{ … }}` holds CEL over caller, now and graph."""
    model: str | None = None
    """The model. Absent: the one asked for, or the gateway's default."""
    tools: list[str] = []
    """Patterns over `server/tool` of what this node may see; the caller's role narrows it further."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """How freely the model picks its words."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The longest answer."""
    next: Next
    """Where to go then."""


class PermissionNodeSpec(Spec):
    """Decides every tool call that was asked for: allow, ask or deny."""

    type: Literal["permission"]
    """Decides every tool call that was asked for: allow, ask or deny."""
    next: Next
    """Where to go then."""


class ToolsNodeSpec(Spec):
    """Runs the tool calls that carry an allow, and no others."""

    type: Literal["tools"]
    """Runs the tool calls that carry an allow, and no others."""
    next: Next
    """Where to go then."""


NodeSpec = Annotated[ModelNodeSpec | PermissionNodeSpec | ToolsNodeSpec, Field(discriminator="type")]


class LimitsSpec(Spec):
    """Where a turn ends at the latest, with one last answer without tools."""

    rounds: Annotated[int, Field(ge=1, le=1000)] = 12
    """How many rounds of tool calls a turn may have."""
    tool_calls: Annotated[int, Field(ge=1, le=10_000)] = 40
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
