"""`per_user: true`: every user has connections and processes of their own, whatever they are called and however many
ask at once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from langchain_core.messages import HumanMessage
from support.facade import ASSISTANT, Facade, serving, write_configs
from support.mcp_personal import TOOLS
from support.mcp_personal_http import PersonalHttp, personal_http
from support.mcp_toolbox import SUPPORT, processes_of, until
from support.openwebui_users import KEY, SECRET, obedient, signed, told
from support.scripted_model import Answer, Call, ScriptedModel

from graphs.config.loader import load
from graphs.diagnostics.audit_reader import open_audit
from graphs.diagnostics.doctor import check_servers, examine
from graphs.store.audit.log import AuditFilter
from graphs.store.audit.record import to_line
from graphs.studio import StudioServices

SCRIPT = "mcp_personal.py"
PLANTED = "pl4nted-t0ken-of-the-tests"
ACCESS: dict[str, Any] = {
    "roles": {
        "team": {"allow": ["*"], "ask": [{"tool": "mine/remember", "when": 'args.text == "ask me"'}]},
        "user": {"allow": ["*"]},
        "guest": {"allow": ["web/*"]},
    },
    "keys": [
        {"name": "open-webui", "role": "team", "env": "WEBUI_KEY", "forwards_users": True},
        {"name": "ci", "role": "team", "env": "CI_KEY"},
    ],
}
CI = "ilk_ci-of-the-tests"
WHO = ("mine__whoami", {})
WEB = ("web__whoami", {})


def mine(**more: Any) -> dict[str, Any]:
    return {
        "command": sys.executable,
        "args": [str(SUPPORT / SCRIPT), "--user={{ caller.user }}"],
        "env": {"ME": "{{ caller.user }}", "TOKEN": PLANTED + "-{{ caller.email == '' ? 'nobody' : caller.email }}"},
        "per_user": True,
        **more,
    }


@dataclass
class Room:
    """A facade with a server of each kind that is per user."""

    facade: Facade
    model: ScriptedModel
    web: PersonalHttp
    configs: Path

    async def ask(self, person: str | dict[str, str], *rounds: list[Any], key: str = KEY) -> dict[str, Any]:
        """The model's report of one turn: what the calls gave, and which tools it had at last."""
        headers = signed(person) if isinstance(person, str) else person
        response = await self.facade.ask(told(*rounds), key=key, headers=headers)
        assert response.status_code == 200, response.text
        return json.loads(response.json()["choices"][0]["message"]["content"])

    async def who(self, person: str | dict[str, str], key: str = KEY) -> dict[str, Any]:
        """What the person's own process says."""
        report = await self.ask(person, [WHO], key=key)
        return json.loads(report["results"][0])

    async def ready(self) -> dict[str, Any]:
        return (await self.facade.ready(KEY)).json()


@pytest.fixture
async def room(
    tmp_path: Path, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Room]:
    monkeypatch.setenv("WEBUI_KEY", KEY)
    monkeypatch.setenv("CI_KEY", CI)
    model.respond(obedient)
    async with personal_http() as web:
        headers = {"X-User": "{{ caller.email }}", "Authorization": f"Bearer {PLANTED}-{{{{ caller.email }}}}"}
        servers = {
            "mine": mine(**getattr(request, "param", {})),
            "web": {"url": web.url, "headers": headers, "per_user": True, **getattr(request, "param", {})},
        }
        configs = write_configs(tmp_path / "c", model.url, servers, access=ACCESS, graphs={"assistant": ASSISTANT})
        async with serving(configs, tmp_path / "data", forwarded_jwt_secret=SECRET) as facade:
            yield Room(facade, model, web, configs)
    assert not processes_of(SCRIPT)


async def test_64_turns_at_once_of_8_users_never_meet(room: Room) -> None:
    users = [f"user{number}" for number in range(8)]

    async def turn(user: str, number: int) -> tuple[str, dict[str, Any]]:
        keep = ("mine__remember", {"text": f"{user}-{number}"})
        keep_there = ("web__remember", {"text": f"{user}-{number}"})
        return user, await room.ask(user, [keep, WEB], [WHO, keep_there, (f"mine__only_{user}", {})])

    assert not processes_of(SCRIPT)
    turns = await asyncio.gather(*(turn(user, number) for number in range(8) for user in users))
    pids: dict[str, set[int]] = {}
    sessions: dict[str, set[str]] = {}
    for user, report in turns:
        results = [json.loads(result) for result in report["results"]]
        assert len(results) == 5
        for result in results:
            if "pid" in result:
                assert result["user"] == user
                assert result["token"] == f"{PLANTED}-{user}@example.org"
                assert result["args"] == [f"--user={user}"]
                pids.setdefault(user, set()).add(result["pid"])
            else:
                assert result["user"] == result["now"] == f"{user}@example.org"
                sessions.setdefault(user, set()).add(result["session"])
            assert all(kept.startswith(f"{user}-") for kept in result["kept"])
        own = {f"mine__{name}" for name in (*TOOLS, f"only_{user}")}
        assert {name for name in report["tools"] if name.startswith("mine__")} == own
    assert all(len(found) == 1 for found in (*pids.values(), *sessions.values()))
    assert len(set[int]().union(*pids.values())) == len(processes_of(SCRIPT)) == 8
    assert len(set[str]().union(*sessions.values())) == len(room.web.sessions) == 8
    for user in users:
        assert len((await room.who(user))["kept"]) == 8
    # Nobody's own key goes to a server.
    assert not any(KEY in value for headers in room.web.headers for value in headers.values())


QUICK = pytest.mark.parametrize("room", [{"idle": 0.3}], indirect=True)


@QUICK
async def test_what_is_idle_ends_and_opens_again(room: Room) -> None:
    first = await room.who("ana")
    await until(lambda: not processes_of(SCRIPT))
    await until(lambda: room.web.ended == ["session-0"])
    # Without a command line it has ended, but its number is taken until it is waited for.
    await until(lambda: not psutil.pid_exists(first["pid"]))
    assert (await room.ready())["servers"]["mine"]["status"] == "up"
    again = await room.who("ana")
    assert again["user"] == "ana"
    assert (again["pid"] != first["pid"], again["calls"]) == (True, 1)


@QUICK
async def test_a_turn_may_think_for_longer_than_it_may_idle(room: Room) -> None:
    async def slowly() -> str:
        response = await room.facade.ask("think", key=KEY, headers=signed("ana"))
        return response.json()["choices"][0]["message"]["content"]

    room.model.script(
        Answer(calls=[Call("mine__remember", {"text": "before"})]),
        Answer("one two three", stall_after=1, calls=[Call(*WHO)]),
    )
    turn = asyncio.create_task(slowly())
    await room.model.arrived(2)
    await room.who("ben")
    await until(lambda: len(processes_of(SCRIPT)) == 1)
    room.model.script(lambda body: body["messages"][-1]["content"])
    room.model.release()
    assert '"kept": ["before"]' in await turn


async def test_one_users_crash_is_theirs_alone(room: Room) -> None:
    ana, ben = await room.who("ana"), await room.who("ben")
    report = await room.ask("ana", [("mine__crash", {})], [WHO])
    assert "exited with status 3" in report["results"][0]
    assert "Outcome unknown" in report["results"][0]
    new = json.loads(report["results"][1])
    assert (new["user"], new["calls"]) == ("ana", 1)
    assert new["pid"] != ana["pid"]
    assert (await room.who("ana"))["pid"] == new["pid"]
    assert (await room.who("ben")) == {**ben, "calls": 2}


@pytest.mark.parametrize("room", [{"max_users": 2}], indirect=True)
async def test_too_many_users_make_the_idlest_leave_and_are_refused_when_none_is(room: Room) -> None:
    ana, ben = await room.who("ana"), await room.who("ben")
    assert (await room.who("ana"))["pid"] == ana["pid"]
    await room.who("cem")
    await until(lambda: not psutil.pid_exists(ben["pid"]))
    assert (await room.who("ana"))["pid"] == ana["pid"]

    stalled = Answer("one two", stall_after=1)
    room.model.script(stalled, stalled)
    arrived = len(room.model.requests) + 2
    busy = [asyncio.create_task(room.facade.ask("think", key=KEY, headers=signed(name))) for name in ("ana", "cem")]
    await room.model.arrived(arrived)
    report = await room.ask("dan", [WHO])
    assert "mine__whoami" not in report["tools"]
    assert "busy with as many users as it takes at once (2)" in report["results"][0]
    told_to_model = room.model.requests[-1].messages[0]
    assert told_to_model["role"] == "system"
    assert "The tools of 'mine' are missing: the server cannot be used: it is busy" in told_to_model["content"]
    room.model.release()
    await asyncio.gather(*busy)
    assert (await room.who("dan"))["user"] == "dan"


NAMES = [
    "../x",
    "Ana",
    "ana",
    "Zo\u00eb",
    "Zoe\u0308",
    "\u0410na",
    "user",
    "../../etc",
    "-rf",
    "a b",
    "${HOME}",
    "{{ caller.key }}",
]


async def test_whoever_is_called_differently_is_somebody_else(room: Room) -> None:
    found = [await room.who(signed(name, email="same@example.org")) for name in NAMES]
    assert [one["user"] for one in found] == NAMES
    assert [one["args"] for one in found] == [[f"--user={name}"] for name in NAMES]
    assert len({one["pid"] for one in found}) == len(NAMES)
    assert all(one["calls"] == 1 for one in found)

    # Called alike, but not the same person; and the same person, called otherwise.
    other = await room.who(signed("Ana", sub="another", email="same@example.org"))
    assert (other["user"], other["calls"]) == ("Ana", 1)
    renamed = await room.who(signed("Bea", sub="id-of-Ana", email="same@example.org"))
    assert (renamed["user"], renamed["calls"]) == ("Bea", 1)
    # A role changes what they may do, and is nothing that this server is told.
    assert (await room.who(signed("Ana", email="same@example.org", role="admin")))["calls"] == 2
    # The same words from a key of its own.
    assert (await room.who({}, key=CI))["user"] == "ci"


HOSTILE = {
    "a\nX-Evil: 1": "control character U+000A",
    "a\r\nX-Evil: 1": "control character U+000D",
    "a\0b": "control character U+0000",
    "a\x85b": "control character U+0085",
    " ana": "white space",
    "ana ": "white space",
}


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: re.sub(r"\W", "_", name[:8], flags=re.ASCII))
async def test_a_name_that_means_something_else_is_refused_in_words(room: Room, name: str) -> None:
    report = await room.ask(signed(name, email=name), [WHO, WEB], [("mine__remember", {"text": "x"})])
    for result in report["results"]:
        assert HOSTILE[name] in result
        assert name not in result
    assert not any(tool.startswith(("mine__", "web__")) for tool in report["tools"])
    assert not processes_of(SCRIPT)
    assert room.web.headers == []


async def test_a_name_without_end_is_nobodys(room: Room) -> None:
    response = await room.facade.ask("hi", key=KEY, headers=signed("x" * 10_000))
    assert response.status_code == 401
    assert "its `sub` is no text that names anybody" in response.text


async def test_what_a_header_cannot_carry_is_refused_for_that_server_alone(room: Room) -> None:
    report = await room.ask(signed("ana", email="\u0141ukasz@example.org"), [WEB])
    assert "an HTTP header cannot carry" in report["results"][0]
    report = await room.ask(signed("ben", email=""), [WEB, WHO])
    assert "is empty for this caller" in report["results"][0]
    assert json.loads(report["results"][1])["token"] == f"{PLANTED}-nobody"


async def test_who_is_not_surely_somebody_gets_nothing(room: Room, tmp_path: Path) -> None:
    async with serving(room.configs, tmp_path / "other") as facade:
        unsure = Room(facade, room.model, room.web, room.configs)
        for headers in ({"x-openwebui-user-name": "ana", "x-openwebui-user-email": "ana@example.org"}, {}):
            report = await unsure.ask(headers, [WHO, WEB])
            assert all("nobody vouches for who asks" in result for result in report["results"])
        assert not processes_of(SCRIPT)
        assert (await unsure.who({}, key=CI))["user"] == "ci"


async def test_a_reload_keeps_what_it_does_not_change(room: Room) -> None:
    async def saved(servers: dict[str, Any]) -> None:
        before = (await room.ready())["snapshot"]
        (room.configs / "servers.yaml").write_text(yaml.safe_dump({"mcpServers": servers}))
        async with asyncio.timeout(20):
            while (await room.ready())["snapshot"] == before:
                await asyncio.sleep(0.02)

    servers = yaml.safe_load((room.configs / "servers.yaml").read_text())["mcpServers"]
    ana = await room.who("ana")
    await saved({**servers, "web": {**servers["web"], "timeout": 7}})
    assert await room.who("ana") == {**ana, "calls": 2}

    room.model.script(Answer("one two", stall_after=1, calls=[Call(*WHO)]))
    arrived = len(room.model.requests) + 1
    turn = asyncio.create_task(room.facade.ask("think", key=KEY, headers=signed("ana")))
    await room.model.arrived(arrived)
    await saved({**servers, "mine": {**servers["mine"], "env": {"ME": "new {{ caller.user }}", "TOKEN": "x"}}})
    new = await room.who("ana")
    assert (new["user"], new["calls"]) == ("new ana", 1)
    assert psutil.pid_exists(ana["pid"])
    room.model.script(lambda body: body["messages"][-1]["content"])
    room.model.release()
    # The turn under way ends with the connection that it began with.
    assert json.loads((await turn).json()["choices"][0]["message"]["content"].removeprefix("one two")) == {
        **ana,
        "calls": 3,
    }
    await until(lambda: not psutil.pid_exists(ana["pid"]))
    assert len(processes_of(SCRIPT)) == 1


async def test_an_approved_call_runs_on_the_connection_of_who_asked(room: Room, tmp_path: Path) -> None:
    question = told([("mine__remember", {"text": "ask me"})])
    ana, ben = await room.who("ana"), await room.who("ben")
    asked = (await room.facade.ask(question, key=KEY, headers=signed("ana"))).json()["choices"][0]["message"]["content"]
    approval = re.findall(r"`approve ([a-z2-7]{8})`", asked)[0]

    async def goes_on(facade: Facade) -> dict[str, Any]:
        answer = {"role": "assistant", "content": asked}
        response = await facade.ask(question, answer, f"approve {approval}", key=KEY, headers=signed("ana"))
        return json.loads(json.loads(response.json()["choices"][0]["message"]["content"])["results"][0])

    # Another worker, which has no connection of anybody's yet.
    async with serving(room.configs, tmp_path / "data", forwarded_jwt_secret=SECRET) as other:
        done = await goes_on(other)
    assert (done["user"], done["kept"], done["calls"]) == ("ana", ["ask me"], 1)
    assert done["pid"] not in (ana["pid"], ben["pid"])
    assert (await room.who("ana"))["kept"] == []


async def test_no_log_page_or_record_holds_what_was_filled_in(
    room: Room, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG, logger="graphs")
    secret = f"{PLANTED}-ana@example.org"
    await room.ask("ana", [("mine__remember", {"text": secret})], [("mine__crash", {})], [WEB])
    pages = [json.dumps(await room.ready())]
    base = room.facade.url.replace("/v1", "")
    pages.append((await room.facade.http.get(f"{base}/metrics")).text)
    async with open_audit(storage="", data=tmp_path / "data") as audit:
        records = [to_line(record) for record in await audit.find(AuditFilter())]
    assert any("mine/remember" in record for record in records)
    assert "MCP server mine of user " in caplog.text
    assert "id-of-ana" not in caplog.text
    for text in (caplog.text, *pages, *records):
        assert PLANTED not in text


async def test_it_is_well_while_nobody_uses_it_and_down_when_nobodys_is_up(room: Room) -> None:
    state = await room.ready()
    assert state["status"] == "ok"
    assert state["servers"]["mine"] == {
        "status": "up",
        "reason": "each user has a connection of their own, opened when they first need it; 0 are up now",
        "tools": [],
    }
    await room.who("ana")
    assert (await room.ready())["servers"]["mine"]["reason"].endswith("; 1 is up now")


async def test_a_clients_tool_cannot_take_a_name_that_some_user_may_have(room: Room) -> None:
    tool = {"type": "function", "function": {"name": "mine__whoami", "parameters": {"type": "object"}}}
    response = await room.facade.ask("hello", key=CI, tools=[tool])
    assert response.status_code == 400
    assert "runs here already" in response.text


async def test_studio_is_one_user_too(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_CONFIGS", str(room.configs))
    monkeypatch.setenv("INTERLOCK_DATA", str(tmp_path / "studio"))
    monkeypatch.setenv("INTERLOCK_STUDIO_ROLE", "team")
    workshop = StudioServices()
    graph = await workshop.load_graph("assistant")
    try:
        found = []
        for thread in ("one", "two"):
            state = await graph.ainvoke(
                {"messages": [HumanMessage(told([WHO]))]}, {"configurable": {"thread_id": thread}}
            )
            found.append(json.loads(json.loads(state["messages"][-1].text)["results"][0]))
    finally:
        await workshop.close()
    assert [one["user"] for one in found] == ["studio", "studio"]
    assert [one["calls"] for one in found] == [1, 2]


async def test_what_looks_at_servers_says_that_these_cannot_be_looked_at(room: Room) -> None:
    access = {**ACCESS, "roles": {**ACCESS["roles"], "team": {"allow": ["mine/whoami", "web/*"]}}}
    (room.configs / "access.yaml").write_text(yaml.safe_dump(access))
    snapshot = load(room.configs, os.environ)
    problems, notes = await check_servers(snapshot)
    assert problems == []
    assert notes[0] == "mine: is per user: it is connected to when a user needs it, so it was not tried here"
    assert any(note.startswith("mine: is per user, so what is said of its tools was not judged: ") for note in notes)
    findings = [one for one in await examine(snapshot, os.environ, storage="", data=room.configs) if "mine" in str(one)]
    assert [one.sound for one in findings] == [True]
    assert "is per user" in findings[0].message
    assert not processes_of(SCRIPT)


async def test_no_process_is_started_for_whom_no_rule_would_let_use_it(room: Room) -> None:
    report = await room.ask(signed("gil", role="guest"), [WHO, WEB])
    assert "there is no tool 'mine__whoami'" in report["results"][0]
    assert json.loads(report["results"][1])["user"] == "gil@example.org"
    assert not processes_of(SCRIPT)
