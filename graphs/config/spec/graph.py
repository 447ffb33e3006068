"""`graphs/*.yaml`: one file, one graph, one name in the model list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Union, cast

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from graphs.config.spec.base import NO_SWITCH, Duration, Seconds, Spec
from graphs.errors import describe_kind
from graphs.expressions import VarType, find_asking_fault

_WEEK = 7 * 86400.0

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


NodeRole = Literal["model", "agent", "gate", "executor", "caller", "step"]
"""What a node does for the tool calls of a turn: asks for them, does all there is to do for them, decides them, runs
them, makes one of its own beside them, or leaves them alone."""
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


# Every page is frozen by its settings; said once more for the type checker, so that `type` may be narrowed.
class NodeSpec(Spec, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """The base of every node type.

    A new type is a subclass here with its entry in `NODE_SPECS`, and a class in `graphs/nodes/` with its entry in
    `NODE_CLASSES` there. Nothing else has to know of it.
    """

    role: ClassVar[NodeRole] = "step"
    """What the checks, the compiler and the drawings know this type by."""
    templates: ClassVar[tuple[str, ...]] = ()
    """The fields of this type whose text holds CEL in `{{ … }}`."""
    own_names: ClassVar[tuple[str, ...]] = ()
    """The names that its expressions may look at beside those that all have."""
    retries: ClassVar[bool] = False
    """Whether the node runs again after an error of the model endpoint that may pass."""

    type: str
    """The name of the node type."""
    next: Next
    """Where to go then."""
    note: str | None = None
    """A status line while the node runs, where the client shows such lines. `{{ … }}` holds CEL as in a prompt. One
    that cannot be filled in is left out."""
    description: str = ""
    """What the node is for, in plain text: shown in drawings."""

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

    def locate_roles(self) -> dict[tuple[str | int, ...], str]:
        """List the roles of access.yaml that this node names, by their paths in the node."""
        return {}

    def find_output_fault(self, type_: VarType) -> str | None:
        """Explain why a variable of this type is nothing that this node can write; None: it can."""
        return None

    def find_error_way(self) -> str | None:
        """Find the node to go to where this one fails; None: the turn ends there."""
        return getattr(self, "on_error", None)

    def find_model(self) -> str | None:
        """Find the model that the node names; None: it names none."""
        return None

    def find_most_tool_calls(self) -> int | None:
        """Find how many tool calls one visit of this node can lead to; None: as many as the graph's limits let it."""
        return None if self.locate_tool_patterns() else 0


class ModelNodeSpec(NodeSpec, frozen=True):
    """Asks a model, which answers or calls tools.

    For a text that a model writes, and with `into` for a value that it finds. Its tool calls are for the nodes behind
    it.

    In LangGraph: a node that adds a message of the model, or with `into` writes the key of the variable.
    """

    role = "model"
    templates = ("prompt", "input")
    retries = True

    type: Literal["model"]
    """Asks a model, which answers or calls tools."""
    prompt: str = ""
    """What the model is told first. `{{ … }}` holds CEL over the variables, message, text, visits, caller, graph and
    now."""
    input: str | None = None
    """What the model sees instead of the conversation."""
    into: str | None = None
    """The variable that the answer goes into, instead of being said. Its type is what the model must answer with."""
    model: str | None = None
    """The model. Absent: the one asked for, or the gateway's default."""
    tools: list[str] = []
    """Patterns over `server/tool` of what this node may see; the caller's role narrows it further."""
    temperature: Annotated[float, Field(ge=0, le=2), NO_SWITCH] | None = None
    """How freely the model picks its words."""
    max_tokens: Annotated[int, Field(ge=1), NO_SWITCH] | None = None
    """The longest answer."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""
    retry: Retry | None = None
    """How many attempts there are, as a number or {times, wait}. Absent: 3, and only before the first word."""
    timeout: Duration | None = None
    """The longest time of one attempt."""

    @field_validator("input")
    @classmethod
    def _holds_something(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty; write what the model is to see, or remove it")
        return value

    @field_validator("tools")
    @classmethod
    def _asks_only(cls, value: list[str], info: ValidationInfo) -> list[str]:
        for name in ("into", "input"):
            if value and info.data.get(name) is not None:
                raise ValueError(f"is not for a model with {name!r}, which is asked once; remove one of them")
        return value

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {} if self.into is None else {("into",): self.into}

    def locate_tool_patterns(self) -> dict[tuple[str | int, ...], str]:
        """List the patterns under `tools`."""
        return {("tools", at): pattern for at, pattern in enumerate(self.tools)}

    def find_model(self) -> str | None:
        """Find the model under `model`."""
        return self.model


class AgentNodeSpec(NodeSpec, frozen=True):
    """Asks a model, decides and runs the tool calls that it makes, and asks again until it answers.

    For whatever needs tools, where the ways between a model, its permission and its tools need not be written out.

    In LangGraph: three nodes, NAME, NAME.permission and NAME.tools, with conditional edges in a circle.
    """

    role = "agent"
    templates = ("prompt",)
    retries = True

    type: Literal["agent"]
    """Asks a model, decides and runs the tool calls that it makes, and asks again until it answers."""
    prompt: str = ""
    """What the model is told first. `{{ … }}` holds CEL over the variables, message, text, visits, caller, graph and
    now."""
    model: str | None = None
    """The model. Absent: the one asked for, or the gateway's default."""
    tools: list[str] = []
    """Patterns over `server/tool` of what this node may see; the caller's role narrows it further."""
    temperature: Annotated[float, Field(ge=0, le=2), NO_SWITCH] | None = None
    """How freely the model picks its words."""
    max_tokens: Annotated[int, Field(ge=1), NO_SWITCH] | None = None
    """The longest answer."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""
    retry: Retry | None = None
    """How many attempts there are, as a number or {times, wait}. Absent: 3, and only before the first word."""

    def locate_tool_patterns(self) -> dict[tuple[str | int, ...], str]:
        """List the patterns under `tools`."""
        return {("tools", at): pattern for at, pattern in enumerate(self.tools)}

    def find_model(self) -> str | None:
        """Find the model under `model`."""
        return self.model


class PermissionNodeSpec(NodeSpec, frozen=True):
    """Decides every tool call that was asked for: allow, ask or deny.

    For graphs whose way depends on the verdicts, before anything has run. Behind it stands a `tools` node.

    In LangGraph: a node that writes the verdicts; where a rule says `ask`, it is an `interrupt`.
    """

    role = "gate"

    type: Literal["permission"]
    """Decides every tool call that was asked for: allow, ask or deny."""


class ToolsNodeSpec(NodeSpec, frozen=True):
    """Runs the tool calls that carry an allow, and no others.

    For graphs that do something else than ask the same model again, once its tools have run.

    In LangGraph: a node around `ToolNode`, which adds a tool message for each call.
    """

    role = "executor"

    type: Literal["tools"]
    """Runs the tool calls that carry an allow, and no others."""


class CallNodeSpec(NodeSpec, frozen=True):
    """Calls one tool, without a model.

    For steps that must not depend on what a model asks for: a lookup before an answer, a fixed procedure.

    In LangGraph: three nodes in a row, NAME, NAME.permission and NAME.run; `retry` is the last one's `retry_policy`.
    """

    role = "caller"
    own_names = ("result",)

    type: Literal["call"]
    """Calls one tool, without a model."""
    tool: str
    """The tool, as `server/tool`. Whether it runs is for the caller's role to say, as for a model's calls."""
    args: dict[str, Any] | str = {}
    """The arguments. `{{ … }}` in their texts holds CEL; a text that is one `{{ … }}` alone keeps its value's
    type. All of them may be one such text, whose value is an object."""
    pick: str | None = None
    """CEL over `result`, for what goes into the variable. Absent: the result."""
    into: str | None = None
    """The variable that the result goes into. Absent: it goes nowhere."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""
    retry: CallRetry | None = None
    """How many attempts there are, as a number or {times, wait, until}. What failed is only called again where the tool
    is read-only or idempotent. Absent: 1."""
    timeout: Duration | None = None
    """The longest time of one attempt."""

    @field_validator("tool")
    @classmethod
    def _names_one(cls, value: str) -> str:
        if any(character in value for character in "*?"):
            raise ValueError(f"{value!r} is a pattern; a call names one tool, such as files/read_file")
        if not all(value.partition("/")):
            raise ValueError(f"{value!r} is no server/tool; write both, such as files/read_file")
        return value

    @field_validator("args", mode="before")
    @classmethod
    def _holds_arguments(cls, value: Any) -> Any:
        if isinstance(value, str) and not is_one_expression(value):
            raise ValueError("is a text; write a mapping of arguments, or one '{{ … }}' whose value is an object")
        if not isinstance(value, str | dict):
            raise ValueError(f"is {describe_kind(value)}; expected a mapping of arguments")  # noqa: TRY004
        return cast("Any", value)

    @field_validator("pick")
    @classmethod
    def _has_use(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty; write CEL over 'result', such as result.rows, or remove it")
        return value

    @model_validator(mode="after")
    def _picks_for_something(self) -> CallNodeSpec:
        if self.pick is not None and self.into is None:
            raise ValueError("has 'pick', and no 'into' for what it picks; name the variable, or remove 'pick'")
        return self

    def locate_templates(self) -> dict[tuple[str | int, ...], str]:
        """List the note, and the texts of the arguments that hold CEL."""
        arguments = {path: text for path, text in _walk_texts(self.args, ("args",)) if "{{" in text}
        return {**super().locate_templates(), **arguments}

    def locate_arguments(self) -> dict[tuple[str | int, ...], str] | None:
        """List the names of the arguments."""
        return None if isinstance(self.args, str) else {("args", name): name for name in self.args}

    def find_most_tool_calls(self) -> int | None:
        """Return the number of attempts."""
        return self.retry.times if self.retry is not None else 1

    def locate_tool_patterns(self) -> dict[tuple[str | int, ...], str]:
        """List the tool."""
        return {("tool",): self.tool}

    def locate_expressions(self) -> dict[tuple[str | int, ...], str]:
        """List `pick` and `until`."""
        until = self.retry.until if self.retry is not None else None
        written: dict[tuple[str | int, ...], str | None] = {("pick",): self.pick, ("retry", "until"): until}
        return {path: text for path, text in written.items() if text is not None}

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {} if self.into is None else {("into",): self.into}


def is_one_expression(text: str) -> bool:
    """Whether a text looks like one `{{ … }}`, and nothing else."""
    stripped = text.strip()
    return stripped.startswith("{{") and stripped.endswith("}}")


def _walk_texts(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """List the texts in a value, by their paths."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in cast("dict[str, object]", value).items():
                yield from _walk_texts(item, (*path, key))
        case list():
            for at, item in enumerate(cast("list[object]", value)):
                yield from _walk_texts(item, (*path, at))
        case _:
            pass


class ReplyNodeSpec(NodeSpec, frozen=True):
    """Says a text to the person.

    For words that no model has to write: a result, a refusal, what went wrong.

    In LangGraph: a node that adds an assistant message.
    """

    templates = ("text",)

    type: Literal["reply"]
    """Says a text to the person."""
    text: str
    """What is said. `{{ … }}` holds CEL over the variables, message, text, visits, caller, graph and now."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""

    @field_validator("text")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; write what is to be said")
        return value


def _parse_value(value: Any) -> Any:
    """Return the CEL of a value: a number, true or false may stand there without quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str):
        raise ValueError(f"is {describe_kind(value)}; write it as CEL, in quotes")  # noqa: TRY004
    return value


ValueText = Annotated[str, BeforeValidator(_parse_value, json_schema_input_type=str | int | float | bool)]


class SetNodeSpec(NodeSpec, frozen=True):
    """Computes variables.

    For values that can be computed: a number of attempts, a part of an object, a text of several others.

    In LangGraph: a node that writes the keys of the variables.
    """

    type: Literal["set"]
    """Computes variables."""
    set: Annotated[dict[str, ValueText], Field(min_length=1)]
    """The variables, each with CEL for what it becomes. All of them see the values from before this node."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""

    def locate_expressions(self) -> dict[tuple[str | int, ...], str]:
        """List what the variables become."""
        return {("set", name): text for name, text in self.set.items()}

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variables."""
        return {("set", name): name for name in self.set}


class QuestionNodeSpec(NodeSpec, frozen=True):
    """Asks a person for a value; the turn waits for the answer.

    For what only a person can decide or knows. An answer never approves a tool call.

    In LangGraph: a node with an `interrupt`, which writes the key of the variable once it is resumed.
    """

    templates = ("question",)
    other_names: ClassVar[Mapping[str, str]] = {"timeout": "expires", "text": "question", "prompt": "question"}

    type: Literal["question"]
    """Asks a person for a value; the turn waits for the answer."""
    question: str
    """What the person is asked. `{{ … }}` holds CEL over the variables, message, text, visits, caller, graph and
    now."""
    into: str
    """The variable that the answer goes into. Its type says what is asked for: a text, a number, yes or no, a choice,
    or the fields of an object."""
    by: str | None = None
    """The role that may answer, at `/v1/questions` or in the console. Absent: whoever chats."""
    expires: Duration = 86400.0
    """How long the question may be answered. Default: a day."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""

    @field_validator("question")
    @classmethod
    def _asks_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; write what the person is asked")
        return value

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {("into",): self.into}

    def locate_roles(self) -> dict[tuple[str | int, ...], str]:
        """List the role under `by`."""
        return {} if self.by is None else {("by",): self.by}

    def find_output_fault(self, type_: VarType) -> str | None:
        """Explain why a person cannot be asked for a value of this type."""
        return find_asking_fault(type_)


NODE_SPECS: dict[str, type[NodeSpec]] = {
    "model": ModelNodeSpec,
    "permission": PermissionNodeSpec,
    "tools": ToolsNodeSpec,
    "agent": AgentNodeSpec,
    "call": CallNodeSpec,
    "reply": ReplyNodeSpec,
    "set": SetNodeSpec,
    "question": QuestionNodeSpec,
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
    choice such as [low, high], {fields: {name: TYPE, "name?": TYPE}}, {list: TYPE}, or {type: TYPE, default: VALUE}."""
    start: str
    """The first node."""
    nodes: Annotated[dict[str, NodeSpec], Field(min_length=1)]
    """The nodes, by name."""
    limits: LimitsSpec = LimitsSpec()
    """Where a turn ends at the latest."""

    @classmethod
    def find_stand_in(cls, path: tuple[str | int, ...]) -> str | None:
        """Let the end stand in for a start and for a node's way on."""
        is_way = path == ("start",) or (len(path) == 3 and path[0] == "nodes" and path[2] == "next")
        return END if is_way else None

    def find_model(self) -> str | None:
        """Find the model of the first node that asks one; None: it names none, or there is no such node."""
        return next((node.find_model() for node in self.nodes.values() if node.role in MODEL_ROLES), None)


def get_graph_spec() -> type[GraphSpec]:
    """Build the page of a graph file: `GraphSpec`, with nodes of the types in `NODE_SPECS`."""
    return _build_graph_spec(tuple(NODE_SPECS.values()))


@cache
def _build_graph_spec(node_specs: tuple[type[NodeSpec], ...]) -> type[GraphSpec]:
    described = GraphSpec.model_fields["nodes"].description
    node: Any = Annotated[Union[node_specs], Field(discriminator="type")]  # noqa: UP007
    nodes: Any = Annotated[dict[str, node], Field(min_length=1, description=described)]
    return create_model(GraphSpec.__name__, __base__=GraphSpec, __doc__=GraphSpec.__doc__, nodes=(nodes, ...))
