"""Fold a drawing that is too tall: its rows go into columns, read from top to bottom, then from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from graphs.diagnostics.drawing.arrangement import LANE, Arrangement, Box, BoxSize, Direction, Link, Row

WIDEST = 1640.0
"""Pixels that a drawing may be wide."""
TALLEST: Mapping[Direction, float] = {"down": 1000.0, "right": 2200.0}
"""Pixels that a drawing may be tall before it is folded; of one that leads right, this is its width."""
_PADDING = 24.0
_HEAD = 20.0
"""Between the lines above a column and its first row."""
_COST = 60.0
"""What a line from one column to the next is worth, in pixels by which columns may differ."""


@dataclass(frozen=True, kw_only=True)
class Detour:
    """How a line gets from the foot of one column to the head of the next."""

    foot: float
    """How far down it goes, below the first column."""
    lane: float
    """Where it goes up, between the columns."""
    head: float
    """How far up it goes, above the second column."""


@dataclass(frozen=True, kw_only=True)
class Folding:
    """An arrangement in columns."""

    arrangement: Arrangement
    detours: Mapping[tuple[int, int], Detour]
    """By the link, and the last row of the column that it leaves."""


@dataclass(frozen=True)
class _Crossing:
    """A piece of a link between two rows, from one vertex to another."""

    link: int
    above: int
    below: int


def count_columns(extent: BoxSize, tallest: float) -> int:
    """Count the columns that a drawing of this size is folded into, if it may be so tall."""
    wanted = -(-int(extent.height) // int(tallest))
    room = int((WIDEST + _PADDING) // (extent.width + 2 * _PADDING))
    return max(1, min(wanted, room))


def fold(arrangement: Arrangement, links: Sequence[Link], tallest: float) -> Folding:
    """Fold what is too tall into columns, where few lines go on."""
    crossings = _list_crossings(arrangement, links)
    cuts = _choose_cuts(arrangement, links, crossings, tallest)
    return _Folder(arrangement, crossings, cuts).fold() if cuts else Folding(arrangement=arrangement, detours={})


def _list_crossings(arrangement: Arrangement, links: Sequence[Link]) -> Mapping[int, Sequence[_Crossing]]:
    """List the pieces of lines that lead from each row to the next."""
    found: dict[int, list[_Crossing]] = {at: [] for at in range(len(arrangement.rows))}
    for at, link in enumerate(links):
        if link.hidden or link.source == link.target:
            continue
        upper, lower = (link.target, link.source) if at in arrangement.loops else (link.source, link.target)
        for above, below in pairwise([upper, *arrangement.chains[at], lower]):
            found[arrangement.boxes[above].row].append(_Crossing(at, above, below))
    return found


def _choose_cuts(
    arrangement: Arrangement, links: Sequence[Link], crossings: Mapping[int, Sequence[_Crossing]], tallest: float
) -> list[int]:
    """Choose the rows that columns end with: near equal parts, where few lines go on. Each next column begins with a
    box, and none ends with one that has a line to itself, which is drawn below it."""
    rows = arrangement.rows
    count = count_columns(arrangement.extent, tallest)
    ends = {link.source for link in links} | {link.target for link in links}
    circles = {arrangement.boxes[link.source].row for link in links if link.source == link.target}
    possible = [at for at in range(len(rows) - 1) if ends & {*rows[at + 1].boxes} and at not in circles]
    cuts: list[int] = []
    for column in range(1, count):
        ideal = arrangement.extent.height * column / count
        left = [at for at in possible if not cuts or at > cuts[-1]]
        if not left:
            break
        cuts.append(min(left, key=lambda at: (abs(rows[at].bottom - ideal) + _COST * _count_lines(crossings[at]), at)))
    return cuts


def _count_lines(crossings: Sequence[_Crossing]) -> int:
    """Count the lines between two rows; links that share one are one."""
    return len({(one.above, one.below) for one in crossings})


class _Folder:
    def __init__(
        self, arrangement: Arrangement, crossings: Mapping[int, Sequence[_Crossing]], cuts: Sequence[int]
    ) -> None:
        self._arrangement = arrangement
        self._crossings = crossings
        self._cuts = cuts
        self._rows: list[Row] = []
        self._boxes: dict[int, Box] = {}
        self._detours: dict[tuple[int, int], Detour] = {}

    def fold(self) -> Folding:
        right = 0.0
        ends = [*self._cuts, len(self._arrangement.rows) - 1]
        for first, last in zip([0, *(cut + 1 for cut in self._cuts)], ends, strict=True):
            lines = self._number_lines(first - 1)
            count = len(set(lines.values()))
            if lines:
                self._lead_over(first - 1, lines, right + _PADDING)
                right += (count - 1) * LANE + 2 * _PADDING
            right = self._place_column(first, last, right, count * LANE + _HEAD if lines else 0.0)
        bottom = max([*(row.bottom for row in self._rows), *(detour.foot for detour in self._detours.values())])
        arrangement = replace(
            self._arrangement, boxes=self._boxes, rows=tuple(self._rows), extent=BoxSize(right, bottom)
        )
        return Folding(arrangement=arrangement, detours=self._detours)

    def _number_lines(self, row: int) -> Mapping[int, int]:
        """Number the links that go on behind a column, whose last row this is, from left to right."""
        if row not in self._cuts:
            return {}
        boxes = self._arrangement.boxes
        crossings = {one.link: (boxes[one.above].x, boxes[one.below].x, one.below) for one in self._crossings[row]}
        order = {place: at for at, place in enumerate(sorted(set(crossings.values())))}
        return {link: order[place] for link, place in crossings.items()}

    def _lead_over(self, row: int, lines: Mapping[int, int], left: float) -> None:
        """Lead lines on behind a column. The first from the left is the outermost below, and the innermost above."""
        count = len(set(lines.values()))
        foot = self._rows[-1].bottom
        for link, order in lines.items():
            inwards = (count - 1 - order) * LANE
            self._detours[link, row] = Detour(foot=foot + LANE + inwards, lane=left + inwards, head=inwards)

    def _place_column(self, first: int, last: int, left: float, top: float) -> float:
        """Place the rows of a column; returns its right edge."""
        rows, boxes = self._arrangement.rows[first : last + 1], self._arrangement.boxes
        across = left - min(boxes[vertex].left for row in rows for vertex in row.boxes)
        down = top - rows[0].top
        self._rows += [replace(row, top=row.top + down, bottom=row.bottom + down) for row in rows]
        moved = {vertex: boxes[vertex] for row in rows for vertex in row.boxes}
        moved = {vertex: replace(box, x=box.x + across, y=box.y + down) for vertex, box in moved.items()}
        self._boxes |= moved
        return max(box.right for box in moved.values())
