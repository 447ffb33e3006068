"""`map` and `parallel`, over real HTTP with a real MCP server: nodes that run at the same time, under the caller's
rights and the turn's limits."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, DEVELOPER, said, serving, write_configs
from support.scripted_model import Answer, ScriptedModel
from support.tool_server import Tools
from test_calls import FAILED, SAY, STEPS, ran
from test_calls import log as log  # a fixture
from test_decided_elsewhere import decide, ids

ACCESS_WITH_ASK = {
    **ACCESS,
    "roles": {
        **ACCESS["roles"],
        "admin": {"allow": ["*"], "ask": [{"tool": "files/write", "when": 'args.text != "b"'}]},
    },
}


def write(
    folder: Path, model: ScriptedModel, servers: Mapping[str, Any], nodes: Mapping[str, Any], **fields: Any
) -> Path:
    """A folder with one graph, which begins with its first node."""
    access = fields.pop("access", ACCESS)
    variables = {"found": "any", "names": {"type": "string[]", "default": ["a", "b", "c"]}} | fields.pop("vars", {})
    graph = {"vars": variables, "start": next(iter(nodes)), "nodes": dict(nodes), **fields}
    return write_configs(folder, model.url, servers, access=access, graphs={"assistant": graph})


def steps(log: Path) -> dict[str, Any]:
    return {"steps": {"command": sys.executable, "args": [str(STEPS), str(log)]}}


def each(do: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A node that does this for every name."""
    return {"type": "map", "over": "names", "do": do, "into": "found", "next": "say", **fields}


QUERY = {"type": "call", "tool": "steps/query", "args": {"sql": "{{ item }}", "limit": "{{ index }}"}}
ECHO = {"type": "call", "tool": "files/echo", "args": {"text": "{{ item }}"}}
CHANGE = {"type": "call", "tool": "files/write", "args": {"text": "{{ item }}"}}
TEXTS = {"found": "string[]"}
JUDGE = {"type": "model", "prompt": "Judge.", "input": "{{ item }}"}


@pytest.mark.usefixtures("keys")
class TestItems:
    async def test_a_call_for_every_item_gives_a_list_in_the_order_of_the_items(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = {"read": each({**QUERY, "pick": "result.limit"}), "say": SAY}
        async with serving(write(tmp_path / "c", model, steps(log), nodes), tmp_path / "data") as facade:
            assert await facade.say("go") == "[0,1,2]"
        assert sorted(ran(log)) == ["query a 0 None", "query b 1 None", "query c 2 None"]

    async def test_a_model_answers_for_every_item_in_the_type_of_the_list(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        answers = {"a": "low", "b": "high", "c": "low"}
        model.respond(lambda body: json.dumps({"value": answers[body["messages"][1]["content"]]}))
        nodes = {"judge": each(JUDGE), "say": SAY}
        folder = write(tmp_path / "c", model, {}, nodes, vars={"found": {"list": ["low", "high"]}})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go") == '["low","high","low"]'
        assert all(request.body["response_format"]["type"] == "json_schema" for request in model.requests)

    async def test_tasks_whose_claims_wait_for_the_database_together_add_one_row_of_the_turn(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = {"read": each({**QUERY, "pick": "result.limit"}), "say": SAY}
        async with serving(write(tmp_path / "c", model, steps(log), nodes), tmp_path / "data") as facade:
            with closing(sqlite3.connect(tmp_path / "data" / "interlock.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                turn = asyncio.create_task(facade.say("go"))
                await asyncio.sleep(0.5)
                other.execute("COMMIT")
            assert await turn == "[0,1,2]"
        assert len(ran(log)) == 3

    async def test_so_many_run_at_the_same_time_as_the_graph_says(self, tmp_path: Path, model: ScriptedModel) -> None:
        model.respond(lambda body: Answer("x", stall_after=0))
        nodes = {"judge": each(JUDGE, at_once=2), "say": SAY}
        async with serving(write(tmp_path / "c", model, {}, nodes, vars=TEXTS), tmp_path / "data") as facade:
            turn = asyncio.create_task(facade.say("go"))
            await model.arrived(2)
            await asyncio.sleep(0.2)
            assert len(model.requests) == 2
            model.respond(lambda body: "x")
            model.release()
            assert await turn == '["x","x","x"]'

    async def test_no_items_give_an_empty_list(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        nodes = {"read": each(QUERY, over="names.filter(n, n == message)"), "say": SAY}
        async with serving(write(tmp_path / "c", model, steps(log), nodes), tmp_path / "data") as facade:
            assert await facade.say("go") == "[]"
            assert await facade.say("b") == '[{"rows":[["Germany",7],["France",5]],"limit":0}]'

    async def test_a_map_that_is_come_to_again_calls_again(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        again = [{"when": "visits < 2", "to": "read"}, {"to": "say"}]
        nodes = {"read": each({**QUERY, "pick": "result.limit"}, next=again), "say": SAY}
        async with serving(write(tmp_path / "c", model, steps(log), nodes), tmp_path / "data") as facade:
            assert await facade.say("go") == "[0,1,2]"
        assert len(ran(log)) == 6

    async def test_calls_begin_together_though_another_process_writes_meanwhile(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = {"read": each({**QUERY, "pick": "result.limit"}), "say": SAY}
        async with serving(write(tmp_path / "c", model, steps(log), nodes), tmp_path / "data") as facade:
            await facade.say("warm")
            with closing(sqlite3.connect(tmp_path / "data" / "interlock.db")) as other:
                other.execute("BEGIN IMMEDIATE")
                turn = asyncio.create_task(facade.say("go"))
                await asyncio.sleep(0.3)
                assert len(ran(log)) == 3, "nothing runs before it is claimed"
                other.rollback()
            assert await turn == "[0,1,2]"
        assert len(ran(log)) == 6

    async def test_calls_begin_together_on_postgresql(
        self, tmp_path: Path, model: ScriptedModel, log: Path, postgres_url: str
    ) -> None:
        nodes = {"read": each({**QUERY, "pick": "result.limit"}), "say": SAY}
        folder = write(tmp_path / "c", model, steps(log), nodes)
        async with serving(folder, tmp_path / "data", storage=postgres_url) as facade:
            assert await facade.say("go") == "[0,1,2]"
        assert len(ran(log)) == 3

    async def test_the_status_line_counts_what_has_ended(self, tmp_path: Path, model: ScriptedModel) -> None:
        model.respond(lambda body: "x")
        nodes = {"judge": each({**JUDGE, "note": "Judging {{ item }}"}, note="{{ size(names) }} texts"), "say": SAY}
        async with serving(write(tmp_path / "c", model, {}, nodes, vars=TEXTS), tmp_path / "data") as facade:
            raw = await facade.stream("go", headers={"x-openwebui-chat-id": "c"})
        assert "3 texts (3 of 3)" in raw


@pytest.mark.usefixtures("keys")
class TestFailures:
    @pytest.fixture
    def stumbling(self, tmp_path: Path, model: ScriptedModel, log: Path) -> Any:
        def build(**fields: Any) -> Path:
            do = {
                "type": "call",
                "tool": "steps/query",
                "args": {"sql": "{{ item }}", "limit": "{{ 6 / (index - 1) }}"},
            }
            nodes = {"read": each({**do, "pick": "result.limit"}, **fields), "say": SAY}
            failed = {"failed": FAILED} if "on_error" in fields else {}
            return write(tmp_path / "c", model, steps(log), {**nodes, **failed})

        return build

    async def test_the_first_that_failed_ends_the_turn_once_the_others_have_ended(
        self, tmp_path: Path, log: Path, stumbling: Any
    ) -> None:
        async with serving(stumbling(), tmp_path / "data") as facade:
            answer = await facade.say("go")
        assert answer.startswith(
            "The graph stopped here: read, item 2: graphs/assistant.yaml, node 'read.do', args.limit"
        )
        assert sorted(ran(log)) == ["query a -6 None", "query c 6 None"]

    async def test_an_error_way_is_taken_with_the_kind_of_the_item(self, tmp_path: Path, stumbling: Any) -> None:
        async with serving(stumbling(on_error="failed"), tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("read invalid: read, item 2: ")

    async def test_what_failed_is_left_out_where_the_graph_says_so(self, tmp_path: Path, stumbling: Any) -> None:
        async with serving(stumbling(drop_errors=True), tmp_path / "data") as facade:
            assert await facade.say("go") == "[-6,6]"

    async def test_an_item_is_tried_as_often_as_its_node_says(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        stumble = {"type": "call", "tool": "steps/stumble", "args": {"times": 2}, "retry": {"times": 3, "wait": "1ms"}}
        nodes = {"try": each(stumble, over="['one']"), "say": SAY}
        async with serving(write(tmp_path / "c", model, steps(log), nodes), tmp_path / "data") as facade:
            assert await facade.say("go") == '["done"]'
        assert ran(log) == ["stumble"] * 3

    async def test_a_model_that_takes_too_long_fails_alone(self, tmp_path: Path, model: ScriptedModel) -> None:
        model.respond(lambda body: Answer("x", stall_after=0) if body["messages"][1]["content"] == "b" else "x")
        nodes = {"judge": each({**JUDGE, "timeout": "200ms", "retry": 1}, drop_errors=True), "say": SAY}
        async with serving(write(tmp_path / "c", model, {}, nodes, vars=TEXTS), tmp_path / "data") as facade:
            assert await facade.say("go") == '["x","x"]'

    async def test_a_model_that_fails_is_asked_again_alone(
        self, tmp_path: Path, model: ScriptedModel, brief_pauses: None
    ) -> None:
        model.script(Answer(status=503))
        model.respond(lambda body: body["messages"][1]["content"])
        nodes = {"judge": each(JUDGE, at_once=1), "say": SAY}
        async with serving(write(tmp_path / "c", model, {}, nodes, vars=TEXTS), tmp_path / "data") as facade:
            assert await facade.say("go") == '["a","b","c"]'
        assert len(model.requests) == 4


@pytest.mark.usefixtures("keys")
class TestLimits:
    @pytest.mark.parametrize(
        ("do", "fields", "limits", "why"),
        [
            (ECHO, {"at_most": 2}, {}, "there are 3 items, and at most 2 may be"),
            (ECHO, {}, {"width": 2}, "there are 3 items, and at most 2 may be"),
            (ECHO, {}, {"tool_calls": 2}, "it has 3 tasks, and of the turn's limit of 2 tool calls 2 are left"),
            (JUDGE, {}, {"rounds": 2}, "it has 3 tasks, and of the turn's limit of 2 rounds 2 are left"),
        ],
    )
    async def test_more_than_there_may_be_run_nothing(
        self,
        tmp_path: Path,
        model: ScriptedModel,
        tools: Tools,
        do: Any,
        fields: dict[str, Any],
        limits: dict[str, Any],
        why: str,
    ) -> None:
        nodes = {"read": each(do, on_error="failed", **fields), "say": SAY, "failed": FAILED}
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes, limits=limits)
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go") == f"read limit: node 'read': {why}"
        assert tools.ran() == model.requests == []

    async def test_attempts_of_items_never_exceed_the_tool_calls_of_a_turn(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        stumble = {"type": "call", "tool": "steps/stumble", "args": {"times": 99}, "retry": {"times": 9, "wait": "1ms"}}
        nodes = {"try": each(stumble, on_error="failed"), "say": SAY, "failed": FAILED}
        folder = write(tmp_path / "c", model, steps(log), nodes, limits={"tool_calls": 7})
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go")
        assert answer.startswith("try limit: try, item 1: steps/stumble was not run: the tool calls that this part")
        assert len(ran(log)) == 7

    async def test_what_items_used_counts_for_what_comes_after(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        echo = {"type": "call", "tool": "files/echo", "args": {"text": "last"}, "on_error": "failed", "next": "say"}
        nodes = {"read": each(ECHO, next="more"), "more": echo, "say": SAY, "failed": FAILED}
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes, limits={"tool_calls": 3})
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("more limit: ")
        assert sorted(tools.ran()) == ["echo a", "echo b", "echo c"]


@pytest.mark.usefixtures("keys")
class TestRights:
    async def test_the_rules_look_at_each_call(self, tmp_path: Path, model: ScriptedModel, tools: Tools) -> None:
        rule = {"tool": "files/echo", "when": 'args.text != "b"'}
        access = {**ACCESS, "roles": {**ACCESS["roles"], "developer": {"allow": [rule], "graphs": ["*"]}}}
        nodes = {"read": each(ECHO, drop_errors=True), "say": SAY}
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes, access=access)
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go", key=DEVELOPER) == '["a","c"]'
            assert await facade.say("go") == '["a","b","c"]'
        assert sorted(tools.ran()) == ["echo a", "echo a", "echo b", "echo c", "echo c"]

    async def test_a_rule_that_counts_calls_is_not_passed_by_making_them_at_the_same_time(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        rule = {"tool": "files/echo", "when": "turn.calls < 2"}
        access = {**ACCESS, "roles": {**ACCESS["roles"], "developer": {"allow": [rule], "graphs": ["*"]}}}
        nodes = {"read": each(ECHO, drop_errors=True), "say": SAY}
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes, access=access)
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go", key=DEVELOPER) == '["a","b"]'

    async def test_approvals_show_together_and_are_decided_one_by_one(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {"change": each(CHANGE, drop_errors=True), "say": SAY}
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes, access=ACCESS_WITH_ASK)
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("go")
            assert len(ids(asked)) == 2
            assert tools.ran() == ["write b"]
            first, second = ids(asked)
            further = await facade.say("go", said(asked), f"approve {first}")
            assert tools.ran() == ["write b"], further
            messages = ["go", said(asked), f"approve {first}", said(further)]
            answer = await facade.say(*messages, f"reject {second}")
            assert answer == '["written","written"]'
        assert len(tools.ran()) == 2

    async def test_what_was_approved_elsewhere_runs_once(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {"change": each(CHANGE), "say": SAY}
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes, access=ACCESS_WITH_ASK)
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("go")
            for approval in ids(asked):
                await decide(facade, approval, "approve")
            assert await facade.say("go", said(asked), "is it done?") == '["written","written","written"]'
        assert sorted(tools.ran()) == ["write a", "write b", "write c"]

    async def test_another_message_instead_of_decisions_runs_nothing_more(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {"change": each(CHANGE, on_error="failed"), "say": SAY, "failed": FAILED}
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes, access=ACCESS_WITH_ASK)
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("go")
            answer = await facade.say("go", said(asked), "forget it")
            assert answer.startswith("change rejected: change, item 1: files/write was not run")
        assert tools.ran() == ["write b"]


@pytest.mark.usefixtures("keys")
class TestBranches:
    async def test_branches_fill_the_fields_of_an_object(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(lambda body: '{"value": 7}')
        branches = {
            "count": {"type": "model", "input": "{{ message }}"},
            "text": {**ECHO, "args": {"text": "{{ message }}"}},
        }
        nodes = {"both": {"type": "parallel", "branches": branches, "into": "found", "next": "say"}, "say": SAY}
        variables = {"found": {"fields": {"text": "string", "count": "int"}}}
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes, vars=variables)
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("tea") == '{"text":"tea","count":7}'
        assert tools.ran() == ["echo tea"]

    async def test_a_branch_that_fails_leads_on_once_the_others_have_ended(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        branches = {
            "bad": {"type": "call", "tool": "files/fails"},
            "good": {"type": "call", "tool": "files/echo", "args": {"text": "x"}},
        }
        nodes = {
            "both": {"type": "parallel", "branches": branches, "on_error": "failed", "next": "say"},
            "say": {"type": "reply", "text": "done", "next": "end"},
            "failed": FAILED,
        }
        folder = write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes)
        async with serving(folder, tmp_path / "data") as facade:
            assert (await facade.say("go")).startswith("both tool: both, branch 'bad': files/fails failed")
        assert "echo x" in tools.ran()


@pytest.mark.usefixtures("keys")
async def test_the_first_calls_of_a_long_turn_are_claimed_at_the_same_time(
    tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    """What is long is written on a thread, so that other tasks come in between."""
    model.script("long " * 40_000)
    nodes = {"talk": {"type": "model", "prompt": "Talk.", "next": "read"}, "read": each(ECHO), "say": SAY}
    async with serving(write(tmp_path / "c", model, {"files": {"url": tools.url}}, nodes), tmp_path / "data") as facade:
        assert (await facade.say("go")).endswith('["a","b","c"]')
    assert sorted(tools.ran()) == ["echo a", "echo b", "echo c"]
