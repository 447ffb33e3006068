"""The colours, sizes and little pictures of the drawings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphs.diagnostics.drawing.shape import NodeKind

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
NAME_SIZE = 14.0
TEXT_SIZE = 11.5
TITLE_SIZE = 17.0
LINE = 16.0
"""From one line of text to the next, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Colours:
    """The colours of one kind of node."""

    fill: str
    stroke: str


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The colours on a light or on a dark page."""

    background: str
    text: str
    muted: str
    edge: str
    loop: str
    fault: str
    nodes: Mapping[NodeKind, Colours]


LIGHT = Palette(
    background="#ffffff",
    text="#1c2330",
    muted="#566072",
    edge="#75808f",
    loop="#7c52c9",
    fault="#c8232c",
    nodes={
        "model": Colours(fill="#edf3ff", stroke="#4274cf"),
        "permission": Colours(fill="#fff5db", stroke="#c1850c"),
        "tools": Colours(fill="#e8f6ec", stroke="#32904f"),
        "group": Colours(fill="#f8f9fb", stroke="#68738a"),
        "graph": Colours(fill="#e5f5f6", stroke="#20858c"),
        "step": Colours(fill="#f2f4f7", stroke="#68738a"),
        "unread": Colours(fill="#fff4f4", stroke="#c8232c"),
        "missing": Colours(fill="#fff4f4", stroke="#c8232c"),
    },
)
DARK = Palette(
    background="#14181f",
    text="#e8ebf1",
    muted="#a5afbf",
    edge="#8d98a8",
    loop="#b99bf5",
    fault="#ff8080",
    nodes={
        "model": Colours(fill="#1b2944", stroke="#729ef2"),
        "permission": Colours(fill="#392d10", stroke="#dfaa3f"),
        "tools": Colours(fill="#152f1e", stroke="#5cbb7c"),
        "group": Colours(fill="#1b2029", stroke="#9aa6ba"),
        "graph": Colours(fill="#12302f", stroke="#5cc2c0"),
        "step": Colours(fill="#252b36", stroke="#9aa6ba"),
        "unread": Colours(fill="#381a1d", stroke="#ff8080"),
        "missing": Colours(fill="#381a1d", stroke="#ff8080"),
    },
)
ICONS: Mapping[NodeKind, str] = {
    # 16 by 16 pixels, drawn in lines: a speech bubble, a shield with a tick, a spanner, three lanes, a box with an
    # arrow out of it, an arrow in a box, a question mark twice.
    "model": "M2.5,3.5 h11 v7.5 h-6 l-3,2.8 v-2.8 h-2 z M5.3,6.2 h5.4 M5.3,8.4 h3.6",
    "permission": "M8,1.5 L13.5,3.6 V7.8 C13.5,11.2 11,13.5 8,14.7 C5,13.5 2.5,11.2 2.5,7.8 V3.6 Z"
    " M5.4,7.9 l2,2 l3.3,-3.6",
    "tools": "M13.6,4.3 l-2.3,2.3 l-1.9,-1.9 l2.3,-2.3 a3.7,3.7 0 0 0 -4.7,4.8 l-4.6,4.6 a1.3,1.3 0 0 0 1.9,1.9"
    " l4.6,-4.6 a3.7,3.7 0 0 0 4.7,-4.8 z",
    "group": "M2.5,2.5 h11 M2.5,13.5 h11 M3.5,5 v6 M8,5 v6 M12.5,5 v6",
    "graph": "M8,3.5 h-5.5 v10 h10 v-5.5 M7,9 l6.5,-6.5 M9.5,2.5 h4 v4",
    "step": "M2.5,3.5 h11 v9 h-11 z M5,8 h5.6 M8.4,5.8 l2.2,2.2 l-2.2,2.2",
    "unread": "M5.4,5.8 a2.6,2.6 0 1 1 3.9,2.3 c-0.9,0.5 -1.3,0.9 -1.3,1.8 M8,12.4 v0.4",
    "missing": "M5.4,5.8 a2.6,2.6 0 1 1 3.9,2.3 c-0.9,0.5 -1.3,0.9 -1.3,1.8 M8,12.4 v0.4",
}


def build_dark_style() -> str:
    """Build the style sheet that turns the drawing dark on a dark page and touches nothing outside of it.

    The light colours stand at the elements themselves, which a page that forbids style sheets shows too.
    """
    rules = {
        ".background, .label rect": f"fill: {DARK.background}",
        "text": f"fill: {DARK.text}",
        ".muted": f"fill: {DARK.muted}",
        ".line": f"stroke: {DARK.edge}",
        ".arrow, .pill": f"fill: {DARK.edge}",
        ".inverse": f"fill: {DARK.background}",
        ".loop .line": f"stroke: {DARK.loop}",
        ".loop .arrow": f"fill: {DARK.loop}",
        # Children alone: a node may hold others.
        **{
            f".{kind} > .box": f"fill: {colours.fill}; stroke: {colours.stroke}" for kind, colours in DARK.nodes.items()
        },
        **{f".{kind} > .icon, .{kind} > .bars": f"stroke: {colours.stroke}" for kind, colours in DARK.nodes.items()},
        ".faulty > .box, .faulty > .line": f"stroke: {DARK.fault}",
        ".faulty .arrow, .fault": f"fill: {DARK.fault}",
    }
    scoped = "".join(
        f"{', '.join(f'.interlock-graph {each.strip()}' for each in names.split(','))} {{{rule}}}\n"
        for names, rule in rules.items()
    )
    return f"@media (prefers-color-scheme: dark) {{\n{scoped}}}"
