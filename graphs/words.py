"""Small pieces of wording that several files share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(found: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str:
    """`. Did you mean '…'?` for the nearest of `choices`, or nothing."""
    near = difflib.get_close_matches(found, list(choices), n=1, cutoff=cutoff)
    return f". Did you mean {near[0]!r}?" if near else ""


def kind_of(value: object) -> str:
    """What sort of thing a value of a YAML file is, without the value."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text" if value else "an empty text"
        case list():
            return "a list"
        case _:
            return "a mapping"
