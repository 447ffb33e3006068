"""Patterns over names: `*` stands for any text, `/` included, and `?` for one character. Nothing else is special."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

from graphs.errors import did_you_mean

Item = TypeVar("Item")
_IndexEntry = tuple[int, Callable[[str], bool], Item]
_FOREIGN_SYNTAX = re.compile(r"[\[\]{}\\!,|\s\x00-\x1f]")


def find_fault(pattern: str) -> str | None:
    """Explain what is wrong with a pattern; None if nothing is.

    What other tools read as a set, a choice or a negation is refused: a pattern that means less than its author
    thinks opens a door when it stands under `deny`.
    """
    if not pattern:
        return "the pattern is empty; write '*' for everything"
    found = _FOREIGN_SYNTAX.search(pattern)
    if found is not None:
        return f"the pattern {pattern!r} holds {found[0]!r}; only '*' and '?' are special, and a list holds several"
    return None


def find_tool_fault(pattern: str) -> str | None:
    """Explain what is wrong with a pattern over `server/tool`, which must be able to match one; None if nothing is."""
    wrong = find_fault(pattern)
    if wrong is not None:
        return wrong
    if "/" in pattern or "*" in pattern:
        return None
    if "__" in pattern:
        server, tool = pattern.split("__", 1)
        return f"tools are written server/tool; write {server + '/' + tool!r}"
    return (
        f"tools are written server/tool, so {pattern!r} matches none; write {pattern + '/*'!r} for a whole server, or"
        f" {'*/' + pattern!r} for the tool of any"
    )


def matches(pattern: str, name: str) -> bool:
    """Whether the whole of `name` is what `pattern` describes. Upper and lower case differ."""
    return _compile_pattern(pattern).fullmatch(name) is not None


def build_matcher(pattern: str) -> Callable[[str], bool]:
    """Return `matches` for one pattern, to be called with many names."""
    fullmatch = _compile_pattern(pattern).fullmatch
    return lambda name: fullmatch(name) is not None


def is_plain(pattern: str) -> bool:
    """Whether nothing in it is special: it matches itself alone."""
    return "*" not in pattern and "?" not in pattern


def matches_any(patterns: Iterable[str], name: str) -> bool:
    """Whether one of `patterns` matches."""
    return any(matches(pattern, name) for pattern in patterns)


def is_chosen(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether `include` matches, or is empty, and `exclude` does not match."""
    return (not include or matches_any(include, name)) and not matches_any(exclude, name)


def could_begin(pattern: str, beginning: str) -> bool:
    """Whether `pattern` matches some name that begins with `beginning`."""
    # All places of the pattern at which its match may stand; after a star one may always stay.
    places = {0}
    for letter in beginning:
        places = _skip_stars(pattern, places)
        places = {
            place if pattern[place] == "*" else place + 1
            for place in places
            if place < len(pattern) and pattern[place] in ("*", "?", letter)
        }
    return bool(places)


def _skip_stars(pattern: str, places: set[int]) -> set[int]:
    found = set(places)
    for place in places:
        while place < len(pattern) and pattern[place] == "*":
            place += 1
            found.add(place)
    return found


def build_any_matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return `matches_any` for these patterns, to be called with many names."""
    fullmatch = re.compile("|".join(_compile_pattern(pattern).pattern for pattern in patterns), re.DOTALL).fullmatch
    return lambda name: fullmatch(name) is not None


@lru_cache(maxsize=1024)  # pure: the same pattern always compiles to the same
def _compile_pattern(pattern: str) -> re.Pattern[str]:
    # Between two stars the first place where the text fits is as good as any later one, so it is never reconsidered
    # (atomic groups): no pattern can make a match take long.
    first, *rest = (_escape_literal(piece) for piece in re.split(r"\*+", pattern))
    if not rest:
        return re.compile(first, re.DOTALL)
    *inner, last = rest
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in inner) + ".*" + last, re.DOTALL)


def _escape_literal(piece: str) -> str:
    return re.escape(piece).replace(r"\?", ".")


def is_id(name: str) -> bool:
    """Whether `name` can be a graph's: it is a model id to clients, and a pattern's literal to rules."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name, re.ASCII) is not None


def is_server_name(name: str) -> bool:
    """Whether `name` can be a server's: models know its tools as `server__tool`, so it holds no `__` itself."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}", name, re.ASCII) is not None and "__" not in name


def suggest_server_name(name: str) -> str | None:
    """Suggest a name that is near to one that cannot be a server's; None where nothing of it is left."""
    near = re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9_]+", "-", name)).strip("-_")[:48]
    return near if is_server_name(near) else None


def find_misspelt_server(pattern: str, servers: Iterable[str]) -> str | None:
    """Explain that a pattern's server is spelled nearly like one of `servers`; None if it is not."""
    names = list(servers)
    server = find_server(pattern)
    if server is None or server in names:
        return None
    hint = did_you_mean(server, names, cutoff=0.8)
    return f"there is no server {server!r} in servers.yaml{hint}" if hint else None


def find_server(pattern: str) -> str | None:
    """Find the server that a pattern over `server/tool` writes out; None where it may be any."""
    server, slash, _ = pattern.partition("/")
    return server if slash and is_plain(server) else None


class PatternIndex(Generic[Item]):
    """Items by patterns over `server/tool`, so that finding those for one name tries few patterns.

    The tools of servers need not be known when it is built.
    """

    def __init__(self, items: Iterable[tuple[str, Item]]) -> None:
        """`items`: each with its pattern, in the order in which they are to be found again."""
        self._exact: dict[str, list[tuple[int, Item]]] = {}
        self._of_server: dict[str, list[_IndexEntry[Item]]] = {}
        """Patterns that write their server out, by its name."""
        self._of_any: list[_IndexEntry[Item]] = []
        for at, (pattern, item) in enumerate(items):
            if is_plain(pattern):
                self._exact.setdefault(pattern, []).append((at, item))
                continue
            server, slash, _ = pattern.partition("/")
            group = self._of_server.setdefault(server, []) if slash and is_plain(server) else self._of_any
            group.append((at, build_matcher(pattern), item))

    def find_matches(self, name: str) -> list[Item]:
        """Return the items whose pattern matches, in their order."""
        found = list(self._exact.get(name, ()))
        server, slash, _ = name.partition("/")
        for at, fits, item in (*(self._of_server.get(server, ()) if slash else ()), *self._of_any):
            if fits(name):
                found.append((at, item))
        return [item for _, item in sorted(found, key=lambda pair: pair[0])]
