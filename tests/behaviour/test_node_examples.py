"""The examples of node types, which docs/reference/graphs.md shows: each runs in the engine, on every way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import pytest
import yaml
from typer.testing import CliRunner

from graphs.config.spec.node import NodeSpec
from graphs.config.spec.registry import NODE_SPECS
from scripts.reference import graphs
from scripts.reference.graphs import list_python_files, list_run_graphs
from scripts.reference.pages import ROOT
from server.cli.main import app

FOLDER = ROOT / graphs.EXAMPLES
NAMES = {path.name for path in FOLDER.iterdir()}


class StampSpec(NodeSpec, frozen=True):
    """Says a text."""

    type: Literal["stamp"]
    """Says a text."""


@pytest.mark.parametrize("name", NODE_SPECS)
def test_an_example_passes_its_test_which_takes_every_way(name: str, tmp_path: Path) -> None:
    assert f"{name}.yaml" in NAMES, f"write an example of {name!r} in {FOLDER}, with its test"
    nodes = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["nodes"]
    assert name in {node["type"] for node in nodes.values()}
    configs = shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for file in (f"{name}.yaml", f"{name}.test.yaml"):
        shutil.copy(FOLDER / file, configs / "graphs")
    for graph in list_run_graphs(name, ROOT):
        shutil.copy(FOLDER / f"{graph}.yaml", configs / "graphs")
    (configs / "python").mkdir()
    for stem in list_python_files(name, ROOT):
        shutil.copy(FOLDER / f"{stem}.py", configs / "python")
    tested = CliRunner().invoke(app, ["test", name, "--configs", str(configs), "--cover", "100"])
    assert tested.exit_code == 0, tested.output


def test_there_is_no_other_example() -> None:
    expected = {f"{name}{ending}" for name in NODE_SPECS for ending in (".yaml", ".test.yaml")}
    called = {f"{stem}.py" for name in NODE_SPECS for stem in list_python_files(name, ROOT)}
    run = {f"{graph}.yaml" for name in NODE_SPECS for graph in list_run_graphs(name, ROOT)}
    assert expected | called | run == NAMES - {"__pycache__"}


def test_a_node_type_without_an_example_or_words_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NODE_SPECS, "stamp", StampSpec)
    with pytest.raises(ValueError, match=r"node type 'stamp' has no example: write one in .*stamp\.yaml"):
        graphs.build_page(ROOT)
    monkeypatch.setattr(graphs, "read_example", lambda *_: "start: end\nnodes: {a: {type: stamp, next: end}}\n")
    with pytest.raises(ValueError, match="the docstring of StampSpec is not complete"):
        graphs.build_page(ROOT)
