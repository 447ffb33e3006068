"""Agents with `input`, `into`, `rounds` or `timeout`, and agents inside `map`, over real HTTP: their work is their own,
and the rights and limits of the turn hold for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, said, serving, write_configs
from support.scripted_model import Answer, Body, Call, ScriptedModel, text_of
from support.tool_server import Tools
from test_calls import FAILED, SAY
from test_decided_elsewhere import ids

ASKED = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": ["*"], "ask": ["files/write"]}}}


def write(
    folder: Path, model: ScriptedModel, tools: Tools, nodes: Mapping[str, Any], type_: Any = "string", **fields: Any
) -> Path:
    """A folder with one graph, which begins with its first node."""
    access = fields.pop("access", ACCESS)
    variables = {"found": type_, "names": {"type": "string[]", "default": ["a", "b", "c"]}}
    graph = {"vars": variables, "start": next(iter(nodes)), "nodes": dict(nodes), **fields}
    return write_configs(folder, model.url, {"files": {"url": tools.url}}, access=access, graphs={"assistant": graph})


def agent(**fields: Any) -> dict[str, Any]:
    return {"type": "agent", "prompt": "Work.", "tools": ["files/*"], **fields}


def echo(text: str) -> Answer:
    return Answer(calls=[Call("files__echo", {"text": text})])


@pytest.mark.usefixtures("keys")
class TestAlone:
    async def test_its_answer_goes_into_the_variable_and_is_not_said(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(Answer("Let me look.", calls=[Call("files__echo", {"text": "x"})]), "It is x.")
        nodes = {"work": agent(into="found", next="say"), "say": {**SAY, "text": "Found: {{ found }}"}}
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert await facade.say("go") == "Found: It is x."
        assert tools.ran() == ["echo x"]

    async def test_with_input_it_sees_that_and_its_own_work_alone(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script("Hello.", echo("x"), "It is x.", "Goodbye.")
        nodes = {
            "greet": {"type": "model", "prompt": "Greet.", "next": "work"},
            "work": agent(input="about {{ message }}", next="part"),
            "part": {"type": "model", "prompt": "Part.", "next": "end"},
        }
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert await facade.say("one", said("two"), "tea") == "Hello.\n\nIt is x.\n\nGoodbye."
        seen = [(message["role"], text_of(message.get("content") or "")) for message in model.requests[2].messages]
        assert seen == [("system", "Work."), ("user", "about tea"), ("assistant", ""), ("tool", "x")]
        last = [message["content"] for message in model.requests[3].messages if message["role"] == "assistant"]
        assert last[-1] == "It is x."
        assert not any(message["role"] == "tool" for message in model.requests[3].messages)

    async def test_its_texts_look_at_the_conversation_around_it_in_every_round(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script("Hello.", Answer("Let me look.", calls=[Call("files__echo", {"text": "x"})]), "Fine.")
        nodes = {
            "greet": {"type": "model", "prompt": "Greet.", "next": "work"},
            "work": agent(prompt="For {{ message }}.", input="Review: {{ text }}", into="found", next="say"),
            "say": SAY,
        }
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert await facade.say("tea") == "Hello.\n\nFine."
        for request in model.requests[1:]:
            assert [message["content"] for message in request.messages[:2]] == ["For tea.", "Review: Hello."]

    @pytest.mark.parametrize(
        ("type_", "value", "way"), [(["good", "bad"], "good", "good"), ({"fields": {"n": "int"}}, {"n": 3}, '{"n":3}')]
    )
    async def test_a_value_is_asked_for_in_its_type_at_the_end(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools, type_: Any, value: Any, way: str
    ) -> None:
        answer = json.dumps(value if isinstance(value, dict) else {"value": value})
        model.script(echo("x"), "It is fine.", answer)
        nodes = {"work": agent(into="found", next="say"), "say": SAY}
        async with serving(write(tmp_path / "c", model, tools, nodes, type_), tmp_path / "data") as facade:
            assert await facade.say("go") == way
        assert model.requests[2].body["response_format"]["type"] == "json_schema"
        assert model.requests[2].tools == []

    async def test_after_its_rounds_it_answers_from_what_it_has(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(lambda body: echo("x") if body.get("tools") else "Enough.")
        nodes = {"work": agent(into="found", rounds=2, next="say"), "say": SAY}
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert await facade.say("go") == "Enough."
        assert tools.ran() == ["echo x", "echo x"]

    async def test_its_rounds_and_calls_count_for_the_turn(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(lambda body: echo("x") if body.get("tools") else "Enough.")
        nodes = {"work": agent(into="found", rounds=2, next="more"), "more": agent(next="end")}
        folder = write(tmp_path / "c", model, tools, nodes, limits={"rounds": 4})
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("Enough.")
        # Two rounds and a last answer of the first, so the second has one round before its own last answer.
        assert len(model.requests) == 5
        assert tools.ran() == ["echo x"] * 3

    async def test_one_that_takes_too_long_fails(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        model.respond(lambda body: Answer("x", stall_after=0))
        nodes = {"work": agent(timeout="200ms", on_error="failed", next="end"), "failed": FAILED}
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert await facade.say("go") == "work timeout: node 'work' took longer than 0.2 seconds"

    async def test_a_failure_of_its_model_leads_on(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools, brief_pauses: None
    ) -> None:
        model.respond(lambda body: Answer(status=503))
        nodes = {"work": agent(into="found", on_error="failed", next="say"), "say": SAY, "failed": FAILED}
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("work model: ")
        assert len(model.requests) == 3

    async def test_a_call_of_it_waits_for_approval_and_goes_on_from_there(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(
            echo("x"), Answer(calls=[Call("files__write", {"text": "y"})]), "Written.", Answer("never", status=500)
        )
        nodes = {"work": agent(input="{{ message }}", into="found", next="say"), "say": SAY}
        async with serving(write(tmp_path / "c", model, tools, nodes, access=ASKED), tmp_path / "data") as facade:
            asked = await facade.say("go")
            assert tools.ran() == ["echo x"]
            assert await facade.say("go", said(asked), f"approve {ids(asked)[0]}") == "Written."
        assert tools.ran() == ["echo x", "write y"]
        assert [len(request.messages) for request in model.requests] == [2, 4, 6]

    async def test_the_tools_of_the_client_are_not_for_it(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script("Done.")
        nodes = {"work": agent(into="found", next="say"), "say": SAY}
        function = {"name": "mine", "parameters": {"type": "object", "properties": {}}}
        async with serving(write(tmp_path / "c", model, tools, nodes), tmp_path / "data") as facade:
            assert await facade.say("go", tools=[{"type": "function", "function": function}]) == "Done."
        assert "mine" not in model.requests[0].tools


def work_on(body: Body) -> Answer | str:
    """Echo what was asked about, then repeat it."""
    results = [message for message in body["messages"] if message["role"] == "tool"]
    return text_of(results[0]["content"]) if results else echo(body["messages"][1]["content"])


@pytest.mark.usefixtures("keys")
class TestInside:
    async def test_an_agent_works_on_every_item(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        model.respond(work_on)
        do = agent(input="{{ item }}{{ index }}", rounds=3)
        nodes = {"read": {"type": "map", "over": "names", "do": do, "into": "found", "next": "say"}, "say": SAY}
        async with serving(write(tmp_path / "c", model, tools, nodes, "string[]"), tmp_path / "data") as facade:
            assert await facade.say("go") == '["a0","b1","c2"]'
        assert sorted(tools.ran()) == ["echo a0", "echo b1", "echo c2"]

    async def test_all_of_them_together_stay_within_the_limits_of_the_turn(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(lambda body: echo("x") if body.get("tools") else "Enough.")
        do = agent(input="{{ item }}")
        nodes = {"read": {"type": "map", "over": "names", "do": do, "into": "found", "next": "say"}, "say": SAY}
        folder = write(tmp_path / "c", model, tools, nodes, "string[]", limits={"rounds": 30, "tool_calls": 7})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go") == '["Enough.","Enough.","Enough."]'
        assert tools.ran() == ["echo x"] * 7

    async def test_their_approvals_show_together_and_each_goes_on_from_its_own(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        def change(body: Body) -> Answer | str:
            results = [message for message in body["messages"] if message["role"] == "tool"]
            text = body["messages"][1]["content"]
            return text_of(results[0]["content"]) if results else Answer(calls=[Call("files__write", {"text": text})])

        model.respond(change)
        do = agent(input="{{ item }}")
        nodes = {"read": {"type": "map", "over": "names", "do": do, "into": "found", "next": "say"}, "say": SAY}
        folder = write(tmp_path / "c", model, tools, nodes, "string[]", access=ASKED)
        async with serving(folder, tmp_path / "data") as facade:
            messages: list[Any] = ["go"]
            answer = await facade.say(*messages)
            assert len(ids(answer)) == 3
            for approval, word in zip(ids(answer), ("approve", "reject", "approve"), strict=True):
                messages += [said(answer), f"{word} {approval}"]
                answer = await facade.say(*messages)
        assert json.loads(answer).count("written") == 2
        assert len(tools.ran()) == 2
        assert len(model.requests) == 6


ONCE = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": [{"tool": "files/*", "when": "turn.calls < 1"}]}}}
ANYTHING = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": ["*"]}}}
GOOD = {"type": "reply", "text": "good", "next": "end"}
BAD = {"type": "reply", "text": "bad", "next": "end"}


def ways(when: str) -> list[dict[str, str]]:
    return [{"when": when, "to": "good"}, {"to": "bad"}]


def fail_after_a_call(body: Body) -> Answer:
    return Answer(status=400) if any(message["role"] == "tool" for message in body["messages"]) else echo("x")


@pytest.mark.usefixtures("keys")
class TestWorkOfFailures:
    """What an agent did before it failed counts like all else."""

    async def test_a_rule_that_counts_calls_is_not_passed_by_failing(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(fail_after_a_call)
        work = agent(input="x", into="found", next="say")
        nodes = {
            "one": {**work, "on_error": "two"},
            "two": {**work, "on_error": "failed"},
            "say": SAY,
            "failed": FAILED,
        }
        async with serving(write(tmp_path / "c", model, tools, nodes, access=ONCE), tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("two model: ")
        assert tools.ran() == ["echo x"]

    async def test_calls_of_items_that_are_left_out_count(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(fail_after_a_call)
        node = {"type": "map", "over": "names", "do": agent(input="x"), "into": "found", "drop_errors": True}
        then = ways("turn.calls == 3 && turn.rounds == 3")
        nodes = {"each": {**node, "next": then}, "good": GOOD, "bad": BAD}
        async with serving(write(tmp_path / "c", model, tools, nodes, "string[]"), tmp_path / "data") as facade:
            assert await facade.say("go") == "good"

    async def test_a_call_that_runs_when_the_time_is_up_counts(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(lambda _: Answer(calls=[Call("files__hang", {"mark": "x"})]))
        work = agent(input="x", into="found", timeout="1s", on_error="failed", next="failed")
        failed = {"type": "set", "set": {"found": "'x'"}, "next": ways("turn.calls == 1")}
        nodes = {"work": work, "failed": failed, "good": GOOD, "bad": BAD}
        async with serving(write(tmp_path / "c", model, tools, nodes, access=ANYTHING), tmp_path / "data") as facade:
            assert await facade.say("go") == "good"

    async def test_calls_of_an_agent_that_is_withdrawn_count(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(echo("x"), Answer(calls=[Call("files__write", {"text": "x"})]))
        branches = {"waits": agent(input="x"), "fails": {"type": "call", "tool": "files/fails"}}
        both = {"type": "parallel", "branches": branches, "into": "found", "on_error": "failed", "next": "failed"}
        failed = {"type": "set", "set": {"found": "1"}, "next": ways("turn.calls == 2 && turn.rounds == 2")}
        nodes = {"both": both, "failed": failed, "good": GOOD, "bad": BAD}
        async with serving(
            write(tmp_path / "c", model, tools, nodes, "any", access=ASKED), tmp_path / "data"
        ) as facade:
            assert await facade.say("go") == "good"
