"""`graphs/*.test.yaml`: tests beside a graph, each a case with what its model and its tools answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from graphs.config.spec.base import Spec, Switch, parse_one_or_many
from graphs.errors import describe_kind

ENDINGS = (".test.yaml", ".test.yml")
"""What the name of a file of cases ends in: such a file is never a graph."""
ANY_NODE = "any"
"""Under `model`: answers for every node that has none of its own."""
ANY_NODES = "..."
"""Under `route`: any number of nodes in between."""

ApprovalWord = Literal["approve", "reject"]
VerdictWord = Literal["allow", "ask", "deny"]


def is_case_file(name: str) -> bool:
    """Whether a file of this name holds tests of a graph, and so is no graph."""
    return name.endswith(ENDINGS)


def find_tested_graph(name: str) -> str:
    """Find the graph that a file of cases is named after."""
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def _list_answers(value: Any) -> Any:
    if value is None:
        raise ValueError(
            "is nothing; expected an answer, or a list of them; a text with a comma in it stands in quotes"
        )
    return [value] if isinstance(value, str | dict) else value


def _list_results(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


_Texts = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(parse_one_or_many, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


class TesterSpec(Spec):
    """Who asks in a case."""

    role: str
    """One of the roles of access.yaml, whose rules decide."""
    user: str = "tester"
    """What `caller.user` is."""
    email: str = ""
    """What `caller.email` is."""


class HintsSpec(Spec):
    """What a tool says of itself; rules see it where servers.yaml trusts its server."""

    read_only: Switch = False
    """Whether it says that it changes nothing."""
    destructive: Switch | None = None
    """Whether it says that what it changes may be lost. Absent: it leaves that open."""
    idempotent: Switch = False
    """Whether it says that calling it twice does no more than calling it once."""


def _parse_call(value: Any) -> Any:
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, dict) or not value:
        found = "an empty mapping" if isinstance(value, dict) else describe_kind(value)
        raise ValueError(f"is {found}; expected a call, such as {{server/tool: {{argument: value}}}}")
    empty: dict[str, Any] = {}
    return {tool: empty if args is None else args for tool, args in cast("dict[str, Any]", value).items()}


_Call = Annotated[
    dict[str, dict[str, Any]],
    BeforeValidator(_parse_call, json_schema_input_type=str | dict[str, dict[str, Any] | None]),
]


def _add_text_form(schema: dict[str, Any]) -> None:
    long_form = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string", "description": "What the model says."}, long_form]


class AnswerSpec(Spec):
    """One answer of a model: a text, or a mapping that says which tools it calls."""

    model_config = ConfigDict(json_schema_extra=_add_text_form)

    text: str = ""
    """What it says."""
    calls: list[_Call] = []
    """The tools that it calls: `server/tool` with its arguments, each an item."""
    value: Any = None
    """Instead of both: data, which it says as JSON, for a node whose `into` is no text."""
    error: str | None = None
    """Instead of all: the words with which the model endpoint fails, as one that is overloaded (503)."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"text": value}
        if not isinstance(value, dict):
            found = describe_kind(value)
            raise ValueError(f"is {found}; expected a text, in quotes, or a mapping with 'calls', 'value' or 'error'")  # noqa: TRY004
        named = cast("dict[str, Any]", value)
        if (tool := next((key for key in named if "/" in key), None)) is not None:
            raise ValueError(
                f"holds {tool!r}; tools that the model calls stand under 'calls', such as calls: [{tool}: {{}}]"
            )
        if "value" in named and not named.keys().isdisjoint(("text", "calls")):
            raise ValueError("has 'value' beside 'text' or 'calls'; an answer is a value or words and calls")
        if "error" in named and len(named) > 1:
            raise ValueError("has 'error' beside an answer; a model fails or answers, so write each as an item")
        return named

    def render_text(self) -> str:
        """Render what it says: the text, or the value as JSON."""
        return json.dumps(self.value, ensure_ascii=False) if "value" in self.model_fields_set else self.text


_Answers = Annotated[
    list[AnswerSpec],
    BeforeValidator(_list_answers, json_schema_input_type=AnswerSpec | list[AnswerSpec]),
    Field(min_length=1),
]


class ToolResultSpec(Spec):
    """What one call of a tool gives: a `result`, or an `error`."""

    args: dict[str, Any] | None = None
    """The arguments that it answers, all of them. Absent: any."""
    result: Any = None
    """What the tool gives back: a text, or data."""
    error: str | None = None
    """The words with which the tool fails."""

    @model_validator(mode="after")
    def _has_one_end(self) -> ToolResultSpec:
        has_result, has_error = "result" in self.model_fields_set, self.error is not None
        if has_result == has_error:
            found = "both" if has_result else "neither"
            raise ValueError(f"has {found} of 'result' and 'error'; write exactly one of them")
        return self


_Results = Annotated[
    list[ToolResultSpec],
    BeforeValidator(_list_results, json_schema_input_type=ToolResultSpec | list[ToolResultSpec]),
    Field(min_length=1),
]
_Verdicts = Annotated[
    list[VerdictWord],
    BeforeValidator(parse_one_or_many, json_schema_input_type=VerdictWord | list[VerdictWord]),
    Field(min_length=1),
]


def _list_replies(value: Any) -> Any:
    found = cast("list[Any]", value) if isinstance(value, list) else [value]
    for each in found:
        if each is None or isinstance(each, list):
            kind = describe_kind(cast("object", each))
            raise ValueError(f"is {kind}; expected what the person answers, or a list of such")
    return found


_Replies = Annotated[
    list[Any],
    BeforeValidator(_list_replies, json_schema_input_type=Any),
    Field(min_length=1),
]


class ExpectSpec(Spec):
    """What must come of a case; everything that is said here must hold."""

    route: list[str] | None = None
    """The nodes that run, in order, and `end`. `...` stands for any in between."""
    calls: list[str] | None = None
    """The tools that really run, as `server/tool`, in order."""
    verdicts: dict[str, _Verdicts] = {}
    """What the rules say of a tool's calls: allow, ask or deny; a list says it for each call in turn."""
    vars: dict[str, Any] = {}
    """Values of variables at the end."""
    memory: dict[str, Any] | None = None
    """All that is remembered at the end, by key."""
    answer: str | None = None
    """A CEL condition over answer, vars, calls, verdicts and route."""

    @model_validator(mode="after")
    def _expects_something(self) -> ExpectSpec:
        if not self.model_fields_set:
            raise ValueError("is empty; write at least one of route, calls, verdicts, vars, memory and answer")
        return self


class CaseSpec(Spec):
    """One case: what is said to a graph, what its model and its tools answer, and what must come of it."""

    other_names: ClassVar[Mapping[str, str]] = {"messages": "say", "input": "say", "models": "model", "role": "as"}

    graph: str | None = None
    """The graph. Absent: the one that the file is named after."""
    tester: Annotated[TesterSpec | None, Field(alias="as")] = None
    """Who asks. Absent: whom the file names."""
    say: _Texts
    """What the person says; a list is a conversation, one turn after the other."""
    model: dict[str, _Answers] = {}
    """What the model answers, by node, in order; `any` is for all nodes that have no answers of their own."""
    tools: dict[str, _Results] = {}
    """What the tools give, by `server/tool`, in order; the last one that fits is given again."""
    answers: dict[str, _Replies] = {}
    """What a person answers, by question node: as they would write it, or the value; a list is for several questions in
    turn. Of an object, all fields."""
    memory: dict[str, Any] = {}
    """What is remembered before, by key, where the graph has memory nodes. Absent: nothing."""
    approvals: dict[str, ApprovalWord] = {}
    """What a person decides on calls that a rule has asked: approve or reject, by `server/tool`."""
    cassette: str | None = None
    """In place of `model` and `tools`: a file beside this one, such as `cassettes/NAME.yaml`, with what they really
    said. `interlock test --record` writes it."""
    expect: ExpectSpec
    """What must come of it."""

    @model_validator(mode="after")
    def _has_one_source(self) -> CaseSpec:
        written = [repr(name) for name in ("model", "tools") if name in self.model_fields_set]
        if self.cassette is not None and written:
            raise ValueError(
                f"has {' and '.join(written)} beside 'cassette', which holds all that the model and the tools say; "
                "remove one or the other"
            )
        return self


class CaseFileSpec(Spec):
    """Tests of a graph, run by `interlock test` with the real rules, and without a model or a tool."""

    tester: Annotated[TesterSpec | None, Field(alias="as")] = None
    """Who asks, where a case does not say it."""
    hints: dict[str, HintsSpec] = {}
    """What tools say of themselves, by `server/tool`."""
    cases: Annotated[dict[str, CaseSpec], Field(min_length=1)]
    """The cases, by name."""

    @model_validator(mode="before")
    @classmethod
    def _is_no_graph(cls, value: Any) -> Any:
        if isinstance(value, dict) and "nodes" in value and "cases" not in value:
            raise ValueError("holds a graph, and a name that ends in .test.yaml is for its tests; give it another name")
        return value  # pyright: ignore[reportUnknownVariableType]
