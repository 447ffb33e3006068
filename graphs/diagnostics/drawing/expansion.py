"""Draw what LangGraph runs: a node that is several to it becomes these, such as an agent its model and its tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from graphs.diagnostics.drawing.shape import Edge, GraphShape, NodeShape


@dataclass(frozen=True)
class _Parts:
    """What a node becomes."""

    nodes: tuple[NodeShape, ...]
    """The first has the name of the node."""
    edges: tuple[Edge, ...]
    last: str
    """The part from which the node's own ways lead on."""
    failing: tuple[str, ...] = field(default=())
    """Further parts from which the way of `on_error` leads on, beside the last."""


def expand_shape(shape: GraphShape) -> GraphShape:
    """Return the drawing with each node that is several to LangGraph as these; the others stay as they are."""
    parts = {node.name: _split_node(node) for node in shape.nodes}
    nodes = [part for node in shape.nodes for part in parts[node.name].nodes]
    moved = [each for edge in shape.edges for each in _move_edge(edge, parts)]
    failing = [edge for edge in moved if edge.is_error]
    own = [edge for found in parts.values() for edge in found.edges]
    order = {node.name: at for at, node in enumerate(nodes)}
    # The way of a failure comes first, as everywhere, and what the node's own ways are for comes last.
    edges = [*failing, *own, *(edge for edge in moved if not edge.is_error)]
    return replace(shape, nodes=tuple(nodes), edges=tuple(sorted(edges, key=lambda edge: order[edge.source])))


def _move_edge(edge: Edge, parts: Mapping[str, _Parts]) -> Iterator[Edge]:
    found = parts[edge.source]
    yield replace(edge, source=found.last)
    if edge.is_error:
        yield from (replace(edge, source=name) for name in found.failing)


def _split_node(node: NodeShape) -> _Parts:
    match node.type:
        case "agent":
            return _split_agent(node)
        case "call":
            return _split_call(node)
        case "map" | "parallel":
            return _split_group(node)
        case _:
            return _Parts((node,), (), node.name)


def _split_agent(node: NodeShape) -> _Parts:
    name = node.name
    gate, executor = f"{name}.permission", f"{name}.tools"
    return _Parts(
        (
            replace(node, type="model"),
            NodeShape(name=gate, kind="permission", type="permission"),
            NodeShape(name=executor, kind="tools", type="tools"),
        ),
        (
            Edge(source=name, target=gate, when="tool calls"),
            Edge(source=gate, target=executor),
            Edge(source=executor, target=name),
        ),
        name,
    )


def _split_call(node: NodeShape) -> _Parts:
    name = node.name
    gate, runner = f"{name}.permission", f"{name}.run"
    return _Parts(
        (
            replace(node, kind="step", type="call", call="", variables=()),
            NodeShape(name=gate, kind="permission", type="permission"),
            NodeShape(name=runner, kind="tools", type="run", call=node.call, variables=node.variables),
        ),
        (Edge(source=name, target=gate), Edge(source=gate, target=runner)),
        runner,
        failing=(name, gate),
    )


def _split_group(node: NodeShape) -> _Parts:
    name = node.name
    collect = f"{name}.collect"
    most = f", ≤ {node.at_most}" if node.at_most is not None else ""
    inner = [replace(each, name=f"{name}.{each.name}") for each in node.inner]
    return _Parts(
        (
            replace(node, inner=(), variables=()),
            *inner,
            NodeShape(name=collect, kind="step", type="collect", variables=node.variables),
        ),
        tuple(
            edge
            for part in inner
            for edge in (
                Edge(source=name, target=part.name, when=f"each item{most}" if node.type == "map" else ""),
                Edge(source=part.name, target=collect),
            )
        ),
        collect,
        failing=(name,),
    )
