"""Check the shape of a graph: every node has its use, every path comes to the end, and no call runs past its verdict.

`find_faults` works on an outline, which can be made of a graph file with mistakes in it too: drawings show what it
finds in a few words, `check` in a sentence. Of what cannot be read the best is assumed: half a graph always looks
wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from graphs.config.source import Path
from graphs.config.spec.node import END, MODEL_ROLES, NodeRole
from graphs.errors import did_you_mean

FaultKind = Literal[
    "missing_start",
    "missing_target",
    "dead_edge",
    "no_otherwise",
    "unreachable",
    "no_edge",
    "no_path_to_end",
    "unlimited_cycle",
    "executor_without_calls",
    "executor_without_gate",
    "edge_past_gates",
    "gate_without_calls",
    "gate_without_executor",
    "tools_without_executor",
    "executor_without_tools",
]


@dataclass(frozen=True, slots=True)
class EdgeOutline:
    """One edge from a node."""

    to: str
    """The name of a node, or `end`."""
    is_conditional: bool
    place: int | str | None = None
    """Where it stands: its index in the list of the file, or its key where `next` is a mapping; None: at its index."""
    is_error: bool = False
    """Whether it is taken where the node fails. Such edges come first."""
    is_bounded: bool = False
    """Whether it can be taken only so many times, since its condition asks for `visits`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOutline:
    """What the checks look at in a node."""

    role: NodeRole | None
    """None: the type of the node cannot be read."""
    edges: Sequence[EdgeOutline]
    is_complete: bool = True
    """Whether no edge was left out because it cannot be read."""
    has_tools: bool | None = False
    """Whether it may use tools; None: that cannot be read."""
    needs_otherwise: bool = False
    """Whether the last of its edges must be one without a condition."""

    @property
    def live_edges(self) -> Sequence[EdgeOutline]:
        """The edges that can be taken: none that stands behind one without a condition."""
        always = next((at for at, edge in enumerate(self.edges) if not edge.is_conditional), len(self.edges))
        return self.edges[: always + 1]


@dataclass(frozen=True, slots=True)
class GraphOutline:
    """What the checks look at in a graph."""

    start: str
    """The name of the first node; empty: the file does not say it."""
    nodes: Mapping[str, NodeOutline]
    """In the order of the file."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a graph."""

    kind: FaultKind
    nodes: tuple[str, ...] = ()
    """The nodes that it is about, the first of which is the place to name; empty: it is about the start."""
    edge: int | None = None
    """The index of the edge that is wrong, among those of the first node; None: the node itself is."""
    others: tuple[str, ...] = ()
    """Further nodes that the explanation names."""


def find_faults(graph: GraphOutline) -> list[Fault]:
    """Find everything that is wrong with the shape of a graph; `graph_faults` chooses what of it to tell."""
    checker = _Checker(graph)
    faults = [*checker.check_edges(), *checker.check_paths(), *checker.check_gates(), *checker.check_cycles()]
    return [*faults, *checker.check_calls()] if checker.is_complete else faults


def describe_fault(fault: Fault, graph: GraphOutline) -> tuple[Path, str]:
    """Say where in the file a fault is, what is wrong, and what cures it."""
    name = fault.nodes[0] if fault.nodes else ""
    others = _join_names(fault.others)
    node: Path = ("nodes", name)
    at = fault.edge or 0
    place = graph.nodes[name].edges[at].place if fault.edge is not None else None
    edge: Path = (*node, "next", at if place is None else place)
    target: Path = edge if isinstance(place, str) else (*edge, "to")
    if fault.edge is not None and graph.nodes[name].edges[at].is_error:
        edge = target = (*node, "on_error")
    match fault.kind:
        case "missing_start":
            if graph.start == END:
                return ("start",), "'end' ends the turn, so a graph cannot start there"
            return ("start",), _describe_missing_node(graph.start, [*graph.nodes])
        case "missing_target":
            return target, _describe_missing_node(graph.nodes[name].edges[at].to, [*graph.nodes, END])
        case "dead_edge":
            which = "one" if graph.nodes[name].edges[at - 1].is_conditional else "the one"
            return edge, f"this branch is never taken: {which} before it has no 'when', so it always is"
        case "no_otherwise":
            return edge, (
                "no branch is left where this one is not true, and the turn could not go on; end the list with one"
                " without 'when', such as {to: end}"
            )
        case "unreachable":
            return node, f"no path from {graph.start!r} leads to node {name!r}; lead one to it, or remove it"
        case "no_edge" | "no_path_to_end":
            which = f"node {name!r}" if len(fault.nodes) == 1 else f"nodes {_join_names(fault.nodes)}"
            return node, f"no path leads from {which} to 'end', so a turn could not finish; give one a way there"
        case "unlimited_cycle":
            circle = " → ".join(map(repr, [*fault.nodes, name]))
            failing = [each for each in fault.nodes if graph.nodes[each].role in MODEL_ROLES]
            if failing:
                return node, (
                    f"{circle} goes round for as long as {failing[0]!r} fails; give a branch of it a bound, such as"
                    " 'when: visits < 3'"
                )
            return node, (
                f"{circle} goes round without a model node, and only there are limits counted; lead it through one, or"
                " give a branch of it a bound, such as 'when: visits < 3'"
            )
        case "executor_without_calls":
            return node, f"no model node comes before {name!r}, so there is no call for it to run"
        case "executor_without_gate":
            return node, (
                f"no verdict can reach {name!r}: no permission node stands between {others} and it, so"
                " every call would be refused; lead the way through a permission node"
            )
        case "edge_past_gates":
            executor, gate = fault.others
            return edge, (
                f"this way leads from {name!r} to {executor!r} past every permission node, so the calls that take it"
                f" are refused; lead it to {gate!r}"
            )
        case "gate_without_calls":
            return node, f"no model node comes before {name!r}, so there is no call for it to judge"
        case "gate_without_executor":
            return node, f"no tools node comes after {name!r}, so what it allows never runs; lead it to one"
        case "tools_without_executor":
            return (*node, "tools"), (
                f"node {name!r} shows its model tools, and nothing behind it runs them; lead it to a permission"
                " node and that to a tools node, or remove 'tools'"
            )
        case "executor_without_tools":
            return node, (
                f"node {name!r} shows its model no tools, so there is nothing to do for {others};"
                ' write tools: ["*"], or the patterns of those that it may use'
            )


@dataclass(frozen=True)
class _CallPaths:
    """The paths from one model node up to the next model node or the end: those of the calls that it asks for."""

    unjudged: Mapping[str, tuple[str, int]]
    """The nodes that are reached without a verdict, each with the node and the edge that lead to it."""
    judged: frozenset[str]
    """The nodes that are reached with a verdict."""

    @property
    def nodes(self) -> frozenset[str]:
        return self.judged | self.unjudged.keys()


class _Checker:
    """Finds the faults of one graph."""

    def __init__(self, graph: GraphOutline) -> None:
        self.graph = graph
        self.nodes = graph.nodes
        self.targets = {name: [edge.to for edge in node.live_edges] for name, node in self.nodes.items()}
        # A model's rounds are counted once it has answered: not where it fails.
        self.free_targets = {
            name: [
                edge.to
                for edge in node.live_edges
                if not edge.is_bounded and (edge.is_error or node.role not in (*MODEL_ROLES, None))
            ]
            for name, node in self.nodes.items()
        }
        unsure = {name for name, node in self.nodes.items() if not node.is_complete}
        self.reachable = self._find_reachable([graph.start]) if graph.start in self.nodes else {*self.nodes}
        self.is_sure = not unsure & self.reachable
        """Whether all edges of the nodes that the start leads to are known."""
        if not self.is_sure:
            self.reachable = {*self.nodes}
        self.is_complete = (
            not unsure
            and graph.start in self.nodes
            and all(node.role is not None for node in self.nodes.values())
            and all(self._has_target(edge) for node in self.nodes.values() for edge in node.edges)
        )

    def check_edges(self) -> Iterator[Fault]:
        """Check that every edge leads to a node or to the end, and can be taken."""
        if self.graph.start not in self.nodes:
            yield Fault("missing_start")
        for name, node in self.nodes.items():
            for at, edge in enumerate(node.edges):
                if not self._has_target(edge):
                    yield Fault("missing_target", (name,), at)
                if at >= len(node.live_edges):
                    yield Fault("dead_edge", (name,), at)
            if node.needs_otherwise and node.is_complete and all(edge.is_conditional for edge in node.edges):
                yield Fault("no_otherwise", (name,), len(node.edges) - 1)

    def check_paths(self) -> Iterator[Fault]:
        """Check that every node is reached, and can reach the end."""
        ending = self._find_nodes_with_end()
        stuck: list[str] = []
        for name, node in self.nodes.items():
            if name not in self.reachable:
                yield Fault("unreachable", (name,))
            elif not node.edges and not node.is_complete:
                yield Fault("no_edge", (name,))
            elif name not in ending:
                stuck.append(name)
        if stuck:
            yield Fault("no_path_to_end", tuple(stuck))

    def check_gates(self) -> Iterator[Fault]:
        """Check that a gate stands before every executor."""
        for name in self._list_nodes("executor") if self.is_sure else ():
            models = [model for model, paths in self.call_paths.items() if name in paths.nodes]
            judged = [model for model in models if name in self.call_paths[model].judged]
            if (models and not judged) or not self._find_gates(name):
                yield Fault("executor_without_gate", (name,), others=tuple(models))

    def check_cycles(self) -> Iterator[Fault]:
        """Check that every cycle asks a model, where limits are counted: it would never end otherwise."""
        found: set[str] = set()
        for name in self.nodes:
            if name not in found and (cycle := self._find_cycle(name)) is not None:
                found.update(cycle)
                yield Fault("unlimited_cycle", tuple(cycle))

    def check_calls(self) -> Iterator[Fault]:
        """Check that calls come to every gate and executor, and that every model's calls come to both."""
        executors, gates = self._list_nodes("executor"), self._list_nodes("gate")
        for name in executors:
            models = [model for model, paths in self.call_paths.items() if name in paths.nodes]
            if not models:
                yield Fault("executor_without_calls", (name,))
            if any(name in self.call_paths[model].judged for model in models):
                yield from self._check_edges_past_gates(name, models)
        for name in gates:
            if not any(name in paths.nodes for paths in self.call_paths.values()):
                yield Fault("gate_without_calls", (name,))
            elif self._find_reachable([name], past_models=False).isdisjoint(executors):
                yield Fault("gate_without_executor", (name,))
        for name, paths in self.call_paths.items():
            behind = [other for other in (*self.nodes,) if other in paths.nodes and other in (*gates, *executors)]
            if self.nodes[name].has_tools and not behind:
                yield Fault("tools_without_executor", (name,))
            elif behind and self.nodes[name].has_tools is False:
                yield Fault("executor_without_tools", (name,), others=tuple(behind))

    def _check_edges_past_gates(self, executor: str, models: Iterable[str]) -> Iterator[Fault]:
        """Check that no edge from a model leads straight to an executor, or by nodes that do nothing for calls."""
        for model in models:
            unjudged = self.call_paths[model].unjudged
            node, at = unjudged.get(executor, ("", 0))
            while node in unjudged and self.nodes[node].role in ("step", "caller", "group", "graph"):
                node, at = unjudged[node]
            if node == model:
                yield Fault("edge_past_gates", (model,), at, (executor, self._find_gates(executor)[0]))

    @cached_property
    def call_paths(self) -> Mapping[str, _CallPaths]:
        """The paths of calls, by the model node that asks for them."""
        return {name: self._trace_calls(name) for name in self._list_nodes("model")}

    def _has_target(self, edge: EdgeOutline) -> bool:
        return edge.to == END or edge.to in self.nodes

    def _list_nodes(self, role: NodeRole) -> list[str]:
        return [name for name, node in self.nodes.items() if node.role == role and name in self.reachable]

    def _find_gates(self, executor: str) -> list[str]:
        """List the gates whose verdicts can reach an executor; a node that cannot be read may be one."""
        return [
            name
            for name, node in self.nodes.items()
            if node.role in ("gate", None)
            and name in self.reachable
            and executor in self._find_reachable([name], past_models=False)
        ]

    def _find_reachable(self, names: Iterable[str], *, past_models: bool = True) -> set[str]:
        """Find these nodes and all that they lead to; the paths end before model nodes unless they may pass them."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in self.nodes and name not in found and (past_models or self.nodes[name].role not in MODEL_ROLES):
                found.add(name)
                waiting += self.targets[name]
        return found

    def _find_nodes_with_end(self) -> set[str]:
        """Find the nodes from which the end can be reached; it may be where an edge is missing or leads nowhere."""
        found = {
            name
            for name, node in self.nodes.items()
            if not node.is_complete or any(to == END or to not in self.nodes for to in self.targets[name])
        }
        while more := {name for name in self.nodes if name not in found and not found.isdisjoint(self.targets[name])}:
            found |= more
        return found

    def _find_cycle(self, name: str) -> list[str] | None:
        """Find the nodes of the shortest path from a node back to itself that asks no model and has no bound; what
        cannot be read may be a model."""
        if name not in self.reachable:
            return None
        paths: list[list[str]] = [[name]]
        passed: set[str] = set()
        while paths:
            path = paths.pop(0)
            for to in self.free_targets[path[-1]]:
                if to == name:
                    return path
                if to in self.nodes and to not in passed:
                    passed.add(to)
                    paths.append([*path, to])
        return None

    def _trace_calls(self, model: str) -> _CallPaths:
        unjudged: dict[str, tuple[str, int]] = {}
        judged: set[str] = set()
        waiting: list[tuple[str, bool]] = [(model, False)]
        while waiting:
            name, has_verdict = waiting.pop(0)
            for at, to in enumerate(self.targets[name]):
                if self.nodes[name].edges[at].is_error:
                    continue
                role = self.nodes[to].role if to in self.nodes else "model"
                if role in MODEL_ROLES or to in (judged if has_verdict else unjudged):
                    continue
                if has_verdict:
                    judged.add(to)
                else:
                    unjudged[to] = (name, at)
                waiting.append((to, has_verdict or role in ("gate", None)))
        return _CallPaths(unjudged, frozenset(judged))


def _describe_missing_node(name: str, known: Sequence[str]) -> str:
    return f"there is no node {name!r}; there is {', '.join(known)}{did_you_mean(name, known)}"


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
