"""The rules of a value in the words that a person is told before they answer."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.expressions.rule_text import describe_value
from graphs.expressions.value_schema import FORMATS, ValueSchema


@pytest.mark.parametrize(
    ("kind", "rules", "words"),
    [
        ("int", {"minimum": 3}, "a whole number of at least 3"),
        ("int", {"minimum": 1, "maximum": 5}, "a whole number of at least 1 and at most 5"),
        ("number", {"exclusiveMinimum": 0, "multipleOf": 0.5}, "a number of more than 0, a multiple of 0.5"),
        ("number", {"exclusiveMaximum": 10}, "a number of less than 10"),
        ("int", {"multipleOf": 5}, "a whole number, a multiple of 5"),
        ("string", {"minLength": 2, "maxLength": 1_000_000.0}, "a text of at least 2 and at most 1000000 characters"),
        ("string", {"minLength": 3, "maxLength": 3}, "a text of 3 characters"),
        ("string", {"minLength": 1, "maxLength": 1}, "a text of 1 character"),
        ("string", {"pattern": "^a$"}, "a text that matches the pattern `^a$`"),
        ("string", {"maxLength": 9, "pattern": "a"}, "a text of at most 9 characters that matches the pattern `a`"),
        ("string", {"format": "date"}, "a date, such as 2026-01-31"),
        ("string", {"format": "email", "maxLength": 20}, "an e-mail address, of at most 20 characters"),
        ("string", {"minLength": 1}, ""),
        ("string", {"format": "phone", "not": {"const": "a"}}, ""),
        ("int", {"anyOf": [{"minimum": 1}]}, ""),
        ("bool", {"minimum": 1}, ""),
        ("enum", {"minLength": 3}, ""),
    ],
)
def test_rules_are_words(kind: str, rules: dict[str, Any], words: str) -> None:
    assert describe_value(kind, rules) == words


def test_a_pattern_may_be_left_to_who_describes_the_value() -> None:
    assert describe_value("string", {"pattern": "^a$"}, says_pattern=False) == ""
    assert describe_value("string", {"pattern": "^a$", "maxLength": 3}, says_pattern=False).endswith("3 characters")


@pytest.mark.parametrize("format_", FORMATS)
def test_the_example_of_a_format_fits_it(format_: str) -> None:
    words = describe_value("string", {"format": format_})
    assert words
    example = words.partition("such as ")[2] or "a@example.com"
    assert ValueSchema(rules=f'{{"format": "{format_}"}}', shown="{}").find_mismatch(example) is None
