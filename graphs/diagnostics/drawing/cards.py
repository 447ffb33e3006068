"""The texts in each box and on each line, and the room that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphs.diagnostics.drawing import looks
from graphs.diagnostics.drawing.arrangement import BoxSize
from graphs.diagnostics.drawing.labels import DEAD_EDGE
from graphs.diagnostics.drawing.shape import Edge, NodeShape
from graphs.diagnostics.drawing.words import clean, fit_list, fit_text, measure_width, wrap_text

ICON = 16.0
PADDING = 14.0
COUNT_ROOM = 30.0
"""Kept free at the right of a node's name, for the number that a page may put there."""
_NAME_ROOM = 190.0
_TEXT_ROOM = 215.0
_LABEL_ROOM = 200.0
_NARROWEST = 132.0
_MOST_GRAPHS = 6
"""Lines for the graphs that a node gives work to."""
_LANE_ROOM = 760.0
"""For the cards inside a node that stand beside each other; more go into further rows."""
_INNER_GAP = 12.0
"""Between two cards inside a node."""
STACK = 5.0
"""How far each card of a stack stands out behind the one before it."""
STACKED = 2
"""How many cards stand behind the first one."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of text."""

    text: str
    role: str
    """`name`, `muted`, `fault`, `condition` or `link`."""
    graph: str = ""
    """The graph that a `link` leads to."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Lines of text, the room that they need, and the text in full."""

    lines: tuple[Line, ...]
    size: BoxSize
    full_text: str
    """Everything that had to be shortened, in full."""
    most: str = ""
    """What says how often a card of a stack runs at most, such as `≤ 20`."""
    inner: tuple[InnerCard, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InnerCard:
    """A card inside another one; `left` and `top` are its corner, seen from that of the other."""

    node: NodeShape
    card: Card
    left: float
    top: float
    is_stack: bool
    """Whether it runs for every item of a list."""


def build_node_card(node: NodeShape, *, most: str = "") -> Card:
    """Build the texts in the box of a node, and the cards inside it. `most`: what says how often it runs at most."""
    model = f" · {node.model}" if node.model else ""
    lines = [Line(text=fit_text(node.name, _NAME_ROOM, looks.NAME_SIZE, bold=True), role="name")]
    if node.type:
        lines.append(_build_line(node.type + model))
    others = fit_list("else", node.fallback, _TEXT_ROOM, looks.TEXT_SIZE, lines=2)
    lines += [Line(text=text, role="muted") for text in others]
    seen = fit_list("sees", node.tools, _TEXT_ROOM, looks.TEXT_SIZE, lines=2)
    lines += [Line(text=text, role="muted") for text in seen]
    lines += [_build_line(f"calls {node.call}")] if node.call else []
    lines += [_build_line(_describe_graph(node, graph), graph) for graph in node.graphs[:_MOST_GRAPHS]]
    if more := len(node.graphs[_MOST_GRAPHS:]):
        lines.append(_build_line(f"and to {more} more"))
    items = f"each of {node.over}" if node.over else ""
    lines += [_build_line(items)] if items else []
    lines += [_build_line(node.memory)] if node.memory else []
    written = fit_list("into", node.variables, _TEXT_ROOM, looks.TEXT_SIZE, lines=2)
    lines += [Line(text=text, role="muted") for text in written]
    lines += [Line(text=fault, role="fault") for fault in node.faults]
    head = ICON + 6 + measure_width(lines[0].text, looks.NAME_SIZE, bold=True) + COUNT_ROOM
    widest = max([head, *(measure_width(line.text, looks.TEXT_SIZE) for line in lines[1:])])
    full = [f"{clean(node.name)}: {node.type}{clean(model)}" if node.type else clean(node.name)]
    full += [clean(node.description)] if node.description else []
    full += [f"else {', '.join(map(clean, node.fallback))}"] if node.fallback else []
    full += [f"sees {', '.join(map(clean, node.tools))}"] if node.tools else []
    full += [f"calls {clean(node.call)}"] if node.call else []
    full += [clean(_describe_graph(node, graph)) for graph in node.graphs]
    full += [clean(items)] if items else []
    full += [clean(node.memory)] if node.memory else []
    full += [f"into {', '.join(map(clean, node.variables))}"] if node.variables else []
    size = BoxSize(max(_NARROWEST, widest + 2 * PADDING), looks.LINE * len(lines) + 16)
    inner, size = _place_inner(node, size)
    return Card(lines=tuple(lines), size=size, full_text="\n".join([*full, *node.faults]), most=most, inner=inner)


def _build_line(text: str, graph: str = "") -> Line:
    text = fit_text(text, _TEXT_ROOM, looks.TEXT_SIZE)
    return Line(text=text, role="link" if graph else "muted", graph=graph)


def _describe_graph(node: NodeShape, graph: str) -> str:
    return f"graph {graph}" if node.kind == "graph" else f"gives to {graph}"


def _place_inner(node: NodeShape, head: BoxSize) -> tuple[tuple[InnerCard, ...], BoxSize]:
    """Place the cards inside a node below its texts, in columns of one width; returns them and the size of all."""
    if not node.inner:
        return (), head
    is_stack = bool(node.over)
    most = f"≤ {node.at_most}" if is_stack and node.at_most is not None else ""
    cards = [build_node_card(each, most=most) for each in node.inner]
    behind = STACK * STACKED if is_stack else 0.0
    wide, tall = max(card.size.width for card in cards), max(card.size.height for card in cards)
    fitting = max(1, int((_LANE_ROOM + _INNER_GAP) // (wide + _INNER_GAP)))
    rows = -(-len(cards) // fitting)
    columns = -(-len(cards) // rows)
    across = columns * (wide + behind) + (columns - 1) * _INNER_GAP
    # In the middle, where the texts above are wider.
    first = max(PADDING, (head.width - across) / 2)
    placed = [
        InnerCard(
            node=each,
            card=replace(card, size=BoxSize(wide, tall)),
            left=first + at % columns * (wide + _INNER_GAP),
            top=head.height + at // columns * (tall + _INNER_GAP),
            is_stack=is_stack,
        )
        for at, (each, card) in enumerate(zip(node.inner, cards, strict=True))
    ]
    below = rows * tall + (rows - 1) * _INNER_GAP + behind + PADDING
    return tuple(placed), BoxSize(max(head.width, across + 2 * PADDING), head.height + below)


def build_edge_cards(edges: Sequence[Edge]) -> list[Card]:
    """Build the texts on each line. Several conditions of a node are numbered: the first true one counts."""
    conditions: dict[str, int] = {}
    for edge in edges:
        is_condition = bool(edge.when) and not (edge.is_choice or edge.is_error)
        conditions[edge.source] = conditions.get(edge.source, 0) + is_condition
    cards: list[Card] = []
    numbers: dict[str, int] = {}
    for edge in edges:
        number = numbers[edge.source] = numbers.get(edge.source, 0) + (not edge.is_error)
        if edge.when:
            is_numbered = conditions[edge.source] > 1 and not edge.is_error
            text = f"{number}: {edge.when}" if is_numbered else edge.when
        else:
            # Beside the way of a failure alone, the other one needs no word.
            text = "otherwise" if number > 1 and not edge.faults else ""
        texts = wrap_text(text, _LABEL_ROOM, looks.TEXT_SIZE, lines=2) if text else []
        lines = [Line(text=one, role="condition" if edge.when else "muted") for one in texts]
        # A way to nowhere says so in the box that it leads to.
        lines += [Line(text=fault, role="fault") for fault in edge.faults if fault == DEAD_EDGE]
        cards.append(_build_label(lines, clean(edge.when) or text))
    return cards


def _build_label(lines: Sequence[Line], full_text: str) -> Card:
    if not lines:
        return Card(lines=(), size=BoxSize(0, 0), full_text=full_text)
    widest = max(measure_width(line.text, looks.TEXT_SIZE) for line in lines)
    return Card(lines=tuple(lines), size=BoxSize(widest + 12, looks.LINE * len(lines) + 4), full_text=full_text)
