"""A node type that is defined here alone, a page and a class: everything takes it as it takes our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
import yaml
from langgraph.runtime import Runtime
from support.facade import ASSISTANT, serving, write_configs
from support.pictures import Picture
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from typer.testing import CliRunner, Result

from graphs.config.loader import load
from graphs.config.spec.node import NodeSpec
from graphs.config.spec.registry import NODE_SPECS
from graphs.diagnostics.drawing import read_shapes, render_mermaid, render_svg
from graphs.events import TextDelta
from graphs.nodes import NODE_CLASSES, NodeSite, Services, find_emitter
from graphs.nodes.state import Context, State
from server.cli.main import app


class StampSpec(NodeSpec, frozen=True):
    """Says a text."""

    templates = ("text",)

    type: Literal["stamp"]
    """Says a text."""
    text: str
    """What it says. `{{ … }}` holds CEL over caller, now and graph."""


class StampNode:
    """Says a text."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._text = site.plan.templates[site.name, "text"]

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        context = self._services.find_context(runtime)
        values = {"caller": context.caller, "graph": self._site.plan.id, "now": None}
        find_emitter(context, runtime.stream_writer)(TextDelta(self._text.render(values), new_paragraph=True))
        return {"calls": state.get("calls", 0)}


STAMP: dict[str, Any] = {"type": "stamp", "text": "Seen by {{ caller.user }} in {{ graph }}.", "next": "end"}
AT_THE_END: dict[str, Any] = {
    "start": "agent",
    "nodes": {"agent": {"type": "model", "next": "stamp"}, "stamp": STAMP},
}
BEHIND_THE_GATE: dict[str, Any] = {
    **ASSISTANT,
    "nodes": {
        **ASSISTANT["nodes"],
        "check": {"type": "permission", "next": "stamp"},
        "stamp": {**STAMP, "next": "act"},
    },
}


@pytest.fixture
def stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The type in the two registries, which is all that a type of ours does."""
    monkeypatch.setitem(NODE_SPECS, "stamp", StampSpec)
    monkeypatch.setitem(NODE_CLASSES, "stamp", StampNode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_configs(tmp_path / "configs", "http://127.0.0.1:9/v1", {}, graphs={"assistant": AT_THE_END})


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def check(folder: Path, graph: Mapping[str, Any]) -> str:
    """What `check` says of a folder with this graph, without the place in the file."""
    (folder / "graphs" / "assistant.yaml").write_text(yaml.safe_dump(dict(graph), sort_keys=False))
    result = run("check", folder)
    assert (result.exit_code == 1) == bool(result.stdout.count("graphs/assistant.yaml:"))
    return "\n".join(line.split(": ", 1)[1] for line in result.stdout.splitlines() if line.startswith("graphs/"))


def with_stamp(**changes: Any) -> dict[str, Any]:
    return {**AT_THE_END, "nodes": {**AT_THE_END["nodes"], "stamp": {**STAMP, **changes}}}


@pytest.mark.usefixtures("stamps")
def test_a_file_may_use_it_and_its_mistakes_are_named_like_all_others(folder: Path) -> None:
    assert check(folder, AT_THE_END) == ""
    assert check(folder, BEHIND_THE_GATE) == ""
    assert check(folder, with_stamp(txt="x")) == "there is no setting 'txt' for a 'stamp' node. Did you mean 'text'?"
    assert check(folder, with_stamp(text=5)) == "'text' is a number; expected a text; put it in quotes"
    assert check(folder, with_stamp(type="stmp")) == (
        "'stmp' is not a node type; choose one of: model, permission, tools, agent, call, reply, set, question,"
        " parallel, map, subgraph, memory, python, stamp. Did you mean 'stamp'?"
    )
    assert "nobody" in check(folder, with_stamp(text="{{ nobody }}"))
    assert "goes round without a model node" in check(
        folder, with_stamp(next=[{"when": "turn.calls > 5", "to": "end"}, {"to": "stamp"}])
    )


@pytest.mark.usefixtures("stamps")
def test_no_call_gets_past_the_permission_node_by_way_of_it(folder: Path) -> None:
    calls = {"when": "size(tool_calls) > 0", "to": "check"}
    many = {"when": "size(tool_calls) > 5", "to": "stamp"}
    agent = ASSISTANT["nodes"]["agent"]
    stamp = {**STAMP, "next": "act"}

    def ask(*ways: dict[str, str]) -> dict[str, Any]:
        return {**ASSISTANT, "nodes": {**ASSISTANT["nodes"], "stamp": stamp, "agent": {**agent, "next": [*ways]}}}

    assert check(folder, ask(many, calls, {"to": "end"})) == (
        "this way leads from 'agent' to 'act' past every permission node, so the calls that take it are refused;"
        " lead it to 'check'"
    )
    first = {**ask(many, {"to": "end"}), "start": "check"}
    assert check(folder, first).startswith("no verdict can reach 'act': no permission node stands between 'agent'")
    shape = read_shapes(folder, {})["graphs/assistant.yaml"]
    assert shape is not None
    assert [node.faults for node in shape.nodes if node.name == "act"] == [("no permission node before it",)]


def test_without_it_in_the_registry_it_is_not_a_node_type(folder: Path) -> None:
    assert check(folder, AT_THE_END) == (
        "'stamp' is not a node type; choose one of: model, permission, tools, agent, call, reply, set, question,"
        " parallel, map, subgraph, memory, python"
    )


@pytest.mark.usefixtures("stamps")
def test_it_is_drawn_as_a_step_and_not_as_a_mistake(folder: Path) -> None:
    for graph in (AT_THE_END, BEHIND_THE_GATE):
        check(folder, graph)
        made = read_shapes(folder, {})["graphs/assistant.yaml"]
        assert made is not None
        assert not [node for node in made.nodes if node.faults]
        drawn = Picture(render_svg(made)).nodes["stamp"]
        assert drawn.classes == {"node", "step"}
        assert drawn.texts == ["stamp", "stamp"]
        assert render_svg(load(folder, {}).graphs["assistant"]) == render_svg(made)
        chart = render_mermaid(made)
        assert 'node_stamp["stamp<br/>stamp"]' in chart
        assert "class node_stamp stepNode" in chart
        assert "faulty" not in chart
    assert run("draw", "assistant", "--configs", folder, "--format", "svg").exit_code == 0


@pytest.mark.usefixtures("stamps")
def test_its_settings_are_in_the_schema(folder: Path) -> None:
    assert run("schema", "--configs", folder).exit_code == 0
    schema = json.loads((folder / "schemas" / "graph.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(AT_THE_END)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(with_stamp(txt="x"))
    assert schema["$defs"]["StampSpec"]["properties"]["text"]["description"].startswith("What it says.")


@pytest.mark.usefixtures("stamps", "keys")
async def test_it_runs_in_a_turn(tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
    model.script("Done.", Answer(calls=[Call("files__echo", {"text": "x"})]), "Echoed.")
    graphs = {"assistant": AT_THE_END, "gated": BEHIND_THE_GATE}
    configs = write_configs(tmp_path / "configs", model.url, {"files": {"url": tools.url}}, graphs=graphs)
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("Go.") == "Done.\n\nSeen by admin in assistant."
        assert await facade.say("Go.", model="gated") == "Seen by admin in gated.\n\nEchoed."
    assert tools.ran() == ["echo x"]
