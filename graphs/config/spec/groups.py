"""The node types that have nodes inside: `parallel` runs several at the same time, `map` one for every item of a list.

A node inside has no way on and no variable of its own: what it makes is a part of what the node around it gives. Its
name is a path, such as `read.do` or `review.style`, which no other node can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic_core import CoreSchema

from graphs.config.spec.base import NO_SWITCH, Switch
from graphs.config.spec.node import END, MODEL_ROLES, DefaultsSpec, NodeSpec
from graphs.config.spec.node_types import AgentNodeSpec, CallNodeSpec, ModelNodeSpec
from graphs.config.spec.python import PythonNodeSpec
from graphs.config.spec.subgraph import SubgraphNodeSpec
from graphs.errors import describe_kind

OUTER_FIELDS = ("next", "into", "on_error")
"""The fields that a node inside has not: the node around it has them."""
ITEMS = "[]"
"""What follows the name of a list where one of its items is meant."""


def _place(written: Any, into: str | None) -> Any:
    """Return a node inside as it would be written outside, with `into` for what it makes."""
    if not isinstance(written, dict):
        raise ValueError(f"is {describe_kind(written)}; expected a node, such as {{type: call, tool: SERVER/TOOL}}")  # noqa: TRY004
    own = {name: value for name, value in cast("dict[str, Any]", written).items() if name not in OUTER_FIELDS}
    return {**own, "next": END} | ({"into": into} if into is not None else {})


def _place_item(written: Any, info: ValidationInfo) -> Any:
    into = info.data.get("into")
    return _place(written, f"{into}{ITEMS}" if into is not None else None)


def _place_branches(written: Any, info: ValidationInfo) -> Any:
    if not isinstance(written, dict):
        return written
    into = info.data.get("into")
    branches = cast("dict[str, Any]", written)
    return {
        name: _place(branch, f"{into}.{name}" if into is not None else None) if isinstance(branch, dict) else branch
        for name, branch in branches.items()
    }


class _InnerSchema:
    """Leaves the fields that a node inside has not out of its JSON Schema."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        members = [handler.resolve_ref_schema(member) for member in handler(core)["oneOf"]]
        return {
            "oneOf": [
                {
                    **member,
                    "properties": {
                        name: field for name, field in member["properties"].items() if name not in OUTER_FIELDS
                    },
                    "required": [name for name in member["required"] if name not in OUTER_FIELDS],
                }
                for member in members
            ]
        }


InnerNode = Annotated[
    ModelNodeSpec | AgentNodeSpec | CallNodeSpec | PythonNodeSpec | SubgraphNodeSpec,
    Field(discriminator="type"),
    _InnerSchema,
]
"""A node inside another."""


class ParallelNodeSpec(NodeSpec, frozen=True):
    """Runs several nodes at the same time, and waits for all of them.

    For steps that do not need each other: three reviewers of one text, two lookups before an answer.

    In LangGraph: NAME sends (`Send`) to NAME.BRANCH for each branch, and NAME.collect joins them.
    """

    role = "group"

    type: Literal["parallel"]
    """Runs several nodes at the same time, and waits for all of them."""
    into: str | None = None
    """The variable for what they give: an object with a field for each branch, whose type that branch must give.
    Absent: it goes nowhere."""
    branches: Annotated[dict[str, InnerNode], BeforeValidator(_place_branches), Field(min_length=1)]
    """The nodes, by name: `model`, `agent`, `call`, `python` or `subgraph`, without `next`, `into` and `on_error`."""
    on_error: str | None = None
    """The node to go to where one of them fails, once the others have ended. Absent: the turn ends."""

    @model_validator(mode="after")
    def _has_use(self) -> ParallelNodeSpec:
        for name, branch in self.branches.items():
            if self.into is None and branch.role in MODEL_ROLES:
                raise ValueError(
                    f"has the {branch.type} {name!r}, and no 'into' for what it answers; name the variable"
                )
        return self

    def fill_in(self, defaults: DefaultsSpec) -> Self:
        """Return the node with the graph's `defaults` in its branches."""
        return self.model_copy(
            update={"branches": {name: branch.fill_in(defaults) for name, branch in self.branches.items()}}
        )

    def list_inner_nodes(self) -> Mapping[tuple[str | int, ...], NodeSpec]:
        """List the branches."""
        return {("branches", name): branch for name, branch in self.branches.items()}

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {} if self.into is None else {("into",): self.into}


class MapNodeSpec(NodeSpec, frozen=True):
    """Runs one node for every item of a list, several at the same time.

    For lists of which each item needs the same: files to read, hosts to ask, texts to judge.

    In LangGraph: NAME sends (`Send`) to NAME.do for each item, and NAME.collect joins them in the list's order.
    """

    role = "group"

    type: Literal["map"]
    """Runs one node for every item of a list, several at the same time."""
    over: str
    """CEL for the list."""
    into: str | None = None
    """The variable for what comes of the items: a list in the order of `over`. Absent: it goes nowhere."""
    do: Annotated[InnerNode, BeforeValidator(_place_item)]
    """The node: `model`, `agent`, `call`, `python` or `subgraph`, without `next`, `into` and `on_error`. Its texts see
    `item` and `index`."""
    at_once: Annotated[int, Field(ge=1, le=100), NO_SWITCH] = 4
    """How many items run at the same time."""
    at_most: Annotated[int, Field(ge=1), NO_SWITCH] | None = None
    """How many items there may be; more are an error, and none is left out. Absent: `limits.width`."""
    drop_errors: Switch = False
    """Whether items that fail are left out. Else the node fails as the first of them did, once all have ended."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""

    @model_validator(mode="after")
    def _has_use(self) -> MapNodeSpec:
        if self.into is None and self.do.role in MODEL_ROLES:
            raise ValueError(f"has {self.do.type!r} under 'do', and no 'into' for what it answers; name the variable")
        return self

    def fill_in(self, defaults: DefaultsSpec) -> Self:
        """Return the node with the graph's `defaults` in the node under `do`."""
        return self.model_copy(update={"do": self.do.fill_in(defaults)})

    def list_inner_nodes(self) -> Mapping[tuple[str | int, ...], NodeSpec]:
        """List the one under `do`."""
        return {("do",): self.do}

    def locate_expressions(self) -> dict[tuple[str | int, ...], str]:
        """List `over`."""
        return {("over",): self.over}

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {} if self.into is None else {("into",): self.into}

    def find_most_tasks(self, width: int) -> int:
        """Return the most items that there may be, in a graph with this `limits.width`."""
        return self.at_most if self.at_most is not None else width
