"""Rules that look at the turn, the clock, the graph and what tools say of themselves, in real turns over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from support.facade import ACCESS, ADMIN, ASSISTANT, Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.expressions import PreparedValues
from graphs.policy.caller import Caller, CallFacts
from graphs.policy.rules import Policy, Verdict


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


@asynccontextmanager
async def gate(
    folder: Path, model: ScriptedModel, tools: Tools, graphs: dict[str, Any] | None = None, /, **rules: Any
) -> AsyncGenerator[Facade]:
    """The facade with these rules for the role admin; `trusted` says whether the tools' server is."""
    server = {"url": tools.url, "trusted": rules.pop("trusted", False)}
    access = {**ACCESS, "roles": {**ACCESS["roles"], "admin": rules}}
    configs = write_configs(folder / "configs", model.url, {"files": server}, access=access, graphs=graphs)
    async with serving(configs, folder / "data") as facade:
        yield facade


async def pending(facade: Facade) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {ADMIN}"}
    return (await facade.http.get(f"{facade.url}/approvals?status=pending", headers=headers)).json()["data"]


async def approved(facade: Facade, id: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {ADMIN}"}
    return await facade.http.post(f"{facade.url}/approvals/{id}", json={"decision": "approve"}, headers=headers)


async def test_at_most_three_calls_are_three_however_many_are_asked_for_at_once(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    model.script(
        Answer(calls=[echo(str(n)) for n in range(10)]), Answer(calls=[echo("more"), Call("files__add")]), "Done."
    )
    allow = [{"tool": "files/echo", "when": "turn.calls < 3", "reason": "Three are enough."}]
    async with gate(tmp_path, model, tools, allow=allow) as facade:
        assert await facade.say("go") == "Done."
        assert sorted(tools.ran()) == ["echo 0", "echo 1", "echo 2"]
        results = model.requests[1].tool_results
        assert results[:3] == ["0", "1", "2"]
        refused = (
            "Three are enough; rule: role admin, allow 'files/echo' (access.yaml:4) holds only when turn.calls < 3."
        )
        assert all(refused in result for result in results[3:])
        assert "holds only when turn.calls < 3" in model.requests[2].tool_results[10]
        model.script(Answer(calls=[echo("a new turn")]), "Done.")
        assert await facade.say("go", said("Done."), "again") == "Done."
    assert tools.ran()[3:] == ["echo a new turn"]


async def test_refused_calls_do_not_count_and_those_that_wait_do(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    model.script(Answer(calls=[Call("files__add"), write("x"), echo("a"), echo("b")]), "Done.")
    allow = [{"tool": "files/echo", "when": "turn.calls < 2"}]
    async with gate(tmp_path, model, tools, allow=allow, ask=["files/write"]) as facade:
        asked = await facade.say("go")
        (entry,) = await pending(facade)
        assert (await approved(facade, entry["id"])).status_code == 200
        assert await facade.say("go", said(asked), "and?") == "Done."
    assert sorted(tools.ran()) == ["echo a", "write x"]


async def test_rounds_are_counted(tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None) -> None:
    model.script(Answer(calls=[echo("a"), echo("b")]), Answer(calls=[echo("c")]), Answer(calls=[echo("d")]), "Done.")
    async with gate(tmp_path, model, tools, allow=[{"tool": "*", "when": "turn.rounds <= 2"}]) as facade:
        assert await facade.say("go") == "Done."
    assert sorted(tools.ran()) == ["echo a", "echo b", "echo c"]


async def test_rules_look_at_the_clock_of_a_place(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    now = datetime.now(UTC)
    hour = now.astimezone(ZoneInfo("Europe/Berlin")).hour
    soon = (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    hours = f"[{hour}, {(hour + 1) % 24}]"  # the next one too: it may strike while this runs
    in_berlin, in_tokyo = (f"now.getHours('{zone}') in {hours}" for zone in ("Europe/Berlin", "Asia/Tokyo"))
    # Only what is asked for under the right hour, or before the moment, runs.
    allow = [
        {"tool": "files/echo", "when": f"{in_berlin} && args.text == 'berlin'"},
        {"tool": "files/echo", "when": f"{in_tokyo} && args.text == 'tokyo'"},
        {"tool": "files/echo", "when": f"now < timestamp('{soon}') && args.text == 'before'"},
        {"tool": "files/echo", "when": f"now - duration('1h') > timestamp('{soon}') && args.text == 'after'"},
        {"tool": "files/echo", "when": "now.getFullYear('Europe/Berlin') > 2024 && args.text == 'year'"},
    ]
    model.script(Answer(calls=[echo(text) for text in ("berlin", "tokyo", "before", "after", "year")]), "Done.")
    async with gate(tmp_path, model, tools, allow=allow) as facade:
        assert await facade.say("what time is it?") == "Done."
    assert sorted(tools.ran()) == ["echo before", "echo berlin", "echo year"]


async def test_a_call_is_decided_again_before_it_runs_where_time_may_have_changed_the_answer(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided: list[str] = []
    decide = Policy.decide

    def count(self: Policy, caller: Caller, facts: CallFacts, values: PreparedValues) -> Verdict:
        decided.append(str(facts.tool))
        return decide(self, caller, facts, values)

    monkeypatch.setattr(Policy, "decide", count)
    calls = [echo("a"), echo("b"), write("c"), Call("files__add", {"a": 1, "b": 2})]
    model.script(Answer(calls=calls), Answer(calls=[echo("a")]), "Done.")
    allow = [
        {"tool": "files/echo", "when": 'args.text != "x" && turn.calls < 9'},
        {"tool": "files/write", "when": 'now > timestamp("2020-01-01T00:00:00Z")'},
        {"tool": "files/add", "when": 'public_url("http://8.8.8.8/") && args.a == 1'},
    ]
    async with gate(tmp_path, model, tools, allow=allow) as facade:
        assert await facade.say("go") == "Done."
    assert sorted(tools.ran()) == ["add", "echo a", "echo a", "echo b", "write c"]
    # A question of a host's name is asked once more by itself each time, after its answer has come.
    assert Counter(decided) == {"files/echo": 3, "files/write": 2, "files/add": 4}


async def test_rules_look_at_the_graph_and_its_node(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    helper = {**ASSISTANT, "start": "helper", "nodes": {**ASSISTANT["nodes"], "helper": ASSISTANT["nodes"]["agent"]}}
    helper["nodes"] = {**helper["nodes"], "act": {"type": "tools", "next": "helper"}}
    del helper["nodes"]["agent"]
    graphs = {"assistant": ASSISTANT, "second": ASSISTANT, "third": helper}
    allow = [
        {"tool": "files/echo", "when": 'graph != "second" && node == "agent" && args.text == "of the first"'},
        {"tool": "files/echo", "when": 'graph == "third" && node == "helper" && args.text == "of the third"'},
    ]
    async with gate(tmp_path, model, tools, graphs, allow=allow) as facade:
        for name in graphs:
            model.script(Answer(calls=[echo("of the first"), echo("of the third")]), "Done.")
            assert await facade.say(name, model=name) == "Done."
    assert tools.ran() == ["echo of the first", "echo of the third"]


HINTED = {
    "allow": [{"tool": "files/*", "when": "tool.read_only"}],
    "ask": [{"tool": "*", "when": "tool.destructive"}],
}


async def test_what_tools_of_a_trusted_server_say_of_themselves_decides(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    model.script(Answer(calls=[echo("a"), write("b")]), "Done.")
    async with gate(tmp_path, model, tools, **HINTED, trusted=True) as facade:
        await facade.say("go")
        # `write` says nothing of itself: by the protocol it may destroy what it changes.
        assert [entry["tool"] for entry in await pending(facade)] == ["files/write"]
        # Calls of one round run together, once the last of them is decided.
        assert tools.ran() == []
        assert await facade.say(f"approve {(await pending(facade))[0]['id']}") == "Done."
    assert sorted(tools.ran()) == ["echo a", "write b"]


async def test_what_tools_of_another_server_say_counts_for_nothing(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    """A second server is trusted, so that the rule as such may stand."""
    access = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": [{"tool": "*", "when": "tool.read_only"}]}}}
    other = {"url": "http://127.0.0.1:1/mcp", "trusted": True}
    servers = {"files": {"url": tools.url}, "other": other}
    configs = write_configs(tmp_path / "configs", model.url, servers, access=access)
    model.script(Answer(calls=[echo("a")]), "Done.")
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
    assert tools.ran() == []
    (result,) = model.requests[1].tool_results
    assert "server files is not trusted to say what tool.read_only is; write 'trusted: true' under it" in result
