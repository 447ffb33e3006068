"""What all node types of a graph file have: their ways on, their attempts, and what the checks ask of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from graphs.config.spec.base import NO_SWITCH, Duration, Spec
from graphs.errors import describe_kind
from graphs.expressions import VarType

END = "end"
"""The target that ends the turn."""


class BranchSpec(Spec):
    """One way on from a node."""

    when: str | None = None
    """A CEL condition over the variables, message, text, tool_calls, turn, visits, caller, graph and now. Absent:
    always."""
    to: str
    """The node to go to, or `end`."""
    value: SkipJsonSchema[str | None] = None
    """The value of the node's variable at which it is taken, where `next` is a mapping."""

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("is a text; write 'next: NODE' without brackets, or {to: NODE}")  # noqa: TRY004
        if isinstance(value, dict) and "value" in value:
            raise ValueError("has 'value'; write 'next' as a mapping of values to nodes, or a condition under 'when'")
        return cast("Any", value)


def _parse_branches(value: Any) -> Any:
    if isinstance(value, str):
        return [{"to": value}]
    # One branch without the list around it is more likely than a choice between "when" and "to".
    if not isinstance(value, dict) or not {"when", "to"}.isdisjoint(cast("dict[str, object]", value)):
        return cast("object", value)
    ways = cast("dict[str, object]", value)
    for choice, to in ways.items():
        if not isinstance(to, str):
            raise ValueError(f"{choice!r} leads to {describe_kind(to)}; expected the name of a node")  # noqa: TRY004
    return [BranchSpec.model_construct(to=to, value=choice) for choice, to in ways.items()]


Next = Annotated[
    list[BranchSpec],
    BeforeValidator(_parse_branches, json_schema_input_type=str | list[BranchSpec] | dict[str, str]),
    Field(min_length=1),
]
"""Where to go: the name of a node, a list of which the first branch that is true is taken, or, where the node's `into`
is a choice, a node for each of its values."""


NodeRole = Literal["model", "agent", "gate", "executor", "caller", "group", "graph", "step"]
"""What a node does for the tool calls of a turn: asks for them, does all there is to do for them, decides them, runs
them, makes one of its own beside them, has nodes inside it that do such things, is a graph that does, or leaves them
alone."""
MODEL_ROLES: tuple[NodeRole, ...] = ("model", "agent")
"""The roles of nodes that ask a model, where limits are counted."""


MOST_ATTEMPTS = 100


class RetrySpec(Spec):
    """How often something is tried, and how long is waited in between."""

    times: Annotated[int, Field(ge=1, le=MOST_ATTEMPTS), NO_SWITCH]
    """How many attempts there are in all."""
    wait: Duration = 0.3
    """The time before the second attempt; it doubles with each further one, up to a minute."""


class CallRetrySpec(RetrySpec):
    """How often a tool is called, and how long is waited in between."""

    wait: Duration = 0.3
    """The time before the second attempt; it doubles with each further one, up to a minute. With `until` it stays."""
    until: str | None = None
    """CEL over `result`: the tool is called again until it is true."""


def _parse_retry(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 1 <= value <= MOST_ATTEMPTS:
        raise ValueError(f"is {value:,}; expected 1 to {MOST_ATTEMPTS} attempts")
    return {"times": value}


Retry = Annotated[RetrySpec, BeforeValidator(_parse_retry, json_schema_input_type=int | RetrySpec)]
"""A number of attempts, or `{times, wait}`."""
CallRetry = Annotated[CallRetrySpec, BeforeValidator(_parse_retry, json_schema_input_type=int | CallRetrySpec)]
"""A number of attempts, or `{times, wait, until}`."""


class DefaultsSpec(Spec):
    """What holds for every node that has such a setting and does not say it itself."""

    retry: Retry | None = None
    """How many attempts there are, as a number or {times, wait}; of a `call`, where its tool may be called again."""
    timeout: Duration | None = None
    """The longest time of one attempt."""


# Every page is frozen by its settings; said once more for the type checker, so that `type` may be narrowed.
class NodeSpec(Spec, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """The base of every node type.

    A new type is a subclass with its entry in `NODE_SPECS` (`registry.py`), and a class in `graphs/nodes/` with its
    entry in `NODE_CLASSES` there. Nothing else has to know of it.
    """

    role: ClassVar[NodeRole] = "step"
    """What the checks, the compiler and the drawings know this type by."""
    templates: ClassVar[tuple[str, ...]] = ()
    """The fields of this type whose text holds CEL in `{{ … }}`."""
    own_names: ClassVar[tuple[str, ...]] = ()
    """The names that its expressions may look at beside those that all have."""
    retries: ClassVar[bool] = False
    """Whether the node runs again after an error of the model endpoint that may pass."""
    takes_defaults: ClassVar[bool] = True
    """Whether the graph's `defaults` hold for this type, as far as it has such settings: not for one that runs other
    nodes, whose time and attempts are theirs."""
    uses_memory: ClassVar[bool] = False
    """Whether the node reads or writes what lasts beyond the turn."""

    type: str
    """The name of the node type."""
    next: Next
    """Where to go then."""
    note: str | None = None
    """A status line while the node runs, where the client shows such lines. `{{ … }}` holds CEL as in a prompt. One
    that cannot be filled in is left out."""
    description: str = ""
    """What the node is for, in plain text: shown in drawings."""

    def list_inner_nodes(self) -> Mapping[tuple[str | int, ...], NodeSpec]:
        """List the nodes inside this one, by their paths in it. Each of them says for itself what it uses."""
        return {}

    def locate_graphs(self) -> dict[tuple[str | int, ...], str]:
        """List the graphs that this node runs, by their paths in the node."""
        return {}

    def locate_tool_patterns(self) -> dict[tuple[str | int, ...], str]:
        """List the patterns over `server/tool` of the tools that this node may use, by their paths in the node."""
        return {}

    def locate_templates(self) -> dict[tuple[str | int, ...], str]:
        """List the texts that hold CEL in `{{ … }}`, by their paths in the node."""
        return {(name,): text for name in (*self.templates, "note") if (text := getattr(self, name))}

    def locate_arguments(self) -> dict[tuple[str | int, ...], str] | None:
        """List the arguments of the tool that this node calls, by their paths in the node; None: it calls none itself,
        or one expression gives them all."""
        return None

    def locate_expressions(self) -> dict[tuple[str | int, ...], str]:
        """List the fields that are CEL, by their paths in the node. One that stands where `locate_outputs` names a
        variable too is what that variable becomes."""
        return {}

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variables that this node writes, by the paths where it names them."""
        return {}

    def writes_surely(self) -> bool:
        """Whether all variables of `locate_outputs` have a value where this node succeeds; else they may stay as they
        are."""
        return True

    def locate_roles(self) -> dict[tuple[str | int, ...], str]:
        """List the roles of access.yaml that this node names, by their paths in the node."""
        return {}

    def find_output_fault(self, type_: VarType) -> str | None:
        """Explain why a variable of this type is nothing that this node can write; None: it can."""
        return None

    def find_error_way(self) -> str | None:
        """Find the node to go to where this one fails; None: the turn ends there."""
        return getattr(self, "on_error", None)

    def find_cache_time(self) -> float | None:
        """Find for how many seconds a result of this node is used again; None: never."""
        return getattr(self, "cache", None)

    def find_model(self) -> str | None:
        """Find the model that the node names; None: it names none."""
        return None

    def find_most_model_calls(self) -> float:
        """Find how many model calls one visit of this node can lead to; infinite: as many as the graph's limits let
        it."""
        return {"agent": math.inf, "model": 1.0}.get(self.role, 0.0)

    def find_most_tasks(self, width: int) -> int:
        """Find how often one visit can run each node inside, in a graph with this `limits.width`."""
        return 1

    @classmethod
    def list_default_keys(cls) -> list[str]:
        """List what of the graph's `defaults` holds for nodes of this type that do not say it themselves."""
        return [key for key in DefaultsSpec.model_fields if cls.takes_defaults and key in cls.model_fields]

    def fill_in(self, defaults: DefaultsSpec) -> Self:
        """Return the node with the graph's `defaults` in the place of what it does not say."""
        found = {key: getattr(defaults, key) for key in self.list_default_keys() if getattr(self, key) is None}
        update = {key: value for key, value in found.items() if value is not None}
        return self.model_copy(update=update) if update else self

    def find_most_tool_calls(self) -> int | None:
        """Find how many tool calls one visit of this node can lead to; None: as many as the graph's limits let it."""
        return None if self.locate_tool_patterns() else 0
