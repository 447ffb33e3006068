"""Draw a graph as SVG for light and dark pages, with no script, no address and nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree as ET

from graphs.config.spec.node import END
from graphs.diagnostics.drawing import looks
from graphs.diagnostics.drawing.arrangement import Box, BoxSize, Direction
from graphs.diagnostics.drawing.cards import ICON, PADDING, STACK, STACKED, Card, InnerCard, Line
from graphs.diagnostics.drawing.diagram import EdgeLine, build_diagram
from graphs.diagnostics.drawing.folding import TALLEST, fold
from graphs.diagnostics.drawing.looks import LIGHT
from graphs.diagnostics.drawing.routes import Route, route_links
from graphs.diagnostics.drawing.shape import GraphShape, NodeShape
from graphs.diagnostics.drawing.words import clean, fit_text, format_limits, measure_width
from graphs.diagnostics.drawing.wrapping import wrap

_MARGIN = 24.0


def draw(shape: GraphShape, direction: Direction, links: Mapping[str, str]) -> str:
    """Write the SVG document, indented. `links`: addresses of drawings, by graph. Equal shapes give equal texts."""
    root = _Drawing(shape, direction, links).build_root()
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


class _Drawing:
    def __init__(self, shape: GraphShape, direction: Direction, links: Mapping[str, str]) -> None:
        self.shape = shape
        self.links = links
        self.diagram = build_diagram(shape, direction)
        tallest = TALLEST[direction]
        wrapping = wrap(self.diagram.sizes, self.diagram.links, tallest)
        folding = fold(wrapping.arrangement, self.diagram.links, tallest)
        self.arrangement = folding.arrangement
        self.routes: Mapping[int, Route] = route_links(folding, self.diagram.links)
        if direction == "right":
            self.arrangement = self.arrangement.transpose()
            self.routes = {at: route.transpose() for at, route in self.routes.items()}

    def build_root(self) -> ET.Element:
        shape = self.shape
        title = fit_text(shape.id, 420, looks.TITLE_SIZE, bold=True)
        picture_wide = self.arrangement.extent.width
        about = fit_text(shape.description, max(420, picture_wide), looks.TEXT_SIZE)
        caption = format_limits(shape.limits) if shape.limits else ""
        texts = max(
            measure_width(title, looks.TITLE_SIZE, bold=True),
            measure_width(about, looks.TEXT_SIZE),
            measure_width(caption, looks.TEXT_SIZE),
        )
        wide = max(picture_wide, texts)
        top = _MARGIN + 20 + (20 if about else 0) + 14
        tall = top + self.arrangement.extent.height + (34 if caption else 0) + _MARGIN
        whole = BoxSize(wide + 2 * _MARGIN, tall)
        root = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "interlock-graph",
                "data-graph": clean(shape.id),
                "viewBox": f"0 0 {whole.width:.0f} {whole.height:.0f}",
                "width": f"{whole.width:.0f}",
                "height": f"{whole.height:.0f}",
                "role": "img",
                "font-family": looks.FONT,
            },
        )
        _add_child(root, "title", text=clean(shape.id))
        _add_child(root, "style", text=looks.build_dark_style())
        _add_child(root, "rect", {"class": "background", "width": "100%", "height": "100%", "fill": LIGHT.background})
        _add_text(root, title, _MARGIN, _MARGIN + 14, role="title", size=looks.TITLE_SIZE)
        if about:
            _add_text(root, about, _MARGIN, _MARGIN + 34, role="muted")
        # In the middle of the picture, where the texts are wider than the graph.
        left = _MARGIN + (wide - picture_wide) / 2
        picture = _add_child(root, "g", {"class": "picture", "transform": f"translate({left:.1f},{top:.1f})"})
        for at, line in enumerate(self.diagram.lines):
            self._draw_edge(
                picture,
                line,
                self.routes[at],
                self.arrangement.boxes[self.arrangement.labels[at]],
                loop=at in self.arrangement.loops,
            )
        self._draw_marks(picture)
        for at, (node, card) in enumerate(zip(shape.nodes, self.diagram.cards, strict=True)):
            _draw_node(picture, node, card, self.arrangement.boxes[at + 1], self.links)
        if caption:
            _add_text(root, caption, _MARGIN, tall - _MARGIN, role="muted", classes="limits")
        return root

    def _draw_marks(self, picture: ET.Element) -> None:
        for name, at in (("start", 0), (END, len(self.shape.nodes) + 1)):
            if at not in self.arrangement.boxes or (name == END and not self.diagram.ends):
                continue
            box = self.arrangement.boxes[at]
            mark = _add_child(picture, "g", {"class": f"mark {name}"})
            place = {"x": f"{box.left:.1f}", "y": f"{box.top:.1f}", "rx": f"{box.height / 2:g}"}
            size = {"width": f"{box.width:g}", "height": f"{box.height:g}"}
            _add_child(mark, "rect", {"class": "pill", **place, **size, "fill": LIGHT.edge})
            _add_text(mark, name, box.x, box.y + 4, role="inverse", anchor="middle")

    def _draw_edge(self, picture: ET.Element, line: EdgeLine, route: Route, label: Box, *, loop: bool) -> None:
        faulty = line.edge is not None and bool(line.edge.faults)
        failing = line.edge is not None and line.edge.is_error
        classes = "edge" + " loop" * loop + " on-error" * failing + " faulty" * faulty
        group = _add_child(
            picture, "g", {"class": classes, "data-from": clean(line.source), "data-to": clean(line.target)}
        )
        if line.card.full_text:
            _add_child(group, "title", text=line.card.full_text)
        colour = LIGHT.fault if faulty else LIGHT.loop if loop else LIGHT.edge
        stroke = {
            "fill": "none",
            "stroke": colour,
            "stroke-width": "1.6",
            **({"stroke-dasharray": "6 4"} if faulty or failing else {}),
        }
        _add_child(group, "path", {"class": "line", "d": route.path, **stroke})
        _add_child(group, "path", {"class": "arrow", "d": _trace_arrow(route), "fill": colour})
        if line.card.lines:
            board = _add_child(group, "g", {"class": "label"})
            size = line.card.size
            left, top = label.x - size.width / 2, label.y - size.height / 2
            place = {"x": f"{left:.1f}", "y": f"{top:.1f}", "rx": "4", "fill": LIGHT.background}
            _add_child(board, "rect", {**place, "width": f"{size.width:.1f}", "height": f"{size.height:.1f}"})
            for at, each in enumerate(line.card.lines):
                y = top + 14 + at * looks.LINE
                _add_text(board, each.text, label.x, y, role=each.role, anchor="middle")


def _draw_node(picture: ET.Element, node: NodeShape, card: Card, box: Box, links: Mapping[str, str]) -> None:
    group = _draw_card(picture, node, card, box, links, {"class": "node", "data-node": clean(node.name)})
    # What is missing may be called anything; only a name that a node may have makes an id.
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", node.name, re.ASCII):
        group.set("id", f"node-{node.name}")
    _add_text(group, "", box.right - PADDING, box.top + 21, role="count", size=looks.NAME_SIZE, anchor="end")
    for each in card.inner:
        size, left, top = each.card.size, box.left + each.left, box.top + each.top
        place = Box(x=left + size.width / 2, y=top + size.height / 2, width=size.width, height=size.height, row=box.row)
        _draw_inner(group, each, place, links, f"{node.name}.{each.node.name}")


def _draw_inner(picture: ET.Element, inner: InnerCard, box: Box, links: Mapping[str, str], name: str) -> None:
    """Draw a node inside another, as a stack of cards where it runs for every item of a list."""
    colours = LIGHT.nodes[inner.node.kind]
    if inner.is_stack:
        stack = _add_child(picture, "g", {"class": f"stack {inner.node.kind}"})
        for behind in range(STACKED, 0, -1):
            moved = replace(box, x=box.x + STACK * behind, y=box.y + STACK * behind)
            look = {"fill": colours.fill, "stroke": colours.stroke, "stroke-width": "1.2"}
            _add_child(stack, "path", {"class": "box", "d": _trace_outline(inner.node, moved), **look})
    group = _draw_card(picture, inner.node, inner.card, box, links, {"class": "inner", "data-node": clean(name)})
    if inner.card.most:
        _add_text(group, inner.card.most, box.right - PADDING, box.top + 21, role="most", anchor="end")


def _draw_card(
    picture: ET.Element, node: NodeShape, card: Card, box: Box, links: Mapping[str, str], attributes: dict[str, str]
) -> ET.Element:
    """Draw the box of a node with its texts; returns the group that holds them."""
    classes = f"{attributes['class']} {node.kind}" + " faulty" * bool(node.faults)
    group = _add_child(picture, "g", {**attributes, "class": classes})
    _add_child(group, "title", text=card.full_text)
    colours = LIGHT.nodes[node.kind]
    stroke = {"stroke": LIGHT.fault if node.faults else colours.stroke, "stroke-width": "1.6"}
    _add_child(
        group,
        "path",
        {"class": "box", "d": _trace_outline(node, box), "fill": colours.fill, **stroke}
        | ({"stroke-dasharray": "6 4"} if node.faults else {}),
    )
    if node.kind == "tools":
        bars = " ".join(f"M{x:.1f},{box.top:.1f} v{box.height:.1f}" for x in (box.left + 6, box.right - 6))
        _add_child(
            group, "path", {"class": "bars", "d": bars, "fill": "none", "stroke": colours.stroke, "opacity": "0.6"}
        )
    name, *others = card.lines
    left = box.left + PADDING
    icon = {"d": looks.ICONS[node.kind], "fill": "none", "stroke": colours.stroke, "stroke-width": "1.4"}
    place = {"transform": f"translate({left:.1f},{box.top + 8:.1f})", "stroke-linejoin": "round"}
    _add_child(group, "path", {"class": "icon", **icon, **place, "stroke-linecap": "round"})
    _add_text(group, name.text, left + ICON + 6, box.top + 21, role="name", size=looks.NAME_SIZE)
    for at, line in enumerate(others):
        parent = _add_link(group, line, links)
        _add_text(parent, line.text, left, box.top + 38 + at * looks.LINE, role=line.role)
    return group


def _add_link(group: ET.Element, line: Line, links: Mapping[str, str]) -> ET.Element:
    """Return where a line of text belongs: in a link, where it names a graph whose drawing has an address."""
    if (address := links.get(line.graph)) is None:
        return group
    return _add_child(group, "a", {"href": address, "text-decoration": "underline"})


def _trace_outline(node: NodeShape, box: Box) -> str:
    """Trace a box with round corners; where calls are stopped, one with its corners cut off."""
    left, right, top, bottom = (round(edge, 1) for edge in (box.left, box.right, box.top, box.bottom))
    if node.kind == "permission":
        cut = 12
        across, down = right - left - 2 * cut, bottom - top - 2 * cut
        return (
            f"M{left + cut:.1f},{top:.1f} h{across:.1f} l{cut},{cut} v{down:.1f} l-{cut},{cut} h-{across:.1f} "
            f"l-{cut},-{cut} v-{down:.1f} z"
        )
    turn = 4 if node.kind == "tools" else 12
    across, down = right - left - 2 * turn, bottom - top - 2 * turn
    return (
        f"M{left + turn:.1f},{top:.1f} h{across:.1f} q{turn},0 {turn},{turn} v{down:.1f} q0,{turn} -{turn},{turn} "
        f"h-{across:.1f} q-{turn},0 -{turn},-{turn} v-{down:.1f} q0,-{turn} {turn},-{turn} z"
    )


def _trace_arrow(route: Route) -> str:
    (x, y), (dx, dy) = route.tip, route.heading
    back_x, back_y = x - 9 * dx, y - 9 * dy
    side_x, side_y = 4.5 * dy, 4.5 * dx
    return (
        f"M{x:.1f},{y:.1f} L{back_x + side_x:.1f},{back_y + side_y:.1f} L{back_x - side_x:.1f},{back_y - side_y:.1f} z"
    )


def _add_text(
    parent: ET.Element,
    text: str,
    x: float,
    y: float,
    *,
    role: str,
    size: float = looks.TEXT_SIZE,
    anchor: str = "start",
    classes: str = "",
) -> None:
    fill = {"muted": LIGHT.muted, "fault": LIGHT.fault, "inverse": LIGHT.background}.get(role, LIGHT.text)
    weight = {"font-weight": "600"} if role in ("name", "title", "count") else {}
    attributes = {"class": f"{role} {classes}".strip(), "x": f"{x:.1f}", "y": f"{y:.1f}", "font-size": f"{size:g}"}
    aligned = {"text-anchor": anchor} if anchor != "start" else {}
    _add_child(parent, "text", {**attributes, "fill": fill, **aligned, **weight}, text=text)


def _add_child(
    parent: ET.Element, tag: str, attributes: dict[str, str] | None = None, *, text: str | None = None
) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes or {})
    element.text = text or None
    return element
