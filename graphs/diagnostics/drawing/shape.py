"""What there is to draw of one graph, as plain data: its nodes, its ways, and what is wrong with each in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from graphs.config.compile_graph import GraphPlan
from graphs.config.source import Path, find_value
from graphs.config.spec.graph import END, LimitsSpec
from graphs.diagnostics.drawing.faults import OutEdge, OutEdges, find_faults

NodeKind = Literal["model", "permission", "tools", "unread", "missing"]
"""The type of a node; `unread`: the file does not say it in a way that can be read; `missing`: a way leads there, and
there is no such node."""

NODE_KINDS: tuple[NodeKind, ...] = ("model", "permission", "tools")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One box."""

    name: str
    kind: NodeKind
    model: str = ""
    """The model that the node names; empty: it names none."""
    tools: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    """What is wrong with it, in words."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One way on."""

    source: str
    target: str
    """The name of a node, or `end`."""
    when: str = ""
    """The condition as it is written; empty: always."""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GraphShape:
    """One graph as it is drawn, in the order of the file."""

    id: str
    description: str
    start: str
    """The name of the first node; empty: the file does not say it."""
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    limits: LimitsSpec | None
    """None: they cannot be read."""


def build_shape(plan: GraphPlan) -> GraphShape:
    """What there is to draw of a graph that is sound."""
    # As plain data, because a file with mistakes in it is no more than that: one reader for both.
    return read_shape(plan.id, plan.spec.model_dump(), plan.raw_texts, plan.spec.limits)


def read_shape(graph: str, data: Any, written: Mapping[Path, str], limits: LimitsSpec | None) -> GraphShape:
    """What can be read of a graph file's data, whatever it is; nothing in it has to be right.

    `written` are the texts that variables went into: drawn as they are written, for what went in may be secret.
    """
    reader = _ShapeReader(data, written)
    ways = {name: reader.read_edges(name) for name in reader.list_names()}
    start = reader.read_target(("start",))
    faults = find_faults(start, {name: reader.read_kind(name) for name in ways}, ways)
    nodes = [reader.read_node(name, faults.nodes[name]) for name in ways]
    targets = dict.fromkeys([start, *(way.to for all_ways in ways.values() for way in all_ways.edges)])
    nodes += [
        Node(name=name, kind="missing", faults=("no such node",))
        for name in targets
        if name not in ways and name not in ("", END)
    ]
    edges = [
        Edge(source=name, target=way.to, when=way.when, faults=faults.edges.get((name, at), ()))
        for name, all_ways in ways.items()
        for at, way in enumerate(all_ways.edges)
    ]
    return GraphShape(
        id=graph,
        description=reader.read_text(("description",)),
        start=start,
        nodes=tuple(nodes),
        edges=tuple(edges),
        limits=limits,
    )


@dataclass(frozen=True)
class _ShapeReader:
    """Reads plain data of which nothing is known."""

    data: Any
    written: Mapping[Path, str]

    def list_names(self) -> Iterator[str]:
        for name in cast("dict[object, object]", self._find_value(("nodes",), dict) or {}):
            if isinstance(name, str) and name not in ("", END):
                yield name

    def read_node(self, name: str, faults: tuple[str, ...]) -> Node:
        at: Path = ("nodes", name)
        kind = self.read_kind(name)
        unread = ("its type cannot be read",) if kind == "unread" else ()
        tools = self._count_items((*at, "tools")) if kind == "model" else 0
        return Node(
            name=name,
            kind=kind,
            model=self.read_text((*at, "model")) if kind == "model" else "",
            tools=tuple(text for index in range(tools) if (text := self.read_text((*at, "tools", index)))),
            faults=(*unread, *faults),
        )

    def read_kind(self, name: str) -> NodeKind:
        found = self._find_value(("nodes", name, "type"))
        for kind in NODE_KINDS:
            if kind == found:
                return kind
        return "unread"

    def read_edges(self, name: str) -> OutEdges:
        """The ways on from a node, as far as they can be read."""
        at: Path = ("nodes", name, "next")
        if to := self.read_target(at):
            return OutEdges([OutEdge(to=to)], is_complete=True)
        count = self._count_items(at)
        found = [
            OutEdge(
                to=to,
                # What is there and is no text is a condition all the same: without one, the way would be taken always.
                when=self.read_text((*at, index, "when"))
                or ("?" if self._find_value((*at, index, "when")) is not None else ""),
            )
            for index in range(count)
            if (to := self.read_target((*at, index, "to")))
        ]
        return OutEdges(found, is_complete=0 < count == len(found))

    def read_text(self, path: Path) -> str:
        """The text at `path`; empty where there is none."""
        value = self._find_value(path, str)
        return self.written.get(path, value) if isinstance(value, str) else ""

    def read_target(self, path: Path) -> str:
        """The name of a node at `path`; empty where there is none."""
        value = self._find_value(path, str)
        return value if isinstance(value, str) and value in (*self.list_names(), END) else self.read_text(path)

    def _count_items(self, path: Path) -> int:
        """The length of the list at `path`; 0 where there is none."""
        return len(cast("list[object]", self._find_value(path, list) or []))

    def _find_value(self, path: Path, kind: type = object) -> object:
        found = find_value(self.data, path)
        return found if isinstance(found, kind) else None
