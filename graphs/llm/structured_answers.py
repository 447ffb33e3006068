"""Answers that must have a type: how a model is asked for one, and how its answer is read.

A type is asked for as a JSON Schema (`response_format`, strict), or where an endpoint refuses that, or no strict schema
can say the type, as the arguments of one function that the model must call. Not every endpoint keeps either, so what
comes is checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from graphs.errors import describe_kind
from graphs.expressions import TypeMismatch, VarType
from graphs.llm.stream import Answer

AnswerForm = Literal["schema", "function"]

FUNCTION = "answer"
"""The name of the function, and of the schema."""
WRAPPER = "value"
"""The field that a value stands in that is no object: endpoints take no other schemas."""

_FENCE = re.compile(r"```[A-Za-z]*\s*\n(.*?)\n?```", re.DOTALL)


class UnreadableAnswer(Exception):
    """An answer that is not of the type, in words for the model: what is wrong, and nothing of what it wrote."""


class StructuredAnswer:
    """How a value of one type is asked for. Built once for each node and snapshot."""

    def __init__(self, type_: VarType) -> None:
        self._type = type_
        self._is_wrapped = type_.kind != "object"
        schema = type_.build_schema()
        if self._is_wrapped:
            schema = {
                "type": "object",
                "properties": {WRAPPER: schema},
                "required": [WRAPPER],
                "additionalProperties": False,
            }
        self._schema = schema
        self.first_form: AnswerForm = "function" if type_.has_any else "schema"
        """The form to ask in first: no strict schema can say `any`."""

    def build_fields(self, form: AnswerForm) -> dict[str, Any]:
        """Build the fields of the request that ask for it."""
        if form == "schema":
            asked = {"name": FUNCTION, "strict": True, "schema": self._schema}
            return {"response_format": {"type": "json_schema", "json_schema": asked}}
        function = {"name": FUNCTION, "description": "Gives the answer.", "parameters": self._schema}
        return {
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": FUNCTION}},
        }

    def build_correction(self, problem: str) -> str:
        """Tell the model what was wrong with its answer, and what is wanted."""
        wanted = json.dumps(self._schema, ensure_ascii=False, separators=(",", ":"))
        return f"Your answer could not be used: it {problem}. Answer with JSON of this schema alone: {wanted}"

    def read(self, answer: Answer) -> Any:
        """Read the value from an answer. Raises UnreadableAnswer."""
        written = next((call.arguments for call in answer.calls if not call.problem), answer.text)
        if not written.strip():
            raise UnreadableAnswer("holds nothing")
        if answer.reason == "length":
            raise UnreadableAnswer("reached the length limit before its end")
        if self._type.kind == "enum" and (choice := self._find_choice(written)) is not None:
            return choice
        value = self._unwrap(parse_json(written))
        if self._type.kind == "enum" and isinstance(value, str) and value not in self._type.values:
            value = self._find_choice(value) or value
        try:
            return self._type.fit(value)
        except TypeMismatch as error:
            raise UnreadableAnswer(str(error)) from error

    def _find_choice(self, written: str) -> str | None:
        """Find the one value that a bare word is."""
        word = written.strip().strip("\"'`*.").casefold()
        found = [value for value in self._type.values if value.casefold() == word]
        return found[0] if len(found) == 1 else None

    def _unwrap(self, value: Any) -> Any:
        if not self._is_wrapped or not isinstance(value, dict):
            return value
        fields = cast("Mapping[str, Any]", value)
        return fields[WRAPPER] if [*fields] == [WRAPPER] else fields


def parse_json(written: str) -> Any:
    """Parse the JSON that an answer is, in a fence of Markdown or without. Raises UnreadableAnswer."""
    fenced = _FENCE.search(written)
    for text in (written, fenced[1] if fenced is not None else ""):
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            continue
        except RecursionError:
            break
    raise UnreadableAnswer(f"is {describe_kind(written)} that is no JSON")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
