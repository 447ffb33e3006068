"""Read the arguments of tool calls: a JSON object, or what models write in its place and certainly mean."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import orjson

MOST_VALUES = 50_000
"""JSON values in the arguments of one answer's calls: each takes up to thirty times its length in memory."""
LONG_ARGUMENTS = 16 * 1024
"""Characters up to which the values of a call's arguments are not counted."""
_KINDS: dict[type[Any], str] = {
    list: "an array",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


class UnreadableArguments(Exception):
    """Arguments that are no JSON object, or cannot be judged, in words."""


class ArgumentReader:
    """Reads the arguments of one answer's calls."""

    def __init__(self) -> None:
        self._room = MOST_VALUES

    def read(self, text: str) -> dict[str, Any]:
        """Read the arguments of one call.

        Nothing, or null, is a call without arguments. A text that itself is JSON, as models write that encode an
        object twice, is read once more, and no further. Raises UnreadableArguments for what is no object then.
        """
        try:
            value = parse_json(text)
            if isinstance(value, str):
                value = parse_inner(value)
            # What cannot be written again, such as a number over 64 bits, could not be judged either.
            orjson.dumps(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise UnreadableArguments(str(error)) from error
        if value is None:
            return {}
        if len(text) > LONG_ARGUMENTS:
            self._room -= count_values(value, self._room)
            if self._room < 0:
                raise UnreadableArguments(f"the arguments of one answer hold more than {MOST_VALUES:,} values")
        if not isinstance(value, dict):
            raise UnreadableArguments(f"found {_KINDS[type(value)]}")
        return cast("dict[str, Any]", value)


def parse_json(text: str) -> object:
    """Parse JSON, of which nothing and white space are null. Raises ValueError and RecursionError."""
    if not text or text.isspace():
        return None
    return json.loads(text, parse_constant=reject_constant, parse_float=parse_finite)


def parse_inner(text: str) -> object:
    """Parse a text that stands where an object should: the object in it, null, or else the text as it is. Raises
    ValueError for an object that is no JSON."""
    if text.lstrip().startswith("{"):
        return parse_json(text)
    return None if not text or text.isspace() or text.strip() == "null" else text


def reject_constant(name: str) -> float:
    """Refuse `NaN` and `Infinity`, which are no JSON (RFC 8259), though Python reads them. Raises ValueError."""
    raise ValueError(f"{name} is no JSON number")


def parse_finite(number: str) -> float:
    """Parse a number with a fraction or an exponent. Raises ValueError where it is larger than any that can be kept."""
    if math.isinf(value := float(number)):
        raise ValueError(f"{number} is too large a number")
    return value


def count_values(value: object, most: int) -> int:
    """Count the values in JSON data, no further than just above `most`."""
    found = 0
    open_values = [value]
    while open_values and found <= most:
        found += 1
        current = open_values.pop()
        if isinstance(current, dict):
            open_values += cast("dict[str, object]", current).values()
        elif isinstance(current, list):
            open_values += cast("list[object]", current)
    return found
