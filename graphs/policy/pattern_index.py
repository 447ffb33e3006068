"""Many patterns over `server/tool`, arranged so that finding those that match a name tries few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from graphs.policy.patterns import build_matcher, is_plain

Item = TypeVar("Item")
_IndexEntry = tuple[int, Callable[[str], bool], Item]


class PatternIndex(Generic[Item]):
    """What stands under patterns. The tools of servers need not be known when it is built."""

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
        """The items whose pattern matches, in their order."""
        found = list(self._exact.get(name, ()))
        server, slash, _ = name.partition("/")
        for at, fits, item in (*(self._of_server.get(server, ()) if slash else ()), *self._of_any):
            if fits(name):
                found.append((at, item))
        return [item for _, item in sorted(found, key=lambda pair: pair[0])]
