"""What a picture shows: the parts of our SVG with their places, and the pixels of a PNG."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from xml.etree import ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Rectangle:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Rectangle) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def contains(self, point: tuple[float, float]) -> bool:
        """Whether a point is well inside."""
        return self.left + 1 < point[0] < self.right - 1 and self.top + 1 < point[1] < self.bottom - 1

    def holds(self, other: Rectangle) -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


@dataclass(frozen=True)
class Drawn:
    """One group of the picture: a node, a way or a mark."""

    element: ET.Element

    @property
    def classes(self) -> set[str]:
        return set(self.element.get("class", "").split())

    @property
    def texts(self) -> list[str]:
        return [text.text or "" for text in self.element.iter(f"{SVG}text") if text.get("class") != "count"]

    @property
    def own_texts(self) -> list[str]:
        """Without those of the nodes inside it."""
        inner = {id(text) for group in self.element if group.tag == f"{SVG}g" for text in group.iter(f"{SVG}text")}
        own = (text for text in self.element.iter(f"{SVG}text") if id(text) not in inner)
        return [text.text or "" for text in own if text.get("class") != "count"]

    @property
    def title(self) -> str:
        return self.element.findtext(f"{SVG}title") or ""

    @property
    def box(self) -> Rectangle:
        """The outline of a node."""
        path = next(part for part in self.element if part.get("class") == "box")
        return outline(path.get("d", ""))

    @property
    def line(self) -> list[tuple[float, float]]:
        """Points of a way's line, near to each other."""
        path = next(part for part in self.element if part.get("class") == "line")
        return trace(path.get("d", ""))

    @property
    def label(self) -> Rectangle | None:
        """The board that a way's label stands on."""
        rect = self.element.find(f"{SVG}g/{SVG}rect")
        return None if rect is None else rectangle(rect)


class Picture:
    """An SVG of ours, read as XML."""

    def __init__(self, text: str) -> None:
        self.root = ET.fromstring(text)

    def _drawn(self, kind: str) -> list[Drawn]:
        groups = (Drawn(element) for element in self.root.iter(f"{SVG}g"))
        return [group for group in groups if kind in group.classes]

    @cached_property
    def nodes(self) -> dict[str, Drawn]:
        return {drawn.element.get("data-node", ""): drawn for drawn in self._drawn("node")}

    @cached_property
    def inner(self) -> dict[str, Drawn]:
        """The nodes inside others."""
        return {drawn.element.get("data-node", ""): drawn for drawn in self._drawn("inner")}

    @cached_property
    def ways(self) -> list[tuple[str, str, Drawn]]:
        return [
            (way.element.get("data-from", "?"), way.element.get("data-to", "?"), way) for way in self._drawn("edge")
        ]

    @cached_property
    def marks(self) -> list[Rectangle]:
        return [rectangle(mark.element[0]) for mark in self._drawn("mark")]

    @property
    def taken(self) -> list[Rectangle]:
        """Everything that nothing else may stand on."""
        labels = [way.label for _, _, way in self.ways]
        return [*(node.box for node in self.nodes.values()), *self.marks, *(label for label in labels if label)]

    @property
    def canvas(self) -> Rectangle:
        """The room for nodes and ways, in their coordinates."""
        width, height = self.size
        group = next(element for element in self.root if element.get("class") == "picture")
        across, down = map(float, re.findall(r"[\d.]+", group.get("transform", "")))
        return Rectangle(-across, -down, width - across, height - down)

    @property
    def size(self) -> tuple[float, float]:
        left, top, width, height = map(float, self.root.get("viewBox", "").split())
        assert (left, top) == (0, 0)
        return width, height


def rectangle(rect: ET.Element) -> Rectangle:
    left, top, width, height = (float(rect.get(name, "nan")) for name in ("x", "y", "width", "height"))
    return Rectangle(left, top, left + width, top + height)


def outline(path: str) -> Rectangle:
    """The room that a path of lines and small curves takes."""
    x = y = 0.0
    points: list[tuple[float, float]] = []
    for command, rest in re.findall(r"([MhvlqzL])([^MhvlqzL]*)", path):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", rest)]
        match command:
            case "M":
                x, y = numbers
            case "h":
                x += numbers[0]
            case "v":
                y += numbers[0]
            case "l" | "q":
                x, y = x + numbers[-2], y + numbers[-1]
            case _:
                assert command == "z"
        points.append((x, y))
    across, down = zip(*points, strict=True)
    return Rectangle(min(across), min(down), max(across), max(down))


def trace(path: str) -> list[tuple[float, float]]:
    """Points of a path of lines (L) and of curves of the second (Q) and third (C) degree."""
    found: list[tuple[float, float]] = []
    for command, rest in re.findall(r"([MLQC])([^MLQC]*)", path):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", rest)]
        points = [*found[-1:], *zip(numbers[::2], numbers[1::2], strict=True)]
        if command == "M":
            found = points
            continue
        far = sum(abs(x - a) + abs(y - b) for (x, y), (a, b) in pairwise(points))
        steps = max(2, int(far / 6))
        for step in range(1, steps + 1):
            part, bends = step / steps, points
            while len(bends) > 1:
                bends = [(x + (a - x) * part, y + (b - y) * part) for (x, y), (a, b) in pairwise(bends)]
            found.append(bends[0])
    return found


@dataclass(frozen=True)
class Pixels:
    """A decoded PNG of 8 bits a channel, red, green, blue and alpha."""

    width: int
    height: int
    rows: list[bytes]

    @classmethod
    def of(cls, data: bytes) -> Pixels:
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        at, packed, head = 8, b"", b""
        while at < len(data):
            length, name = struct.unpack(">I4s", data[at : at + 8])
            body = data[at + 8 : at + 8 + length]
            head, packed = (body if name == b"IHDR" else head), packed + (body if name == b"IDAT" else b"")
            at += length + 12
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
        assert (depth, colour, interlaced) == (8, 6, 0)
        raw, rows, above = zlib.decompress(packed), list[bytes](), bytes(width * 4)
        for line in range(height):
            start = line * (width * 4 + 1)
            above = unfiltered(raw[start], raw[start + 1 : start + 1 + width * 4], above)
            rows.append(above)
        return cls(width, height, rows)

    def colours(self, area: Rectangle) -> dict[str, int]:
        """How many pixels of the area have each colour, as `#rrggbb`; opaque ones only."""
        found: dict[str, int] = {}
        for row in self.rows[int(area.top) : int(area.bottom)]:
            for x in range(int(area.left), int(area.right)):
                red, green, blue, alpha = row[4 * x : 4 * x + 4]
                name = f"#{red:02x}{green:02x}{blue:02x}" if alpha == 255 else "clear"
                found[name] = found.get(name, 0) + 1
        return found


def unfiltered(kind: int, row: bytes, above: bytes) -> bytes:
    """One row without its PNG filter (https://www.w3.org/TR/png/#9Filters)."""
    out = bytearray(row)
    for at, value in enumerate(row):
        left = out[at - 4] if at >= 4 else 0
        up = above[at]
        corner = above[at - 4] if at >= 4 else 0
        guess = left + up - corner
        paeth = min((left, up, corner), key=lambda one: abs(guess - one))
        out[at] = (value + (0, left, up, (left + up) // 2, paeth)[kind]) & 255
    return bytes(out)
