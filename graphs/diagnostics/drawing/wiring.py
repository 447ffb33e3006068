"""Find loops and separate parts among boxes that are known by number only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

Wire = tuple[int, int]
"""From one box to another."""


def find_loops(count: int, wires: Sequence[Wire]) -> frozenset[int]:
    """Find the wires, by index, that lead back to a box on the way to their own beginning."""
    onward: dict[int, list[int]] = defaultdict(list)
    for at, (source, _) in enumerate(wires):
        onward[source].append(at)
    found: set[int] = set()
    seen: set[int] = set()
    for first in range(count):
        # By hand rather than by recursion: a chain may be longer than Python's stack.
        path: dict[int, list[int]] = {}
        waiting = [first] if first not in seen else []
        while waiting:
            box = waiting[-1]
            if box not in path:
                seen.add(box)
                path[box] = list(reversed(onward[box]))
            if not path[box]:
                del path[waiting.pop()]
                continue
            at = path[box].pop()
            target = wires[at][1]
            if target in path:
                found.add(at)
            elif target not in seen:
                waiting.append(target)
    return frozenset(found)


def find_sole_followers(first: int, onward: Mapping[int, Sequence[int]]) -> list[int]:
    """Find the box and those that no line leads to but from it and from each other. `onward` has no loops."""
    before: dict[int, set[int]] = defaultdict(set)
    for source, targets in onward.items():
        for target in targets:
            before[target].add(source)
    found = [first]
    for box in found:
        for target in onward.get(box, ()):
            if target not in found and before[target] <= set(found):
                found.append(target)
    return found


def find_detached(count: int, wires: Sequence[Wire]) -> list[int]:
    """Find one box of each part of the graph that is not connected to the first box."""
    beside: dict[int, list[int]] = {box: [] for box in range(count)}
    for source, target in wires:
        beside[source].append(target)
        beside[target].append(source)
    reached: set[int] = set()
    found: list[int] = []
    for first in range(count):
        if first in reached:
            continue
        if first:
            found.append(first)
        waiting = [first]
        while waiting:
            box = waiting.pop()
            if box not in reached:
                reached.add(box)
                waiting += beside[box]
    return found
