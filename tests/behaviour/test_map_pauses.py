"""Several tasks of a `map` or `parallel` that wait for people: what is withdrawn, what stays, and what is counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, Facade, content, said, serving, write_configs
from support.scripted_model import Answer, Body, Call, ScriptedModel
from support.tool_server import Tools
from test_calls import FAILED, SAY
from test_decided_elsewhere import decide, ids

ASKED = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": ["*"], "ask": ["files/write"]}}}
CHANGE = {"type": "call", "tool": "files/write", "args": {"text": "{{ item }}"}}
FAILS = {"type": "call", "tool": "files/fails"}


def write(folder: Path, model: ScriptedModel, tools: Tools, nodes: Mapping[str, Any], **fields: Any) -> Path:
    """A folder with one graph, which begins with its first node."""
    access = fields.pop("access", ASKED)
    variables = {"found": "any", "names": {"type": "string[]", "default": ["a", "b", "c"]}} | fields.pop("vars", {})
    graph = {"vars": variables, "start": next(iter(nodes)), "nodes": dict(nodes), **fields}
    return write_configs(
        folder / "c", model.url, {"files": {"url": tools.url}}, access=access, graphs={"assistant": graph}
    )


def both(bad: Mapping[str, Any] = FAILS, **fields: Any) -> dict[str, Any]:
    """Two branches: one waits for approval, the other fails."""
    good = {**CHANGE, "args": {"text": "x"}}
    return {"type": "parallel", "branches": {"good": good, "bad": dict(bad)}, "next": "say", **fields}


async def list_approvals(facade: Facade) -> list[str]:
    answer = await facade.http.get(f"{facade.url}/approvals", headers={"authorization": f"Bearer {ADMIN}"})
    return [entry["status"] for entry in answer.json()["data"]]


@pytest.mark.usefixtures("keys")
class TestWithdrawal:
    async def test_what_waits_beside_a_branch_that_failed_is_withdrawn_and_the_error_way_is_taken(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {"both": both(on_error="failed"), "say": {**SAY, "text": "no"}, "failed": FAILED}
        async with serving(write(tmp_path, model, tools, nodes), tmp_path / "data") as facade:
            answer = await facade.say("go")
            assert answer.startswith("both tool: both, branch 'bad': files/fails failed")
            assert ids(answer) == []
            assert await list_approvals(facade) == ["superseded"]
        assert tools.ran() == []

    async def test_without_an_error_way_the_turn_ends_at_once(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {"both": both(), "say": {**SAY, "text": "no"}}
        async with serving(write(tmp_path, model, tools, nodes), tmp_path / "data") as facade:
            answer = await facade.say("go")
            assert answer.startswith("The graph stopped here: both, branch 'bad': files/fails failed")
            assert await list_approvals(facade) == ["superseded"]
        assert tools.ran() == []

    async def test_in_an_answer_that_waits_nobody_is_asked(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {"both": both(on_error="failed"), "say": {**SAY, "text": "no"}, "failed": FAILED}
        async with serving(write(tmp_path, model, tools, nodes), tmp_path / "data") as facade:
            raw = await facade.stream("go", headers={"x-interlock-approvals": "wait"})
        assert content(raw).startswith("both tool: both, branch 'bad'")

    async def test_an_agent_that_waits_is_not_asked_again(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(Answer(calls=[Call("files__write", {"text": "x"})]), "Never.")
        agent = {"type": "agent", "prompt": "Work.", "input": "x", "tools": ["files/*"]}
        node = {
            "type": "parallel",
            "branches": {"good": agent, "bad": {**FAILS}},
            "into": "found",
            "on_error": "failed",
            "next": "say",
        }
        nodes = {"both": node, "say": SAY, "failed": FAILED}
        async with serving(write(tmp_path, model, tools, nodes), tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("both tool: both, branch 'bad'")
            assert await list_approvals(facade) == ["superseded"]
        assert len(model.requests) == 1

    async def test_what_fails_after_an_approval_withdraws_what_asks_again(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        def work(body: Body) -> Answer | str:
            results = [message for message in body["messages"] if message["role"] == "tool"]
            who = body["messages"][1]["content"]
            if who == "b" and results:
                return Answer(status=400)
            return Answer(calls=[Call("files__write", {"text": f"{who}{len(results)}"})])

        model.respond(work)
        do = {"type": "agent", "prompt": "Work.", "input": "{{ item }}", "tools": ["files/*"]}
        node = {"type": "map", "over": "['a', 'b']", "do": do, "into": "found", "on_error": "failed", "next": "say"}
        nodes = {"both": node, "say": SAY, "failed": FAILED}
        async with serving(
            write(tmp_path, model, tools, nodes, vars={"found": "string[]"}), tmp_path / "data"
        ) as facade:
            asked = await facade.say("go")
            for approval in ids(asked):
                await decide(facade, approval, "approve")
            answer = await facade.say("go", said(asked), "go on")
            assert answer.startswith("both model: both, item 2: ")
            assert sorted(await list_approvals(facade)) == ["approved", "approved", "superseded"]
        assert sorted(tools.ran()) == ["write a0", "write b0"]

    async def test_where_errors_are_dropped_the_others_go_on_waiting(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        do = {**CHANGE, "args": {"text": "{{ item }}{{ 1 / index }}"}}
        nodes = {
            "each": {"type": "map", "over": "names", "do": do, "into": "found", "drop_errors": True, "next": "say"},
            "say": SAY,
        }
        async with serving(write(tmp_path, model, tools, nodes), tmp_path / "data") as facade:
            asked = await facade.say("go")
            assert len(ids(asked)) == 2
            for approval in ids(asked):
                await decide(facade, approval, "approve")
            assert await facade.say("go", said(asked), "on") == '["written","written"]'


def write_item(body: Body) -> Answer | str:
    """Write each item but a, which is answered at once."""
    results = [message for message in body["messages"] if message["role"] == "tool"]
    who = body["messages"][1]["content"]
    if results or who == "a":
        return Answer("Done.", usage=(90, 10))
    return Answer(calls=[Call("files__write", {"text": who})], usage=(90, 10))


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("restarted", [False, True])
async def test_tokens_of_tasks_that_had_ended_before_a_pause_are_counted(
    tmp_path: Path, model: ScriptedModel, tools: Tools, restarted: bool
) -> None:
    model.respond(write_item)
    do = {"type": "agent", "prompt": "Work.", "input": "{{ item }}", "tools": ["files/write"]}
    nodes = {
        "each": {"type": "map", "over": "names", "do": do, "into": "found", "next": "talk"},
        "talk": {"type": "model", "prompt": "Talk.", "next": "again"},
        "again": {"type": "model", "prompt": "Again.", "next": "end"},
    }
    folder = write(tmp_path, model, tools, nodes, vars={"found": "string[]"}, limits={"tokens": 490})
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("go")
        assert len(ids(asked)) == 2
        for approval in ids(asked):
            await decide(facade, approval, "approve")
        if not restarted:
            answer = await facade.say("go", said(asked), "on")
    if restarted:
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go", said(asked), "on")
    # a, b, c, then b and c once more: 500, so the next model has the last word.
    assert "the limit of 490 tokens" in answer
    assert len(model.requests) == 6
