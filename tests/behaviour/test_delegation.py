"""Agents that give work to other graphs, over real HTTP: each is a tool to their model, for those whose role may use
it, and runs under the caller's rights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, DEVELOPER, said, serving, write_configs
from support.scripted_model import Answer, Body, Call, ScriptedModel, text_of
from support.tool_server import Tools
from test_decided_elsewhere import ids

ASKED = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": ["*"], "ask": ["files/write"]}}}
OPEN = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": ["*"]}}}
WRITER: dict[str, Any] = {
    "description": "Writes something down.",
    "input": {"what": "string", "mark": {"type": "string", "default": "!"}},
    "output": "found",
    "vars": {"found": "string"},
    "start": "write",
    "nodes": {
        "write": {
            "type": "call",
            "tool": "files/write",
            "args": {"text": "{{ what }}{{ mark }}"},
            "into": "found",
            "next": "end",
        }
    },
}
TALKER = {
    "description": "Talks.",
    "start": "talk",
    "nodes": {"talk": {"type": "model", "prompt": "You talk.", "next": "end"}},
}


def write(folder: Path, model: ScriptedModel, server: Tools, access: Any = OPEN, **fields: Any) -> Path:
    """A folder with an agent that may give work to two graphs."""
    lead = {"type": "agent", "prompt": "You lead.", "agents": ["writer", "talker"], "next": "end", **fields}
    graphs = {"assistant": {"start": "lead", "nodes": {"lead": lead}}, "writer": WRITER, "talker": TALKER}
    return write_configs(folder, model.url, {"files": {"url": server.url}}, access=access, graphs=graphs)


def give(*work: dict[str, Any], to: str = "writer") -> Answer:
    return Answer(calls=[Call(f"agent__{to}", args) for args in work])


def list_results(body: Body) -> list[str]:
    return [text_of(message["content"]) for message in body["messages"] if message["role"] == "tool"]


@pytest.mark.usefixtures("keys")
class TestWork:
    async def test_a_graph_is_a_tool_with_its_input_as_parameters(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(give({"what": "x"}, {"what": "y", "mark": "?"}), "Both are written.")
        async with serving(write(tmp_path / "c", model, tools), tmp_path / "data") as facade:
            assert await facade.say("go") == "Both are written."
        assert sorted(tools.ran()) == ["write x!", "write y?"]
        offered = {tool["function"]["name"]: tool["function"] for tool in model.requests[0].body["tools"]}
        assert [*offered] == ["agent__writer", "agent__talker"]
        assert offered["agent__writer"]["description"] == "Writes something down."
        assert [*offered["agent__writer"]["parameters"]["properties"]] == ["what", "mark"]
        assert offered["agent__writer"]["parameters"]["required"] == ["what"]
        assert model.requests[1].tool_results == ["written", "written"]

    async def test_one_without_input_gets_a_message_and_nothing_of_the_conversation(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(give({"message": "say hello"}, to="talker"), "Hello!", "It said hello.")
        async with serving(write(tmp_path / "c", model, tools), tmp_path / "data") as facade:
            assert await facade.say("one", said("two"), "three") == "It said hello."
        assert [text_of(each["content"]) for each in model.requests[1].messages] == ["You talk.", "say hello"]
        assert model.requests[2].tool_results == ["Hello!"]

    @pytest.mark.parametrize(
        ("args", "why"),
        [
            ({}, "the parameter 'what' is missing"),
            ({"what": 1}, "the parameter 'what' is a number; expected a text"),
            ({"what": "x", "wat": "y"}, "there is no parameter 'wat'; there is what, mark"),
        ],
    )
    async def test_arguments_that_do_not_fit_are_said_to_the_model(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools, args: dict[str, Any], why: str
    ) -> None:
        model.script(give(args), "I see.")
        async with serving(write(tmp_path / "c", model, tools), tmp_path / "data") as facade:
            assert await facade.say("go") == "I see."
        assert tools.ran() == []
        assert model.requests[1].tool_results == [f"agent/writer failed: {why}"]

    async def test_it_may_have_tools_of_its_own_beside_them(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        both = Answer(calls=[Call("files__echo", {"text": "e"}), Call("agent__writer", {"what": "w"})])
        model.script(both, "Done.")
        async with serving(write(tmp_path / "c", model, tools, tools=["files/echo"]), tmp_path / "data") as facade:
            assert await facade.say("go") == "Done."
        assert tools.ran() == ["echo e", "write w!"]
        assert sorted(model.requests[1].tool_results) == ["e", "written"]


@pytest.mark.usefixtures("keys")
class TestRightsAndLimits:
    async def test_a_graph_that_the_role_may_not_use_is_not_offered_and_does_not_run(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        access = {
            **ACCESS,
            "roles": {**ACCESS["roles"], "developer": {"allow": ["*"], "graphs": ["assistant", "talker"]}},
        }
        model.script(give({"what": "x"}), "I may not.")
        async with serving(write(tmp_path / "c", model, tools, access), tmp_path / "data") as facade:
            assert await facade.say("go", key=DEVELOPER) == "I may not."
        assert model.requests[0].tools == ["agent__talker"]
        assert tools.ran() == []
        assert "there is no tool 'agent__writer'" in model.requests[1].tool_results[0]

    async def test_what_it_may_not_call_fails_in_words(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        access = {**ACCESS, "roles": {**ACCESS["roles"], "developer": {"allow": ["files/echo"], "graphs": ["*"]}}}
        model.script(give({"what": "x"}), "I may not.")
        async with serving(write(tmp_path / "c", model, tools, access), tmp_path / "data") as facade:
            assert await facade.say("go", key=DEVELOPER) == "I may not."
        assert tools.ran() == []
        assert model.requests[1].tool_results[0].startswith("agent/writer failed: files/write was not run")

    async def test_their_approvals_show_together_and_each_goes_on(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(give({"what": "x"}, {"what": "y"}), lambda body: json.dumps(list_results(body)))
        async with serving(write(tmp_path / "c", model, tools, ASKED), tmp_path / "data") as facade:
            asked = await facade.say("go")
            first, second = ids(asked)
            further = await facade.say("go", said(asked), f"approve {first}")
            answer = await facade.say("go", said(asked), f"approve {first}", said(further), f"reject {second}")
        words = sorted(text.partition(":")[0] for text in json.loads(answer))
        assert words == ["agent/writer failed", "written"]
        assert len(tools.ran()) == 1
        assert len(model.requests) == 2

    async def test_their_work_counts_for_the_turn_but_not_as_rounds_of_the_agent(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(give({"message": "a"}, {"message": "b"}, to="talker"), "A", "B", give({"what": "w"}), "Done.")
        async with serving(write(tmp_path / "c", model, tools, rounds=2), tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("Done.")
        assert tools.ran() == ["write w!"]
        assert model.requests[4].tools == []  # two rounds of its own, then the last answer

    async def test_without_a_round_left_for_them_they_do_not_run(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        lead = {"type": "agent", "prompt": "You lead.", "agents": ["talker"], "next": "end"}
        graphs = {"assistant": {"start": "lead", "nodes": {"lead": lead}, "limits": {"rounds": 1}}, "talker": TALKER}
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs=graphs)
        model.script(give({"message": "a"}, to="talker"), "Then I answer.")
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("Then I answer.")
        assert "0 are left" in model.requests[1].tool_results[0]
