"""Drawings of graphs: Mermaid, SVG and PNG, made here, without a network.

What is wrong with a graph is drawn with it, as far as its file can be read.
"""

from __future__ import annotations

from graphs.config.compile_graph import GraphPlan
from graphs.diagnostics.drawing import as_mermaid, as_png, as_svg
from graphs.diagnostics.drawing.folder import sketches
from graphs.diagnostics.drawing.shape import Shape, shape_of

__all__ = ["Shape", "mermaid", "png", "sketches", "svg"]


def mermaid(graph: GraphPlan | Shape) -> str:
    """A flowchart in Mermaid's language; ends with a new line."""
    return as_mermaid.draw(_shape(graph))


def svg(graph: GraphPlan | Shape) -> str:
    """An SVG document of one picture, without script and without anything from elsewhere.

    Every node is `<g class="node model|permission|tools" id="node-NAME" data-node="NAME">` and holds an empty
    `<text class="count">` for a number that a page may write there; every way on is
    `<g class="edge" data-from="NODE" data-to="NODE">`, with `data-from=""` for the one from the start mark.
    """
    return as_svg.draw(_shape(graph))


def png(graph: GraphPlan | Shape, *, scale: float = 2.0) -> bytes:
    """The same as a PNG, `scale` pixels for each of the SVG's."""
    return as_png.draw(_shape(graph), scale=scale)


def _shape(graph: GraphPlan | Shape) -> Shape:
    return graph if isinstance(graph, Shape) else shape_of(graph)
