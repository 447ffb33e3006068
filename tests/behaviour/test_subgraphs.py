"""Graphs that other graphs run, over real HTTP: variables of their own, the caller's rights, the limits of the turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, DEVELOPER, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel, text_of
from support.tool_server import Tools
from test_calls import FAILED, SAY
from test_decided_elsewhere import ids
from test_takeover import Pair, left
from test_takeover import pair as pair  # a fixture

ASKED = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": ["*"], "ask": ["files/write"]}}}
ECHO = {"type": "call", "tool": "files/echo", "args": {"text": "{{ topic }}"}, "into": "found", "next": "end"}
DEEP: dict[str, Any] = {
    "input": {"topic": "string", "mark": {"type": "string", "default": "!"}},
    "output": "found",
    "vars": {"found": "string"},
    "start": "look",
    "nodes": {"look": {**ECHO, "args": {"text": "{{ topic }}{{ mark }}"}}},
}


def write(folder: Path, model: ScriptedModel, tools: Tools, nodes: Mapping[str, Any], **fields: Any) -> Path:
    """A folder with a graph that begins with its first node, and the graph `deep`."""
    access, deep = fields.pop("access", ACCESS), fields.pop("deep", DEEP)
    variables = {"found": "string", "many": "string[]", "names": {"type": "string[]", "default": ["a", "b"]}}
    graph = {"vars": variables, "start": next(iter(nodes)), "nodes": dict(nodes), **fields}
    graphs = {"assistant": graph, "deep": deep}
    return write_configs(folder, model.url, {"files": {"url": tools.url}}, access=access, graphs=graphs)


def run(**fields: Any) -> dict[str, Any]:
    return {"type": "subgraph", "graph": "deep", "with": {"topic": "{{ message }}"}, **fields}


@pytest.mark.usefixtures("keys")
class TestResults:
    async def test_its_output_goes_into_the_variable(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        nodes = {"deep": run(into="found", next="say"), "say": SAY}
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert await facade.say("tea") == "tea!"
            assert await facade.say("tea", model="deep") == "_The graph came to its end without a word._"
        assert tools.ran() == ["echo tea!", "echo tea!"]

    async def test_what_it_says_is_said_or_goes_into_the_variable(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        deep = {"start": "one", "nodes": {"one": {"type": "model", "prompt": "One.", "next": "two"}}}
        deep["nodes"]["two"] = {"type": "reply", "text": "Two.", "next": "end"}
        nodes = {
            "first": {"type": "subgraph", "graph": "deep", "next": "second"},
            "second": {"type": "subgraph", "graph": "deep", "into": "found", "next": "say"},
            "say": {**SAY, "text": "Kept: {{ found }}"},
        }
        model.script("1.", "2.")
        async with serving(write(tmp_path / "c", model, tools, nodes, deep=deep), tmp_path / "data") as facade:
            assert await facade.say("go") == "1.\n\nTwo.\n\nKept: 2.\n\nTwo."
        # Without input it sees the conversation, and what the turn has said before.
        assert [text_of(message["content"]) for message in model.requests[1].messages][:2] == ["One.", "go"]
        assert "Two." in str(model.requests[1].messages)

    async def test_one_with_input_sees_nothing_of_the_conversation(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        deep = {
            "input": {"topic": "string"},
            "start": "one",
            "nodes": {"one": {"type": "model", "prompt": "About {{ topic }}, {{ message }}.", "next": "end"}},
        }
        model.script("Hm.")
        nodes = {"deep": run(**{"with": {"topic": "tea"}}, next="end")}
        async with serving(write(tmp_path / "c", model, tools, nodes, deep=deep), tmp_path / "data") as facade:
            assert await facade.say("first", said("second"), "third") == "Hm."
        assert [message["content"] for message in model.requests[0].messages] == ["About tea, third."]

    async def test_for_every_item_and_in_a_loop_each_call_runs_for_itself(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        do = {"type": "subgraph", "graph": "deep", "with": {"topic": "{{ item }}"}}
        nodes = {
            "all": {"type": "map", "over": "names", "do": do, "into": "many", "next": "more"},
            "more": run(
                **{"with": {"topic": "x"}}, into="found", next=[{"when": "visits < 3", "to": "more"}, {"to": "say"}]
            ),
            "say": {**SAY, "text": "{{ many }} {{ found }}"},
        }
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert await facade.say("go") == '["a!","b!"] x!'
        assert sorted(tools.ran()) == ["echo a!", "echo b!", "echo x!", "echo x!", "echo x!"]


@pytest.mark.usefixtures("keys")
class TestRightsAndLimits:
    async def test_its_calls_are_decided_by_the_rules_for_the_caller(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        access = {
            **ACCESS,
            "roles": {**ACCESS["roles"], "developer": {"allow": ["files/add"], "graphs": ["assistant"]}},
        }
        nodes = {"deep": run(into="found", on_error="failed", next="say"), "say": SAY, "failed": FAILED}
        folder = write(tmp_path / "c", model, tools, nodes, access=access)
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("go", key=DEVELOPER)).startswith("deep denied: files/echo was not run")
        assert tools.ran() == []

    async def test_an_approval_inside_is_waited_for_and_nothing_runs_twice(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        deep = {
            **DEEP,
            "nodes": {
                "look": {**ECHO, "next": "write"},
                "write": {"type": "call", "tool": "files/write", "args": {"text": "{{ found }}"}, "next": "end"},
            },
        }
        do = {"type": "subgraph", "graph": "deep", "with": {"topic": "{{ item }}"}}
        nodes = {"all": {"type": "map", "over": "names", "do": do, "into": "many", "next": "say"}}
        nodes["say"] = {**SAY, "text": "{{ many }}"}
        folder = write(tmp_path / "c", model, tools, nodes, deep=deep, access=ASKED)
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("go")
            assert sorted(tools.ran()) == ["echo a", "echo b"]
            first, second = ids(asked)
            further = await facade.say("go", said(asked), f"approve {first}")
            messages = ["go", said(asked), f"approve {first}", said(further), f"approve {second}"]
            assert await facade.say(*messages) == '["a","b"]'
        assert sorted(tools.ran()) == ["echo a", "echo b", "write a", "write b"]

    async def test_the_limits_of_the_turn_go_on_counting_inside_and_after(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(
            lambda body: Answer(calls=[Call("files__echo", {"text": "x"})]) if body.get("tools") else "Enough."
        )
        deep = {
            "start": "work",
            "nodes": {"work": {"type": "agent", "tools": ["*"], "next": "end"}},
            "limits": {"rounds": 2},
        }
        nodes = {
            "deep": {"type": "subgraph", "graph": "deep", "into": "found", "next": "more"},
            "more": {"type": "agent", "tools": ["*"], "next": "end"},
        }
        folder = write(tmp_path / "c", model, tools, nodes, deep=deep, limits={"rounds": 4})
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("Enough.")
        # Two rounds and a last answer inside, one round and a last answer behind it.
        assert len(model.requests) == 5
        assert tools.ran() == ["echo x"] * 3


@pytest.fixture
def configs(tmp_path: Path, model: ScriptedModel, tools: Tools) -> Path:
    """A graph that runs another, which calls a tool, then asks a model."""
    deep = {
        **DEEP,
        "nodes": {
            "look": {**ECHO, "next": "ask"},
            "ask": {"type": "model", "prompt": "Go on.", "input": "{{ found }}", "into": "found", "next": "end"},
        },
    }
    return write(tmp_path / "c", model, tools, {"deep": run(into="found", next="say"), "say": SAY}, deep=deep)


async def test_a_turn_that_another_process_takes_up_inside_goes_on_there(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("Found", stall_after=1), "Found.")
    turn = asyncio.create_task(pair.first.stream("tea"))
    try:
        await model.arrived(1)
        pair.die()
        assert await pair.second.say("tea") == "Found."
    finally:
        await left(turn)
    assert tools.ran() == ["echo tea"]
