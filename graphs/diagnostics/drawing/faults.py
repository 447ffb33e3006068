"""What is wrong with the shape of a graph, node by node and way by way, in the few words that fit into a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphs.config.spec.graph import END

UNREACHED = "never reached"
ENDLESS = "no way to the end"
NO_WAY_ON = "no way on"
UNJUDGED = "no permission node before it"
NEVER_TAKEN = "never taken"
NO_SUCH_NODE = "no such node"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way on from a node."""

    to: str
    when: str = ""


@dataclass(frozen=True)
class Ways:
    """The ways on from one node."""

    list: list[Way]
    whole: bool
    """Whether nothing was left out because it cannot be read."""

    @property
    def taken(self) -> list[Way]:
        """Without those behind a way that is always taken."""
        always = next((at for at, way in enumerate(self.list) if not way.when), len(self.list))
        return self.list[: always + 1]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is wrong, in words."""

    nodes: Mapping[str, tuple[str, ...]]
    ways: Mapping[tuple[str, int], tuple[str, ...]]
    """By the name of the node and the index of the way."""


def find_faults(start: str, types: Mapping[str, str], ways: Mapping[str, Ways]) -> Faults:
    """What is wrong with a graph. Of what cannot be read the best is assumed: half a graph always looks wrong."""
    onward = {name: [way.to for way in all_ways.taken] for name, all_ways in ways.items()}
    unsure = {name for name, all_ways in ways.items() if not all_ways.whole}
    reached = _spread([start], onward) if start in ways else set(ways)
    if unsure & reached:
        reached = set(ways)
    back = _turned(onward, reached)
    ending = _spread([END, *unsure, *(to for to in back if to not in ways)], back)
    # A model's answer holds new calls: what was decided before it says nothing of them.
    judged_by = {name: () if types[name] == "model" else back.get(name, ()) for name in ways}
    nodes: dict[str, tuple[str, ...]] = {}
    for name, all_ways in ways.items():
        found: list[str] = []
        if name not in reached:
            found.append(UNREACHED)
        elif not all_ways.list and not all_ways.whole:
            found.append(NO_WAY_ON)
        elif name not in ending:
            found.append(ENDLESS)
        if types[name] == "tools" and name in reached and not unsure & reached:
            before = _spread([name], judged_by)
            if not any(types[other] in ("permission", "unread") for other in before):
                found.append(UNJUDGED)
        nodes[name] = tuple(found)
    return Faults(
        nodes=nodes,
        ways={
            (name, at): (NO_SUCH_NODE,) if way.to not in ways and way.to != END else (NEVER_TAKEN,)
            for name, all_ways in ways.items()
            for at, way in enumerate(all_ways.list)
            if at >= len(all_ways.taken) or (way.to not in ways and way.to != END)
        },
    )


def _spread(first: Iterable[str], onward: Mapping[str, Iterable[str]]) -> set[str]:
    """Everything that can be come to from `first`."""
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += onward.get(name, ())
    return found


def _turned(onward: Mapping[str, Iterable[str]], among: set[str]) -> Mapping[str, list[str]]:
    """The same ways the other way round, those from `among` alone."""
    back: dict[str, list[str]] = {}
    for name, targets in onward.items():
        for to in targets if name in among else ():
            back.setdefault(to, []).append(name)
    return back
