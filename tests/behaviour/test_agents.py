"""Agent nodes, over real HTTP with a real MCP server: a model with its permission check and its tools as one node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ADMIN, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from typer.testing import CliRunner

from server.cli.main import app

TWO: dict[str, Any] = {
    "vars": {"kind": ["files", "other"], "tries": {"type": "int", "default": 0}},
    "start": "sort",
    "nodes": {
        "sort": {"type": "model", "into": "kind", "next": {"files": "files", "other": "other"}},
        "files": {
            "type": "agent",
            "prompt": "You read files. Visit {{ visits }}.",
            "tools": ["files/*"],
            "next": [{"when": "visits < 2", "to": "files"}, {"to": "say"}],
        },
        "say": {"type": "reply", "text": "Asked {{ visits }} times.", "next": "end"},
        "other": {"type": "agent", "prompt": "You chat.", "next": "end"},
    },
}


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


@pytest.fixture
def folder(tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None) -> Path:
    return write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": TWO})


async def test_an_agent_runs_its_tools_until_it_answers_and_goes_on(
    folder: Path, tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        "files",
        Answer(calls=[echo("1"), echo("2")]),
        Answer(calls=[echo("3")]),
        "First.",
        Answer(calls=[echo("4")]),
        "Second.",
    )
    async with serving(folder, tmp_path / "data") as facade:
        answer = await facade.say("go")
    assert answer == "First.\n\nSecond.\n\nAsked 1 times."
    assert sorted(tools.ran()) == ["echo 1", "echo 2", "echo 3", "echo 4"]
    prompts = [str(request.messages[0]["content"]) for request in model.requests[1:]]
    assert [prompt.removeprefix("You read files. ") for prompt in prompts] == ["Visit 1."] * 3 + ["Visit 2."] * 2
    assert all(request.tools for request in model.requests[1:])


async def test_an_agent_sees_only_its_own_tools(
    folder: Path, tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    model.script("other", Answer(calls=[echo("1")]), "I cannot.")
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("go") == "I cannot."
    assert model.requests[1].tools == []
    assert tools.ran() == []
    assert "may not use" in model.requests[2].tool_results[0]


async def test_the_limit_of_rounds_ends_an_agent(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    graph = {
        "start": "a",
        "nodes": {"a": {"type": "agent", "tools": ["*"], "next": "end"}},
        "limits": {"rounds": 3},
    }
    configs = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    model.respond(lambda body: Answer(calls=[echo("x")]) if body.get("tools") else "Enough.")
    async with serving(configs, tmp_path / "data") as facade:
        assert (await facade.say("go")).startswith("Enough.")
    assert len(tools.ran()) == 3


async def test_calls_of_the_clients_own_tools_go_to_the_client(
    folder: Path, tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    mine = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
    model.script("other", Answer(calls=[Call("mine", {})]))
    async with serving(folder, tmp_path / "data") as facade:
        done = (await facade.ask("go", tools=[mine])).json()
    [choice] = done["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "mine"


async def test_a_call_of_an_agent_waits_for_a_person_and_runs_once(
    folder: Path, tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    model.script("files", Answer(calls=[Call("files__write", {"text": "x"})]), "Written.", "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x")
        [approval] = re.findall(r"`approve ([a-z2-7]{8})`", asked)
        assert tools.ran() == []
        answer = await facade.say("write x", said(asked), f"approve {approval}")
    assert answer == "Written.\n\nDone.\n\nAsked 1 times."
    assert tools.ran() == ["write x"]


async def test_a_turn_whose_client_left_goes_on_with_its_variables_and_runs_no_call_again(
    folder: Path, tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    model.script("files", Answer(calls=[echo("1")]), Answer("Too slow.", stall_after=0), "First.", "Second.")
    request: dict[str, Any] = {
        "headers": {"authorization": f"Bearer {ADMIN}"},
        "json": {"model": "assistant", "messages": [{"role": "user", "content": "go"}]},
    }
    async with serving(folder, tmp_path / "data") as facade:
        with pytest.raises(httpx.ReadTimeout):
            await facade.http.post(f"{facade.url}/chat/completions", **request, timeout=1.5)
        assert await model.requests[2].ended() == "cut"
        done = (await facade.http.post(f"{facade.url}/chat/completions", **request)).json()
    assert done["choices"][0]["message"]["content"] == "First.\n\nSecond.\n\nAsked 1 times."
    assert tools.ran() == ["echo 1"]
    assert [str(request.messages[0]["content"])[-8:] for request in model.requests[1:]] == ["Visit 1."] * 3 + [
        "Visit 2."
    ]
    assert "response_format" not in model.requests[3].body


def test_what_an_agent_does_is_drawn_and_explained_like_a_model(tmp_path: Path) -> None:
    folder = write_configs(
        tmp_path / "c", "http://127.0.0.1:9/v1", {"files": {"command": "cat"}}, graphs={"assistant": TWO}
    )
    drawn = CliRunner().invoke(app, ["draw", "--configs", str(folder)])
    assert 'node_files("files<br/>agent<br/>sees ' in drawn.stdout
    explained = CliRunner().invoke(
        app, ["access", "explain", "--tool", "files/echo", "--configs", str(folder), "--role", "admin", "--args", "{}"]
    )
    assert explained.stdout.startswith("allow"), explained.output
