"""Notes of nodes: status lines while a node runs, in clients that show such lines, and nowhere else."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from support.facade import serving, write_configs
from support.scripted_model import ScriptedModel
from support.tool_server import Tools
from typer.testing import CliRunner

from graphs.diagnostics.drawing import read_shapes, render_svg
from server.cli.main import app

WEBUI = {"x-openwebui-chat-id": "chat", "x-openwebui-message-id": "message"}
GRAPH: dict[str, Any] = {
    "vars": {"draft": "string", "count": {"type": "int", "default": 3}},
    "start": "write",
    "nodes": {
        "write": {
            "type": "model",
            "note": "Writing for\n{{ caller.user }} …",
            "description": "Writes the first draft.",
            "into": "draft",
            "next": "halve",
        },
        "halve": {"type": "set", "note": "{{ 6 / count }} left", "set": {"count": "count - 1"}, "next": "again"},
        "again": {
            "type": "set",
            "note": "{{ draft }}, take {{ visits }}",
            "set": {"count": "count - 1"},
            "next": [{"when": "count > 0 && visits < 5", "to": "again"}, {"to": "say"}],
        },
        "say": {"type": "reply", "text": "{{ draft }}", "next": "end"},
    },
}


def read_statuses(raw: str) -> list[tuple[str, bool]]:
    data = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
    found = [event["event"]["data"] for event in data if "event" in event]
    return [(status["description"], status["done"]) for status in found]


@pytest.mark.usefixtures("keys")
async def test_a_note_is_a_status_line_until_the_turn_ends(tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": GRAPH})
    model.script("Draft", "Draft", "Draft")
    async with serving(configs, tmp_path / "data") as facade:
        raw = await facade.stream("write", headers=WEBUI)
        assert read_statuses(raw) == [
            ("Writing for admin …", False),
            ("2 left", False),
            ("Draft, take 1", False),
            ("Draft, take 2", False),
            ("Draft, take 2", True),
        ]
        # A plain client knows no such lines, and an answer has none.
        assert "Writing for" not in await facade.stream("write")
        assert await facade.say("write") == "Draft"


@pytest.mark.usefixtures("keys")
async def test_a_note_that_cannot_be_filled_in_is_left_out_and_ends_no_turn(
    tmp_path: Path, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    graph = {**GRAPH, "vars": {**GRAPH["vars"], "count": {"type": "int", "default": 0}}}
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph})
    model.script("Draft")
    async with serving(configs, tmp_path / "data") as facade:
        with caplog.at_level(logging.WARNING):
            raw = await facade.stream("write", headers=WEBUI)
    assert [text for text, _ in read_statuses(raw)] == ["Writing for admin …", *["Draft, take 1"] * 2]
    assert "graph assistant, node halve: no note is shown" in caplog.text


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("{{ nobody }}", "there is no 'nobody' here"),
        ("{{ draft }}", "'draft' has no value yet here"),
        (5, "'note' is a number; expected a text"),
    ],
)
def test_mistakes_in_a_note_are_found(tmp_path: Path, note: object, message: str) -> None:
    write = {**GRAPH["nodes"]["write"], "note": note}
    graph = {**GRAPH, "nodes": {**GRAPH["nodes"], "write": write}}
    folder = write_configs(tmp_path / "configs", "http://127.0.0.1:9/v1", {}, graphs={"assistant": graph})
    checked = CliRunner().invoke(app, ["check", str(folder)])
    assert checked.exit_code == 1
    assert message in checked.stdout


def test_the_description_of_a_node_is_in_its_tooltip(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "configs", "http://127.0.0.1:9/v1", {}, graphs={"assistant": GRAPH})
    shape = read_shapes(folder, {})["graphs/assistant.yaml"]
    assert shape is not None
    assert "<title>write: model\nWrites the first draft.\ninto draft</title>" in render_svg(shape)
