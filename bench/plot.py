"""Plots as SVG, drawn by hand: bars for the table, curves for what grows. No library, no script, no font of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

FONT = "font-family='system-ui, sans-serif'"
COLOURS = ("#9aa5b1", "#52606d", "#cbb26a", "#2f6fde")
"""One a bar or curve, in the order in which they are given."""
WIDTH = 460
"""Of one panel, in pixels; two stand side by side."""
LEFT, RIGHT, TOP = 176, 60, 46
ROW = 24


@dataclass(frozen=True, kw_only=True)
class Bars:
    """One panel of bars, each with a name and a value, on a scale of its own. Names have the same colour in all panels,
    which may have as many different ones as there are colours."""

    title: str
    values: Sequence[tuple[str, float]]
    bound: float | None = None
    """Where the last bar should end at the latest."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """One panel of curves over the same numbers, both axes logarithmic: a straight line that climbs one decade a decade
    grows with the number itself, one that climbs two grows with its square."""

    title: str
    x: str
    """What is counted along the bottom."""
    y: str
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]]


def bars(title: str, panels: Sequence[Bars]) -> str:
    """The panels as one SVG, two in a row."""
    height = TOP + ROW * max(len(panel.values) for panel in panels) + 22
    names = dict.fromkeys(name for panel in panels for name, _ in panel.values)
    colours = dict(zip(names, COLOURS, strict=False))
    return document(title, height, [bar_panel(panel, colours) for panel in panels])


def curves(title: str, panels: Sequence[Curves], colours: Mapping[str, str]) -> str:
    """The panels as one SVG, two in a row; each series has the colour of its name."""
    return document(title, 300, [curve_panel(panel, 300, colours) for panel in panels])


def document(title: str, height: int, panels: Sequence[Iterable[str]]) -> str:
    rows = math.ceil(len(panels) / 2)
    size = f"width='{2 * WIDTH}' height='{rows * height + 40}' viewBox='0 0 {2 * WIDTH} {rows * height + 40}'"
    parts = [f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT} font-size='13' fill='#1f2933'>"]
    parts.append(f"<title>{escape(title)}</title><rect width='100%' height='100%' fill='#ffffff'/>")
    parts.append(f"<text x='16' y='26' font-size='16' font-weight='600'>{escape(title)}</text>")
    for index, panel in enumerate(panels):
        parts.append(f"<g transform='translate({index % 2 * WIDTH} {40 + index // 2 * height})'>")
        parts += panel
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def bar_panel(panel: Bars, colours: Mapping[str, str]) -> Iterable[str]:
    yield heading(panel.title)
    most = max(value for _, value in panel.values)
    scale = (WIDTH - LEFT - RIGHT) / max(most, panel.bound or 0)
    for index, (name, value) in enumerate(panel.values):
        y = TOP + index * ROW
        length = max(1.0, value * scale)
        yield f"<text x='{LEFT - 8}' y='{y + 13}' text-anchor='end' font-size='12'>{escape(name)}</text>"
        yield f"<rect x='{LEFT}' y='{y}' width='{length:.1f}' height='17' rx='2' fill='{colours[name]}'/>"
        yield f"<text x='{LEFT + length + 5:.1f}' y='{y + 13}' font-size='12'>{shown(value)}</text>"
    if panel.bound is not None:
        x, y = LEFT + panel.bound * scale, TOP + (len(panel.values) - 1) * ROW
        yield f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{y - 3}' y2='{y + 20}' stroke='#c0392b' stroke-width='2'/>"
        yield f"<text x='{x:.1f}' y='{y + 32}' text-anchor='middle' font-size='10' fill='#c0392b'>bound</text>"


def curve_panel(panel: Curves, height: int, colours: Mapping[str, str]) -> Iterable[str]:
    yield heading(panel.title)
    points = [point for _, line in panel.series for point in line]
    x_low, x_high = decades([x for x, _ in points])
    y_low, y_high = decades([y for _, y in points])
    left, right, top, bottom = 64, WIDTH - 24, TOP, height - 52

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (math.log10(x) - x_low) / (x_high - x_low) * (right - left),
            bottom - (math.log10(y) - y_low) / (y_high - y_low) * (bottom - top),
        )

    for power in range(x_low, x_high + 1):
        x, _ = place(10**power, 10**y_low)
        yield f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top}' y2='{bottom}' stroke='#e4e7eb'/>"
        yield f"<text x='{x:.1f}' y='{bottom + 16}' text-anchor='middle' font-size='11'>{shown(10**power)}</text>"
    for power in range(y_low, y_high + 1):
        _, y = place(10**x_low, 10**power)
        yield f"<line x1='{left}' x2='{right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#e4e7eb'/>"
        yield f"<text x='{left - 6}' y='{y + 4:.1f}' text-anchor='end' font-size='11'>{shown(10**power)}</text>"
    middle = (left + right) / 2
    yield f"<text x='{middle}' y='{bottom + 34}' text-anchor='middle' font-size='12'>{escape(panel.x)}</text>"
    yield f"<text x='{left}' y='{top - 8}' font-size='11'>{escape(panel.y)}</text>"
    ends: list[tuple[float, float, str]] = []
    for name, line in panel.series:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        yield f"<polyline points='{path}' fill='none' stroke='{colours[name]}' stroke-width='2'/>"
        for point in line:
            x, y = place(*point)
            yield f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colours[name]}'/>"
        x, y = place(*line[-1])
        ends.append((y - 8, x, name))
    lowest = math.inf
    for y, x, name in sorted(ends, reverse=True):
        lowest = min(y, lowest - 13)
        style = f"text-anchor='end' font-size='11' fill='{colours[name]}'"
        yield f"<text x='{x:.1f}' y='{lowest:.1f}' {style}>{escape(name)}</text>"


def heading(title: str) -> str:
    return f"<text x='16' y='22' font-weight='600'>{escape(title)}</text>"


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that enclose the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def shown(value: float) -> str:
    """A number as short as it stays true."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 10 or value == round(value) else f"{value:.2f}".rstrip("0").rstrip(".") or "0"
