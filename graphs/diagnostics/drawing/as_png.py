"""Draw a graph as a PNG: our SVG, drawn by resvg, with a font of our own where the machine has none."""

from __future__ import annotations

import re
from pathlib import Path

import resvg_py

from graphs.diagnostics.drawing import as_svg
from graphs.diagnostics.drawing.arrangement import Direction
from graphs.diagnostics.drawing.shape import GraphShape

_FONTS = Path(__file__).parent / "fonts"
_FAMILY = "DejaVu Sans"
_LARGEST = 12_000
"""Pixels in either direction; a larger picture is drawn smaller, for memory's sake."""


def draw(shape: GraphShape, direction: Direction, *, scale: float) -> bytes:
    """Draw the PNG, `scale` pixels for each pixel of the SVG, on a light page."""
    text = as_svg.draw(shape, direction, {})
    sides = [int(side) for side in re.findall(r' (?:width|height)="(\d+)"', text.split(">", 1)[0])]
    return resvg_py.svg_to_bytes(
        svg_string=text,
        zoom=min(scale, _LARGEST / max(sides)),
        font_files=[str(font) for font in sorted(_FONTS.glob("*.ttf"))],
        font_family=_FAMILY,
        sans_serif_family=_FAMILY,
    )
