"""What arrangements are made of: boxes and links, their sizes, and their places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["down", "right"]
"""Where the edges of a drawing lead, but for those that close a loop."""
GAP = 26.0
"""Between two boxes, in pixels."""
LANE = 17.0
"""Between two lines, in pixels."""


@dataclass(frozen=True)
class BoxSize:
    """Width and height, in pixels."""

    width: float
    height: float

    def transpose(self) -> BoxSize:
        """Return it with height and width exchanged."""
        return BoxSize(self.height, self.width)


NO_SIZE = BoxSize(0, 0)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A line to draw from one box to another, by their indexes."""

    source: int
    target: int
    label: BoxSize = NO_SIZE
    weight: float = 2.0
    """How much it matters that the line is straight."""
    hidden: bool = False
    """Nothing is drawn; it keeps what would hang loose beside the rest, or holds its target below its source."""
    label_step: int = 0
    """Where the label stands: so many rows after the first one behind the source; -1: in the last before the target."""

    @property
    def length(self) -> int:
        """How many rows lie between its ends at least."""
        return self.label_step + 1 if self.label_step >= 0 else -self.label_step


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Links to one box that share a line from where they meet."""

    target: int
    length: int
    """How many rows their common line passes."""
    joints: Mapping[int, int]
    """By the link: how many of these rows lie above the one where it joins the common line."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle; `x` and `y` are its middle."""

    x: float
    y: float
    width: float
    height: float
    row: int

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2

    def transpose(self) -> Box:
        """Return it reflected in the diagonal of the page: what led down leads right."""
        return replace(self, x=self.y, y=self.x, width=self.height, height=self.width)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of boxes and lines that pass between them."""

    top: float
    bottom: float
    boxes: tuple[int, ...]
    """The vertices in it, from left to right."""


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """Every vertex in its place. The boxes come first, by their indexes, then a label for each link, by its index."""

    boxes: Mapping[int, Box]
    rows: tuple[Row, ...]
    chains: tuple[tuple[int, ...], ...]
    """The vertices that each link passes, from top to bottom, without its ends."""
    loops: frozenset[int]
    """The links that lead back up."""
    labels: tuple[int, ...]
    """The vertex that each link's label stands on."""
    extent: BoxSize
    """The room that it takes."""

    def transpose(self) -> Arrangement:
        """Return it with all boxes reflected in the diagonal of the page. Its rows are of no meaning then."""
        boxes = {vertex: box.transpose() for vertex, box in self.boxes.items()}
        return replace(self, boxes=boxes, rows=(), extent=self.extent.transpose())
