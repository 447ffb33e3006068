"""The arguments of tool calls, as models really write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from graphs.llm.call_arguments import LONG_ARGUMENTS, MOST_VALUES, ArgumentReader, UnreadableArguments

ONE = '{"x": "1"}'


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (ONE, {"x": "1"}),
        (f" {ONE}\n", {"x": "1"}),
        (json.dumps(ONE), {"x": "1"}),
        (json.dumps(f"\n{ONE} "), {"x": "1"}),
        (json.dumps({"x": ONE}), {"x": ONE}),  # an argument that is JSON stays a text
        ("", {}),
        (" \r\n\t", {}),
        ("null", {}),
        (" null ", {}),
        ('""', {}),
        ('" "', {}),
        ('"null"', {}),
        ('"{}"', {}),
        ("{}", {}),
    ],
)
def test_what_is_certain_is_read(text: str, arguments: dict[str, Any]) -> None:
    assert ArgumentReader().read(text) == arguments


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps(json.dumps(ONE)), "found a text"),
        ('"x=1"', "found a text"),
        ('"[]"', "found a text"),
        ('"1"', "found a text"),
        ("[]", "found an array"),
        ("0", "found a number"),
        ("1.5", "found a number"),
        ("true", "found true or false"),
        ("None", "Expecting value"),
        ('{"x": ', "Expecting value"),
        (json.dumps('{"x": '), "Expecting value"),
        ('{"x": NaN}', "NaN"),
        (json.dumps('{"x": NaN}'), "NaN"),
        (json.dumps('{"x": 1e999}'), "too large"),
        (json.dumps('{"x": "\\ud83d"}'), "surrogate"),
        (f"{ONE}{ONE}", "Extra data"),
        (json.dumps(ONE + ONE), "Extra data"),
        (json.dumps('{"x":' * 100_000), "recursion"),
    ],
)
def test_what_is_not_certain_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UnreadableArguments, match=words):
        ArgumentReader().read(text)


def test_the_values_of_all_calls_are_counted_together_however_they_are_encoded() -> None:
    half = json.dumps({"x": [0] * (MOST_VALUES // 2)})
    assert len(half) > LONG_ARGUMENTS
    reader = ArgumentReader()
    reader.read(json.dumps(half))
    with pytest.raises(UnreadableArguments, match="values"):
        reader.read(json.dumps(half))
