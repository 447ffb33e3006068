"""Graphs as pictures: everything is on them, nothing stands on anything else, what is wrong is seen, nothing leaks."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.configs import loaded
from support.pictures import SVG, Picture, Pixels, Rectangle

from graphs.config.loader import load
from graphs.config.spec.graph import LimitsSpec
from graphs.diagnostics.drawing import GraphShape, read_shapes, render_mermaid, render_png, render_svg
from graphs.diagnostics.drawing.labels import NO_PATH_TO_END
from graphs.diagnostics.drawing.shape import read_shape

HERE = Path(__file__).parents[2]
CONFIGS = HERE.parent / "configs"
DRAWN = HERE / "drawn"
"""A folder of graphs to draw: one with many nodes, one that is a line, one with everything wrong."""
HOSTILE = '"]; end\n%%{init: {}}%% </text><script>alert(1)</script> & <b> `c` ]]> \x00\x08\ud800\u202e #quot; ${x}'
NAMES = ("assistant", "desk", "line", "groups", "broken")


def shape(name: str) -> GraphShape:
    made = read_shapes(CONFIGS if name == "assistant" else DRAWN, {})[f"graphs/{name}.yaml"]
    assert made is not None
    return made


def faults(made: GraphShape) -> dict[str, tuple[str, ...]]:
    """What is wrong, by node, and by `node > target` for ways."""
    return {node.name: node.faults for node in made.nodes if node.faults} | {
        f"{edge.source} > {edge.target}": edge.faults for edge in made.edges if edge.faults
    }


def of_nodes(nodes: dict[str, Any], start: Any = "a") -> GraphShape:
    return read_shape("graph", {"start": start, "nodes": nodes}, {}, LimitsSpec())


MODEL: dict[str, Any] = {"type": "model", "next": "end"}


def test_the_shipped_graph_in_mermaid() -> None:
    assert render_mermaid(shape("assistant")) == (DRAWN / "assistant.mmd").read_text()


@pytest.mark.parametrize("name", ["broken", "groups"])
def test_a_graph_with_everything_wrong_and_one_with_nodes_inside_in_mermaid(name: str) -> None:
    assert render_mermaid(shape(name)) == (DRAWN / f"{name}.mmd").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_shows_every_node_and_every_way_with_its_words(name: str) -> None:
    made = shape(name)
    picture = Picture(render_svg(made))
    assert list(picture.nodes) == [node.name for node in made.nodes]
    for node in made.nodes:
        drawn = picture.nodes[node.name]
        assert drawn.element.get("id") == f"node-{node.name}"
        assert {"node", node.kind} <= drawn.classes
        assert node.name in drawn.texts
        assert set(node.faults) <= set(drawn.texts)
        assert ("faulty" in drawn.classes) == bool(node.faults)
        assert all(pattern in drawn.title for pattern in node.tools)
    start = [("", made.start)]
    assert [(source, target) for source, target, _ in picture.ways] == [
        *start,
        *((edge.source, edge.target) for edge in made.edges),
    ]
    for edge, (_, _, way) in zip(made.edges, picture.ways[1:], strict=True):
        if edge.when:
            assert edge.when in way.title
            assert " ".join(way.texts).split(": ")[-1] == edge.when
        assert ("faulty" in way.classes) == bool(edge.faults)
    assert "".join(picture.root.itertext()).count("at most ") == 1


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stands_on_anything_else_and_everything_is_within_the_picture(name: str) -> None:
    picture = Picture(render_svg(shape(name)))
    for one, other in combinations(picture.taken, 2):
        assert not one.overlaps(other)
    for each in picture.taken:
        assert picture.canvas.holds(each)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_graph_can_be_drawn_without_overlaps(data: st.DataObject) -> None:
    names = [f"n{number}" for number in range(data.draw(st.integers(1, 9)))]
    target = st.sampled_from([*names, "end", "nowhere"])
    ways = st.lists(st.fixed_dictionaries({"to": target}, optional={"when": st.text("ab ", max_size=60)}), max_size=4)
    kinds = st.sampled_from(["model", "permission", "tools", "other"])
    nodes = st.fixed_dictionaries({"type": kinds, "next": ways | target})
    made = of_nodes({name: data.draw(nodes) for name in names}, start=data.draw(target))
    picture = Picture(render_svg(made, direction=data.draw(st.sampled_from(["down", "right"]))))
    assert [*picture.nodes] == [node.name for node in made.nodes]
    assert len(picture.ways) == len(made.edges) + (made.start != "end")
    for one, other in combinations(picture.taken, 2):
        assert not one.overlaps(other)
    for each in picture.taken:
        assert picture.canvas.holds(each)
    assert render_mermaid(made).count("-->") + render_mermaid(made).count("-.->") == len(picture.ways)


def test_the_same_graph_is_the_same_picture_in_every_process() -> None:
    program = (
        "import sys; from pathlib import Path; from graphs.diagnostics.drawing import read_shapes, render_svg;"
        "sys.stdout.write(render_svg(read_shapes(Path(sys.argv[1]), {})['graphs/desk.yaml']))"
    )
    command = [sys.executable, "-c", program, str(DRAWN)]
    said = subprocess.run(command, env={"PYTHONHASHSEED": "1"}, capture_output=True, check=True, cwd=HERE.parent)
    assert said.stdout.decode() == render_svg(shape("desk"))


def test_a_loop_is_a_way_of_its_own_kind() -> None:
    loops = [(source, to) for source, to, way in Picture(render_svg(shape("desk"))).ways if "loop" in way.classes]
    assert loops == [
        ("billing_act", "billing"),
        ("ops_act", "ops"),
        ("data_act", "data"),
        ("files_act", "files"),
        ("review", "triage"),
    ]


def test_a_page_finds_an_empty_place_for_a_number_in_every_node() -> None:
    for drawn in Picture(render_svg(shape("desk"))).nodes.values():
        counts = [text for text in drawn.element.iter(f"{SVG}text") if text.get("class") == "count"]
        assert [text.text for text in counts] == [None]


def test_where_several_conditions_leave_a_node_they_are_numbered() -> None:
    ways = [" ".join(way.texts) for source, _, way in Picture(render_svg(shape("desk"))).ways if source == "ops"]
    assert ways == ["1: size(tool_calls) > 0", "2: turn.rounds > 5", "otherwise"]


def test_a_node_says_what_it_does_with_the_memory() -> None:
    does: dict[str, dict[str, Any]] = {
        "recalls tone": {"recall": {"key": "tone"}, "into": "tone"},
        "searches {{ message }}": {"recall": "{{ message }}", "into": "found"},
        "remembers tone, name": {"remember": {"tone": "tone", "name": "name"}},
        "forgets tone, name": {"forget": ["tone", "name"]},
        "forgets tone": {"forget": "tone"},
        "": {"remember": {}},
    }
    nodes = {f"n{at}": {"type": "memory", "next": "end", **keys} for at, keys in enumerate(does.values())}
    made = of_nodes(nodes, "n0")
    assert [node.memory for node in made.nodes] == [*does]
    assert "remembers tone, name" in render_mermaid(made)
    assert "remembers tone, name" in render_svg(made)


def test_what_is_too_long_is_cut_and_told_in_full() -> None:
    node = Picture(render_svg(shape("line"))).nodes["write"]
    assert any(text.startswith("model · a-model-with-a") and text.endswith("…") for text in node.texts)
    assert "a-model-with-a-name-that-is-far-too-long-for-any-box" in node.title
    many = of_nodes({"a": MODEL | {"tools": [f"server/tool_{number}" for number in range(9)]}})
    node = Picture(render_svg(many)).nodes["a"]
    assert node.texts[2:] == ["sees server/tool_0, server/tool_1,", "server/tool_2, server/tool_3 +5"]
    assert "server/tool_8" in node.title


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ({"a": MODEL}, {}),
        ({"a": MODEL, "b": MODEL}, {"b": ("never reached",)}),
        (
            {"a": {"type": "model", "next": "b"}, "b": MODEL | {"next": "a"}},
            {"a": (NO_PATH_TO_END,), "b": (NO_PATH_TO_END,)},
        ),
        ({"a": {"type": "model", "next": "b"}}, {"b": ("no such node",), "a > b": ("no such node",)}),
        ({"a": {"type": "model"}}, {"a": ("no way on",)}),
        ({"a": {"type": "model", "next": [{"to": "end"}, {"to": "a"}]}}, {"a > a": ("never taken",)}),
        ({"a": {"type": "tools", "next": "end"}}, {"a": ("no permission node before it",)}),
        # What a permission node decided is of no use any more once a model has asked for other calls.
        (
            {
                "a": {"type": "permission", "next": "b"},
                "b": {"type": "model", "next": "c"},
                "c": {"type": "tools", "next": "end"},
            },
            {"c": ("no permission node before it",)},
        ),
        (
            {
                "a": {"type": "permission", "next": "b"},
                "b": {"type": "tools", "next": "c"},
                "c": {"type": "tools", "next": "end"},
            },
            {},
        ),
        # A permission node that is never come to decides nothing.
        (
            {"a": {"type": "tools", "next": "end"}, "b": {"type": "permission", "next": "a"}},
            {"a": ("no permission node before it",), "b": ("never reached",)},
        ),
        # Of what cannot be read the best is assumed.
        ({"a": {"type": "model", "next": [{"to": 5}]}, "b": {"type": "tools", "next": "end"}}, {"a": ("no way on",)}),
        ({"a": {"type": "?", "next": "b"}, "b": {"type": "tools", "next": "end"}}, {"a": ("its type cannot be read",)}),
        ({"a": {"type": "model", "next": [{"to": "a", "when": 5}]}}, {"a": ("no way to the end",)}),
        ({"a": None, "end": MODEL, 5: MODEL}, {"a": ("its type cannot be read", "no way on")}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(nodes: dict[str, Any], expected: dict[str, tuple[str, ...]]) -> None:
    made = of_nodes(nodes)
    assert faults(made) == expected
    for text in (render_mermaid(made), render_svg(made)):
        assert all(word in text for words in expected.values() for word in words)


def test_the_models_that_are_asked_where_one_fails_are_on_the_card() -> None:
    made = of_nodes({"a": {**MODEL, "model": "small", "fallback": ["large", "huge"]}})
    assert "else large, huge" in Picture(render_svg(made)).nodes["a"].texts
    assert "else large, huge" in render_mermaid(made)


def test_a_limit_of_tokens_stands_beside_the_others() -> None:
    made = read_shape("graph", {"start": "a", "nodes": {"a": MODEL}}, {}, LimitsSpec(tokens=200_000))
    assert "at most 12 rounds, 40 tool calls, 200,000 tokens, 5 min" in render_mermaid(made)


def test_a_graph_without_a_readable_start_is_drawn_all_the_same() -> None:
    for start in (None, 5, "end", ["a"]):
        picture = Picture(render_svg(of_nodes({"a": MODEL, "b": MODEL}, start=start)))
        assert list(picture.nodes) == ["a", "b"]
        assert [(source, to) for source, to, _ in picture.ways] == [("a", "end"), ("b", "end")]
    assert faults(of_nodes({"a": MODEL}, start="b")) == {"b": ("no such node",)}


@pytest.mark.parametrize("name", ["assistant", "line", "desk"])
def test_a_sound_graph_is_drawn_the_same_from_its_plan_and_from_its_file(name: str, tmp_path: Path) -> None:
    folder = CONFIGS if name == "assistant" else DRAWN
    graph = (folder / "graphs" / f"{name}.yaml").read_text()
    files = {"gateway.yaml": f"default_graph: {name}\n", f"graphs/{name}.yaml": graph}
    made, plan = shape(name), loaded(tmp_path, files).graphs[name]
    assert render_svg(plan) == render_svg(made)
    assert render_mermaid(plan) == render_mermaid(made)
    assert render_png(plan, scale=0.5) == render_png(made, scale=0.5)


def test_what_variables_filled_in_is_not_drawn(tmp_path: Path) -> None:
    text = """\
        description: ${SECRET}
        start: a
        nodes:
          a:
            type: model
            model: m-${SECRET}
            tools: ["*", "x/${SECRET}"]
            next: [{when: 'text == "${SECRET}"', to: "${GOAL}"}, {when: size(tool_calls) > 0, to: p}, {to: end}]
          p: {type: permission, next: t}
          t: {type: tools, next: a}
        """
    env = {"SECRET": "sk_4711", "GOAL": "end"}
    plan = loaded(tmp_path, {"gateway.yaml": "default_graph: g\n", "graphs/g.yaml": text}, env).graphs["g"]
    for made in (plan, read_shapes(tmp_path, env)["graphs/g.yaml"]):
        assert made is not None
        for drawn in (render_svg(made), render_mermaid(made)):
            assert "4711" not in drawn
            assert "SECRET" in drawn
        assert len(Picture(render_svg(made)).ways) == 6


def test_hostile_texts_stay_texts() -> None:
    nodes = {
        "a": {
            "type": "model",
            "model": HOSTILE,
            "tools": [HOSTILE],
            "next": [{"when": HOSTILE, "to": HOSTILE}, {"when": "1. x", "to": "end"}, {"to": "class"}],
        },
        "class": {"type": "tools", "next": "a-b"},
        "a-b": {"type": "permission", "next": "a_b"},
        "a_b": {"type": "model", "next": "end"},
    }
    made = read_shape(HOSTILE, {"start": "a", "description": HOSTILE, "nodes": nodes}, {}, LimitsSpec())
    text = render_svg(made)
    picture = Picture(text)
    tags = {element.tag.removeprefix(SVG) for element in picture.root.iter()}
    assert tags == {"svg", "title", "style", "g", "rect", "path", "text"}
    names = {name for element in picture.root.iter() for name in element.attrib}
    assert not {name for name in names if name.startswith("on") or "href" in name or name == "style"}
    assert "url(" not in text
    assert "<script" not in text
    assert "alert(1)" in picture.nodes["a"].title
    assert not re.search("[\x00-\x08\ud800\u202e]", text)
    assert render_png(made, scale=1).startswith(b"\x89PNG")
    chart = render_mermaid(made)
    assert "script" in chart
    assert not re.search(r"[<>](?!br/>)(?<!-->)(?<!-\.->)(?<!<br/>)|%%|`|\$|\\", chart)
    identifiers = re.findall(r"^ {8}(\w+)[(\[{]", chart, re.MULTILINE)
    assert len(set(identifiers)) == len(identifiers) == 7
    # A quoted text holds no quote: every line has none, or whole pairs of them.
    assert all(line.count('"') in (0, 2) for line in chart.splitlines())


def test_the_png_shows_the_picture_in_its_size() -> None:
    made = shape("assistant")
    picture, pixels = Picture(render_svg(made)), Pixels.of(render_png(made, scale=1))
    assert (pixels.width, pixels.height) == picture.size
    twice = render_png(made)
    assert [int.from_bytes(twice[at : at + 4], "big") for at in (16, 20)] == [2 * side for side in picture.size]
    for name, fill in (("agent", "#edf3ff"), ("check", "#fff5db"), ("act", "#e8f6ec")):
        colours = pixels.colours(on_page(picture.nodes[name].box, picture.canvas))
        assert max(colours, key=colours.__getitem__) == fill
    assert pixels.colours(Rectangle(0, 0, pixels.width, 20)) == {"#ffffff": 20 * pixels.width}


def on_page(area: Rectangle, canvas: Rectangle) -> Rectangle:
    """Where an area of the picture is on the whole page."""
    return Rectangle(area.left - canvas.left, area.top - canvas.top, area.right - canvas.left, area.bottom - canvas.top)


def test_a_machine_without_fonts_draws_the_texts_too(tmp_path: Path) -> None:
    (tmp_path / "fonts.conf").write_text(f'<?xml version="1.0"?><fontconfig><dir>{tmp_path}</dir></fontconfig>')
    program = (
        "import sys, resvg_py; from pathlib import Path\n"
        "from graphs.diagnostics.drawing import read_shapes, render_png\n"
        'blank = \'<svg xmlns="http://www.w3.org/2000/svg" width="50" height="20">%s</svg>\'\n'
        'word = \'<text font-family="DejaVu Sans" y="15">word</text>\'\n'
        "drawn = [resvg_py.svg_to_bytes(svg_string=blank % text) for text in ('', word)]\n"
        "assert drawn[0] == drawn[1], 'there are fonts after all'\n"
        "sys.stdout.buffer.write(render_png(read_shapes(Path(sys.argv[1]), {})['graphs/assistant.yaml'], scale=1))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(CONFIGS)],
        env={"FONTCONFIG_FILE": str(tmp_path / "fonts.conf"), "HOME": str(tmp_path)},
        capture_output=True,
        cwd=HERE.parent,
    )
    assert said.returncode == 0, said.stderr.decode()
    made = shape("assistant")
    pixels, picture = Pixels.of(said.stdout), Picture(render_svg(made))
    # In the colour of the texts: the title, the name of a node in bold, and a line of the usual font.
    title = Rectangle(20, 20, 200, 45)
    assert pixels.colours(title).get("#1c2330", 0) > 50
    box = picture.nodes["check"].box
    name = on_page(Rectangle(box.left + 30, box.top + 4, box.right - 4, box.top + 25), picture.canvas)
    kind = on_page(Rectangle(box.left + 12, box.top + 26, box.right - 4, box.bottom - 4), picture.canvas)
    assert pixels.colours(name).get("#1c2330", 0) > 15
    assert pixels.colours(kind).get("#566072", 0) > 5


def test_a_very_large_graph_is_a_png_of_bearable_size() -> None:
    nodes = {f"n{number}": {"type": "model", "next": f"n{number + 1}"} for number in range(300)}
    data = render_png(of_nodes(nodes | {"n300": MODEL}, start="n0"), scale=4)
    height = int.from_bytes(data[20:24], "big")
    assert 11_000 < height <= 12_000


def test_the_dark_colours_touch_nothing_outside_of_the_drawing() -> None:
    root = ET.fromstring(render_svg(shape("assistant")))
    style = root.findtext(f"{SVG}style") or ""
    media, *rules = [line for line in style.splitlines() if line.strip("} ")]
    assert media == "@media (prefers-color-scheme: dark) {"
    assert len(rules) > 10
    for rule in rules:
        assert all(part.strip().startswith(".interlock-graph ") for part in rule.split("{")[0].split(","))


def test_the_folders_of_these_tests_are_what_they_are_meant_to_be() -> None:
    assert len(shape("desk").nodes) >= 23
    assert {name for name in NAMES if faults(shape(name))} == {"broken"}
    assert load(CONFIGS, {}).graphs
