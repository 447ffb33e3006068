"""One graph as it is drawn, as plain data: its nodes, its edges, and what is wrong with each in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from graphs.config.graph_checks import EdgeOutline, GraphOutline, NodeOutline
from graphs.config.graph_plan import GraphPlan
from graphs.config.source import Path, find_value
from graphs.config.spec.graph import LimitsSpec
from graphs.config.spec.node import END, NodeRole, NodeSpec
from graphs.config.spec.registry import NODE_SPECS
from graphs.diagnostics.drawing.labels import NO_SUCH_NODE, UNREADABLE_TYPE, label_faults

NodeKind = Literal["model", "permission", "tools", "group", "graph", "step", "unread", "missing"]
"""How a node looks. `group`: it has nodes inside; `graph`: it runs another graph; `step`: of a type that does nothing
for tool calls; `unread`: of a type that cannot be read; `missing`: an edge leads there, and there is no such node."""

NODE_KINDS: Mapping[NodeRole, NodeKind] = {
    "model": "model",
    "agent": "model",
    "gate": "permission",
    "executor": "tools",
    "caller": "tools",
    "group": "group",
    "graph": "graph",
    "step": "step",
}
"""How nodes of a known type look."""


ON_ERROR = "on error"
"""What stands at the way that a node takes where it fails."""


@dataclass(frozen=True, kw_only=True)
class NodeShape:
    """One box."""

    name: str
    kind: NodeKind
    type: str = ""
    """The name of its type; empty: it is not known."""
    model: str = ""
    """The model that the node names; empty: it names none."""
    fallback: tuple[str, ...] = ()
    """The models that are asked where that one fails."""
    tools: tuple[str, ...] = ()
    call: str = ""
    """The tool that it calls itself; empty: it calls none."""
    inner: tuple[NodeShape, ...] = ()
    """The nodes that run inside it, such as the branches of a `parallel`; they have no nodes inside."""
    over: str = ""
    """The list for whose items its inner node runs; empty: there is none."""
    at_most: int | None = None
    """How many items there may be; None: it has none, or the limits of the graph cannot be read."""
    graphs: tuple[str, ...] = ()
    """The graphs that it runs or gives work to."""
    memory: str = ""
    """What it does with the memory, such as `remembers tone`; empty: nothing."""
    variables: tuple[str, ...] = ()
    """The variables that it writes."""
    description: str = ""
    faults: tuple[str, ...] = ()
    """What is wrong with it, in words."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One edge."""

    source: str
    target: str
    """The name of a node, or `end`."""
    when: str = ""
    """The condition as it is written, or the value of a choice; empty: always."""
    is_choice: bool = False
    """Whether `when` is one value of a choice."""
    is_error: bool = False
    """Whether it is taken where the node fails."""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GraphShape:
    """One graph as it is drawn, in the order of the file."""

    id: str
    description: str
    start: str
    """The name of the first node; empty: the file does not say it."""
    nodes: tuple[NodeShape, ...]
    edges: tuple[Edge, ...]
    limits: LimitsSpec | None
    """None: they cannot be read."""


def build_shape(plan: GraphPlan) -> GraphShape:
    """Describe a graph without mistakes."""
    # As plain data, because a file with mistakes in it is no more than that: one reader for both.
    return read_shape(plan.id, plan.spec.model_dump(), plan.raw_texts, plan.spec.limits)


def read_shape(graph: str, data: Any, written: Mapping[Path, str], limits: LimitsSpec | None) -> GraphShape:
    """Describe what can be read of a graph file's data, whatever it is; nothing in it has to be right.

    `written` are the texts that variables went into: drawn as they are written, for what went in may be secret.
    """
    reader = _ShapeReader(data, written, limits)
    start = reader.read_target(("start",))
    outline = GraphOutline(start, {name: reader.read_outline(name) for name in reader.list_names()})
    labels = label_faults(outline)
    nodes = [reader.read_node(("nodes", name), name, labels.nodes.get(name, ())) for name in outline.nodes]
    edges = [
        Edge(
            source=name,
            target=edge.to,
            when=edge.when,
            is_choice=edge.value is not None and not edge.is_error,
            is_error=edge.is_error,
            faults=labels.edges.get((name, at), ()),
        )
        for name in outline.nodes
        for at, edge in enumerate(reader.read_edges(name))
    ]
    nodes += [
        NodeShape(name=name, kind="missing", faults=(NO_SUCH_NODE,))
        for name in dict.fromkeys([start, *(edge.target for edge in edges)])
        if name not in outline.nodes and name not in ("", END)
    ]
    return GraphShape(
        id=graph,
        description=reader.read_text(("description",)),
        start=start,
        nodes=tuple(nodes),
        edges=tuple(edges),
        limits=limits,
    )


@dataclass(frozen=True, slots=True)
class _EdgeText:
    """One edge as it is written."""

    to: str
    when: str = ""
    """The condition, or the value of a choice; empty: always."""
    value: str | None = None
    """The value of a choice."""
    is_error: bool = False


@dataclass(frozen=True)
class _ShapeReader:
    """Reads plain data of which nothing is known."""

    data: Any
    written: Mapping[Path, str]
    limits: LimitsSpec | None

    def list_names(self) -> Iterator[str]:
        for name in cast("dict[object, object]", self._find_value(("nodes",), dict) or {}):
            if isinstance(name, str) and name not in ("", END):
                yield name

    def read_node(self, at: Path, name: str, faults: tuple[str, ...]) -> NodeShape:
        if (spec := self._find_spec(at)) is None:
            return NodeShape(name=name, kind="unread", faults=(UNREADABLE_TYPE, *faults))
        return NodeShape(
            name=name,
            kind=NODE_KINDS[spec.role],
            type=self.read_text((*at, "type")),
            model=self.read_text((*at, "model")) if "model" in spec.model_fields else "",
            fallback=self._read_list((*at, "fallback")) if "fallback" in spec.model_fields else (),
            tools=self._read_list((*at, "tools")) if "tools" in spec.model_fields else (),
            call=next((self.read_text((*at, key)) for key in ("tool", "run") if key in spec.model_fields), ""),
            inner=tuple(self._read_inner(at, spec)) if at[:-1] == ("nodes",) else (),
            over=self.read_text((*at, "over")) if "over" in spec.model_fields else "",
            at_most=self._read_most(at) if "at_most" in spec.model_fields else None,
            graphs=self._read_graphs(at, spec),
            memory=self._read_memory(at) if spec.uses_memory else "",
            variables=self._read_variables(at, spec),
            description=self.read_text((*at, "description")),
            faults=faults,
        )

    def _read_inner(self, at: Path, spec: type[NodeSpec]) -> Iterator[NodeShape]:
        """Read the nodes inside a node."""
        if "do" in spec.model_fields:
            yield self.read_node((*at, "do"), "do", ())
        if "branches" in spec.model_fields:
            for name in cast("dict[object, object]", self._find_value((*at, "branches"), dict) or {}):
                if isinstance(name, str):
                    yield self.read_node((*at, "branches", name), name, ())

    def _read_most(self, at: Path) -> int | None:
        """Read how many items there may be."""
        most = self._find_value((*at, "at_most"), int)
        return cast("int", most) if most is not None else self.limits.width if self.limits else None

    def _read_graphs(self, at: Path, spec: type[NodeSpec]) -> tuple[str, ...]:
        """Read the graphs that a node runs or gives work to."""
        if "agents" in spec.model_fields:
            return self._read_list((*at, "agents"))
        graph = self.read_text((*at, "graph")) if "graph" in spec.model_fields else ""
        return (graph,) if graph else ()

    def _read_list(self, at: Path) -> tuple[str, ...]:
        """Read the texts of a list."""
        return tuple(text for index in range(self._count_items(at)) if (text := self.read_text((*at, index))))

    def _read_variables(self, at: Path, spec: type[NodeSpec]) -> tuple[str, ...]:
        """Read the variables that a node writes."""
        into = self.read_text((*at, "into")) if "into" in spec.model_fields else ""
        computed = self._find_value((*at, "set"), dict) if "set" in spec.model_fields else None
        names = [name for name in cast("dict[object, object]", computed or {}) if isinstance(name, str)]
        return (into,) if into else tuple(names)

    def _read_memory(self, at: Path) -> str:
        """Read what a node does with the memory."""
        if key := self.read_text((*at, "recall", "key")):
            return f"recalls {key}"
        if text := self.read_text((*at, "recall")):
            return f"searches {text}"
        written = cast("dict[object, object]", self._find_value((*at, "remember"), dict) or {})
        if keys := [key for key in written if isinstance(key, str)]:
            return f"remembers {', '.join(keys)}"
        forgotten = [self.read_text((*at, "forget", index)) for index in range(self._count_items((*at, "forget")))]
        keys = forgotten or [self.read_text((*at, "forget"))]
        return f"forgets {', '.join(keys)}" if any(keys) else ""

    def read_outline(self, name: str) -> NodeOutline:
        """Read what there is to check in a node."""
        spec = self._find_spec(("nodes", name))
        edges = self.read_edges(name)
        written = 1 if self.read_target(("nodes", name, "next")) else self._count_items(("nodes", name, "next"))
        written += any(edge.is_error for edge in edges)
        return NodeOutline(
            role=spec.role if spec is not None else None,
            edges=[
                # Whether a condition that asks for visits is a bound is not read here: the best is assumed.
                EdgeOutline(
                    edge.to,
                    is_conditional=bool(edge.when),
                    place=edge.value,
                    is_error=edge.is_error,
                    is_bounded="visits" in edge.when,
                )
                for edge in edges
            ],
            is_complete=0 < written == len(edges),
        )

    def read_edges(self, name: str) -> list[_EdgeText]:
        """Read each edge that can be read, first the one that is taken where the node fails."""
        spec = self._find_spec(("nodes", name))
        way = self.read_target(("nodes", name, "on_error")) if spec and "on_error" in spec.model_fields else ""
        failing = [_EdgeText(way, ON_ERROR, "on_error", is_error=True)] if way else []
        return [*failing, *self._read_next(name)]

    def _read_next(self, name: str) -> list[_EdgeText]:
        at: Path = ("nodes", name, "next")
        if to := self.read_target(at):
            return [_EdgeText(to)]
        choices = cast("dict[object, object]", self._find_value(at, dict) or {})
        if choices:
            texts = [value for value in choices if isinstance(value, str)]
            return [_EdgeText(to, value, value) for value in texts if (to := self.read_target((*at, value)))]
        return [
            _EdgeText(to, *self._read_condition((*at, index)))
            for index in range(self._count_items(at))
            if (to := self.read_target((*at, index, "to")))
        ]

    def _read_condition(self, at: Path) -> tuple[str, str | None]:
        """Read the condition of an edge, and the value where it is one of a choice."""
        if value := self.read_text((*at, "value")):
            return value, value
        # What is there and is no text is a condition all the same: without one, the edge would be taken always.
        return self.read_text((*at, "when")) or "?" * (self._find_value((*at, "when")) is not None), None

    def _find_spec(self, at: Path) -> type[NodeSpec] | None:
        """Find the type of a node; None: it cannot be read."""
        found = self._find_value((*at, "type"), str)
        return NODE_SPECS.get(found) if isinstance(found, str) else None

    def read_text(self, path: Path) -> str:
        """Read the text at `path`; empty where there is none."""
        value = self._find_value(path, str)
        return self.written.get(path, value) if isinstance(value, str) else ""

    def read_target(self, path: Path) -> str:
        """Read the name of a node at `path`; empty where there is none."""
        value = self._find_value(path, str)
        return value if isinstance(value, str) and value in (*self.list_names(), END) else self.read_text(path)

    def _count_items(self, path: Path) -> int:
        """Count the items of the list or mapping at `path`; 0 where there is none."""
        return len(cast("list[object]", self._find_value(path, list) or self._find_value(path, dict) or []))

    def _find_value(self, path: Path, kind: type = object) -> object:
        found = find_value(self.data, path)
        return found if isinstance(found, kind) else None
