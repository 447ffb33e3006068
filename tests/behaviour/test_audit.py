"""The audit as people use it: every decision and call of a real conversation is there, once, and holds no secret."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import (
    ACCESS,
    ADMIN,
    ASSISTANT,
    DEVELOPER,
    KEYS,
    Facade,
    add_to_gateway,
    said,
    serving,
    write_configs,
)
from support.gateway import Gateway, gateway
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from typer.testing import CliRunner, Result

from server.cli.main import app


def audit(data: Path, *words: str, stdin: str = "") -> Result:
    """`interlock audit …` on that data folder, in this process: a new one takes seconds to load."""
    env = {"INTERLOCK_DATA": str(data), "INTERLOCK_STORAGE": str(data / "interlock.db")}
    return CliRunner().invoke(app, ["audit", *words], env=env, input=stdin)


def records(data: Path, *words: str) -> list[dict[str, Any]]:
    """All that fit, as `--format json` prints them."""
    result = audit(data, "show", "--format", "json", "--limit", "0", *words)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def brief(record: Mapping[str, Any]) -> tuple[str, str, str | None, str]:
    """Kind, verdict, outcome and who."""
    return record["kind"], record["verdict"] if record["kind"] != "call" else "", record["outcome"], record["user"]


def whole(data: Path) -> str:
    """What `verify` says, once it says that all is well."""
    result = audit(data, "verify")
    assert result.exit_code == 0, result.output
    return result.stdout


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


async def decide(facade: Facade, decision: str, key: str = ADMIN, note: str = "") -> str:
    """Decides what waits; its id."""
    headers = {"authorization": f"Bearer {key}"}
    found = await facade.http.get(f"{facade.url}/approvals?status=pending", headers=headers)
    (entry,) = found.json()["data"]
    body = {"decision": decision, "note": note}
    answer = await facade.http.post(f"{facade.url}/approvals/{entry['id']}", json=body, headers=headers)
    assert answer.status_code == 200
    return entry["id"]


async def test_an_allowed_call_is_decided_and_called_and_says_everything(
    facade: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "hello"})]), "Done.")
    await facade.say("say hello", key=DEVELOPER)
    decision, call = await asyncio.to_thread(records, tmp_path / "data")
    snapshot = (await facade.ready()).json()["snapshot"]
    same = {
        "user": "developer",
        "owner": "key:developer",
        "key": "developer",
        "role": "developer",
        "graph": "assistant",
        "snapshot": snapshot,
        "node": "agent",
        "tool": "files/echo",
        "args": {"text": "hello"},
        "verdict": "allow",
        "approval": None,
        "note": None,
    }
    assert {name: decision[name] for name in same} == same
    assert {name: call[name] for name in same} == same
    assert decision["rule"].startswith("role developer, allow 'files/echo' (access.yaml:")
    assert (decision["seq"], decision["kind"], decision["outcome"], decision["seconds"]) == (1, "decision", None, None)
    assert (call["seq"], call["kind"], call["outcome"]) == (2, "call", "ok")
    assert 0 < call["seconds"] < 60
    assert decision["call_id"] == call["call_id"] != ""
    assert decision["turn"] == call["turn"] != ""
    assert len(decision["args_digest"]) == 64
    assert call["previous"] == decision["hash"]
    assert "the store: 2 records, 1 to 2, whole\nhead 2:" + call["hash"] in await asyncio.to_thread(
        whole, tmp_path / "data"
    )


async def test_a_turn_without_tools_writes_nothing(facade: Facade, model: ScriptedModel, tmp_path: Path) -> None:
    model.script("Hello.")
    await facade.say("hello")
    assert await asyncio.to_thread(records, tmp_path / "data") == []
    assert "the store: no records, whole" in await asyncio.to_thread(whole, tmp_path / "data")


async def test_whatever_is_refused_is_recorded_with_the_reason(
    facade: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    calls = [
        Call("files__echo", {"text": "secret"}),
        Call("files__write", {"text": "x"}),
        Call("files__invented", {"text": "x"}),
        Call("files__echo", '{"text": "unfinished'),
        Call("files__echo", {"text": "allowed"}),
    ]
    model.script(Answer(calls=calls), "Done.")
    await facade.say("try all", key=DEVELOPER)
    assert tools.ran() == ["echo allowed"]
    found = await asyncio.to_thread(records, tmp_path / "data")
    refused = {
        record["tool"] + str(record["args"]["text"]): record["rule"] for record in found if record["verdict"] == "deny"
    }
    assert len(refused) == 4
    assert 'holds only when args.text != "secret"' in refused["files/echosecret"]
    assert "role developer says nothing about it" in refused["files/writex"]
    assert "there is no tool 'files__invented'" in refused["files__inventedx"]
    assert "not a JSON object" in refused['files__echo{"text": "unfinished']
    assert [brief(record) for record in found if record["verdict"] != "deny"] == [
        ("decision", "allow", None, "developer"),
        ("call", "", "ok", "developer"),
    ]


async def test_a_graph_that_never_comes_to_its_tools_node_still_records_what_it_refused(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    ways = [{"when": 'tool_calls.all(call, call.verdict == "allow")', "to": "act"}, {"to": "end"}]
    nodes = {**ASSISTANT["nodes"], "check": {"type": "permission", "next": ways}}
    graphs = {"assistant": {**ASSISTANT, "nodes": nodes}}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs=graphs)
    model.script(Answer(calls=[write("x")]))
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("write x", key=DEVELOPER)
    (record,) = await asyncio.to_thread(records, tmp_path / "data")
    assert (record["verdict"], record["tool"]) == ("deny", "files/write")


async def test_what_was_asked_and_approved_names_who_decided_and_the_approval(
    facade: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    model.script(Answer(calls=[write("x"), Call("files__echo", {"text": "y"})]), "Written.")
    asked = await facade.say("write x")
    id = await decide(facade, "approve", note="go ahead")
    assert await facade.say("write x", said(asked), "so?") == "Written."
    found = await asyncio.to_thread(records, tmp_path / "data", "--tool", "files/write")
    assert [brief(record) for record in found] == [
        ("decision", "ask", None, "admin"),
        ("approval", "approved", None, "admin"),
        ("decision", "allow", None, "admin"),
        ("call", "", "ok", "admin"),
    ]
    assert [record["approval"] for record in found] == [id] * 4
    assert len({record["call_id"] for record in found}) == 1
    assert [record["note"] for record in found] == [None, "go ahead", None, None]
    assert all(record["args"] == {"text": "x"} for record in found)
    assert len(await asyncio.to_thread(records, tmp_path / "data", "--tool", "files/echo")) == 2


async def test_the_one_who_decides_for_another_is_the_one_who_is_named(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    roles = {
        "admin": {"allow": ["*"]},
        "developer": {"ask": [{"tool": "files/write", "approver": "admin", "expires": "15m"}]},
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access={**ACCESS, "roles": roles})
    model.script(Answer(calls=[write("x")]), "As you wish.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x", key=DEVELOPER)
        await decide(facade, "reject", note="not today")
        await facade.say("write x", said(asked), "and?", key=DEVELOPER)
    found = await asyncio.to_thread(records, tmp_path / "data")
    assert [(*brief(record), record["key"], record["role"], record["owner"]) for record in found] == [
        ("decision", "ask", None, "developer", "developer", "developer", "key:developer"),
        ("approval", "rejected", None, "admin", "admin", "admin", "key:developer"),
        ("decision", "deny", None, "developer", "developer", "developer", "key:developer"),
    ]
    assert found[1]["note"] == "not today"
    assert found[2]["rule"].startswith("rejected by admin: not today")
    assert tools.ran() == []


@pytest.mark.parametrize("how", ["superseded", "expired", "expired while a stream waits"])
async def test_what_nobody_decides_is_recorded_too(
    how: str, tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    expires = "15m" if how == "superseded" else "1s"
    roles = {**ACCESS["roles"], "admin": {"allow": ["*"], "ask": [{"tool": "files/write", "expires": expires}]}}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access={**ACCESS, "roles": roles})
    model.script(Answer(calls=[write("x")]), "Then not.")
    async with serving(folder, tmp_path / "data") as facade:
        if how == "expired while a stream waits":
            await facade.stream("write x", headers={"x-interlock-approvals": "wait"})
        else:
            asked = await facade.say("write x")
            if how == "expired":
                await asyncio.sleep(1.1)
            assert await facade.say("write x", said(asked), "never mind") == "Then not."
    status = how.split()[0]
    found = await asyncio.to_thread(records, tmp_path / "data")
    assert [brief(record) for record in found] == [
        ("decision", "ask", None, "admin"),
        ("approval", status, None, "admin"),
        ("decision", "deny", None, "admin"),
    ]
    assert found[1]["key"] == "admin"
    assert ("expired" in found[2]["rule"]) is (status == "expired")
    assert tools.ran() == []


async def test_calls_that_fail_are_stopped_or_have_no_server_say_so(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    servers = {"files": {"url": tools.url}, "gone": {"command": str(tmp_path / "no-such-program")}}
    folder = add_to_gateway(write_configs(tmp_path / "c", model.url, servers), leave_grace="1ms")
    async with serving(folder, tmp_path / "data") as facade:
        model.script(Answer(calls=[Call("files__fails", {})]), "Failed.")
        await facade.say("fail")
        model.script(Answer(calls=[Call("gone__tool", {})]), "Gone.")
        await facade.say("use what is gone")
        model.script(Answer(calls=[Call("files__hang", {"mark": "one"})]))
        turn = asyncio.create_task(facade.stream("hang"))
        await asyncio.to_thread(tools.wait_for, "hang one")
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await asyncio.to_thread(tools.wait_for, "cancelled one")
    found = await asyncio.to_thread(records, tmp_path / "data")
    assert [(record["tool"], *brief(record)[:3]) for record in found] == [
        ("files/fails", "decision", "allow", None),
        ("files/fails", "call", "", "failed"),
        ("gone__tool", "decision", "deny", None),
        ("files/hang", "decision", "allow", None),
        ("files/hang", "call", "", "stopped"),
    ]
    assert await asyncio.to_thread(whole, tmp_path / "data")


async def test_two_roles_are_both_named(tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None) -> None:
    keys_of = [{"name": "webui", "role": "admin", "env": "INTERLOCK_ADMIN_KEY", "forwards_users": True}]
    access = {"roles": {**ACCESS["roles"], "user": {"allow": ["files/echo"]}}, "keys": keys_of}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    model.script(Answer(calls=[Call("files__echo", {"text": "x"})]), "Done.")
    who = {"x-openwebui-user-name": "Ada", "x-openwebui-user-email": "ada@example.org", "x-openwebui-user-role": "user"}
    async with serving(folder, tmp_path / "data") as facade:
        await facade.ask("go", headers={**who, "x-openwebui-user-id": "u1"})
    for words in (("--role", "user"), ("--role", "admin"), ("--user", "Ada"), ("--key", "webui")):
        found = await asyncio.to_thread(records, tmp_path / "data", *words)
        assert [(record["user"], record["role"]) for record in found] == [("Ada", "admin & user")] * 2
    assert await asyncio.to_thread(records, tmp_path / "data", "--role", "use") == []


async def test_no_secret_is_in_the_audit_or_in_what_is_shown_of_it(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    servers = {"files": {"url": tools.url, "headers": {"X-Team-Key": "planted in a header"}}}
    folder = write_configs(tmp_path / "c", model.url, servers, api_key="planted-key-of-litellm")
    planted = [
        "planted in a header",
        "planted-key-of-litellm",
        "planted-password",
        "planted.in.an.address",
        *KEYS.values(),
    ]
    text = f"{planted[0]}, {planted[1]}, postgres://u:{planted[3]}@db, {planted[4]} and {planted[5]}"
    calls = [
        Call("files__echo", {"text": text, "password": planted[2]}),
        Call("files__write", {"text": text, "password": planted[2]}),
        Call(f"files__{planted[4]}", {planted[4]: 1}),
        Call("files__echo", '{"text": "' + text),
    ]
    model.script(Answer(calls=calls), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("go")
        await decide(facade, "approve", note=f"with password={planted[2]}")
        await facade.say("go", said(asked), "on")
    database = sqlite3.connect(tmp_path / "data" / "interlock.db")
    dump = "\n".join(
        map(str, [*database.execute("SELECT * FROM audit"), *database.execute("SELECT * FROM audit_head")])
    )
    database.close()
    exports = [
        await asyncio.to_thread(audit, tmp_path / "data", "show", "--format", form) for form in ("table", "json", "csv")
    ]
    assert dump.count("[redacted]") > 10
    for shown in (dump, *(export.output for export in exports)):
        assert "files/write" in shown
        assert [secret for secret in planted if secret in shown] == []


def test_processes_that_write_at_once_make_one_chain(tmp_path: Path, tools: Tools) -> None:
    """Two workers of one start, and a second start beside them, on one database."""
    with ScriptedModel() as model:
        model.respond(
            lambda body: (
                "Done."
                if body["messages"][-1]["role"] == "tool"
                else Answer(calls=[Call("files__echo", {"text": body["messages"][-1]["content"]}), write("never")])
            )
        )
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}})
        with gateway(folder, tmp_path / "data") as one, gateway(folder, tmp_path / "data") as other:
            turns = asyncio.run(talk_to_both(one.url, other.url, 20))
    assert turns == 40
    found = records(tmp_path / "data")
    assert len(found) == 40 * 3
    assert [record["seq"] for record in found] == list(range(1, 121))
    assert {record["args"]["text"] for record in found if record["kind"] == "call"} == {f"t{n}" for n in range(40)}
    assert "120 records, 1 to 120, whole" in whole(tmp_path / "data")


async def talk_to_both(one: str, other: str, each: int) -> int:
    """Asks both at once; how many answers came."""
    async with httpx.AsyncClient(timeout=50, trust_env=False) as http:

        async def ask(url: str, number: int) -> httpx.Response:
            body = {"model": "assistant", "messages": [{"role": "user", "content": f"t{number}"}]}
            headers = {"authorization": f"Bearer {DEVELOPER}"}
            return await http.post(f"{url}/chat/completions", json=body, headers=headers)

        answers = await asyncio.gather(*(ask(one if number % 2 else other, number) for number in range(2 * each)))
    assert all("Done." in answer.text for answer in answers), [answer.text for answer in answers]
    return len(answers)


def test_killed_in_the_middle_the_chain_holds_and_the_call_is_left_open(tmp_path: Path, tools: Tools) -> None:
    with ScriptedModel() as model:
        model.respond(lambda body: Answer(calls=[Call("files__hang", {"mark": body["messages"][-1]["content"]})]))
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}})
        with gateway(folder, tmp_path / "data") as running:
            asyncio.run(hang_and_kill(running, tools))
    found = records(tmp_path / "data")
    assert [brief(record) for record in found] == [("decision", "allow", None, "admin")] * 4
    assert "4 records" in whole(tmp_path / "data")


async def hang_and_kill(running: Gateway, tools: Tools) -> None:
    async with httpx.AsyncClient(timeout=50, trust_env=False) as http:
        turns = [
            asyncio.create_task(
                http.post(
                    f"{running.url}/chat/completions",
                    json={"model": "assistant", "messages": [{"role": "user", "content": f"m{number}"}]},
                    headers={"authorization": f"Bearer {ADMIN}"},
                )
            )
            for number in range(4)
        ]
        for number in range(4):
            await asyncio.to_thread(tools.wait_for, f"hang m{number}")
        os.kill(running.process.popen.pid, 9)
        await asyncio.gather(*turns, return_exceptions=True)
