"""Call nodes, over real HTTP with a real MCP server: one tool call without a model, under the caller's rights."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, add_to_gateway, content, events, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from typer.testing import CliRunner

from server.cli.main import app

STEPS = Path(__file__).parents[1] / "support" / "mcp_steps.py"
SAY = {"type": "reply", "text": "{{ found }}", "next": "end"}
FAILED = {"type": "reply", "text": "{{ error.node }} {{ error.kind }}: {{ error.message }}", "next": "end"}
NOT_ALLOWED = "steps/names was not run: it is not allowed: role developer says nothing about it (access.yaml:8)."


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "steps.log"


def ran(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def write(tmp_path: Path, model: ScriptedModel, log: Path, nodes: Mapping[str, Any], **graph: Any) -> Path:
    """A folder with one graph, which begins with its first node, and the server `steps`."""
    servers = {"steps": {"command": sys.executable, "args": [str(STEPS), str(log)]}}
    written = {"vars": {"found": "any"}, "start": next(iter(nodes)), "nodes": dict(nodes), **graph}
    access = {**ACCESS, "roles": {**ACCESS["roles"], "developer": {"allow": ["steps/grow"]}}}
    return write_configs(tmp_path / "c", model.url, servers, access=access, graphs={"assistant": written})


def call(tool: str, **fields: Any) -> dict[str, Any]:
    return {"type": "call", "tool": tool, "into": "found", "next": "say", **fields}


@pytest.mark.usefixtures("keys")
class TestResults:
    """What goes into the variable."""

    @pytest.mark.parametrize(
        ("node", "type_", "answer"),
        [
            (call("steps/query", args={"sql": "S"}), "any", '{"rows":[["Germany",7],["France",5]],"limit":10}'),
            (call("steps/query", args={"sql": "S"}, pick="result.rows[0][1] + 1"), "int", "8"),
            (call("steps/query", args={"sql": "S"}, pick="size(result.rows)"), "number", "2"),
            (call("steps/names"), "string[]", '["ada","grace"]'),
            (call("steps/names", pick='result.join(" and ")'), "string", "ada and grace"),
            (call("steps/text"), "any", '{"rows":[1,2]}'),
            (call("steps/text"), "string", '{"rows": [1, 2]}'),
            (call("steps/text", pick="result.rows"), "int[]", "[1,2]"),
            (call("steps/text"), {"fields": {"rows": "int[]"}}, '{"rows":[1,2]}'),
            (call("steps/stumble", args={"times": 0}), "any", "done"),
            (call("steps/stumble", args={"times": 0}), ["done", "failed"], "done"),
            (call("steps/grow", pick="result.count"), "int", "1"),
        ],
    )
    async def test_the_result_goes_into_the_variable(
        self, tmp_path: Path, model: ScriptedModel, log: Path, node: dict[str, Any], type_: Any, answer: str
    ) -> None:
        folder = write(tmp_path, model, log, {"look": node, "say": SAY}, vars={"found": type_})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go") == answer
        assert model.requests == []

    @pytest.mark.parametrize(
        ("node", "type_", "problem"),
        [
            (
                call("steps/query", args={"sql": "S"}),
                "int",
                "what would go into 'found' is a mapping; expected a whole",
            ),
            (call("steps/grow", pick="result.nothing"), "any", "result.nothing cannot be evaluated"),
            (call("steps/stumble", args={"times": 0}), "int", "'found' is a text; expected a whole number"),
        ],
    )
    async def test_a_result_that_does_not_fit_ends_the_turn_in_words(
        self, tmp_path: Path, model: ScriptedModel, log: Path, node: dict[str, Any], type_: Any, problem: str
    ) -> None:
        folder = write(tmp_path, model, log, {"look": node, "say": SAY}, vars={"found": type_})
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go")
        assert answer.startswith("The graph stopped here: graphs/assistant.yaml, node 'look', ")
        assert problem in answer


@pytest.mark.usefixtures("keys")
async def test_arguments_are_filled_in_and_keep_their_types(tmp_path: Path, model: ScriptedModel, log: Path) -> None:
    nodes = {
        "take": {"type": "set", "set": {"n": "3", "on": "true"}, "next": "look"},
        "look": call(
            "steps/query",
            args={"sql": "about {{ message }} by {{ caller.user }}", "limit": "{{ n }}", "flags": ["{{ on }}", False]},
            pick="result.limit",
        ),
        "whole": call("steps/query", args="{{ {'sql': 'whole', 'limit': n + 1} }}", next="say"),
        "say": SAY,
    }
    nodes["look"]["next"] = "whole"
    folder = write(tmp_path, model, log, nodes, vars={"n": "int", "on": "bool", "found": "any"})
    async with serving(folder, tmp_path / "data") as facade:
        answer = await facade.say("tea")
    assert answer.endswith('"limit":4}')
    assert ran(log) == ["query about tea by admin 3 [True, False]", "query whole 4 None"]


@pytest.mark.usefixtures("keys")
async def test_an_argument_that_json_cannot_hold_is_invalid(tmp_path: Path, model: ScriptedModel, log: Path) -> None:
    look = call("steps/query", args={"sql": "{{ 1.0 / 0.0 }}"}, on_error="failed")
    folder = write(tmp_path, model, log, {"look": look, "say": SAY, "failed": FAILED})
    async with serving(folder, tmp_path / "data") as facade:
        answer = await facade.say("go")
    assert answer.startswith("look invalid: ")
    assert answer.endswith("1.0 / 0.0 cannot be evaluated: it holds a number that is infinite or undefined")


@pytest.mark.usefixtures("keys")
async def test_no_model_sees_the_call_and_the_next_turn_does_not_either(
    tmp_path: Path, model: ScriptedModel, log: Path
) -> None:
    nodes = {
        "look": call("steps/grow", pick="result.count", next="talk"),
        "talk": {"type": "model", "prompt": "It is {{ found }}.", "next": "end"},
    }
    folder = write(tmp_path, model, log, nodes)
    model.script("One.", "Two.")
    async with serving(folder, tmp_path / "data") as facade:
        first = await facade.say("a")
        assert (first, await facade.say("a", said(first), "b")) == ("One.", "Two.")
    assert [[message["role"] for message in request.messages] for request in model.requests] == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
    ]
    assert [request.messages[0]["content"] for request in model.requests] == ["It is 1.", "It is 2."]


@pytest.mark.usefixtures("keys")
async def test_no_model_sees_the_call_either_where_a_page_shows_it_and_sends_it_back(
    tmp_path: Path, model: ScriptedModel, log: Path
) -> None:
    """Open WebUI makes a call of each item that it was shown."""
    nodes = {"look": call("steps/grow", next="talk"), "talk": {"type": "model", "next": "end"}}
    folder = write(tmp_path, model, log, nodes)
    model.script("One.", "Two.")
    page = {"x-openwebui-chat-id": "chat-1"}
    async with serving(folder, tmp_path / "data") as facade:
        raw = await facade.stream("a", headers=page)
        [item, output] = [event["item"] for event in events(raw) if event.get("type") == "response.output_item.added"]
        assert (item["name"], output["type"]) == ("steps/grow", "function_call_output")
        function = {"name": item["name"], "arguments": item["arguments"]}
        made = {"id": item["call_id"], "type": "function", "function": function}
        sent = [
            {"role": "assistant", "content": "", "tool_calls": [made]},
            {"role": "tool", "tool_call_id": item["call_id"], "content": "1"},
            said(content(raw)),
        ]
        assert content(await facade.stream("a", *sent, "b", headers=page)) == "Two."
    assert [message["role"] for message in model.requests[1].messages] == ["user", "assistant", "user"]


@pytest.mark.usefixtures("keys")
async def test_the_console_shows_the_call_and_the_audit_names_its_node(
    tmp_path: Path, model: ScriptedModel, log: Path
) -> None:
    nodes = {"look": call("steps/query", args={"sql": "S"}, next="more"), "more": call("steps/grow"), "say": SAY}
    folder = write(tmp_path, model, log, nodes)
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("go")
        headers = {"authorization": f"Bearer {ADMIN}"}
        shown = (await facade.http.get(f"{facade.url.removesuffix('/v1')}/console/api/turns", headers=headers)).json()
    [turn] = shown["turns"]
    assert [(one["tool"], one["verdict"], one["outcome"]) for one in turn["calls"]] == [
        ("steps/query", "allow", "done"),
        ("steps/grow", "allow", "done"),
    ]
    assert '"sql": "S"' in turn["calls"][0]["arguments"]


@pytest.mark.usefixtures("keys")
class TestRights:
    """Nothing runs that the caller may not run."""

    async def test_a_rule_refuses_the_call_and_the_graph_may_go_on(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = {"look": call("steps/names", on_error="failed"), "say": SAY, "failed": FAILED}
        folder = write(tmp_path, model, log, nodes)
        async with serving(folder, tmp_path / "data") as facade:
            refused = await facade.say("go", key=DEVELOPER)
            assert await facade.say("go") == '["ada","grace"]'
        assert refused == f"look denied: {NOT_ALLOWED}"

    async def test_a_refusal_without_a_way_ends_the_turn_in_words(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        folder = write(tmp_path, model, log, {"look": call("steps/names"), "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            refused = await facade.say("go", key=DEVELOPER)
        assert refused == f"The graph stopped here: {NOT_ALLOWED}"

    async def test_arguments_that_the_tool_does_not_take_are_invalid(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = {
            "look": call("steps/query", args={"sql": "S", "lmit": 3}, on_error="failed"),
            "say": SAY,
            "failed": FAILED,
        }
        folder = add_to_gateway(write(tmp_path, model, log, nodes), tools={"strict": True})
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go")
        assert answer.startswith("look invalid: steps/query was not run: ")
        assert ran(log) == []

    @pytest.mark.parametrize(
        ("decision", "answer", "calls"),
        [
            ("approve", "written", ["write x"]),
            ("reject", "change rejected: files/write was not run: rejected by the user.", []),
        ],
    )
    async def test_a_call_waits_for_a_person_with_the_arguments_that_it_was_asked_with(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools, decision: str, answer: str, calls: list[str]
    ) -> None:
        nodes = {
            "look": call("files/echo", args={"text": "{{ string(now) }}"}, into="at", next="change"),
            "change": call("files/write", args={"text": "{{ message }}"}, on_error="failed"),
            "say": SAY,
            "failed": FAILED,
        }
        graph = {"vars": {"found": "string", "at": "string"}, "start": "look", "nodes": nodes}
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("x")
            [approval] = re.findall(r"`approve ([a-z2-7]{8})`", asked)
            assert "files/write" in asked
            found = await facade.say("x", said(asked), f"{decision} {approval}")
        assert found.startswith(answer)
        assert [line for line in tools.ran() if line.startswith("write")] == calls
        assert len(tools.ran()) == 1 + len(calls)

    async def test_the_request_that_waits_asked_again_asks_the_same_and_goes_on_once(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        """As a client does that lost the answer: an approval that is still to be given is not taken for given."""
        nodes = {
            "first": call("files/order", args={"item": "tea"}, next="change"),
            "change": call("files/write", args={"text": "x"}, into="found"),
            "say": SAY,
        }
        graph = {"vars": {"found": "string"}, "start": "first", "nodes": nodes}
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
        again = {"x-stainless-retry-count": "1"}
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("a")
            repeated = (await facade.ask("a", headers=again)).json()["choices"][0]["message"]["content"]
            assert repeated == asked
            [approval] = re.findall(r"`approve ([a-z2-7]{8})`", asked)
            assert await facade.say("a", said(asked), f"approve {approval}") == "written"
        assert tools.ran() == ["order tea", "write x"]

    async def test_another_message_instead_of_a_decision_is_a_rejection_where_the_graph_has_a_way_for_it(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {
            "change": call("files/write", args={"text": "x"}, on_error="failed"),
            "say": SAY,
            "failed": {"type": "set", "set": {"found": "error.kind"}, "next": "talk"},
            "talk": {"type": "model", "prompt": "It was {{ found }}.", "next": "end"},
        }
        graph = {"vars": {"found": "string"}, "start": "change", "nodes": nodes}
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
        model.script("Then not.")
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("a")
            assert await facade.say("a", said(asked), "what is this?") == "Then not."
        assert tools.ran() == []
        assert model.requests[0].messages[0]["content"] == "It was rejected."
        assert model.requests[0].messages[-1]["content"] == "what is this?"

    async def test_another_message_instead_of_a_decision_begins_a_new_turn_where_the_graph_has_none(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        nodes = {
            "sort": {"type": "model", "into": "found", "next": {"change": "change", "talk": "talk"}},
            "change": {"type": "call", "tool": "files/write", "args": {"text": "x"}, "next": "talk"},
            "talk": {"type": "model", "next": "end"},
        }
        graph = {"vars": {"found": ["change", "talk"]}, "start": "sort", "nodes": nodes}
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
        model.script("change", "talk", "Hello.")
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("a")
            [approval] = re.findall(r"`approve ([a-z2-7]{8})`", asked)
            assert await facade.say("a", said(asked), "hello") == "Hello."
            late = await facade.say("a", said(asked), "hello", said("Hello."), f"approve {approval}")
        assert "Hello." not in late
        assert tools.ran() == []

    async def test_the_limit_of_calls_holds_for_calls_of_the_graph(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        nodes = {
            "look": call("steps/grow", on_error="failed", next=[{"when": "visits < 9", "to": "look"}, {"to": "say"}]),
            "say": SAY,
            "failed": FAILED,
        }
        folder = write(tmp_path, model, log, nodes, limits={"tool_calls": 3})
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go")
        assert answer == "look limit: steps/grow was not run: the turn's limit of 3 tool calls."
        assert len(ran(log)) == 3

    async def test_what_failed_counts_too(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        nodes = {
            "look": call("steps/break_something", args={"what": "x"}, on_error="again"),
            "again": {
                "type": "set",
                "set": {"found": "error.kind"},
                "next": [{"when": 'error.kind == "tool" && visits < 9', "to": "look"}, {"to": "say"}],
            },
            "say": SAY,
        }
        folder = write(tmp_path, model, log, nodes, limits={"tool_calls": 3})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go") == "limit"
        assert len(ran(log)) == 3


@pytest.mark.usefixtures("keys")
class TestAttempts:
    """What is called again, and what is not."""

    async def test_a_tool_that_only_reads_is_called_again(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        node = call("steps/stumble", args={"times": 2}, retry={"times": 3, "wait": "10ms"})
        folder = write(tmp_path, model, log, {"look": node, "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go") == "done"
        assert ran(log) == ["stumble"] * 3

    async def test_a_tool_that_changes_something_is_not(self, tmp_path: Path, model: ScriptedModel, log: Path) -> None:
        node = call("steps/break_something", args={"what": "it"}, retry={"times": 3, "wait": "10ms"}, on_error="failed")
        folder = write(tmp_path, model, log, {"look": node, "say": SAY, "failed": FAILED})
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go")
        assert answer.startswith("look tool: steps/break_something failed: ")
        assert "it is broken" in answer
        assert ran(log) == ["break it"]

    async def test_it_is_polled_until_a_condition_is_true(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        retry = {"times": 9, "wait": "5ms", "until": "result.count >= 4"}
        folder = write(tmp_path, model, log, {"look": call("steps/grow", retry=retry, pick="result.count"), "say": SAY})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("go") == "4"

    async def test_a_condition_that_never_is_true_is_a_timeout(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        retry = {"times": 3, "wait": "5ms", "until": "result.count > 9"}
        nodes = {"look": call("steps/grow", retry=retry, on_error="failed"), "say": SAY, "failed": FAILED}
        folder = write(tmp_path, model, log, nodes)
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go")
        assert answer == "look timeout: steps/grow was called 3 times, and result.count > 9 was never true"
        assert len(ran(log)) == 3

    async def test_a_call_that_takes_too_long_is_a_timeout(
        self, tmp_path: Path, model: ScriptedModel, log: Path
    ) -> None:
        node = call("steps/sleep", args={"seconds": 30}, timeout="50ms", retry={"times": 2, "wait": "5ms"})
        folder = write(tmp_path, model, log, {"look": {**node, "on_error": "failed"}, "say": SAY, "failed": FAILED})
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go")
        assert answer.startswith("look timeout: steps/sleep took longer than 0.05 seconds")
        assert ran(log) == ["sleep"] * 2


async def test_a_turn_that_goes_on_runs_no_call_of_the_graph_again(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    nodes = {
        "change": {"type": "call", "tool": "files/order", "args": {"item": "tea"}, "into": "found", "next": "talk"},
        "talk": {"type": "model", "prompt": "{{ found }}", "next": "end"},
    }
    graph = {"vars": {"found": "string"}, "start": "change", "nodes": nodes}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    model.script(Answer("Too slow.", stall_after=0), "Ordered.")
    request: dict[str, Any] = {
        "headers": {"authorization": f"Bearer {ADMIN}"},
        "json": {"model": "assistant", "messages": [{"role": "user", "content": "go"}]},
    }
    async with serving(folder, tmp_path / "data") as facade:
        with pytest.raises(httpx.ReadTimeout):
            await facade.http.post(f"{facade.url}/chat/completions", **request, timeout=1.5)
        assert await model.requests[0].ended() == "cut"
        done = (await facade.http.post(f"{facade.url}/chat/completions", **request)).json()
    assert done["choices"][0]["message"]["content"] == "Ordered."
    assert tools.ran() == ["order tea"]
    assert [request.messages[0]["content"] for request in model.requests] == ["ordered tea"] * 2


async def test_a_turn_that_begins_again_under_other_rules_runs_no_call_of_the_graph_again(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    """Its checkpoint is of no use then; the journal is."""
    nodes = {
        "first": {"type": "call", "tool": "files/order", "args": {"item": "tea"}, "into": "found", "next": "talk"},
        "talk": {"type": "model", "into": "drink", "next": "second"},
        "second": {
            "type": "call",
            "tool": "files/order",
            "args": {"item": "{{ drink }}"},
            "into": "found",
            "on_error": "failed",
            "next": "wait",
        },
        "failed": {"type": "set", "set": {"found": "error.message"}, "next": "wait"},
        "wait": {"type": "model", "prompt": "{{ found }}", "next": "end"},
    }
    graph = {"vars": {"found": "string", "drink": "string"}, "start": "first", "nodes": nodes}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    model.script("milk", Answer("Too slow.", stall_after=0), "sugar", "Done.")
    request: dict[str, Any] = {
        "headers": {"authorization": f"Bearer {ADMIN}"},
        "json": {"model": "assistant", "messages": [{"role": "user", "content": "go"}]},
    }
    async with serving(folder, tmp_path / "data") as facade:
        with pytest.raises(httpx.ReadTimeout):
            await facade.http.post(f"{facade.url}/chat/completions", **request, timeout=2)
        assert await model.requests[1].ended() == "cut"
    changed = {**ACCESS, "roles": {**ACCESS["roles"], "guest": {"allow": ["files/echo"]}}}
    write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=changed, graphs={"assistant": graph})
    async with serving(folder, tmp_path / "data") as facade:
        done = (await facade.http.post(f"{facade.url}/chat/completions", **request)).json()
    assert done["choices"][0]["message"]["content"] == "Done."
    assert tools.ran() == ["order tea", "order milk"]
    assert "made this call with other arguments" in str(model.requests[3].messages[0]["content"])


async def test_a_call_between_a_models_calls_and_their_verdicts_leaves_these_alone(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    nodes = {
        "ask": {
            "type": "model",
            "tools": ["files/*"],
            "next": [{"when": "size(tool_calls) > 0", "to": "check"}, {"to": "end"}],
        },
        "check": {"type": "permission", "next": "note"},
        "note": {"type": "call", "tool": "files/echo", "args": {"text": "noted"}, "into": "found", "next": "act"},
        "act": {"type": "tools", "next": "ask"},
    }
    graph = {"vars": {"found": "string"}, "start": "ask", "nodes": nodes}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    model.script(Answer(calls=[Call("files__echo", {"text": "mine"})]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
    assert tools.ran() == ["echo noted", "echo mine"]
    assert model.requests[1].tool_results == ["mine"]


def test_the_graph_is_drawn_with_the_tool(tmp_path: Path, model: ScriptedModel, log: Path) -> None:
    folder = write(tmp_path, model, log, {"look": call("steps/grow"), "say": SAY})
    drawn = CliRunner().invoke(app, ["draw", "--configs", str(folder)])
    assert 'node_look[["look<br/>call<br/>calls steps/grow<br/>into found"]]' in drawn.stdout, drawn.output


def test_check_says_which_role_can_never_make_a_call(tmp_path: Path, model: ScriptedModel, log: Path) -> None:
    folder = write(tmp_path, model, log, {"look": call("steps/names"), "say": SAY})
    checked = CliRunner().invoke(app, ["check", "--configs", str(folder)])
    assert checked.exit_code == 0, checked.output
    assert (
        ": note: developer may use this graph, and can never call steps/names:"
        " role developer says nothing about it (access.yaml:8)" in checked.output
    )


def test_check_holds_the_arguments_against_the_tools_that_there_are(
    tmp_path: Path, model: ScriptedModel, log: Path
) -> None:
    nodes = {
        "look": call("steps/query", args={"slq": "S"}, next="more"),
        "more": call("steps/quary", args={"sql": "S"}),
        "say": SAY,
    }
    folder = write(tmp_path, model, log, nodes)
    checked = CliRunner().invoke(app, ["check", "--connect", "--configs", str(folder)])
    assert checked.exit_code == 1
    assert "steps/query takes no argument 'slq'; there is sql, limit, flags. Did you mean 'sql'?" in checked.output
    assert "steps/query must be given 'sql'; write it under 'args'" in checked.output
    assert "no tool of any server matches 'steps/quary'. Did you mean 'steps/query'?" in checked.output
