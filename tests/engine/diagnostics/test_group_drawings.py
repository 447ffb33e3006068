"""Drawings of what is inside a node and of other ways than the usual: lanes, stacks, other graphs, failures."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from support.pictures import SVG, Drawn, Picture, Rectangle, outline

from graphs.config.spec.graph import LimitsSpec
from graphs.diagnostics.drawing import Direction, GraphShape, read_shapes, render_mermaid, render_svg
from graphs.diagnostics.drawing.looks import build_dark_style
from graphs.diagnostics.drawing.shape import read_shape

DRAWN = Path(__file__).parents[2] / "drawn"


@pytest.fixture(scope="module")
def shape() -> GraphShape:
    """A graph of `parallel`, `map` and `subgraph`, of which each may fail."""
    made = read_shapes(DRAWN, {})["graphs/groups.yaml"]
    assert made is not None
    return made


def of_nodes(nodes: dict[str, Any]) -> GraphShape:
    return read_shape("graph", {"start": next(iter(nodes)), "nodes": nodes}, {}, None)


def list_boxes(drawn: Drawn) -> list[Rectangle]:
    """The outlines in a group, the stack's too."""
    return [outline(path.get("d", "")) for path in drawn.element.iter(f"{SVG}path") if path.get("class") == "box"]


@pytest.mark.parametrize("direction", ["down", "right"])
def test_branches_are_cards_beside_each_other_in_the_box_of_their_node(shape: GraphShape, direction: Direction) -> None:
    picture = Picture(render_svg(shape, direction=direction))
    review = picture.nodes["review"]
    assert review.classes == {"node", "group"}
    assert review.own_texts == ["review", "parallel", "into found"]
    inner = {name: drawn for name, drawn in picture.inner.items() if name.startswith("review.")}
    assert {name: drawn.texts for name, drawn in inner.items()} == {
        "review.style": ["style", "model · small"],
        "review.facts": ["facts", "agent", "sees filesystem/*, database/*"],
        "review.whole": ["whole", "subgraph", "graph line"],
    }
    assert [drawn.classes - {"inner"} for drawn in inner.values()] == [{"model"}, {"model"}, {"graph"}]
    boxes = [drawn.box for drawn in inner.values()]
    assert all(one.right < other.left and one.top == other.top for one, other in pairwise(boxes))
    head = [float(text.get("y", "")) for text in review.element.findall(f"{SVG}text")]
    assert max(head) < boxes[0].top
    assert all(review.box.holds(box) for box in boxes)
    assert not any(drawn.element.findall(f"{SVG}text[@class='count']") for drawn in inner.values())


def test_a_map_is_a_stack_of_cards_that_says_how_many_items_there_may_be(shape: GraphShape) -> None:
    picture = Picture(render_svg(shape))
    read = picture.nodes["read"]
    assert read.own_texts == ["read", "map", "each of questions", "into notes"]
    assert picture.inner["read.do"].texts == ["do", "model · large", "≤ 20"]
    whole, *stack = list_boxes(read)
    assert len(stack) == 3
    assert all(whole.holds(box) for box in stack)
    # The last one is the first card: each of the others stands out behind the next.
    assert all(one.right > other.right and one.bottom > other.bottom for one, other in pairwise(stack))
    picture = Picture(
        render_svg(of_nodes({"a": {"type": "map", "over": "[1]", "do": {"type": "model"}, "next": "end"}}))
    )
    assert picture.inner["a.do"].texts == ["do", "model"]
    nodes = {"a": {"type": "map", "over": "[1]", "do": {"type": "model"}, "next": "end"}}
    picture = Picture(render_svg(read_shape("graph", {"start": "a", "nodes": nodes}, {}, LimitsSpec(width=7))))
    assert picture.inner["a.do"].texts == ["do", "model", "≤ 7"]


def test_many_branches_stand_in_several_rows() -> None:
    branch = {"type": "agent", "model": "large", "tools": ["database/*", "monitoring/*"]}
    branches = {f"branch_{at}": branch for at in range(12)}
    picture = Picture(render_svg(of_nodes({"a": {"type": "parallel", "branches": branches, "next": "end"}})))
    assert picture.size[0] <= 900
    boxes = [drawn.box for drawn in picture.inner.values()]
    assert len({box.top for box in boxes}) == 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(picture.nodes["a"].box.holds(box) for box in boxes)


def test_what_is_wrong_inside_a_node_is_seen_there() -> None:
    branches = {"a": {"tool": "x/y"}, "b": 5, 6: {"type": "model"}, "c": {"type": "parallel", "branches": {"d": 1}}}
    made = of_nodes({"both": {"type": "parallel", "branches": branches, "next": "end"}})
    picture = Picture(render_svg(made))
    assert {name: drawn.texts for name, drawn in picture.inner.items()} == {
        "both.a": ["a", "its type cannot be read"],
        "both.b": ["b", "its type cannot be read"],
        "both.c": ["c", "parallel"],
    }
    assert "faulty" in picture.inner["both.a"].classes
    assert "faulty" not in picture.nodes["both"].classes
    assert "class node_both_a,node_both_b faulty" in render_mermaid(made)


def test_a_graph_that_is_run_is_a_link_where_its_drawing_has_an_address(shape: GraphShape) -> None:
    assert list(Picture(render_svg(shape)).root.iter(f"{SVG}a")) == []
    picture = Picture(render_svg(shape, links={"line": "drawings/line.svg"}))
    links = {
        name: [(link.get("href"), "".join(link.itertext()).strip()) for link in drawn.element.iter(f"{SVG}a")]
        for name, drawn in {**picture.nodes, **picture.inner}.items()
    }
    assert {name: found for name, found in links.items() if found} == {
        "review": [("drawings/line.svg", "graph line")],
        "review.whole": [("drawings/line.svg", "graph line")],
        "deep": [("drawings/line.svg", "graph line")],
        "lead": [("drawings/line.svg", "gives to line")],
    }
    assert picture.nodes["deep"].classes == {"node", "graph"}
    assert picture.nodes["lead"].texts == ["lead", "agent", "gives to line", "gives to desk"]


def test_of_many_graphs_that_an_agent_gives_work_to_the_first_are_named() -> None:
    made = of_nodes({"a": {"type": "agent", "agents": [f"g{at}" for at in range(9)], "next": "end"}})
    drawn = Picture(render_svg(made)).nodes["a"]
    assert drawn.texts[-2:] == ["gives to g5", "and to 3 more"]
    assert "gives to g8" in drawn.title


def test_the_way_of_a_failure_is_dashed_and_the_other_one_needs_no_word(shape: GraphShape) -> None:
    ways = Picture(render_svg(shape)).ways
    dashed = [
        (source, to, *way.texts) for source, to, way in ways if way.element[1].get("stroke-dasharray") is not None
    ]
    assert dashed == [(name, "failed", "on error") for name in ("review", "read", "deep")]
    assert dashed == [(source, to, *way.texts) for source, to, way in ways if "on-error" in way.classes]
    others = {(source, to): way.texts for source, to, way in ways if "on-error" not in way.classes}
    assert others["review", "plan"] == others["deep", "end"] == []
    assert others["read", "read"] == ["2: size(notes) == 0 && visits < 3"]
    assert others["read", "end"] == ["otherwise"]
    chart = render_mermaid(shape)
    assert 'node_deep -.->|"on error"| node_failed' in chart
    assert "node_deep --> end_mark" in chart
    assert 'node_read -->|"1: size(notes) #62; 3"| node_deep' in chart
    assert 'node_read -->|"otherwise"| end_mark' in chart


def test_the_dark_colours_of_a_node_leave_those_inside_alone() -> None:
    style = build_dark_style()
    assert ".group > .box {" in style
    assert not any(" .box" in line and " > .box" not in line for line in style.splitlines())
