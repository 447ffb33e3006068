"""Drawings of graphs: Mermaid, SVG and PNG, made here, without a network.

What is wrong with a graph is drawn with it, as far as its file can be read.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphs.config.graph_plan import GraphPlan
from graphs.diagnostics.drawing import as_mermaid, as_png, as_svg
from graphs.diagnostics.drawing.arrangement import Direction
from graphs.diagnostics.drawing.expansion import expand_shape
from graphs.diagnostics.drawing.folder import read_shapes
from graphs.diagnostics.drawing.shape import GraphShape, build_shape

__all__ = ["Direction", "GraphShape", "expand_shape", "read_shapes", "render_mermaid", "render_png", "render_svg"]

_NO_LINKS: Mapping[str, str] = {}


def render_mermaid(graph: GraphPlan | GraphShape, *, direction: Direction | None = None) -> str:
    """Render a flowchart in Mermaid's language; it ends with a new line. Without a direction, it fits the graph."""
    return as_mermaid.draw(_to_shape(graph), direction)


def render_svg(
    graph: GraphPlan | GraphShape, *, direction: Direction = "down", links: Mapping[str, str] = _NO_LINKS
) -> str:
    """Render an SVG document without script and without anything from elsewhere.

    Every node is `<g class="node KIND" id="node-NAME" data-node="NAME">`, with the KIND of `shape.NodeKind`, and holds
    an empty `<text class="count">` for a number that a page may write there. A node inside it is
    `<g class="inner KIND" data-node="OUTER.NAME">`. Every edge is `<g class="edge" data-from="NODE" data-to="NODE">`,
    with `data-from=""` for the one from the start mark. `links` are the addresses of other graphs' drawings, by the
    names of the graphs: where a node runs one of these, its name leads there.
    """
    return as_svg.draw(_to_shape(graph), direction, links)


def render_png(graph: GraphPlan | GraphShape, *, scale: float = 2.0, direction: Direction = "down") -> bytes:
    """Render the SVG as a PNG, `scale` pixels for each of its pixels."""
    return as_png.draw(_to_shape(graph), direction, scale=scale)


def _to_shape(graph: GraphPlan | GraphShape) -> GraphShape:
    return graph if isinstance(graph, GraphShape) else build_shape(graph)
