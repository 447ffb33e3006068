"""The boxes and lines of a drawing with the texts on them, before they have a place."""

from __future__ import annotations

from dataclasses import dataclass

from graphs.config.spec.node import END
from graphs.diagnostics.drawing import looks
from graphs.diagnostics.drawing.arrangement import NO_SIZE, BoxSize, Direction, Link
from graphs.diagnostics.drawing.cards import Card, build_edge_cards, build_node_card
from graphs.diagnostics.drawing.shape import Edge, GraphShape
from graphs.diagnostics.drawing.wiring import find_detached

_MARK = BoxSize(58, 26)
"""The start and end marks."""
_CIRCLE = 12.0
"""Between a label and the line round it."""


@dataclass(frozen=True)
class EdgeLine:
    """One line of the drawing: from the start mark, or an edge of the graph."""

    source: str
    target: str
    card: Card
    edge: Edge | None


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """The boxes of a drawing: the start mark, the nodes in the order of the file, the end mark; and its lines."""

    cards: tuple[Card, ...]
    """Of the nodes."""
    lines: tuple[EdgeLine, ...]
    ends: bool
    """Whether there is an end mark."""
    sizes: tuple[BoxSize, ...]
    links: tuple[Link, ...]
    """One for each line, then those that are not drawn."""


def _make_room(line: EdgeLine, direction: Direction) -> BoxSize:
    """Make room for the label of a line, and for the line round it where it leads to the node that it leaves."""
    size = line.card.size if direction == "down" else line.card.size.transpose()
    if line.source != line.target:
        return size
    return BoxSize(size.width + 2 * _CIRCLE, max(size.height, looks.LINE) + _CIRCLE)


def build_diagram(shape: GraphShape, direction: Direction = "down") -> Diagram:
    """Build the boxes and lines of a graph. All sizes are those of a drawing that leads down: one that leads right is
    its reflection."""
    nodes = tuple(build_node_card(node) for node in shape.nodes)
    lines = [EdgeLine("", shape.start, Card(lines=(), size=NO_SIZE, full_text=""), None)]
    lines = lines if shape.start not in ("", END) else []
    cards = build_edge_cards(shape.edges)
    lines += [EdgeLine(edge.source, edge.target, card, edge) for edge, card in zip(shape.edges, cards, strict=True)]
    ends = any(edge.target == END for edge in shape.edges)
    index = {node.name: at + 1 for at, node in enumerate(shape.nodes)}
    index[END] = len(index) + 1
    sizes = (_MARK, *(card.size for card in nodes), *([_MARK] if ends else []))
    sizes = sizes if direction == "down" else tuple(size.transpose() for size in sizes)
    links = [
        Link(
            source=index.get(line.source, 0),
            target=index[line.target],
            label=_make_room(line, direction),
            weight=1.0 if line.target == END else 2.0,
        )
        for line in lines
    ]
    loose = find_detached(len(sizes), [(link.source, link.target) for link in links])
    links += [Link(source=0, target=box, hidden=True) for box in loose]
    return Diagram(cards=nodes, lines=tuple(lines), ends=ends, sizes=sizes, links=tuple(links))
