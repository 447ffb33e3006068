"""Answers that must have a type: how a model is asked for one, and how its answer is read.

A type is asked for as a JSON Schema (`response_format`, strict), or where an endpoint refuses that, or no strict schema
can say the type, as the arguments of one function that the model must call. Not every endpoint keeps either, so what
comes is checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, cast

from graphs.errors import describe_kind
from graphs.expressions import TypeMismatch, VarType
from graphs.llm.stream import Answer

AnswerForm = Literal["schema", "function"]

FUNCTION = "answer"
"""The name of the function, and of the schema."""
WRAPPER = "value"
"""The field that a value stands in that is no object: endpoints take no other schemas."""

_FENCE = re.compile(r"```[A-Za-z]*\s(.*?)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")


class UnreadableAnswer(Exception):
    """An answer that is not of the type, in words for the model: what is wrong, and nothing of what it wrote."""


class StructuredAnswer:
    """How a value of one type is asked for. Built once for each node and snapshot."""

    def __init__(self, type_: VarType) -> None:
        self._type = type_
        self._is_wrapped = type_.kind != "object" or type_.is_nullable
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

    def read_value(self, answer: Answer) -> Any:
        """Read the value from an answer. Raises UnreadableAnswer."""
        calls = sorted((call for call in answer.calls if not call.problem), key=lambda call: call.name != FUNCTION)
        written = calls[0].arguments if calls else answer.text
        if answer.has_refusal or answer.reason == "content_filter":
            raise UnreadableAnswer("is a refusal")
        if not written.strip():
            raise UnreadableAnswer("holds nothing")
        if answer.reason == "length":
            raise UnreadableAnswer("reached the length limit before its end")
        if self._type.kind == "enum" and (choice := self._find_choice(written.strip())) is not None:
            return choice
        problem = f"is {describe_kind(written)} that is no JSON"
        values = list_json(written)
        if self._type.kind == "string" and not any(isinstance(value, str | dict | list) for value in values):
            values = [written.strip()]  # said as it is, `12-3` as well as `123`
        # The last that fits: models think aloud first.
        for value in reversed(values):
            try:
                return self._fit(self._unwrap(value))
            except TypeMismatch as error:
                problem = str(error)
        raise UnreadableAnswer(problem)

    def _fit(self, value: Any) -> Any:
        if self._type.kind == "enum" and isinstance(value, str):
            value = self._find_choice(value) or value
        return self._type.fit(read_numbers(self._type, value))

    def _find_choice(self, written: str) -> str | None:
        """Find the one value that a bare word is: itself, or in another case and between quotes."""
        if written in self._type.values:
            return written
        word = written.strip().strip("\"'`*.").casefold()
        found = [value for value in self._type.values if value.casefold() == word]
        return found[0] if len(found) == 1 else None

    def _unwrap(self, value: Any) -> Any:
        if not self._is_wrapped or not isinstance(value, dict):
            return value
        fields = cast("Mapping[str, Any]", value)
        return fields[WRAPPER] if [*fields] == [WRAPPER] else fields


def list_json(written: str) -> list[Any]:
    """List the JSON that an answer holds: all of it, else what stands in fences of Markdown, else the one value that
    stands between words."""
    try:
        if whole := _parse_each([written]):
            return whole
        return _parse_each(_FENCE.findall(written)) or _find_between_words(written)
    except RecursionError:
        return []


def read_numbers(type_: VarType, value: Any) -> Any:
    """Read numbers and truth values that a model wrote as texts, wherever the type wants them."""
    match type_.kind, value:
        case (("int" | "number" | "bool"), str()):
            [found] = _parse_each([value.strip()]) or [value]
            return found if isinstance(found, int | float) else value
        case "list", list() if type_.item is not None:
            return [read_numbers(type_.item, item) for item in cast("list[Any]", value)]
        case "object", dict():
            fields = {field.name: field.type for field in type_.fields}
            items = cast("dict[str, Any]", value).items()
            return {name: read_numbers(fields[name], item) if name in fields else item for name, item in items}
        case _:
            return value


def _parse_each(texts: Iterable[str]) -> list[Any]:
    found: list[Any] = []
    for text in texts:
        with suppress(ValueError):
            found.append(json.loads(text, parse_constant=_refuse_constant))
    return found


def _find_between_words(written: str) -> list[Any]:
    """Find the only object or list between words; where there are several, nobody knows which is meant."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    found: list[Any] = []
    at = 0
    while len(found) < 2 and (opening := _OPENING.search(written, at)) is not None:
        try:
            value, at = decoder.raw_decode(written, opening.start())
            found.append(value)
        except ValueError:
            # What follows could be tried at every bracket, which takes with the square of their number.
            return []
    return found if len(found) == 1 else []


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
