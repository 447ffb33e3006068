"""Patterns as sets of names: what two have in common, and a name that stands for all that a pattern describes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from graphs.policy.patterns import is_plain, matches

_ANY_CHARACTER = "\1"
"""Stands for a character that nobody would think of; no pattern may hold it."""
_ANY_TEXT = _ANY_CHARACTER * 64
_MOST = 64
"""Patterns that an intersection is made of at most; of more, these are kept."""


def build_example(pattern: str) -> str:
    """Build the name that stands for what `pattern` describes, and no narrower pattern does."""
    return pattern.replace("*", _ANY_TEXT).replace("?", _ANY_CHARACTER)


def is_within(pattern: str, other: str) -> bool:
    """Whether what `pattern` describes is described by `other` too."""
    return matches(other, build_example(pattern)) and matches(other, build_example(pattern.replace("*", "")))


@lru_cache(maxsize=4096)  # pure
def intersect(one: str, other: str) -> frozenset[str]:
    """Find the patterns that together describe what both describe; none where they have nothing in common."""
    if is_plain(one) or is_plain(other):
        name, pattern = (one, other) if is_plain(one) else (other, one)
        return frozenset({name} if matches(pattern, name) else ())
    one, other = (re.sub(r"\*+", "*", each) for each in (one, other))
    # By places in both, from the end: what describes the rest of both.
    rests: list[list[frozenset[str]]] = [[frozenset()] * (len(other) + 1) for _ in range(len(one) + 1)]
    for at in range(len(one), -1, -1):
        for place in range(len(other), -1, -1):
            rests[at][place] = _simplify(_join(one, other, at, place, rests))
    return rests[0][0]


def close_intersections(patterns: Iterable[str], most: int) -> list[str]:
    """List these patterns and what any of them have in common, `most` at most: each combination that a name may be
    described by has one of its own."""
    found = list(dict.fromkeys(patterns))
    known = set(found)
    for at, one in enumerate(found):  # which grows meanwhile
        for other in found[:at]:
            for common in sorted(intersect(one, other)):
                if common not in known and len(found) < most:
                    known.add(common)
                    found.append(common)
    return found


def _join(one: str, other: str, at: int, place: int, rests: list[list[frozenset[str]]]) -> set[str]:
    left, right = one[at : at + 1], other[place : place + 1]
    if not left or not right:
        return {""} if one[at:] in ("", "*") and other[place:] in ("", "*") else set()
    if left == right == "*":
        return {"*" + rest.removeprefix("*") for rest in rests[at + 1][place] | rests[at][place + 1]}
    if left == "*":
        return {*rests[at + 1][place], *(right + rest for rest in rests[at][place + 1])}
    if right == "*":
        return {*rests[at][place + 1], *(left + rest for rest in rests[at + 1][place])}
    if left == right or "?" in (left, right):
        return {(right if left == "?" else left) + rest for rest in rests[at + 1][place + 1]}
    return set()


def _simplify(patterns: Collection[str]) -> frozenset[str]:
    """Drop the patterns that are within another."""
    kept: list[str] = []
    for pattern in sorted(patterns, key=lambda each: (len(each), each)):
        if not any(is_within(pattern, other) for other in kept):
            kept = [other for other in kept if not is_within(other, pattern)] + [pattern]
    return frozenset(kept[:_MOST])
