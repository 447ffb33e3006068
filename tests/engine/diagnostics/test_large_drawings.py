"""Drawings of large graphs keep a shape that people can read, and nothing in them covers anything else."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from support.large_graphs import LARGE_GRAPHS
from support.pictures import Picture, Pixels

from graphs.diagnostics.drawing import GraphShape, read_shapes, render_mermaid, render_png, render_svg
from graphs.diagnostics.drawing.shape import read_shape

ROOT = Path(__file__).parents[3]
SHIPPED = (ROOT / "configs" / "graphs" / "assistant.yaml", *sorted((ROOT / "configs" / "shelf").glob("*.yaml")))
WIDEST, TALLEST = 1700, 1600
WIDEST_TO_THE_RIGHT = 2400


def read_shipped(tmp_path: Path) -> dict[str, GraphShape]:
    (tmp_path / "graphs").mkdir()
    for file in SHIPPED:
        (tmp_path / "graphs" / file.name).write_text(file.read_text())
    shapes = read_shapes(tmp_path, {})
    return {Path(name).stem: shape for name, shape in shapes.items() if shape is not None}


@pytest.mark.parametrize("name", LARGE_GRAPHS)
def test_a_large_graph_fits_on_a_page(name: str) -> None:
    width, height = Picture(render_svg(LARGE_GRAPHS[name])).size
    assert width <= WIDEST
    assert height <= TALLEST
    assert 1 / 3 <= width / height <= 3


@pytest.mark.parametrize("name", LARGE_GRAPHS)
def test_a_large_graph_that_leads_right_is_no_wider_than_a_screen(name: str) -> None:
    picture = Picture(render_svg(LARGE_GRAPHS[name], direction="right"))
    width, height = picture.size
    assert width <= WIDEST_TO_THE_RIGHT
    assert height <= TALLEST
    check_nothing_is_covered(picture)


def test_branches_that_lead_right_stand_below_each_other_in_the_order_of_the_file() -> None:
    sort, *boxes = [
        node.box for node in Picture(render_svg(LARGE_GRAPHS["branches"], direction="right")).nodes.values()
    ]
    assert all(one.bottom < other.top for one, other in pairwise(boxes))
    assert all(sort.right < box.left for box in boxes)


@pytest.mark.parametrize("name", LARGE_GRAPHS)
def test_no_card_label_or_line_of_a_large_graph_covers_another(name: str) -> None:
    check_nothing_is_covered(Picture(render_svg(LARGE_GRAPHS[name])))


def check_nothing_is_covered(picture: Picture) -> None:
    for one, other in combinations(picture.taken, 2):
        assert not one.overlaps(other)
    for each in picture.taken:
        assert picture.canvas.holds(each)
    for source, target, way in picture.ways:
        for point in way.line:
            covered = [name for name, node in picture.nodes.items() if node.box.contains(point)]
            assert covered == [], f"{source} > {target}"
            labels = [
                f"{a} > {b}"
                for a, b, other in picture.ways
                if other is not way and other.label and other.label.contains(point)
            ]
            assert labels == [], f"{source} > {target}"


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("when", ["x", 'text.contains("long enough for two lines of a label")'])
def test_a_way_back_to_its_own_node_leads_round_its_label(place: int, when: str) -> None:
    ways = [{"when": when, "to": f"n{at}"} for at in range(3)]
    ways.insert(place, {"when": when, "to": "a"})
    replies = {f"n{at}": {"type": "reply", "text": "x", "next": "end"} for at in range(3)}
    nodes: dict[str, Any] = {"a": {"type": "model", "next": ways}, **replies}
    picture = Picture(render_svg(read_shape("graph", {"start": "a", "nodes": nodes}, {}, None)))
    check_nothing_is_covered(picture)
    (way,) = [way for source, target, way in picture.ways if source == target]
    (left, right), (top, bottom) = ((min(each), max(each)) for each in zip(*way.line, strict=True))
    assert way.label is not None
    assert left < way.label.left
    assert way.label.right < right
    assert top < way.label.top
    assert way.label.bottom < bottom


def test_every_way_of_a_folded_chain_is_drawn_from_its_node_to_the_next() -> None:
    picture = Picture(render_svg(LARGE_GRAPHS["failures"]))
    for source, target, way in picture.ways[1:]:
        first, last = way.line[0], way.line[-1]
        box = picture.nodes[source].box
        assert first[1] == box.bottom
        assert box.left <= first[0] <= box.right
        if target != "end":
            box = picture.nodes[target].box
            assert last[1] == box.top
            assert box.left <= last[0] <= box.right


def test_columns_are_read_from_left_to_right() -> None:
    boxes = [drawn.box for drawn in Picture(render_svg(LARGE_GRAPHS["chain"])).nodes.values()]
    turns = [at for at, (one, other) in enumerate(pairwise(boxes), 1) if other.top < one.top]
    assert len(turns) == 1
    assert max(box.right for box in boxes[: turns[0]]) < min(box.left for box in boxes[turns[0] :])


def test_branches_are_in_rows_in_the_order_of_the_file() -> None:
    boxes = {name: drawn.box for name, drawn in Picture(render_svg(LARGE_GRAPHS["branches"])).nodes.items()}
    rows = sorted({box.top for box in boxes.values()})
    assert len(rows) == 3
    names = [name for row in rows for name in sorted(boxes, key=lambda one: boxes[one].left) if boxes[name].top == row]
    assert names == [*boxes]


def test_mermaid_draws_long_graphs_downwards_and_broad_ones_from_left_to_right() -> None:
    downwards = {name for name, shape in LARGE_GRAPHS.items() if "direction TB" in render_mermaid(shape)}
    assert downwards == {"chain", "loop", "failures"}


def test_a_large_graph_as_png_has_the_size_of_its_svg() -> None:
    pixels = Pixels.of(render_png(LARGE_GRAPHS["branches"], scale=1))
    assert (pixels.width, pixels.height) == Picture(render_svg(LARGE_GRAPHS["branches"])).size


def test_the_shipped_graphs_are_drawn_as_they_were(tmp_path: Path) -> None:
    shapes = read_shipped(tmp_path)
    for shape in shapes.values():
        check_nothing_is_covered(Picture(render_svg(shape)))
        assert "direction" not in render_mermaid(shape)
    sizes = {name: Picture(render_svg(shape)).size for name, shape in shapes.items()}
    assert {name: sizes[name] for name in ("assistant", "approved-tools", "self-review", "support")} == {
        "assistant": (290, 532),
        "approved-tools": (371, 734),
        "self-review": (471, 654),
        "support": (678, 536),
    }
