"""What an answer has to be by the rules of its schema, in words that a person is told before they answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.text import escape_invisible, truncate

_LONGEST_PATTERN = 200
_FORMATS: Mapping[str, str] = {
    "date-time": "a date and a time, such as 2026-01-31T12:00:00Z",
    "date": "a date, such as 2026-01-31",
    "time": "a time, such as 12:00:00Z",
    "duration": "a duration, such as P1DT2H",
    "email": "an e-mail address",
    "hostname": "the name of a host, such as www.example.com",
    "ipv4": "an IPv4 address, such as 192.0.2.1",
    "ipv6": "an IPv6 address, such as 2001:db8::1",
    "uri": "an address, such as https://example.com",
    "uuid": "a UUID, such as f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
}
_NUMBERS: Mapping[str, str] = {"int": "a whole number", "number": "a number"}
_BOUNDS: Mapping[str, str] = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


def describe_value(kind: str, rules: Mapping[str, Any], *, says_pattern: bool = True) -> str:
    """Describe what a value of this kind has to be, such as `a whole number of at least 3`; empty where the kind says
    it all, or is no text and no number. `rules`: keywords of JSON Schema; `says_pattern`: whether to name a `pattern`.
    """
    if kind in _NUMBERS:
        bounds = [f"{words} {rules[word]}" for word, words in _BOUNDS.items() if word in rules]
        between = f" of {' and '.join(bounds)}" if bounds else ""
        multiple = f", a multiple of {rules['multipleOf']}" if "multipleOf" in rules else ""
        return f"{_NUMBERS[kind]}{between}{multiple}" if between or multiple else ""
    if kind != "string":
        return ""
    format_ = _FORMATS.get(str(rules.get("format")), "")
    length = _describe_length(rules.get("minLength", 0), rules.get("maxLength"))
    pattern = ""
    if says_pattern and "pattern" in rules:
        pattern = f" that matches the pattern `{truncate(escape_invisible(rules['pattern']), _LONGEST_PATTERN)}`"
    if format_:
        return f"{format_},{length}{pattern}".removesuffix(",")
    return f"a text{length}{pattern}" if length or pattern else ""


def _describe_length(least: float, most: float | None) -> str:
    if least == most:
        bounds = [f"{int(least)}"]
    else:  # no answer is empty, so one character at least goes without saying
        bounds = [f"at least {int(least)}"] if least > 1 else []
        bounds += [f"at most {int(most)}"] if most is not None else []
    return f" of {' and '.join(bounds)} character{'' if most == 1 else 's'}" if bounds else ""
