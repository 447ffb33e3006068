"""The shape of one graph: every node has its use, every way comes to the end, and no call runs past its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from graphs.config.source import Path
from graphs.config.spec.graph import END, GraphSpec, ModelNodeSpec

Fault = tuple[Path, str]
"""Where in the file, and what is wrong."""


def find_faults(spec: GraphSpec) -> list[Fault]:
    """What is wrong with a graph of which every name is right.

    Where the ways themselves are wrong, what travels on them is not judged: one mistake would be told many times.
    """
    graph = _Graph(spec)
    return (
        [*graph.find_unreachable_nodes(), *graph.find_nodes_without_end()]
        or [*graph.find_unlimited_cycles()]
        or [*graph.find_tools_without_calls_or_verdicts()]
        or [*graph.find_verdicts_without_use()]
        or [*graph.find_models_without_tools()]
    )


@dataclass(frozen=True)
class _CallPaths:
    """The ways on from one model node up to the next model node or the end: those of the calls that it asks for."""

    without_verdict: Mapping[str, tuple[str, int]]
    """The nodes that are come to without a verdict, each with the node and branch that it is come to by."""
    with_verdict: frozenset[str]
    """The nodes that are come to with one."""

    @property
    def nodes(self) -> frozenset[str]:
        return self.with_verdict | self.without_verdict.keys()


class _Graph:
    def __init__(self, spec: GraphSpec) -> None:
        self.nodes = spec.nodes
        self.start = spec.start
        self.reachable = self._find_reachable([spec.start])
        self.call_paths = {name: self._trace_calls(name) for name in self._list_nodes("model")}

    def find_unreachable_nodes(self) -> Iterator[Fault]:
        for name in self.nodes:
            if name not in self.reachable:
                yield (
                    ("nodes", name),
                    f"no path from {self.start!r} leads to node {name!r}; lead one to it, or remove it",
                )

    def find_nodes_without_end(self) -> Iterator[Fault]:
        ending = self._find_nodes_with_end()
        stuck = [name for name in self.nodes if name in self.reachable and name not in ending]
        if stuck:
            which = f"node {stuck[0]!r}" if len(stuck) == 1 else f"nodes {_join_names(stuck)}"
            yield (
                ("nodes", stuck[0]),
                f"no path leads from {which} to 'end', so a turn could not finish; give one a way there",
            )

    def find_unlimited_cycles(self) -> Iterator[Fault]:
        """Limits are counted where a model is asked: a circle without one would go round for ever."""
        told: set[str] = set()
        for name in self.nodes:
            if name in told or (circle := self._find_cycle(name)) is None:
                continue
            told.update(circle)
            way = " → ".join(map(repr, circle))
            message = f"{way} goes round without a model node, and only there are limits counted; lead it through one"
            yield ("nodes", name), message

    def find_tools_without_calls_or_verdicts(self) -> Iterator[Fault]:
        for name in self._list_nodes("tools"):
            walks = {model: walk for model, walk in self.call_paths.items() if name in walk.nodes}
            if not walks:
                yield ("nodes", name), f"no model node comes before {name!r}, so there is no call for it to run"
            elif not any(name in walk.with_verdict for walk in walks.values()):
                yield (
                    ("nodes", name),
                    f"no verdict can reach {name!r}: no permission node stands between {_join_names(walks)} and it, so"
                    " every call would be refused; lead the way through a permission node",
                )
            else:
                yield from self._find_paths_past_verdicts(name, walks)

    def _find_paths_past_verdicts(self, name: str, walks: Mapping[str, _CallPaths]) -> Iterator[Fault]:
        gates = [
            gate for gate in self._list_nodes("permission") if name in self._find_reachable([gate], past_models=False)
        ]
        for model, walk in walks.items():
            node, at = walk.without_verdict.get(name, ("", 0))
            if node == model:
                yield (
                    ("nodes", node, "next", at),
                    f"this way leads from {model!r} to {name!r} past every permission node, so the calls that take it"
                    f" are refused; lead it to {gates[0]!r}",
                )

    def find_verdicts_without_use(self) -> Iterator[Fault]:
        for name in self._list_nodes("permission"):
            if not any(name in walk.nodes for walk in self.call_paths.values()):
                yield ("nodes", name), f"no model node comes before {name!r}, so there is no call for it to judge"
            elif all(self.nodes[other].type != "tools" for other in self._find_reachable([name], past_models=False)):
                yield (
                    ("nodes", name),
                    f"no tools node comes after {name!r}, so what it allows never runs; lead it to one",
                )

    def find_models_without_tools(self) -> Iterator[Fault]:
        for name, walk in self.call_paths.items():
            node = self.nodes[name]
            shown = isinstance(node, ModelNodeSpec) and node.tools
            behind = [other for other in self.nodes if other in walk.nodes]
            if shown and not behind:
                yield (
                    ("nodes", name, "tools"),
                    f"node {name!r} shows its model tools, and nothing behind it runs them; lead it to a permission"
                    " node and that to a tools node, or remove 'tools'",
                )
            elif behind and not shown:
                yield (
                    ("nodes", name),
                    f"node {name!r} shows its model no tools, so there is nothing to do for {_join_names(behind)};"
                    ' write tools: ["*"], or the patterns of those that it may use',
                )

    def _list_nodes(self, kind: str) -> list[str]:
        return [name for name, node in self.nodes.items() if node.type == kind and name in self.reachable]

    def _iter_branches(self, name: str) -> Iterator[tuple[int, str]]:
        """The branches that can be taken: what comes after one that always is, is not."""
        for at, branch in enumerate(self.nodes[name].next):
            if branch.to != END:
                yield at, branch.to
            if branch.when is None:
                return

    def _list_targets(self, name: str) -> list[str]:
        return [to for _, to in self._iter_branches(name)]

    def _find_reachable(self, names: Iterable[str], *, past_models: bool = True) -> set[str]:
        """These nodes, and all that they lead to; the ways end before model nodes if they may not be passed."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found and (past_models or self.nodes[name].type != "model"):
                found.add(name)
                waiting += self._list_targets(name)
        return found

    def _find_nodes_with_end(self) -> set[str]:
        def has_end(name: str) -> bool:
            node = self.nodes[name]
            taken = node.next[: next((at + 1 for at, way in enumerate(node.next) if way.when is None), None)]
            return any(way.to == END for way in taken)

        return self._add_predecessors({name for name in self.nodes if has_end(name)}, self._list_targets)

    def _add_predecessors(self, found: set[str], targets: Callable[[str], Iterable[str]]) -> set[str]:
        """These nodes, and all that lead to them."""
        while more := {name for name in self.nodes if name not in found and not found.isdisjoint(targets(name))}:
            found |= more
        return found

    def _find_cycle(self, name: str) -> list[str] | None:
        """The shortest way from a node back to itself that asks no model."""
        if self.nodes[name].type == "model" or name not in self.reachable:
            return None
        ways: list[list[str]] = [[name]]
        seen: set[str] = set()
        while ways:
            way = ways.pop(0)
            for to in self._list_targets(way[-1]):
                if to == name:
                    return [*way, to]
                if to not in seen and self.nodes[to].type != "model":
                    seen.add(to)
                    ways.append([*way, to])
        return None

    def _trace_calls(self, model: str) -> _CallPaths:
        without: dict[str, tuple[str, int]] = {}
        judged: set[str] = set()
        waiting: list[tuple[str, bool]] = [(model, False)]
        while waiting:
            name, verdict = waiting.pop(0)
            for at, to in self._iter_branches(name):
                kind = self.nodes[to].type
                if kind == "model" or to in (judged if verdict else without):
                    continue
                if verdict:
                    judged.add(to)
                else:
                    without[to] = (name, at)
                waiting.append((to, verdict or kind == "permission"))
        return _CallPaths(without, frozenset(judged))


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
