"""The types of a graph's variables: how they are written, and what fits them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from graphs.expressions import ExpressionError, TypeFault, TypeMismatch, compile_value, find_name_fault, parse_variable
from graphs.expressions.types import parse_type

TICKET = {"fields": {"title": "string", "urgency": ["low", "high"], "steps?": "string[]"}}


@pytest.mark.parametrize(
    ("written", "value", "stored"),
    [
        ("string", "a\0b", "a\ufffdb"),
        ("string", datetime(2026, 8, 1, 12, tzinfo=UTC), "2026-08-01T12:00:00Z"),
        ("int", 3.0, 3),
        ("number", 3, 3),
        ("number", 2.5, 2.5),
        ("bool", False, False),
        ("any", {"a": [1, None, {"b": "c"}]}, {"a": [1, None, {"b": "c"}]}),
        ("string[][]", [["a"], []], [["a"], []]),
        (["a", "b"], "b", "b"),
        (TICKET, {"urgency": "low", "steps": None, "title": "x"}, {"title": "x", "urgency": "low"}),
        ({"list": {"fields": {"n": "int"}}}, [{"n": 1}], [{"n": 1}]),
    ],
)
def test_a_value_that_fits_is_stored_in_one_form(written: Any, value: Any, stored: Any) -> None:
    found = parse_type(written).fit(value)
    assert found == stored
    assert list(found) == list(stored) if isinstance(found, dict) else type(found) is type(stored)


@pytest.mark.parametrize(
    ("written", "value", "message"),
    [
        ("string", 1, "is a number; expected a text"),
        ("int", True, "is true or false; expected a whole number"),
        ("int", 2.5, "is a number; expected a whole number"),
        ("int", 2**63, "is a number of more than 64 bits"),
        ("bool", "true", "is a text; expected true or false"),
        ("any", object(), "is not something that JSON can hold"),
        ("number", float("inf"), "is a number that is infinite or undefined"),
        ("any", [float("nan")], "at '[0]' is a number that is infinite or undefined"),
        ("any", {1: 2}, "is not something that JSON can hold"),
        (["a", "b"], "c", "is none of its values; expected one of a, b"),
        ("string[]", ["a", None], "at '[1]' is nothing; expected a text"),
        (TICKET, {"title": "x"}, "has no 'urgency', which must be there"),
        (TICKET, {"title": "x", "urgency": "low", "step": []}, "has no field 'step'; there is title, urgency, steps."),
        (TICKET, {"title": "x", "urgency": "low", "steps": [1]}, "at 'steps[0]' is a number; expected a text"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_place_and_not_shown(written: Any, value: Any, message: str) -> None:
    with pytest.raises(TypeMismatch) as caught:
        parse_type(written).fit(value)
    assert str(caught.value).startswith(message)


def test_a_value_without_end_is_not_followed() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeMismatch, match="32 levels"):
        parse_type("any").fit(endless)
    with pytest.raises(TypeMismatch, match="100,000 values"):
        parse_type("any").fit([0] * 100_001)


def test_the_schema_of_an_object_is_strict_and_null_stands_for_what_may_be_absent() -> None:
    schema = parse_type(TICKET).build_schema()
    assert schema["required"] == ["title", "urgency", "steps"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["steps"] == {
        "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]
    }


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("strng", ()),
        (None, ()),
        ([], ()),
        (["a", "a"], (1,)),
        (["a", 1], (1,)),
        ({"fields": {}}, ("fields",)),
        ({"fields": {"a": "int", "a?": "int"}}, ("fields", "a?")),
        ({"fields": {"a b": "int"}}, ("fields", "a b")),
        ({"fields": {"a": {"list": "nt"}}}, ("fields", "a", "list")),
        ({"field": {"a": "int"}}, ()),
        ({"type": "int", "default": "x"}, ("default",)),
        ({"type": "int", "defalt": 1}, ("defalt",)),
    ],
)
def test_a_type_that_is_written_wrong_is_named_at_its_place(written: Any, path: tuple[str | int, ...]) -> None:
    with pytest.raises(TypeFault) as caught:
        parse_variable(written)
    assert caught.value.path == path


VARIABLES = (("ticket", parse_type(TICKET)), ("rows", parse_type({"list": {"fields": {"a": "int"}}})))


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("ticket.titel", 6),
        ("has(ticket.stps)", 3),
        ("'stps' in ticket", 7),
        ("rows.map(row, row.b)", 17),
        ("rows.filter(row, row.a > 1)[0].b", 30),
        ("rows.map(ticket, ticket.title)", 23),
        ("ticket.urgency == 'hihg'", 18),
        ("ticket.urgency in ['low', 'hihg']", 26),
    ],
)
def test_fields_and_values_are_checked_wherever_they_are_read(text: str, offset: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_value(text, VARIABLES)
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "name", ["in", "true", "string", "type", "list", "text", "messages", "caller", "item", "a-b", ""]
)
def test_names_that_would_mean_something_else_are_refused(name: str) -> None:
    assert find_name_fault(name) is not None


@pytest.mark.parametrize("name", ["kind", "_x", "size", "has", "json", "steps2", "google"])
def test_other_names_are_free(name: str) -> None:
    assert find_name_fault(name) is None
    assert compile_value(f"{name} + 1", ((name, parse_type("int")),)).compute_value({name: 2}) == (3, "")
