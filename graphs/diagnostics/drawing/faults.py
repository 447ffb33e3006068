"""What is wrong with the shape of a graph, node by node and way by way, in the few words that fit into a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphs.config.spec.graph import END

UNREACHABLE = "never reached"
NO_PATH_TO_END = "no way to the end"
NO_NEXT_NODE = "no way on"
NO_PERMISSION_NODE = "no permission node before it"
DEAD_EDGE = "never taken"
NO_SUCH_NODE = "no such node"


@dataclass(frozen=True, kw_only=True)
class OutEdge:
    """One way on from a node."""

    to: str
    when: str = ""


@dataclass(frozen=True)
class OutEdges:
    """The ways on from one node."""

    edges: list[OutEdge]
    is_complete: bool
    """Whether nothing was left out because it cannot be read."""

    @property
    def reachable(self) -> list[OutEdge]:
        """Without those behind a way that is always taken."""
        always = next((at for at, way in enumerate(self.edges) if not way.when), len(self.edges))
        return self.edges[: always + 1]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is wrong, in words."""

    nodes: Mapping[str, tuple[str, ...]]
    edges: Mapping[tuple[str, int], tuple[str, ...]]
    """By the name of the node and the index of the way."""


def find_faults(start: str, types: Mapping[str, str], edges: Mapping[str, OutEdges]) -> Faults:
    """What is wrong with a graph. Of what cannot be read the best is assumed: half a graph always looks wrong."""
    onward = {name: [way.to for way in all_ways.reachable] for name, all_ways in edges.items()}
    unsure = {name for name, all_ways in edges.items() if not all_ways.is_complete}
    reached = _find_reachable([start], onward) if start in edges else set(edges)
    if unsure & reached:
        reached = set(edges)
    back = _reverse(onward, reached)
    ending = _find_reachable([END, *unsure, *(to for to in back if to not in edges)], back)
    # A model's answer holds new calls: what was decided before it says nothing of them.
    judged_by = {name: () if types[name] == "model" else back.get(name, ()) for name in edges}
    nodes: dict[str, tuple[str, ...]] = {}
    for name, all_ways in edges.items():
        found: list[str] = []
        if name not in reached:
            found.append(UNREACHABLE)
        elif not all_ways.edges and not all_ways.is_complete:
            found.append(NO_NEXT_NODE)
        elif name not in ending:
            found.append(NO_PATH_TO_END)
        if types[name] == "tools" and name in reached and not unsure & reached:
            before = _find_reachable([name], judged_by)
            if not any(types[other] in ("permission", "unread") for other in before):
                found.append(NO_PERMISSION_NODE)
        nodes[name] = tuple(found)
    return Faults(
        nodes=nodes,
        edges={
            (name, at): (NO_SUCH_NODE,) if way.to not in edges and way.to != END else (DEAD_EDGE,)
            for name, all_ways in edges.items()
            for at, way in enumerate(all_ways.edges)
            if at >= len(all_ways.reachable) or (way.to not in edges and way.to != END)
        },
    )


def _find_reachable(first: Iterable[str], onward: Mapping[str, Iterable[str]]) -> set[str]:
    """Everything that can be come to from `first`."""
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += onward.get(name, ())
    return found


def _reverse(onward: Mapping[str, Iterable[str]], among: set[str]) -> Mapping[str, list[str]]:
    """The same ways the other way round, those from `among` alone."""
    back: dict[str, list[str]] = {}
    for name, targets in onward.items():
        for to in targets if name in among else ():
            back.setdefault(to, []).append(name)
    return back
