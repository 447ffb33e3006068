"""Route the lines between the boxes: out at the bottom, in at the top; loops at the side where there is room."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from graphs.diagnostics.drawing.arrangement import Box, Link
from graphs.diagnostics.drawing.folding import Folding

_STEP = 26.0
_CORNER = 12.0
_SIDE_STEP = 11.0
_ARROW = 9.0

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One line."""

    path: str
    """The `d` of an SVG path, from source to target."""
    tip: Point
    """Where the arrow's point is."""
    heading: Point
    """The direction that the arrow points in: (0, 1) is down."""

    def transpose(self) -> Route:
        """Return it reflected in the diagonal of the page: what led down leads right."""
        path = re.sub(r"([\d.-]+),([\d.-]+)", r"\2,\1", self.path)
        (x, y), (dx, dy) = self.tip, self.heading
        return Route(path=path, tip=(y, x), heading=(dy, dx))


@dataclass(frozen=True)
class _LinkEnd:
    """One end of a link at a box. `upper`: the box is the upper one of the two."""

    link: int
    upper: bool


def route_links(folding: Folding, links: Sequence[Link]) -> dict[int, Route]:
    """Draw a line for every link that is not hidden, by its index."""
    return _Router(folding, links).route_links()


class _Router:
    def __init__(self, folding: Folding, links: Sequence[Link]) -> None:
        self.arrangement = folding.arrangement
        self.detours = folding.detours
        self.links = links
        self.sides = self._find_sides()
        self.ports = self._find_ports()

    def route_links(self) -> dict[int, Route]:
        found: dict[int, Route] = {}
        for at, link in enumerate(self.links):
            if not link.hidden:
                found[at] = self._draw_circle(at) if link.source == link.target else self._draw_line(at)
        return found

    def _find_box(self, end: _LinkEnd) -> Box:
        link = self.links[end.link]
        upper = link.target if end.link in self.arrangement.loops else link.source
        lower = link.source if end.link in self.arrangement.loops else link.target
        return self.arrangement.boxes[upper if end.upper else lower]

    def _find_neighbour(self, end: _LinkEnd) -> Box:
        """Find the first thing that the line comes to from this end."""
        return self.arrangement.boxes[self.arrangement.chains[end.link][0 if end.upper else -1]]

    def _list_ends(self) -> list[_LinkEnd]:
        shown = [at for at, link in enumerate(self.links) if not link.hidden]
        return [_LinkEnd(at, upper) for at in shown for upper in (True, False)]

    def _find_sides(self) -> dict[_LinkEnd, Point]:
        """Find where loops meet the side of a box: where their lane runs beside it and nothing stands between."""
        found: dict[tuple[int, int], list[tuple[float, _LinkEnd]]] = defaultdict(list)
        for end in self._list_ends():
            link = self.links[end.link]
            if end.link not in self.arrangement.loops or link.source == link.target:
                continue
            box, lane = self._find_box(end), self._find_neighbour(end).x
            if (end.link, box.row - (not end.upper)) in self.detours:
                continue
            name = link.target if end.upper else link.source
            if abs(lane - box.x) < box.width / 2 + _CORNER + 2 or not self._is_free(name, box, lane):
                continue
            found[name, 1 if lane > box.x else -1].append((abs(lane - box.x), end))
        points: dict[_LinkEnd, Point] = {}
        for (name, side), ends in found.items():
            box = self.arrangement.boxes[name]
            # From the top: lines that go up, the nearest first; lines that go down, the farthest first. None cross.
            up = sorted((far, end.link, end) for far, end in ends if not end.upper)
            down = sorted(((far, end.link, end) for far, end in ends if end.upper), key=lambda one: (-one[0], one[1]))
            for index, (_, _, end) in enumerate([*up, *down]):
                y = box.y + (index - (len(ends) - 1) / 2) * min(_SIDE_STEP, (box.height - 12) / len(ends))
                points[end] = (box.x + side * box.width / 2, y)
        return points

    def _is_free(self, name: int, box: Box, lane: float) -> bool:
        """Whether nothing of the box's row stands between it and the lane, or in the lane."""
        low, high = (box.right, lane + _CORNER) if lane > box.x else (lane - _CORNER, box.left)
        others = (self.arrangement.boxes[other] for other in self.arrangement.rows[box.row].boxes if other != name)
        return not any(other.right > low and other.left < high for other in others)

    def _find_ports(self) -> dict[_LinkEnd, Point]:
        """Find where the other lines meet the top or the bottom, ordered by what they lead to, so that none cross."""
        found: dict[tuple[int, bool], dict[tuple[float, int], list[_LinkEnd]]] = defaultdict(dict)
        for end in self._list_ends():
            if end in self.sides:
                continue
            link = self.links[end.link]
            loop = end.link in self.arrangement.loops
            name = (link.target if loop else link.source) if end.upper else (link.source if loop else link.target)
            # Both ends of a circle are at the bottom of its box.
            below = end.upper or link.source == link.target
            vertex = self.arrangement.chains[end.link][0 if end.upper else -1]
            found[name, below].setdefault(
                (self._find_neighbour(end).x + (0.01 if not end.upper else 0), vertex), []
            ).append(end)
        points: dict[_LinkEnd, Point] = {}
        for (name, below), places in found.items():
            box = self.arrangement.boxes[name]
            ends = sorted(places.items())
            middle = (len(ends) - 1) / 2
            straight = [index for index, ((x, _), _) in enumerate(ends) if abs(x - box.x) < 1]
            if len(straight) == 1:
                middle = straight[0]
            reach = max(middle, len(ends) - 1 - middle, 1)
            step = min(_STEP, (box.width / 2 - _CORNER) / reach)
            # Where arrows would cover each other they meet in one point.
            step = step if step > _ARROW else 0.0
            for index, (_, together) in enumerate(ends):
                point = (box.x + (index - middle) * step, box.bottom if below else box.top)
                points |= dict.fromkeys(together, point)
        return points

    def _draw_line(self, at: int) -> Route:
        top, bottom = _LinkEnd(at, upper=True), _LinkEnd(at, upper=False)
        steps = _PathBuilder()
        chain = [self.arrangement.boxes[vertex] for vertex in self.arrangement.chains[at]]
        if top in self.sides:
            x, y = self.sides[top]
            lane = chain[0].x
            steps.start((x, y))
            steps.add_corner((lane, y), (lane, self.arrangement.rows[chain[0].row].top))
        else:
            x, y = self.ports[top]
            steps.start((x, y))
            steps.add_line((x, self.arrangement.rows[self._find_box(top).row].bottom))
        for box in chain:
            self._lead_down(at, steps, box.row, box.x)
            steps.add_line((box.x, self.arrangement.rows[box.row].bottom))
        if bottom in self.sides:
            x, y = self.sides[bottom]
            steps.add_corner((chain[-1].x, y), (x, y))
        else:
            x, y = self.ports[bottom]
            self._lead_down(at, steps, self._find_box(bottom).row, x)
            steps.add_line((x, y))
        loop = at in self.arrangement.loops
        tip = top if loop else bottom
        if tip in self.sides:
            heading = (-1.0 if self.sides[tip][0] > self._find_box(tip).x else 1.0, 0.0)
        else:
            heading = (0.0, -1.0 if loop else 1.0)
        return Route(path=steps.to_svg(is_reversed=loop), tip=(x, y) if tip == bottom else steps.first, heading=heading)

    def _lead_down(self, at: int, steps: _PathBuilder, row: int, x: float) -> None:
        """Lead a line from the row above to the top of this one, where it may begin another column."""
        goal = (x, self.arrangement.rows[row].top)
        if detour := self.detours.get((at, row - 1)):
            turns = [(steps.last[0], detour.foot), (detour.lane, detour.foot), (detour.lane, detour.head)]
            steps.add_corners([*turns, (x, detour.head)], goal)
        else:
            steps.add_curve(goal)

    def _draw_circle(self, at: int) -> Route:
        """Draw a line from a box to itself, round its label below."""
        out, back = self.ports[_LinkEnd(at, upper=True)], self.ports[_LinkEnd(at, upper=False)]
        label = self.arrangement.boxes[self.arrangement.labels[at]]
        top = self.arrangement.rows[label.row].top
        steps = _PathBuilder()
        steps.start(out)
        steps.add_curve((label.left, top))
        steps.add_corners([(label.left, label.bottom), (label.right, label.bottom)], (label.right, top))
        steps.add_curve(back)
        return Route(path=steps.to_svg(is_reversed=False), tip=back, heading=(0.0, -1.0))


class _PathBuilder:
    """A path in pieces that can be written from either end."""

    def __init__(self) -> None:
        self.first: Point = (0.0, 0.0)
        self.segments: list[tuple[tuple[Point, ...], Point]] = []
        """The points that bend a piece (none: straight; one: a corner; two: a curve), and its end."""

    def start(self, point: Point) -> None:
        self.first = point

    @property
    def last(self) -> Point:
        return self.segments[-1][1] if self.segments else self.first

    def add_line(self, point: Point) -> None:
        if point != self.last:
            self.segments.append(((), point))

    def add_curve(self, point: Point) -> None:
        """Add a curve to a point further down, upright at both ends."""
        (x1, y1), (x2, y2) = self.last, point
        if abs(x1 - x2) < 0.05:
            self.add_line(point)
        else:
            middle = (y1 + y2) / 2
            self.segments.append((((x1, middle), (x2, middle)), point))

    def add_corner(self, turn: Point, point: Point) -> None:
        """Add a line to a point by way of a rounded corner."""
        self.add_line(_step_towards(turn, self.last))
        self.segments.append(((turn,), _step_towards(turn, point)))
        self.add_line(point)

    def add_corners(self, turns: Sequence[Point], point: Point) -> None:
        """Add a line to a point by way of several rounded corners."""
        for turn, after in pairwise([*turns, point]):
            self.add_corner(turn, point if after is point else ((turn[0] + after[0]) / 2, (turn[1] + after[1]) / 2))

    def to_svg(self, *, is_reversed: bool) -> str:
        points = [self.first, *(end for _, end in self.segments)]
        bends = [bend for bend, _ in self.segments]
        if is_reversed:
            points.reverse()
            bends = [tuple(reversed(bend)) for bend in reversed(bends)]
        words = [f"M{_format_point(points[0])}"]
        for bend, end in zip(bends, points[1:], strict=True):
            words.append(f"{'LQC'[len(bend)]}{' '.join(map(_format_point, (*bend, end)))}")
        return " ".join(words)


def _step_towards(start: Point, goal: Point) -> Point:
    """Find the point that lies a corner's size from `start`, in the direction of `goal`."""
    (x1, y1), (x2, y2) = start, goal
    far = abs(x2 - x1) + abs(y2 - y1)
    part = min(1.0, _CORNER / far) if far else 0.0
    return (x1 + (x2 - x1) * part, y1 + (y2 - y1) * part)


def _format_point(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"
