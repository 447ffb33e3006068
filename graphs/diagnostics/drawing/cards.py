"""The texts in each box and on each line, and the room that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
_MOST_INNER = 6
"""Lines for what runs inside a node."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of text."""

    text: str
    role: str
    """`name`, `muted`, `fault` or `condition`."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Lines of text, the room that they need, and the text in full."""

    lines: tuple[Line, ...]
    size: BoxSize
    full_text: str
    """Everything that had to be shortened, in full."""


def build_node_card(node: NodeShape) -> Card:
    """Build the texts in the box of a node."""
    model = f" · {node.model}" if node.model else ""
    lines = [Line(text=fit_text(node.name, _NAME_ROOM, looks.NAME_SIZE, bold=True), role="name")]
    if node.type:
        lines.append(Line(text=fit_text(node.type + model, _TEXT_ROOM, looks.TEXT_SIZE), role="muted"))
    others = fit_list("else", node.fallback, _TEXT_ROOM, looks.TEXT_SIZE, lines=2)
    lines += [Line(text=text, role="muted") for text in others]
    seen = fit_list("sees", node.tools, _TEXT_ROOM, looks.TEXT_SIZE, lines=2)
    lines += [Line(text=text, role="muted") for text in seen]
    if node.call:
        lines.append(Line(text=fit_text(f"calls {clean(node.call)}", _TEXT_ROOM, looks.TEXT_SIZE), role="muted"))
    inside = [fit_text(clean(text), _TEXT_ROOM, looks.TEXT_SIZE) for text in shorten_list(node.inner, _MOST_INNER)]
    lines += [Line(text=text, role="muted") for text in inside]
    if node.memory:
        lines.append(Line(text=fit_text(clean(node.memory), _TEXT_ROOM, looks.TEXT_SIZE), role="muted"))
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
    full += [clean(text) for text in node.inner]
    full += [clean(node.memory)] if node.memory else []
    full += [f"into {', '.join(map(clean, node.variables))}"] if node.variables else []
    return Card(
        lines=tuple(lines),
        size=BoxSize(max(_NARROWEST, widest + 2 * PADDING), looks.LINE * len(lines) + 16),
        full_text="\n".join([*full, *node.faults]),
    )


def shorten_list(texts: Sequence[str], most: int) -> list[str]:
    """Return so many texts, the last of which says how many there are besides."""
    return [*texts] if len(texts) <= most else [*texts[: most - 1], f"and {len(texts) - most + 1} more"]


def build_edge_cards(edges: Sequence[Edge]) -> list[Card]:
    """Build the texts on each line. Several conditions of a node are numbered: the first true one counts."""
    conditions: dict[str, int] = {}
    for edge in edges:
        conditions[edge.source] = conditions.get(edge.source, 0) + bool(edge.when and not edge.is_choice)
    cards: list[Card] = []
    numbers: dict[str, int] = {}
    for edge in edges:
        number = numbers[edge.source] = numbers.get(edge.source, 0) + 1
        if edge.when:
            text = f"{number}: {edge.when}" if conditions[edge.source] > 1 else edge.when
        else:
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
