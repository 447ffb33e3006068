"""Place boxes and labels: rows and order by Sugiyama's method (the library fast-sugiyama), then our sizes.

Every link goes by way of a vertex of its own, so that there is a place for its label, which covers no box and no other
label. Links that close a loop are handed to the library the other way round. The library knows vertices of one size
only: its columns are moved together as far as the real sizes let them, and what can stand straight is put straight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from fast_sugiyama import from_edges

from graphs.diagnostics.drawing.arrangement import GAP, LANE, NO_SIZE, Arrangement, Box, BoxSize, Bundle, Link, Row

_SWEEPS = 12
_MOST_FOLLOWERS = 40
_ROW_GAP = (20.0, 0.2, 60.0)
"""Between two rows: at least, for each pixel that a line goes sideways, at most."""

_Neighbours = tuple[tuple[int, float] | None, tuple[int, float] | None]
"""What stands at the left and at the right of a vertex, each with how far its middle must be away."""


def arrange(
    sizes: Sequence[BoxSize],
    links: Sequence[Link],
    loops: frozenset[int],
    *,
    is_tight: bool = False,
    bundles: Sequence[Bundle] = (),
) -> Arrangement:
    """Find a place for every box; each must have a link. The first box is where reading begins.

    `loops` are the links that lead back up. `is_tight`: what stands in one column of the library's need not stay in
    one.
    """
    return _Arranger(sizes, links, loops, is_tight, bundles).arrange()


@dataclass
class _Arranger:
    sizes: Sequence[BoxSize]
    links: Sequence[Link]
    loops: frozenset[int]
    is_tight: bool
    bundles: Sequence[Bundle]
    rows: list[list[int]] = field(default_factory=list[list[int]])
    x: dict[int, float] = field(default_factory=dict[int, float])
    chains: list[list[int]] = field(default_factory=list[list[int]])
    labels: list[int] = field(default_factory=list[int])
    label_sizes: dict[int, BoxSize] = field(default_factory=dict[int, BoxSize])

    def arrange(self) -> Arrangement:
        self._ask_library()
        self._move_together()
        self._straighten()
        rows, y = self._stack_rows()
        left = min(self.x[vertex] - self._get_size(vertex).width / 2 for vertex in self.x)
        boxes = {
            vertex: Box(x=x - left, y=y[vertex][0], width=size.width, height=size.height, row=y[vertex][1])
            for vertex, x in self.x.items()
            if (size := self._get_size(vertex))
        }
        return Arrangement(
            boxes=boxes,
            rows=tuple(rows),
            chains=tuple(map(tuple, self.chains)),
            loops=self.loops,
            labels=tuple(self.labels),
            extent=BoxSize(max(box.right for box in boxes.values()), rows[-1].bottom),
        )

    def _get_size(self, vertex: int) -> BoxSize:
        if vertex < len(self.sizes):
            return self.sizes[vertex]
        return self.label_sizes.get(vertex, NO_SIZE)

    def _ask_library(self) -> None:
        edges: list[tuple[int, int]] = []
        made = fresh = len(self.sizes) + len(self.links)
        joints: dict[int, int] = {}
        for bundle in self.bundles:
            line: list[int] = [*range(fresh, fresh + bundle.length), bundle.target]
            fresh += bundle.length
            joints |= {link: line[at] for link, at in bundle.joints.items()}
            edges += pairwise(line)
        for at, link in enumerate(self.links):
            upper, lower = (link.target, link.source) if at in self.loops else (link.source, link.target)
            lower = joints.get(at, lower)
            middle = [len(self.sizes) + at, *range(fresh, fresh + link.length - 1)]
            fresh += link.length - 1
            path: list[int] = [upper, *middle] if upper == lower else [upper, *middle, lower]
            edges += pairwise(path)
        onward: dict[int, list[int]] = defaultdict(list)
        heights: dict[int, float] = {}
        shift = 0.0
        for positions, width, _, drawn in from_edges(edges, vertex_spacing=1, dummy_vertices=True, ranking_type="up"):
            for vertex, (x, y) in positions:
                # Turned round: the library puts what comes first on the right.
                self.x[int(vertex)] = -round(x + shift, 3)
                heights[int(vertex)] = round(y, 3)
            for source, target in drawn or edges:
                onward[int(source)].append(int(target))
            shift += width + 1
        for height in sorted(set(heights.values()), reverse=True):
            self.rows.append(sorted((one for one in heights if heights[one] == height), key=self.x.__getitem__))
        above = {below: vertex for vertex, all_below in onward.items() for below in all_below if vertex >= made}
        for at, link in enumerate(self.links):
            # The other vertices of the link, of our making or the library's, hang on its first.
            chain = [len(self.sizes) + at]
            while (below := onward.get(chain[-1], [])) and below[0] >= made:
                chain.append(below[0])
            while chain[0] in above:
                chain.insert(0, above[chain[0]])
            self.chains.append(chain)
            self.labels.append((chain[::-1] if at in self.loops else chain)[link.label_step])
            self.label_sizes[self.labels[at]] = link.label

    def _measure_distance(self, left: int, right: int) -> float:
        """Measure how far the middles of two neighbours of a row must be apart."""
        boxes = left < len(self.sizes) or right < len(self.sizes)
        return (self._get_size(left).width + self._get_size(right).width) / 2 + (GAP if boxes else LANE)

    def _move_together(self) -> None:
        """Give the library's columns the width that they need, and no more; columns stay columns.

        From the left and from the right, and the middle of both, so that neither side is favoured.
        """
        if self.is_tight:
            # In columns of their own, in an order that is that of every row.
            self.x = {vertex: float(at) for at, vertex in enumerate(self._sort_vertices())}
        columns = sorted(set(self.x.values()))
        to_right: dict[float, list[tuple[float, float]]] = defaultdict(list)
        for row in self.rows:
            for left, right in pairwise(row):
                to_right[self.x[left]].append((self.x[right], self._measure_distance(left, right)))
        earliest = dict.fromkeys(columns, 0.0)
        for column in columns:
            for other, apart in to_right[column]:
                earliest[other] = max(earliest[other], earliest[column] + apart)
        latest = dict.fromkeys(columns, max(earliest.values()))
        for column in reversed(columns):
            for other, apart in to_right[column]:
                latest[column] = min(latest[column], latest[other] - apart)
        self.x = {vertex: (earliest[x] + latest[x]) / 2 for vertex, x in self.x.items()}

    def _sort_vertices(self) -> list[int]:
        """List all vertices from left to right."""
        return sorted(self.x, key=lambda vertex: (self.x[vertex], vertex))

    def _straighten(self) -> None:
        """Move each vertex to where its lines are straightest, as far as its neighbours in the row let it.

        What leads nowhere else, and what nothing else leads to, moves along.
        """
        pulls: dict[int, list[tuple[int, float]]] = defaultdict(list)
        onward: dict[int, list[int]] = defaultdict(list)
        before: dict[int, list[int]] = defaultdict(list)
        for at, (link, chain) in enumerate(zip(self.links, self.chains, strict=True)):
            weight = 0.0 if link.hidden else 0.5 if at in self.loops else link.weight
            for above, below in self._split_link(at):
                pull = 8.0 if above in chain and below in chain else weight
                # A label that stands near the target stands above it.
                pull *= 3.0 if link.label_step < 0 and below == link.target else 1.0
                pulls[above].append((below, pull))
                pulls[below].append((above, pull))
                if at not in self.loops:
                    onward[above].append(below)
                    before[below].append(above)
        beside = self._find_neighbours()
        singles = [[vertex] for row in self.rows for vertex in row]
        above = [_find_followers(vertex, before, onward) for row in self.rows for vertex in row]
        below = [_find_followers(vertex, onward, before) for row in self.rows for vertex in row]
        # Once where nothing moves along: a second pull in the same place changes nothing.
        groups = [
            group
            for each in zip(singles, above, below, strict=True)
            for group in (each if len(each[1]) + len(each[2]) > 2 else each[:1])
        ]
        joints = {at for bundle in self.bundles for at in bundle.joints}
        groups += [chain for at, chain in enumerate(self.chains) if at not in joints]
        lines = [max((self.chains[at][1:] for at in bundle.joints), key=len) for bundle in self.bundles]
        for sweep in range(_SWEEPS):
            moved = False
            for group in groups if sweep % 2 == 0 else reversed(groups):
                moved |= self._pull(group, pulls, beside)
            for line in lines:
                self._align(line, beside)
            if not moved:
                break

    def _split_link(self, at: int) -> Iterator[tuple[int, int]]:
        """Split a link into its pieces from vertex to vertex, from top to bottom."""
        link = self.links[at]
        upper, lower = (link.target, link.source) if at in self.loops else (link.source, link.target)
        return pairwise([upper, *self.chains[at], *([lower] if upper != lower else [])])

    def _pull(
        self,
        group: Sequence[int],
        pulls: Mapping[int, Sequence[tuple[int, float]]],
        beside: Mapping[int, _Neighbours],
    ) -> bool:
        """Move vertices together to where their lines are straightest; returns whether they moved."""
        inside = set(group)
        wanted = [
            (self.x[other] - self.x[vertex], weight)
            for vertex in group
            for other, weight in pulls.get(vertex, ())
            if other not in inside and weight
        ]
        lowest, highest = -float("inf"), float("inf")
        for vertex in group:
            left, right = self._find_range(beside[vertex], inside)
            lowest, highest = max(lowest, left - self.x[vertex]), min(highest, right - self.x[vertex])
        if not wanted or lowest > highest:
            return False
        move = max(lowest, min(highest, _find_weighted_median(wanted)))
        for vertex in group:
            self.x[vertex] += move
        return abs(move) > 0.01

    def _align(self, line: Sequence[int], beside: Mapping[int, _Neighbours]) -> None:
        """Put a line straight, where its neighbours leave it a place in all rows."""
        ranges = [self._find_range(beside[vertex], ()) for vertex in line]
        lowest, highest = max(low for low, _ in ranges), min(high for _, high in ranges)
        if lowest <= highest:
            x = max(lowest, min(highest, sorted(self.x[vertex] for vertex in line)[len(line) // 2]))
            self.x.update(dict.fromkeys(line, x))

    def _find_range(self, beside: _Neighbours, inside: Collection[int]) -> tuple[float, float]:
        """Find how far left and right a vertex may stand for its neighbours, but those that move along."""
        left, right = beside
        lowest, highest = -float("inf"), float("inf")
        if left is not None and left[0] not in inside:
            lowest = self.x[left[0]] + left[1]
        if right is not None and right[0] not in inside:
            highest = self.x[right[0]] - right[1]
        return lowest, highest

    def _find_neighbours(self) -> dict[int, _Neighbours]:
        """Find what stands at the left and at the right of each vertex, with the least distance."""
        found: dict[int, _Neighbours] = {}
        for row in self.rows:
            apart = [(left, right, self._measure_distance(left, right)) for left, right in pairwise(row)]
            lefts = [None, *((left, far) for left, _, far in apart)]
            rights = [*((right, far) for _, right, far in apart), None]
            found |= dict(zip(row, zip(lefts, rights, strict=True), strict=True))
        return found

    def _stack_rows(self) -> tuple[list[Row], dict[int, tuple[float, int]]]:
        """Stack the rows, and find the middle and row of every vertex."""
        sideways: dict[int, float] = defaultdict(float)
        row_of = {vertex: at for at, row in enumerate(self.rows) for vertex in row}
        for at, link in enumerate(self.links):
            for above, below in self._split_link(at):
                far = 0.0 if link.hidden else abs(self.x[above] - self.x[below])
                sideways[row_of[above]] = max(sideways[row_of[above]], far)
        rows: list[Row] = []
        top = 0.0
        least, per_pixel, most = _ROW_GAP
        for at, row in enumerate(self.rows):
            bottom = top + max(self._get_size(vertex).height for vertex in row)
            rows.append(Row(top=top, bottom=bottom, boxes=tuple(row)))
            top = bottom + min(most, least + per_pixel * sideways[at])
        return rows, {vertex: ((row.top + row.bottom) / 2, at) for at, row in enumerate(rows) for vertex in row.boxes}


def _find_followers(vertex: int, onward: Mapping[int, Sequence[int]], before: Mapping[int, Sequence[int]]) -> list[int]:
    """Find the vertex and what is reached from it alone, as far as is worth the time."""
    found = [vertex]
    for one in found:
        if len(found) > _MOST_FOLLOWERS:
            break
        found += [other for other in onward.get(one, ()) if len(before[other]) == 1 and other not in found]
    return found


def _find_weighted_median(values: Sequence[tuple[float, float]]) -> float:
    """Find the value with half of the weight on either side; of several, the one nearest to 0."""
    ordered = sorted(values)
    half = sum(weight for _, weight in ordered) / 2
    passed = 0.0
    for at, (value, weight) in enumerate(ordered):
        passed += weight
        if abs(passed - half) < 1e-9:
            return max(value, min(0.0, ordered[at + 1][0]))
        if passed > half:
            return value
    return ordered[-1][0]
