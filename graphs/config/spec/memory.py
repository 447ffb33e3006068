"""The node type that reads and writes what lasts beyond the turn."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, model_validator

from graphs.config.spec.base import Spec, parse_one_or_many
from graphs.config.spec.node import NodeSpec
from graphs.config.spec.node_types import ValueText
from graphs.errors import describe_kind
from graphs.expressions import VarType

KEY = "key"
"""The step behind the path of what is remembered, for the text of its key."""


class RecallKeySpec(Spec):
    """One entry of the memory, by its key."""

    key: Annotated[str, Field(min_length=1)]
    """The key. `{{ … }}` holds CEL as in a prompt."""


def _parse_recall(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty; write what is searched for, such as '{{ message }}', or {key: NAME}")
    if not isinstance(value, str | dict):
        found = describe_kind(value)
        raise ValueError(f"is {found}; expected a text that is searched for, or {{key: NAME}}")  # noqa: TRY004
    if isinstance(value, dict):
        entry = cast("dict[str, object]", value)
        # Here and not by the page, since of two forms Pydantic says what is wrong with both.
        if [*entry] != ["key"]:
            listed = ", ".join(map(repr, entry)) or "nothing in it"
            raise ValueError(f"is a mapping with {listed}; expected {{key: NAME}}, or a text that is searched for")
        if not isinstance(entry["key"], str) or not entry["key"]:
            raise ValueError(f"has a key that is {describe_kind(entry['key'])}; expected a text, in quotes")
    return cast("Any", value)


Recall = Annotated[str | RecallKeySpec, BeforeValidator(_parse_recall, json_schema_input_type=str | RecallKeySpec)]
MemoryKey = Annotated[str, Field(min_length=1)]


class MemoryNodeSpec(NodeSpec, frozen=True):
    """Reads or writes what lasts beyond the turn.

    For what a person should not have to say again: how they like it, what they work on, what was decided.

    In LangGraph: a node that reads or writes rows beside the checkpoints; `recall` writes the key of the variable.
    """

    uses_memory = True

    type: Literal["memory"]
    """Reads or writes what lasts beyond the turn."""
    recall: Recall | None = None
    """What is read. `{key: NAME}`: the value of this key; where there is none, the variable stays as it is. A text: the
    entries that have a word of it, or with `memory.embed` those nearest to it in meaning, best first, at most 10, each
    with its `key`, its `value` and `when` it was written. `{{ … }}` holds CEL as in a prompt."""
    into: str | None = None
    """The variable that what is recalled goes into."""
    remember: Annotated[dict[MemoryKey, ValueText], Field(min_length=1)] | None = None
    """What is written: keys, each with CEL for its value. `{{ … }}` in a key holds CEL as in a prompt. An owner has at
    most 1,000 entries in a graph, a value 16,384 bytes as JSON, a key 200 characters; more fails with `limit`."""
    forget: Annotated[list[MemoryKey], BeforeValidator(parse_one_or_many), Field(min_length=1)] | None = None
    """The keys that are deleted. `{{ … }}` holds CEL as in a prompt."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""

    @model_validator(mode="after")
    def _does_one_thing(self) -> MemoryNodeSpec:
        found = [name for name in ("recall", "remember", "forget") if getattr(self, name) is not None]
        if not found:
            raise ValueError("has none of 'recall', 'remember' and 'forget'; write one of them")
        if len(found) > 1:
            listed = " and ".join(map(repr, found))
            raise ValueError(f"has {listed}, and a node does one thing; make a node of each")
        if self.recall is not None and self.into is None:
            raise ValueError("has 'recall', and no 'into' for what it finds; name the variable")
        if self.recall is None and self.into is not None:
            raise ValueError(f"has 'into' beside {found[0]!r}, which gives nothing; remove 'into', or write 'recall'")
        return self

    def locate_templates(self) -> dict[tuple[str | int, ...], str]:
        """List the note, and what is searched for or the keys, where they hold CEL."""
        texts: dict[tuple[str | int, ...], str] = {}
        match self.recall:
            case str() as text:
                texts["recall",] = text
            case RecallKeySpec(key=key):
                texts["recall", "key"] = key
            case None:
                pass
        texts |= {("remember", key, KEY): key for key in self.remember or ()}
        texts |= {("forget", at): key for at, key in enumerate(self.forget or ())}
        return {**super().locate_templates(), **{path: text for path, text in texts.items() if "{{" in text}}

    def locate_expressions(self) -> dict[tuple[str | int, ...], str]:
        """List what is remembered."""
        return {("remember", key): text for key, text in (self.remember or {}).items()}

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {} if self.into is None else {("into",): self.into}

    @property
    def is_search(self) -> bool:
        """Whether it searches for a text."""
        return isinstance(self.recall, str)

    def writes_surely(self) -> bool:
        """Whether it searches: that gives a list, which may be empty."""
        return self.is_search

    def find_output_fault(self, type_: VarType) -> str | None:
        """Explain why a search gives nothing that fits a variable of this type."""
        item = type_.item if type_.kind == "list" else None
        if not isinstance(self.recall, str) or type_.kind == "any" or (item and item.kind in ("any", "object")):
            return None
        return f"a search gives a list of {{key, value, when}}, and {self.into!r} is {type_.describe()}; write 'any[]'"
