"""Draw a graph as Mermaid text, for READMEs, wikis and merge requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from graphs.config.spec.node import END
from graphs.diagnostics.drawing.arrangement import Direction
from graphs.diagnostics.drawing.cards import Card, build_edge_cards, build_node_card
from graphs.diagnostics.drawing.diagram import build_diagram
from graphs.diagnostics.drawing.folding import WIDEST
from graphs.diagnostics.drawing.layout import arrange
from graphs.diagnostics.drawing.looks import LIGHT
from graphs.diagnostics.drawing.shape import NODE_KINDS, GraphShape, NodeKind, NodeShape
from graphs.diagnostics.drawing.wiring import find_loops
from graphs.diagnostics.drawing.words import clean, format_limits

_BRACKETS: dict[NodeKind, tuple[str, str]] = {
    "model": ("(", ")"),
    "permission": ("{{", "}}"),
    "tools": ("[[", "]]"),
    "group": ("[", "]"),
    "graph": ("[", "]"),
    "step": ("[", "]"),
    "unread": ("[", "]"),
    "missing": ("[", "]"),
}
_INDENT = "    "
_DIRECTIONS: dict[Direction, str] = {"down": "TB", "right": "LR"}
_COLUMN = 200.0
"""About how wide Mermaid draws a node with the line behind it, in pixels."""


def draw(shape: GraphShape, direction: Direction | None) -> str:
    """Write the flowchart. Equal shapes give equal texts, whose lines follow those of the file. Without a direction,
    it leads down where it is long, else it is left to Mermaid."""
    return "".join(f"{line}\n" for line in _write_lines(shape, direction or ("down" if _is_long(shape) else None)))


def _write_lines(shape: GraphShape, direction: Direction | None) -> Iterator[str]:
    nodes = {node.name: node for node in shape.nodes}
    nodes |= {_join_path(node, inner): inner for node in shape.nodes for inner in node.inner}
    names = _make_identifiers([*nodes])
    names[END] = "end_mark"
    caption = clean(shape.id) + (f": {format_limits(shape.limits)}" if shape.limits else "")
    yield "flowchart TD"
    yield f"{_INDENT}subgraph graph_frame [{_quote([caption])}]"
    if direction:
        yield f"{2 * _INDENT}direction {_DIRECTIONS[direction]}"
    for line in _write_body(shape, names):
        yield 2 * _INDENT + line
    yield f"{_INDENT}end"
    yield f"{_INDENT}style graph_frame fill:none,stroke:{LIGHT.edge}"
    for kind in dict.fromkeys(NODE_KINDS.values()):
        if any(node.kind == kind for node in nodes.values()):
            colours = LIGHT.nodes[kind]
            yield f"{_INDENT}classDef {kind}Node fill:{colours.fill},stroke:{colours.stroke},color:{LIGHT.text}"
    if any(node.faults for node in nodes.values()):
        yield f"{_INDENT}classDef faulty stroke:{LIGHT.fault},stroke-dasharray:6 4,color:{LIGHT.fault}"
    for kind in dict.fromkeys(NODE_KINDS.values()):
        if of_kind := [names[path] for path, node in nodes.items() if node.kind == kind]:
            yield f"{_INDENT}class {','.join(of_kind)} {kind}Node"
    if wrong := [names[path] for path, node in nodes.items() if node.faults]:
        yield f"{_INDENT}class {','.join(wrong)} faulty"
    first = int(_has_start(shape))
    if ways := [str(at + first) for at, edge in enumerate(shape.edges) if edge.faults]:
        yield f"{_INDENT}linkStyle {','.join(ways)} stroke:{LIGHT.fault}"


def _is_long(shape: GraphShape) -> bool:
    """Whether a graph is too wide from left to right, as Mermaid draws what stands in a frame, and not from top to
    bottom."""
    diagram = build_diagram(shape)
    loops = find_loops(len(diagram.sizes), [(link.source, link.target) for link in diagram.links])
    arrangement = arrange(diagram.sizes, diagram.links, loops)
    columns = len({arrangement.boxes[box].row for box in range(len(diagram.sizes))})
    return columns * _COLUMN > WIDEST >= arrangement.extent.width


def _write_body(shape: GraphShape, names: Mapping[str, str]) -> Iterator[str]:
    """Write the boxes, then the edges."""
    yield f"start_mark([{_quote(['start'])}])"
    for node in shape.nodes:
        yield from _write_node(node, names)
    if any(edge.target == END for edge in shape.edges):
        yield f"end_mark([{_quote([END])}])"
    if _has_start(shape):
        yield f"start_mark --> {names[shape.start]}"
    for edge, card in zip(shape.edges, build_edge_cards(shape.edges), strict=True):
        arrow = "-.->" if edge.faults or edge.is_error else "-->"
        label = f"|{_quote([line.text for line in card.lines])}|" if card.lines else ""
        yield f"{names[edge.source]} {arrow}{label} {names[edge.target]}"


def _has_start(shape: GraphShape) -> bool:
    return shape.start not in ("", END)


def _write_node(node: NodeShape, names: Mapping[str, str]) -> Iterator[str]:
    """Write a box, or a frame with the boxes inside it."""
    card = build_node_card(node)
    if not card.inner:
        yield _format_box(node, card, names[node.name])
        return
    # On one line: Mermaid draws the boxes over the others.
    yield f"subgraph {names[node.name]} [{_quote([' · '.join(line.text for line in card.lines)])}]"
    for inner in card.inner:
        name = names[_join_path(node, inner.node)]
        yield _INDENT + _format_box(inner.node, inner.card, name)
        if inner.is_stack:
            yield f"{_INDENT}{name}@{{ shape: processes }}"
    yield "end"


def _format_box(node: NodeShape, card: Card, name: str) -> str:
    before, after = _BRACKETS[node.kind]
    first, *others = card.lines
    head = f"{first.text} {card.most}" if card.most else first.text
    return f"{name}{before}{_quote([head, *(line.text for line in others)])}{after}"


def _join_path(node: NodeShape, inner: NodeShape) -> str:
    return f"{node.name}.{inner.name}"


def _make_identifiers(names: Sequence[str]) -> dict[str, str]:
    """Make a name for each node that is no word of Mermaid's language, as `end` and `class` are."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = wanted = "node_" + re.sub(r"[^A-Za-z0-9]+", "_", name)
        number = 1
        while wanted in taken:
            number += 1
            wanted = f"{plain}__{number}"
        taken.add(wanted)
        found[name] = wanted
    return found


def _quote(lines: Sequence[str]) -> str:
    """Quote lines as one text, in which no letter has a meaning for Mermaid, Markdown or HTML."""
    # Markdown takes what begins with `- ` or `1.` for a list, and `fa:` begins an icon.
    meaning = r"^[^A-Za-z0-9]|(?<=\d)[.)](?=\s)|:(?=\S)|[^\w\s().,:=+/'?!|…·≤-]"
    return '"' + "<br/>".join(re.sub(meaning, _escape_letter, line) for line in lines) + '"'


def _escape_letter(letter: re.Match[str]) -> str:
    return f"#{ord(letter[0])};"
