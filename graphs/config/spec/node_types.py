"""The node types of a graph file, one page each; those with nodes inside are in `groups.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from graphs.config.spec.base import NO_SWITCH, Duration
from graphs.config.spec.node import CallRetry, CallRetrySpec, DefaultsSpec, NodeSpec, Retry
from graphs.errors import describe_kind
from graphs.expressions import VarType, find_asking_fault


def _refuse_empty_input(value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise ValueError("is empty; write what the model is to see, or remove it")
    return value


def _check_fallback(value: list[str], info: ValidationInfo) -> list[str]:
    if len({*value}) < len(value):
        raise ValueError("holds a model twice; remove one of them")
    if info.data.get("model") in value:
        raise ValueError("holds the node's own model, which is asked first; remove it")
    return value


Fallback = Annotated[
    list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=10), AfterValidator(_check_fallback)
]
"""The models that are asked instead of a node's own."""


def _check_agents(value: list[str]) -> list[str]:
    if len({*value}) < len(value):
        raise ValueError("holds a graph twice; remove one of them")
    return value


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
    fallback: Fallback = []
    """The models to ask, in order, where the one before failed and nothing of its answer was heard. Those that the
    caller's role may not use are left out."""
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
    cache: Duration | None = None
    """How long a value is used again where the same person asks the same; only with `into`. Absent: never."""

    @field_validator("input")
    @classmethod
    def _holds_something(cls, value: str | None) -> str | None:
        return _refuse_empty_input(value)

    @field_validator("cache")
    @classmethod
    def _keeps_value(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("into", "") is None:
            raise ValueError(
                "is not for a model without 'into': what is said is not kept; name a variable, or remove it"
            )
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

    In LangGraph: three nodes, NAME, NAME.permission and NAME.tools, with conditional edges in a circle. With `input`,
    `into`, `agents`, `rounds` or `timeout` these are a subgraph, with messages of its own; the graphs of `agents` are
    subgraphs in it, which are sent (`Send`) their calls.
    """

    role = "agent"
    templates = ("prompt", "input")
    retries = True

    type: Literal["agent"]
    """Asks a model, decides and runs the tool calls that it makes, and asks again until it answers."""
    prompt: str = ""
    """What the model is told first. `{{ … }}` holds CEL over the variables, message, text, visits, caller, graph and
    now."""
    input: str | None = None
    """What the agent sees instead of the conversation."""
    into: str | None = None
    """The variable that its answer goes into, instead of being said. If its type is no text, the model is asked once
    more for a value of that type."""
    agents: Annotated[list[str], AfterValidator(_check_agents)] = []
    """Graphs that the model can give work to: each is a tool `agent__NAME` with the graph's `input` as parameters, for
    those whose role may use the graph."""
    rounds: Annotated[int, Field(ge=1), NO_SWITCH] | None = None
    """How many rounds of tool calls it may have, before it must answer from what it has. Absent: those of the turn."""
    timeout: Duration | None = None
    """The longest time that it may take, without the time that it waits for people."""
    model: str | None = None
    """The model. Absent: the one asked for, or the gateway's default."""
    fallback: Fallback = []
    """The models to ask, in order, where the one before failed and nothing of its answer was heard. Those that the
    caller's role may not use are left out."""
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

    @field_validator("input")
    @classmethod
    def _holds_something(cls, value: str | None) -> str | None:
        return _refuse_empty_input(value)

    @classmethod
    def list_default_keys(cls) -> list[str]:
        """List all but `timeout`, by which an agent keeps its work to itself: that it must say."""
        return [key for key in super().list_default_keys() if key != "timeout"]

    @property
    def is_isolated(self) -> bool:
        """Whether it is a graph of its own."""
        has_own_end = any(value is not None for value in (self.input, self.into, self.rounds, self.timeout))
        return has_own_end or bool(self.agents)

    def find_most_model_calls(self) -> float:
        """Return the rounds, the last answer, and the question for a value."""
        return math.inf if self.rounds is None or self.agents else self.rounds + 1 + (self.into is not None)

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {} if self.into is None else {("into",): self.into}

    def find_most_tool_calls(self) -> int | None:
        """Return none where it has neither tools nor graphs; else as many as the limits let it."""
        return None if self.tools or self.agents else 0

    def locate_graphs(self) -> dict[tuple[str | int, ...], str]:
        """List those under `agents`."""
        return {("agents", at): graph for at, graph in enumerate(self.agents)}

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
    cache: Duration | None = None
    """How long a result is used again where the same person calls with the same arguments; only of a tool that says
    that it only reads. Absent: never."""

    @field_validator("cache")
    @classmethod
    def _asks_once(cls, value: float | None, info: ValidationInfo) -> float | None:
        retry: CallRetrySpec | None = info.data.get("retry")
        if value is not None and retry is not None and retry.until is not None:
            raise ValueError("is not for a call with 'until', which waits for another result; remove one of them")
        return value

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
        arguments = {path: text for path, text in walk_texts(self.args, ("args",)) if "{{" in text}
        return {**super().locate_templates(), **arguments}

    def fill_in(self, defaults: DefaultsSpec) -> Self:
        """Return the node with the graph's `defaults`, in which no `until` stands, in the place of what it does not
        say."""
        retry = defaults.retry
        # Not checked once more: a time that was read is seconds, and a plain number of them may be at most 600.
        own = CallRetrySpec.model_construct(times=retry.times, wait=retry.wait, until=None) if retry else None
        return super().fill_in(defaults.model_copy(update={"retry": own}))

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


def walk_texts(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """List the texts in a value, by their paths."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in cast("dict[str, object]", value).items():
                yield from walk_texts(item, (*path, key))
        case list():
            for at, item in enumerate(cast("list[object]", value)):
                yield from walk_texts(item, (*path, at))
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
