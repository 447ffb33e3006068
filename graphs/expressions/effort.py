"""Estimate the work of a condition before it is done: what is small runs on the event loop, the rest elsewhere.

CEL's library holds the interpreter's lock while it evaluates, so a thread would not help the loop. It counts iterations
(10,000 for an evaluation, its own limit) but not what one costs: `args.list.all(x, size(args.text) > 0)` over 1,000
items and 64 kB took 0.2 s, `args.text.contains(args.part)` 60 ms, `args.a == args.b` on long lists 0.7 s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from graphs.expressions.celtree import Expr, Tree
from graphs.expressions.functions import FUNCTIONS
from graphs.expressions.sqltext import QUICK_CHARACTERS, QUICK_TOKENS, count_tokens

MAX_INLINE_UNITS = 400_000
"""Units of about 4 ns each: what one turn of the event loop may spend on conditions, with room for a slow machine."""
MAX_CHARACTERS = 1_048_576
"""Characters of all that a condition looks at; of more it cannot be evaluated."""
MAX_VALUES = 10_000
"""Values in it, likewise."""
TOO_MUCH = f"the arguments hold more than {MAX_VALUES:,} values or {MAX_CHARACTERS // 1024:,} kB of text"

_REPEATED = re.compile(r"\{(\d*),?(\d*)\}")
_UNKNOWN = 1_000_000
_SQL = 130_000
"""Units of parsing short SQL once."""


@dataclass(frozen=True)
class ValueSize:
    """How much a condition looks at."""

    characters: int
    values: int
    longest: int
    """Characters of its longest text."""
    short_sql: bool
    """Whether all texts together are too short to be costly SQL."""


@dataclass(frozen=True)
class Effort:
    """The cost of a condition as far as it is known when it is compiled."""

    waits: Literal["files", "names"] | None
    """What it may wait for outside this process: a file system, or a name server as well."""
    sql_calls: int
    """How many of its calls parse SQL."""
    loops: int
    items: int
    """Items of lists that are written out in it."""
    per_character: int
    quadratic: bool
    """Whether it searches one argument for another."""

    def estimate_units(self, size: ValueSize) -> int:
        """Return an upper bound of the cost for arguments of this size, without what it waits for."""
        if self.sql_calls and not size.short_sql:
            return MAX_INLINE_UNITS + 1
        work = self.per_character * (size.characters + 8 * size.values + 64)
        if self.loops:
            work *= (1 + size.values + self.items) ** min(self.loops, 4)
        if self.quadratic:
            work *= max(1, size.longest // 128)
        return work + _SQL * self.sql_calls


def estimate(tree: Tree) -> Effort:
    """Estimate the cost of a compiled expression."""
    nodes = list(tree.root.walk())
    calls = [node for node in nodes if node.kind == "call"]
    ours = [FUNCTIONS[node.name] for node in calls if node.name in FUNCTIONS]
    waits = {function.waits for function in ours}
    return Effort(
        waits="names" if "names" in waits else "files" if "files" in waits else None,
        sql_calls=sum(function.parses for function in ours),
        loops=sum(node.kind == "comprehension" for node in nodes),
        items=sum(len(node.children) for node in nodes if node.kind in ("list", "struct")),
        per_character=1 + sum(map(_estimate_per_character, calls)),
        quadratic=any(node.name == "contains" and _find_needle(node) is None for node in calls),
    )


def _estimate_per_character(call: Expr) -> int:
    if call.name == "contains":
        return max(1, len(_find_needle(call) or "") // 128)
    if call.name == "full_match":
        pattern = call.children[1].text if len(call.children) == 2 else None
        return _UNKNOWN if pattern is None else 8 + 2 * _count_states(pattern)
    return FUNCTIONS[call.name].per_character if call.name in FUNCTIONS else 1


def _find_needle(call: Expr) -> str | None:
    """Return the text that `contains` looks for, where it is written out."""
    return call.children[-1].text if call.children else None


def _count_states(pattern: str) -> int:
    """Estimate how many states RE2 follows at once at worst (its time is linear in the text, times these)."""
    states = len(pattern)
    for low, high in _REPEATED.findall(pattern):
        states *= max(1, min(1000, int(high or low or 1)))
        if states > _UNKNOWN:
            return _UNKNOWN
    return states


def measure(value: Any) -> ValueSize | None:
    """Measure what a condition looks at; None where that is too much to look at."""
    characters, values, longest, tokens = 0, 0, 0, 0
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            length = len(item)
            characters += length
            longest = max(longest, length)
            # Counted only while it may be short: to look at every character would take long itself.
            if characters <= QUICK_CHARACTERS:
                tokens += count_tokens(item)
            if characters > MAX_CHARACTERS:
                return None
        elif isinstance(item, list | Mapping):
            members = cast("list[Any] | Mapping[Any, Any]", item)
            # Counted before they are looked at: a list may be long.
            values += len(members)
            if values > MAX_VALUES:
                return None
            if isinstance(members, Mapping):
                waiting += members
                waiting += members.values()
            else:
                waiting += members
    return ValueSize(characters, values, longest, characters <= QUICK_CHARACTERS and tokens <= QUICK_TOKENS)
