"""The check of arguments against a server's own schema: no schema may take long."""

from __future__ import annotations

from typing import Any

from graphs.tools.schema_check import MOST_STEPS, SchemaCheck


def nest(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_choices_that_name_each_other_are_left_to_the_server() -> None:
    again = {"$ref": "#/$defs/node"}
    node = {"type": "array", "items": {"anyOf": [again, again, {"type": "string"}]}}
    check = SchemaCheck({"type": "object", "properties": {"a": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})
    assert check.find_mismatch({"a": nest(60)}) is None
    assert check._validator._steps == MOST_STEPS + 1  # pyright: ignore[reportPrivateUsage]
    mismatch = check.find_mismatch({"a": nest(3)})
    assert mismatch is not None
    assert "argument 'a.0" in mismatch


def test_what_takes_the_square_of_its_length_is_not_looked_at() -> None:
    check = SchemaCheck({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}})
    assert check.find_mismatch({"a": [{"x": number} for number in range(100_000)]}) is None
    assert check.find_mismatch({"a": "text"}) is not None


def test_a_schema_that_is_none_says_nothing() -> None:
    assert SchemaCheck({"type": 7}).find_mismatch({"a": 1}) is None
    assert SchemaCheck({"$ref": "http://169.254.169.254/x"}).find_mismatch({"a": 1}) is None
