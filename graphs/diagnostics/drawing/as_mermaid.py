"""A graph as Mermaid text, for READMEs, wikis and merge requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from graphs.config.spec.graph import END
from graphs.diagnostics.drawing.cards import edge_cards, node_card
from graphs.diagnostics.drawing.looks import LIGHT
from graphs.diagnostics.drawing.shape import KINDS, Kind, Node, Shape
from graphs.diagnostics.drawing.words import clean, limits_text

_BRACKETS: dict[Kind, tuple[str, str]] = {
    "model": ("(", ")"),
    "permission": ("{{", "}}"),
    "tools": ("[[", "]]"),
    "unread": ("[", "]"),
    "missing": ("[", "]"),
}
_INDENT = "    "


def draw(shape: Shape) -> str:
    """The flowchart. The same shape gives the same text, whose lines follow those of the file."""
    return "".join(f"{line}\n" for line in _lines(shape))


def _lines(shape: Shape) -> Iterator[str]:
    names = _identifiers([node.name for node in shape.nodes])
    names[END] = "end_mark"
    caption = clean(shape.id) + (f": {limits_text(shape.limits)}" if shape.limits else "")
    yield "flowchart TD"
    yield f"{_INDENT}subgraph graph_frame [{_quoted([caption])}]"
    for line in _drawn(shape, names):
        yield 2 * _INDENT + line
    yield f"{_INDENT}end"
    yield f"{_INDENT}style graph_frame fill:none,stroke:{LIGHT.edge}"
    for kind in KINDS:
        if any(node.kind == kind for node in shape.nodes):
            colours = LIGHT.nodes[kind]
            yield f"{_INDENT}classDef {kind}Node fill:{colours.fill},stroke:{colours.stroke},color:{LIGHT.text}"
    if any(node.faults for node in shape.nodes):
        yield f"{_INDENT}classDef faulty stroke:{LIGHT.fault},stroke-dasharray:6 4,color:{LIGHT.fault}"
    for kind in KINDS:
        if of_kind := [names[node.name] for node in shape.nodes if node.kind == kind]:
            yield f"{_INDENT}class {','.join(of_kind)} {kind}Node"
    if wrong := [names[node.name] for node in shape.nodes if node.faults]:
        yield f"{_INDENT}class {','.join(wrong)} faulty"
    first = int(_starts(shape))
    if ways := [str(at + first) for at, edge in enumerate(shape.edges) if edge.faults]:
        yield f"{_INDENT}linkStyle {','.join(ways)} stroke:{LIGHT.fault}"


def _drawn(shape: Shape, names: Mapping[str, str]) -> Iterator[str]:
    """The boxes, then the ways."""
    yield f"start_mark([{_quoted(['start'])}])"
    for node in shape.nodes:
        yield _node(node, names[node.name])
    if any(edge.target == END for edge in shape.edges):
        yield f"end_mark([{_quoted([END])}])"
    if _starts(shape):
        yield f"start_mark --> {names[shape.start]}"
    for edge, card in zip(shape.edges, edge_cards(shape.edges), strict=True):
        arrow = "-.->" if edge.faults else "-->"
        label = f"|{_quoted([line.text for line in card.lines])}|" if card.lines else ""
        yield f"{names[edge.source]} {arrow}{label} {names[edge.target]}"


def _starts(shape: Shape) -> bool:
    return shape.start not in ("", END)


def _node(node: Node, name: str) -> str:
    before, after = _BRACKETS[node.kind]
    return f"{name}{before}{_quoted([line.text for line in node_card(node).lines])}{after}"


def _identifiers(names: Sequence[str]) -> dict[str, str]:
    """A name for each node that Mermaid takes for nothing else: `end` and `class` are words of its language."""
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


def _quoted(lines: Sequence[str]) -> str:
    """Lines as one quoted text, in which no letter has a meaning for Mermaid, for Markdown or for HTML."""
    # Markdown takes what begins with `- ` or `1.` for a list, and `fa:` begins an icon.
    meaning = r"^[^A-Za-z0-9]|(?<=\d)[.)](?=\s)|:(?=\S)|[^\w\s().,:=+/'?!|…·-]"
    return '"' + "<br/>".join(re.sub(meaning, _entity, line) for line in lines) + '"'


def _entity(letter: re.Match[str]) -> str:
    return f"#{ord(letter[0])};"
