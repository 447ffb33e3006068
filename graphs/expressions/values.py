"""Clean and bound the values of calls and callers for conditions: the CEL library trusts its input too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime
from typing import Any, cast

from graphs.text import make_storable

MAX_TEXT = 65_536
"""Characters of a text in arguments; a rule that looks at a longer one cannot be evaluated."""
MAX_ITEMS = 1_000
"""Items of a list or mapping in arguments, likewise."""
MAX_DEPTH = 32
"""Levels of lists and mappings in arguments, likewise."""


def flatten_value(name: str, value: Any) -> dict[str, Any]:
    """Flatten a value to the names that CEL knows it by: `caller.user` is one name to it."""
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {f"{name}.{field}": clean_text(item) for field, item in cast("Mapping[str, Any]", value).items()}
    return {name: clean_text(value)}


def clean_text(value: Any) -> Any:
    """Replace what the CEL library cannot hold in a text: it ends a text at NUL, and fails on half a surrogate pair.

    For texts that are no arguments. What stands in their place makes the text differ from every text without them, as
    it did before.
    """
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return make_storable(value, nul="\ufffd")


def find_fault(value: Any) -> str | None:
    """Explain why no rule can look at these arguments, without showing any of them; None if rules can."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if item is None or isinstance(item, bool | float):
            continue
        if isinstance(item, str):
            wrong = _find_text_fault(item)
        elif isinstance(item, int):
            wrong = None if -(2**63) <= item < 2**63 else "a number of more than 64 bits"
        elif isinstance(item, list | Mapping):
            members = cast("Sequence[Any] | Mapping[Any, Any]", item)
            wrong = _find_size_fault(len(members), depth)
            if wrong is None:
                if isinstance(members, Mapping):
                    waiting += [(key if isinstance(key, str) else (), depth + 1) for key in members]
                    waiting += [(member, depth + 1) for member in members.values()]
                else:
                    waiting += [(member, depth + 1) for member in members]
        else:
            wrong = "something that is not JSON"
        if wrong is not None:
            return f"the arguments hold {wrong}"
    return None


def _find_text_fault(text: str) -> str | None:
    size = len(text)
    if size <= MAX_TEXT and not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            return "a text that is not valid Unicode"
    if size > MAX_TEXT:
        return f"a text of more than {MAX_TEXT // 1024} kB"
    return "a NUL character" if "\0" in text else None


def _find_size_fault(count: int, depth: int) -> str | None:
    if count > MAX_ITEMS:
        return f"a list or mapping of more than {MAX_ITEMS:,} items"
    return f"more than {MAX_DEPTH} levels of lists and mappings" if depth >= MAX_DEPTH else None


def format_time(value: datetime) -> str:
    """Format a time as texts show it, in UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
