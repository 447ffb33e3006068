"""`limits.tokens`: what the model calls of one turn may use together, over real HTTP with a real MCP server."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, content, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

pytestmark = pytest.mark.usefixtures("keys")
LOOK = Answer(calls=[Call("files__echo", {"text": "x"})], usage=(90, 10))
WRITE = Answer(calls=[Call("files__write", {"text": "x"})], usage=(90, 10))
REACHED = "_Stopped here: the limit of 150 tokens in one turn is reached._"
AGENT: dict[str, Any] = {
    "start": "a",
    "nodes": {"a": {"type": "agent", "tools": ["*"], "next": "end"}},
    "limits": {"tokens": 150},
}


def write(folder: Path, model: ScriptedModel, tools: Tools, graph: dict[str, Any], **roles: Any) -> Path:
    """A folder with this graph, and these roles beside the others."""
    access = {**ACCESS, "roles": {**ACCESS["roles"], **roles}}
    servers = {"files": {"url": tools.url}}
    return write_configs(folder / "configs", model.url, servers, access=access, graphs={"assistant": graph})


async def talk(folder: Path, model: ScriptedModel, tools: Tools, graph: dict[str, Any]) -> str:
    async with serving(write(folder, model, tools, graph), folder / "data") as facade:
        return await facade.say("go")


async def test_the_model_answers_once_more_without_tools_when_they_are_used_up(
    tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, LOOK, "That is all.")
    assert await talk(tmp_path, model, tools, AGENT) == f"That is all.\n\n{REACHED}"
    assert [bool(request.tools) for request in model.requests] == [True, True, False]
    assert "the limit of 150 tokens" in str(model.requests[2].messages[-1]["content"])


async def test_the_last_answer_is_the_last(tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
    asking = {"type": "model", "prompt": "Go on."}
    graph = {
        "start": "a",
        "nodes": {"a": {**asking, "next": "b"}, "b": {**asking, "next": "c"}, "c": {**asking, "next": "end"}},
        "limits": {"tokens": 100},
    }
    model.script(Answer("One.", usage=(90, 10)), "Two.")
    assert await talk(tmp_path, model, tools, graph) == f"One.\n\nTwo.\n\n{REACHED.replace('150', '100')}"


async def test_what_an_endpoint_does_not_count_is_estimated(tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
    uncounted = Answer("word " * 200, calls=[Call("files__echo", {"text": "x"})], usage=(0, 0))
    model.script(uncounted, "That is all.")
    assert (await talk(tmp_path, model, tools, AGENT)).endswith(REACHED)


VALUE: dict[str, Any] = {
    "vars": {"n": "int"},
    "start": "first",
    "nodes": {
        "first": {"type": "model", "into": "n", "on_error": "failed", "next": "second"},
        "second": {"type": "model", "into": "n", "on_error": "failed", "next": "say"},
        "say": {"type": "reply", "text": "{{ n }}", "next": "end"},
        "failed": {"type": "reply", "text": "{{ error.node }} {{ error.kind }}: {{ error.message }}", "next": "end"},
    },
    "limits": {"tokens": 100},
}


async def test_a_model_that_finds_a_value_fails(tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer('{"value": 1}', usage=(90, 10)))
    answer = await talk(tmp_path, model, tools, VALUE)
    assert answer.startswith("second limit: node 'second' has no round left.")
    assert "the limit of 100 tokens" in answer


async def test_attempts_that_failed_have_used_theirs(tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
    first = {**VALUE["nodes"]["first"], "retry": {"times": 9, "wait": "1ms"}}
    model.respond(lambda _: Answer("many", usage=(40, 10)))
    answer = await talk(tmp_path, model, tools, {**VALUE, "nodes": {**VALUE["nodes"], "first": first}})
    assert answer.startswith("first limit: ")
    assert len(model.requests) == 2


async def test_they_are_counted_across_an_approval(tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
    model.script(LOOK, WRITE, "Written.")
    configs = write(tmp_path, model, tools, AGENT)
    async with serving(configs, tmp_path / "data") as facade:
        asked = await facade.say("go")
    [approval] = re.findall(r"`approve ([a-z2-7]{8})`", asked)
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("go", said(asked), f"approve {approval}") == f"Written.\n\n{REACHED}"


async def test_those_of_a_failure_are_counted_across_a_question(
    tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    graph: dict[str, Any] = {
        "vars": {"n": "int", "wish": "string"},
        "start": "find",
        "nodes": {
            "find": {"type": "model", "into": "n", "retry": 1, "on_error": "ask", "next": "speak"},
            "ask": {"type": "question", "question": "What now?", "into": "wish", "next": "speak"},
            "speak": {"type": "model", "next": "end"},
        },
        "limits": {"tokens": 150},
    }
    model.script(Answer("many", usage=(90, 10)), Answer("lots", usage=(90, 10)), "Hello.")
    configs = write(tmp_path, model, tools, graph)
    async with serving(configs, tmp_path / "data") as facade:
        asked = await facade.say("go")
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("go", said(asked), "a song") == f"Hello.\n\n{REACHED}"


@pytest.mark.parametrize("changed", [False, True])
async def test_a_turn_that_goes_on_after_its_client_left_goes_on_counting(
    tmp_path: Path, model: ScriptedModel, tools: Tools, changed: bool
) -> None:
    """From its checkpoint; or from the start, where the rules are others meanwhile."""
    model.script(LOOK, LOOK, Answer("It is", stall_after=0), "That is all.")
    configs = write(tmp_path, model, tools, AGENT)
    async with serving(configs, tmp_path / "data") as facade:
        turn = asyncio.create_task(facade.stream("go"))
        request = await model.arrived(3)
        turn.cancel()
        await asyncio.wait([turn])
        assert await request.ended() == "cut"
    if changed:
        write(tmp_path, model, tools, AGENT, guest={"allow": ["files/echo"]})
    async with serving(configs, tmp_path / "data") as facade:
        assert content(await facade.stream("go")) == f"That is all.\n\n{REACHED}"
    assert tools.ran() == ["echo x", "echo x"]
    assert model.requests[3].tools == []


async def test_the_next_turn_begins_with_all_of_them(tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
    model.script(LOOK, Answer("One.", usage=(90, 10)), LOOK, "Two.")
    async with serving(write(tmp_path, model, tools, AGENT), tmp_path / "data") as facade:
        assert await facade.say("go") == "One."
        assert await facade.say("go", said("One."), "again") == "Two."
