"""Wrap rows that are too wide: boxes that stand beside each other go into several rows, and so do labels.

A box of the second row is held below one of the first by a link that is not drawn. Sugiyama's method does the rest: it
leads the lines to lower rows between the boxes of those above.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from graphs.diagnostics.drawing.arrangement import GAP, LANE, Arrangement, BoxSize, Bundle, Link
from graphs.diagnostics.drawing.folding import WIDEST, count_columns
from graphs.diagnostics.drawing.layout import arrange
from graphs.diagnostics.drawing.wiring import find_loops, find_sole_followers

_MOST_STEPS = 6
_EFFORT = 1500
"""Vertices of all arrangements that are tried for one purpose: those of a large graph take long."""
_WIDEST_ROWS = (WIDEST, 0.7 * WIDEST)
"""How wide a row may be, at the first and at the second attempt: lines to rows below need room too."""
_FEWEST_IN_BUNDLE = 3
_TALL = 1.4
"""How much taller than wide a drawing is that is worth folding."""


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """Boxes in rows that are no wider than they may be, as far as that can be."""

    arrangement: Arrangement
    links: tuple[Link, ...]
    """Those that were given, then those that hold a box below another."""


def wrap(sizes: Sequence[BoxSize], links: Sequence[Link], tallest: float) -> Wrapping:
    """Arrange the boxes, with rows that are too wide made into several; what is taller than `tallest` can be folded."""
    loops = find_loops(len(sizes), [(link.source, link.target) for link in links])
    best = Wrapping(arrangement=arrange(sizes, links, loops), links=tuple(links))
    for widest in _WIDEST_ROWS:
        if best.arrangement.extent.width <= WIDEST:
            break
        found = _find_form(sizes, _wrap_rows(sizes, best, loops, widest), loops)
        best = min(best, found, key=lambda one: one.arrangement.extent.width)
    return _prepare_folding(sizes, best, loops, tallest)


def _wrap_rows(sizes: Sequence[BoxSize], now: Wrapping, loops: frozenset[int], widest: float) -> Wrapping:
    """Wrap one row after the other, until none is wider than it may be."""
    for _ in range(_count_steps(now)):
        links = _wrap_widest(sizes, now, loops, widest)
        if links is None:
            break
        now = Wrapping(arrangement=arrange(sizes, links, loops), links=links)
    return now


def _count_steps(now: Wrapping) -> int:
    """Count how many arrangements of this size may be tried."""
    return max(1, min(_MOST_STEPS, _EFFORT // len(now.arrangement.boxes)))


def _find_form(sizes: Sequence[BoxSize], now: Wrapping, loops: frozenset[int]) -> Wrapping:
    """Find the first form of an arrangement that is narrow enough, else the narrowest: what is straight comes first,
    and what shares lines comes last."""
    best = now
    for is_tight, bundles in ((True, ()), (True, _find_bundles(now, loops))):
        if best.arrangement.extent.width <= WIDEST:
            break
        other = arrange(sizes, now.links, loops, is_tight=is_tight, bundles=bundles)
        best = min(best, replace(now, arrangement=other), key=lambda one: one.arrangement.extent.width)
    return best


def _prepare_folding(sizes: Sequence[BoxSize], best: Wrapping, loops: frozenset[int], tallest: float) -> Wrapping:
    """Find an arrangement of what is tall that is narrow enough for columns, with few lines from one to the next."""
    extent = best.arrangement.extent
    if extent.height <= max(tallest, _TALL * extent.width):
        return best
    bundles = _find_bundles(best, loops)
    shared: tuple[tuple[Bundle, ...], ...] = (bundles, ()) if bundles else ((),)
    most, found = 1, best
    for some, is_tight in islice(product(shared, (False, True)), _count_steps(best)):
        other = arrange(sizes, best.links, loops, is_tight=is_tight, bundles=some)
        if (columns := count_columns(other.extent, tallest)) > most:
            most, found = columns, replace(best, arrangement=other)
        if most >= count_columns(BoxSize(0, extent.height), tallest):
            break
    return found


def _find_bundles(now: Wrapping, loops: frozenset[int]) -> tuple[Bundle, ...]:
    """Find the lines to one box that pass rows with nothing to say there, and so can share a line."""
    boxes, found = now.arrangement.boxes, defaultdict[int, dict[int, int]](dict)
    for at, link in enumerate(now.links):
        row = boxes[now.arrangement.labels[at]].row
        if at not in loops and not link.hidden and not link.label_step and row < boxes[link.target].row - 1:
            found[link.target][at] = row
    return tuple(
        Bundle(
            target=target,
            length=boxes[target].row - 1 - min(rows.values()),
            joints={at: row - min(rows.values()) for at, row in rows.items()},
        )
        for target, rows in found.items()
        if len(rows) >= _FEWEST_IN_BUNDLE
    )


def _wrap_widest(
    sizes: Sequence[BoxSize], now: Wrapping, loops: frozenset[int], widest: float
) -> tuple[Link, ...] | None:
    """Wrap the row of boxes that is widest, else the widest row of labels; None: there is none too wide."""
    rows = [[vertex for vertex in row.boxes if vertex < len(sizes)] for row in now.arrangement.rows]
    widths = {at: _measure_row(now, at) for at in range(len(rows))}
    for at in sorted(widths, key=lambda one: -widths[one]):
        if widths[at] > widest and len(rows[at]) > 1 and (links := _wrap_boxes(sizes, now, loops, rows[at], widest)):
            return links
    for at in sorted(widths, key=lambda one: -widths[one]):
        if widths[at] > widest and (links := _wrap_labels(now, at, widest)):
            return links
    return None


def _measure_row(now: Wrapping, at: int) -> float:
    """Measure how wide a row is where all in it stands as near as it may."""
    vertices = now.arrangement.rows[at].boxes
    return sum(now.arrangement.boxes[vertex].width + LANE for vertex in vertices)


def _wrap_boxes(
    sizes: Sequence[BoxSize], now: Wrapping, loops: frozenset[int], row: Sequence[int], widest: float
) -> tuple[Link, ...] | None:
    """Put the boxes of a row into as many rows as they need; the labels of the lines to them go down with them."""
    onward: dict[int, list[int]] = defaultdict(list)
    room: dict[int, float] = {box: sizes[box].width + GAP for box in row}
    for at, link in enumerate(now.links):
        if at in loops:
            continue
        onward[link.source].append(link.target)
        if link.target in room:
            room[link.target] = max(room[link.target], link.label.width + LANE)
    count = _count_in_row([room[box] for box in row], widest)
    if count >= len(row):
        return None
    held: list[Link] = []
    for above, box in zip(row, row[count:], strict=False):
        # Below what hangs on the box above alone.
        followers = find_sole_followers(above, onward)
        lowest = max(followers, key=lambda one: (now.arrangement.boxes[one].row, -one))
        held.append(Link(source=lowest, target=box, hidden=True))
    links = [
        replace(link, label_step=-1) if at not in loops and link.target in row and not link.hidden else link
        for at, link in enumerate(now.links)
    ]
    return (*links, *held)


def _count_in_row(rooms: Sequence[float], widest: float) -> int:
    """Count how many boxes go into one row, so that all rows are as full as each other."""
    for count in range(len(rooms) - 1, 1, -1):
        if count * max(rooms) + (len(rooms) - count) * 2 * LANE <= widest:
            rows = -(-len(rooms) // count)
            return -(-len(rooms) // rows)
    return 2


def _wrap_labels(now: Wrapping, at: int, widest: float) -> tuple[Link, ...] | None:
    """Put the labels of a row into several rows."""
    vertices = now.arrangement.rows[at].boxes
    link_of = {
        vertex: at
        for at, vertex in enumerate(now.arrangement.labels)
        if now.links[at].label.width and now.links[at].source != now.links[at].target
    }
    labels = [link_of[vertex] for vertex in vertices if vertex in link_of]
    if len(labels) < 2:
        return None
    rows = -(-int(_measure_row(now, at)) // int(widest))
    steps = {link: index * rows // len(labels) for index, link in enumerate(labels)}
    return tuple(
        replace(link, label_step=_move(link.label_step, steps.get(index, 0))) for index, link in enumerate(now.links)
    )


def _move(step: int, rows: int) -> int:
    """Move a label so many rows away from the end of the line that it stands at."""
    return step + rows if step >= 0 else step - rows
