"""`interlock draw` as a person uses it: what goes where, and what is said when it cannot."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.configs import MINIMAL_GRAPH, write_configs
from support.pictures import SVG, Picture, Pixels
from typer.testing import CliRunner, Result

from server.cli.main import app

CONFIGS = Path(__file__).parents[3] / "configs"
DRAWN = Path(__file__).parents[2] / "drawn"
INTERLOCK = Path(sys.executable).parent / "interlock"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two graphs, nothing wrong."""
    files = {"gateway.yaml": "default_graph: one\n", "graphs/one.yaml": MINIMAL_GRAPH, "graphs/two.yml": MINIMAL_GRAPH}
    return write_configs(tmp_path / "configs", files)


def draw(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["draw", *map(str, arguments)])


def test_while_editing_the_drawing_shows_what_check_says(tmp_path: Path) -> None:
    """The whole road of somebody who made mistakes: the words on stderr, the picture all the same."""
    command = [INTERLOCK, "draw", "broken", "--configs", DRAWN, "--output", tmp_path / "new" / "broken.svg"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path}/new/broken.svg\n"
    checked = CliRunner().invoke(app, ["check", str(DRAWN)])
    assert checked.exit_code == 1
    assert "graphs/broken.yaml:9:38: there is no node 'chekc'" in done.stderr
    assert {line for line in done.stderr.splitlines() if line.startswith("graphs/")} == {
        line for line in checked.stdout.splitlines() if line.startswith("graphs/")
    }
    nodes = Picture((tmp_path / "new" / "broken.svg").read_text()).nodes
    said = {
        name: [text for text in node.texts if node.element.get("class", "").endswith("faulty")]
        for name, node in nodes.items()
    }
    assert said["chekc"] == ["chekc", "no such node"]
    assert said["check"] == ["check", "permission", "never reached"]
    assert said["stuck"] == ["stuck", "model", "no way to the end"]
    assert said["act"] == ["act", "tools", "no permission node before it"]
    assert said["weird"] == ["weird", "its type cannot be read", "never reached"]
    assert said["agent"] == []


def test_without_a_name_all_graphs_are_printed_in_mermaid(folder: Path) -> None:
    done = draw("--configs", folder)
    assert (done.exit_code, done.stderr) == (0, "")
    headings = [line for line in done.stdout.splitlines() if line.startswith(("%%", "flowchart"))]
    assert headings == ["%% graphs/one.yaml", "flowchart TD", "%% graphs/two.yml", "flowchart TD"]


@pytest.mark.parametrize("name", ["assistant", "graphs/assistant.yaml", "configs/graphs/assistant.yaml"])
def test_one_graph_is_named_by_its_name_or_its_file(name: str) -> None:
    done = draw(name, "--configs", CONFIGS)
    assert done.exit_code == 0
    assert done.stdout == "%% graphs/assistant.yaml\n" + (DRAWN / "assistant.mmd").read_text()


def test_the_ending_of_the_file_says_the_format(folder: Path, tmp_path: Path) -> None:
    for ending in ("svg", "png", "mmd", "SVG"):
        file = tmp_path / f"one.{ending}"
        done = draw("one", "--configs", folder, "--output", file)
        assert (done.exit_code, done.stdout) == (0, f"{file}\n")
    assert list(Picture((tmp_path / "one.svg").read_text()).nodes) == ["agent"]
    assert (tmp_path / "one.SVG").read_text() == (tmp_path / "one.svg").read_text()
    assert Pixels.of((tmp_path / "one.png").read_bytes()).width > 100
    assert (tmp_path / "one.mmd").read_text().startswith("%% graphs/one.yaml\nflowchart TD\n")
    assert draw("one", "--configs", folder, "--format", "svg", "--output", tmp_path / "one.txt").exit_code == 0
    assert (tmp_path / "one.txt").read_text() == (tmp_path / "one.svg").read_text()


def test_a_folder_gets_a_file_for_each_graph(folder: Path, tmp_path: Path) -> None:
    done = draw("--configs", folder, "--format", "svg", "--output", f"{tmp_path}/out/")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/out/one.svg\n{tmp_path}/out/two.svg\n")
    done = draw("two", "--configs", folder, "--output", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/out/two.mmd\n")


def test_a_single_svg_or_png_goes_to_stdout(folder: Path) -> None:
    assert list(Picture(draw("one", "--configs", folder, "--format", "svg").stdout).nodes) == ["agent"]
    assert Pixels.of(draw("one", "--configs", folder, "--format", "png").stdout_bytes).width > 100


def test_in_a_folder_a_drawing_leads_to_those_of_the_graphs_that_it_runs(tmp_path: Path) -> None:
    done = draw("--configs", DRAWN, "--format", "svg", "--output", f"{tmp_path}/")
    assert done.exit_code == 1
    text = (tmp_path / "groups.svg").read_text()
    links = [(link.get("href"), "".join(link.itertext()).strip()) for link in Picture(text).root.iter(f"{SVG}a")]
    assert links == [
        ("line.svg", "graph line"),
        ("line.svg", "graph line"),
        ("line.svg", "gives to line"),
        ("desk.svg", "gives to desk"),
    ]
    assert "<a" not in draw("groups", "--configs", DRAWN, "--format", "svg").stdout


def test_the_direction_is_chosen(folder: Path, tmp_path: Path) -> None:
    sizes = {}
    for direction in ("down", "right"):
        for ending in ("svg", "png", "mmd"):
            file = tmp_path / f"{direction}.{ending}"
            done = draw("one", "--configs", folder, "--direction", direction, "--output", file)
            assert (done.exit_code, done.stderr) == (0, "")
        sizes[direction] = Picture((tmp_path / f"{direction}.svg").read_text()).size
        pixels = Pixels.of((tmp_path / f"{direction}.png").read_bytes())
        assert (pixels.width, pixels.height) == tuple(2 * side for side in sizes[direction])
    assert sizes["down"][0] < sizes["right"][0]
    assert sizes["down"][1] > sizes["right"][1]
    assert (tmp_path / "down.svg").read_text() == draw("one", "--configs", folder, "--format", "svg").stdout
    assert "direction TB" in (tmp_path / "down.mmd").read_text()
    assert "direction LR" in (tmp_path / "right.mmd").read_text()
    assert draw("one", "--configs", folder, "--direction", "left").exit_code == 2


def test_a_png_is_not_thrown_at_a_terminal(folder: Path) -> None:
    ours, theirs = pty.openpty()
    command = [INTERLOCK, "draw", "one", "--configs", folder, "--format", "png"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.set_blocking(ours, False)
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (
        2,
        "a PNG is no text for a terminal; name a file: --output graph.png\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tow"], "there is no graph 'tow'; there is one, two"),
        (["--format", "svg"], "there are 2 graphs (one, two); name one, or a folder: --output drawings/"),
        (["--output", "all.png"], "there are 2 graphs (one, two); name one, or a folder: --output drawings/"),
        (["one", "--output", "a.jpg"], "a.jpg: '.jpg' says no format; use .mmd, .mermaid, .svg, .png, or say --format"),
        (["one", "--output", "one"], "one: the name has no ending; use .mmd, .mermaid, .svg, .png, or say --format"),
        (
            ["one", "--output", "one.svg", "--format", "png"],
            "one.svg: the ending says svg and --format says png; say one of them",
        ),
        (["one", "--output", "/dev/null/one.svg"], "/dev/null/one.svg: cannot be written: Not a directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_with_what_can(folder: Path, arguments: list[str], said: str) -> None:
    done = draw(*arguments, "--configs", folder)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", said + "\n")


def test_a_folder_that_is_not_there_is_a_wrong_use(tmp_path: Path) -> None:
    done = draw("--configs", tmp_path / "nowhere")
    assert (done.exit_code, done.stderr) == (
        2,
        f"{tmp_path}/nowhere: no such folder; name one with --configs, "
        f"or make one: interlock init {tmp_path}/nowhere; `interlock serve` without --configs makes configs/\n",
    )


def test_a_file_that_holds_no_graph_is_passed_over_and_named_by_its_problem(folder: Path) -> None:
    write_configs(folder, {"graphs/two.yml": "start: [\n", "graphs/three.yaml": "- a list\n"})
    done = draw("--configs", folder)
    assert done.exit_code == 1
    assert done.stdout.count("flowchart") == 1
    assert "graphs/two.yml:" in done.stderr
    assert "graphs/three.yaml:" in done.stderr
    done = draw("two", "--configs", folder)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith("graphs/two.yml: no nodes can be read, so there is nothing to draw\n")


def test_what_langgraph_runs_is_drawn_where_it_is_asked_for(tmp_path: Path) -> None:
    graph = {
        "vars": {"found": {"fields": {"one": "any"}}, "all": "any[]"},
        "start": "look",
        "nodes": {
            "look": {
                "type": "call",
                "tool": "filesystem/read_file",
                "args": {"path": "a"},
                "on_error": "end",
                "next": "work",
            },
            "work": {"type": "agent", "tools": ["filesystem/*"], "next": "both"},
            "both": {
                "type": "parallel",
                "branches": {"one": {"type": "model", "input": "x"}},
                "into": "found",
                "next": "each",
            },
            "each": {"type": "map", "over": "[1]", "do": {"type": "model"}, "into": "all", "next": "end"},
        },
    }
    folder = write_configs(tmp_path / "c", {"graphs/assistant.yaml": yaml.safe_dump(graph, sort_keys=False)})
    result = draw("--expand", "--configs", str(folder))
    assert result.exit_code == 0, result.output
    drawn = re.findall(r"(node_\w+|start_mark) -\.?->(?:\|\"(.*?)\"\|)? (node_\w+|end_mark)", result.stdout)
    assert set(drawn) == {
        ("start_mark", "", "node_look"),
        ("node_look", "on error", "end_mark"),
        ("node_look", "", "node_look_permission"),
        ("node_look_permission", "on error", "end_mark"),
        ("node_look_permission", "", "node_look_run"),
        ("node_look_run", "on error", "end_mark"),
        ("node_look_run", "", "node_work"),
        ("node_work", "tool calls", "node_work_permission"),
        ("node_work", "otherwise", "node_both"),
        ("node_work_permission", "", "node_work_tools"),
        ("node_work_tools", "", "node_work"),
        ("node_both", "", "node_both_one"),
        ("node_both_one", "", "node_both_collect"),
        ("node_both_collect", "", "node_each"),
        ("node_each", "each item, ≤ 20", "node_each_do"),
        ("node_each_do", "", "node_each_collect"),
        ("node_each_collect", "", "end_mark"),
    }
