"""Drawings of graphs: Mermaid, SVG and PNG, made here, without a network.

What is wrong with a graph is drawn with it, as far as its file can be read.
"""

from __future__ import annotations

from graphs.config.graph_plan import GraphPlan
from graphs.diagnostics.drawing import as_mermaid, as_png, as_svg
from graphs.diagnostics.drawing.expansion import expand_shape
from graphs.diagnostics.drawing.folder import read_shapes
from graphs.diagnostics.drawing.shape import GraphShape, build_shape

__all__ = ["GraphShape", "expand_shape", "read_shapes", "render_mermaid", "render_png", "render_svg"]


def render_mermaid(graph: GraphPlan | GraphShape) -> str:
    """Render a flowchart in Mermaid's language; it ends with a new line."""
    return as_mermaid.draw(_to_shape(graph))


def render_svg(graph: GraphPlan | GraphShape) -> str:
    """Render an SVG document without script and without anything from elsewhere.

    Every node is `<g class="node model|permission|tools|step" id="node-NAME" data-node="NAME">` and holds an empty
    `<text class="count">` for a number that a page may write there; every edge is
    `<g class="edge" data-from="NODE" data-to="NODE">`, with `data-from=""` for the one from the start mark.
    """
    return as_svg.draw(_to_shape(graph))


def render_png(graph: GraphPlan | GraphShape, *, scale: float = 2.0) -> bytes:
    """Render the SVG as a PNG, `scale` pixels for each of its pixels."""
    return as_png.draw(_to_shape(graph), scale=scale)


def _to_shape(graph: GraphPlan | GraphShape) -> GraphShape:
    return graph if isinstance(graph, GraphShape) else build_shape(graph)
