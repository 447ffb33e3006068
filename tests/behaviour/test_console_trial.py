"""An admin tries a graph as a role, over real HTTP: rights are what both have, and nothing happens unasked."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ADMIN, ASSISTANT, DEVELOPER, Facade, as_message, said, serving, write_configs
from support.gateway import ADMIN_KEY, gateway
from support.scripted_model import Answer, Call, ScriptedModel, text_of
from support.tool_replies import what_the_tools_said
from support.tool_server import Tools
from test_audit import records
from test_console_routes import state, turns

SHARED_KEY = "ilk_shared-of-the-tests"
ACCESS: dict[str, Any] = {
    "roles": {
        "admin": {
            "allow": ["*"],
            "ask": [{"tool": "files/write", "expires": "15m"}],
            "deny": ["files/environment"],
            "graphs": ["assistant", "inner", "outer", "lead", "step", "keep", "form", "greet", "admins"],
        },
        "developer": {
            "allow": [{"tool": "files/echo", "when": 'caller.role == "developer" && args.text != "secret"'}, "files/*"],
            "deny": [{"tool": "files/pid", "reason": "Nobody needs it."}],
            "graphs": ["assistant", "inner", "outer", "lead", "step", "keep", "form", "greet", "hidden"],
            "limits": {"tool_calls": 2},
        },
        "guest": {"limits": {"requests_per_minute": 1}},
    },
    "keys": [
        {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
        {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
        {"name": "shared", "role": "admin", "env": "SHARED_KEY", "forwards_users": True},
    ],
}
PLAIN: dict[str, Any] = {
    "roles": {"admin": {"allow": ["*"], "ask": ["files/write"]}, "developer": {"allow": ["files/*"]}},
    "keys": ACCESS["keys"][:2],
}
ECHO: dict[str, Any] = {"type": "call", "tool": "files/echo", "args": {"text": "{{ message }}"}}
GRAPHS: dict[str, Any] = {
    "assistant": ASSISTANT,
    "hidden": ASSISTANT,
    "admins": ASSISTANT,
    "greet": {
        "start": "say",
        "nodes": {"say": {"type": "reply", "text": "You are {{ caller.role }}.", "next": "end"}},
    },
    "inner": {
        "vars": {"line": "string"},
        "start": "fetch",
        "nodes": {
            "fetch": {**ECHO, "into": "line", "on_error": "sorry", "retry": {"times": 3, "wait": "10m"}, "next": "say"},
            "say": {"type": "reply", "text": "{{ line }}", "next": "end"},
            "sorry": {"type": "reply", "text": "{{ error.kind }}: {{ error.message }}", "next": "end"},
        },
    },
    "outer": {
        "vars": {"lines": "any[]"},
        "start": "each",
        "nodes": {
            "each": {"type": "map", "over": "[1, 2]", "at_most": 2, "do": ECHO, "into": "lines", "next": "sub"},
            "sub": {"type": "subgraph", "graph": "inner", "next": "end"},
        },
    },
    "lead": {
        "start": "lead",
        "nodes": {"lead": {"type": "agent", "prompt": "Lead.", "agents": ["inner", "admins"], "next": "end"}},
    },
    "step": {
        "vars": {"found": "any"},
        "start": "step",
        "nodes": {
            "step": {"type": "python", "run": "reports:note", "into": "found", "on_error": "sorry", "next": "end"},
            "sorry": {"type": "reply", "text": "{{ error.kind }}: {{ error.message }}", "next": "end"},
        },
    },
    "keep": {
        "memory": {"scope": "graph"},
        "vars": {"note": {"type": "string", "default": "nothing"}},
        "start": "read",
        "nodes": {
            "read": {"type": "memory", "recall": {"key": "word"}, "into": "note", "next": "write"},
            "write": {"type": "memory", "remember": {"word": "message"}, "next": "say"},
            "say": {"type": "reply", "text": "It was {{ note }}.", "next": "end"},
        },
    },
    "form": {
        "vars": {"sure": "bool"},
        "start": "ask",
        "nodes": {"ask": {"type": "question", "question": "Sure?", "into": "sure", "by": "admin", "next": "end"}},
    },
}


@pytest.fixture
async def trying(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Facade]:
    monkeypatch.setenv("SHARED_KEY", SHARED_KEY)
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=ACCESS, graphs=GRAPHS)
    (folder / "python").mkdir()
    marker = tmp_path / "ran"
    (folder / "python" / "reports.py").write_text(
        f"from pathlib import Path\n\ndef note() -> int:\n    return Path({str(marker)!r}).write_text('x')\n"
    )
    async with serving(folder, tmp_path / "data") as facade:
        yield facade


@pytest.fixture
def stuck_model() -> Iterator[ScriptedModel]:
    """A scripted model outside of this test's event loop."""
    with ScriptedModel() as model:
        yield model


def address(facade: Facade) -> str:
    return f"{facade.url.removesuffix('/v1')}/console/api/trials"


async def post(facade: Facade, key: str = ADMIN, **body: Any) -> httpx.Response:
    asked = {"graph": "assistant", "role": "developer", "message": "Try.", **body}
    return await facade.http.post(address(facade), json=asked, headers={"authorization": f"Bearer {key}"})


def parse(line: str) -> dict[str, Any] | None:
    return json.loads(line[6:]) if line.startswith("data: ") else None


async def attempt(facade: Facade, key: str = ADMIN, **body: Any) -> list[dict[str, Any]]:
    """The events of a whole trial."""
    answer = await post(facade, key, **body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [event for line in answer.text.splitlines() if (event := parse(line)) is not None]
    assert events[-1]["type"] == "end"
    return events


def of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def spoken(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in of_kind(events, "text"))


def decisions(call: Mapping[str, Any]) -> dict[str, str]:
    return {each["role"]: each["decision"] for each in call["by_role"]}


async def test_a_dry_run_shows_the_verdicts_of_both_and_runs_nothing(
    trying: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    calls = [
        Call("files__echo", {"text": "a"}),
        Call("files__write", {"text": "b"}),
        Call("files__pid"),
        Call("files__environment"),
    ]
    model.script(Answer(calls=calls[:2]), Answer(calls=calls[2:]), what_the_tools_said)
    events = await attempt(trying)
    echo, write, pid, environment = of_kind(events, "call")
    assert (echo["tool"], echo["verdict"], json.loads(echo["arguments"])) == ("files/echo", "allow", {"text": "a"})
    assert decisions(echo) == {"developer": "allow", "admin": "allow"}
    assert echo["by_role"][0]["rule"].startswith("role developer, allow 'files/echo' (access.yaml:")
    assert (write["verdict"], decisions(write)) == ("ask", {"developer": "allow", "admin": "ask"})
    assert write["rule"].startswith("role admin, ask 'files/write' (access.yaml:")
    # Neither is shown to the model, since one of both may never call it; it called them all the same.
    assert (pid["verdict"], decisions(pid)) == ("deny", {"developer": "deny", "admin": "allow"})
    assert (environment["verdict"], decisions(environment)) == ("deny", {"developer": "allow", "admin": "deny"})
    assert not {"files__pid", "files__environment"} & set(model.requests[0].tools)
    answer = spoken(events)
    assert "files/echo was not run: this is a trial, in which no tool runs" in answer
    assert "files/write was not run: this is a trial, in which nobody is asked (role admin, ask" in answer
    assert "files/pid was not run: it is not allowed: Nobody needs it; rule: role developer, deny 'files/pid'" in answer
    assert tools.ran() == []
    assert of_kind(events, "started") == of_kind(events, "result") == []

    assert (await state(trying))["approvals"] == []
    found = await asyncio.to_thread(records, tmp_path / "data")
    assert {(entry["tool"], entry["verdict"], entry["outcome"]) for entry in found} == {
        ("files/echo", "allow", "trial"),
        ("files/write", "ask", "trial"),
        ("files/pid", "deny", None),
        ("files/environment", "deny", None),
    }
    assert len(found) == 4
    assert {(entry["user"], entry["role"], entry["note"]) for entry in found} == {
        ("admin", "admin & developer", "a trial as the role developer")
    }
    (turn,) = await turns(trying)
    assert (turn["trial"], turn["status"], turn["question"]) == ("developer", "finished", "Try.")
    assert [call["outcome"] for call in turn["calls"]] == ["trial", "trial", "refused", "refused"]
    assert [step["node"] for step in turn["path"]["steps"]][:3] == ["agent", "check", "act"]


async def test_what_both_allow_runs_if_that_is_ticked(
    trying: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    calls = [Call("files__echo", {"text": "a"}), Call("files__pid"), Call("files__environment")]
    model.script(Answer(calls=calls), what_the_tools_said)
    events = await attempt(trying, run_tools=True)
    assert tools.ran() == ["echo a"]
    assert [event["text"] for event in of_kind(events, "result")] == ["a"]
    assert [event["tool"] for event in of_kind(events, "refused")] == ["files/pid", "files/environment"]
    ran = [entry for entry in await asyncio.to_thread(records, tmp_path / "data") if entry["kind"] == "call"]
    assert [(entry["tool"], entry["role"], entry["note"]) for entry in ran] == [
        ("files/echo", "admin & developer", "a trial as the role developer")
    ]


async def test_only_an_admin_may_try_and_only_what_both_may_use(
    trying: Facade, model: ScriptedModel, tmp_path: Path
) -> None:
    async def refused(status: int, key: str = ADMIN, headers: Mapping[str, str] | None = None, **body: Any) -> str:
        answer = await post(trying, key, **body)
        assert answer.status_code == status, answer.text
        return answer.json()["error"]["message"]

    assert await refused(403, DEVELOPER) == "Only the role admin may try a graph as a role."
    # Nobody else learns which roles there are.
    assert await refused(403, DEVELOPER, role="nobody") == "Only the role admin may try a graph as a role."
    assert "nobody vouches for who asks" in await refused(403, SHARED_KEY)
    assert await refused(401, "ilk_nobody") != ""
    assert "there is no role 'developr' in access.yaml. Did you mean 'developer'?" in await refused(
        400, role="developr"
    )
    assert "There is no graph 'hidden'" in await refused(404, graph="hidden")
    assert await refused(403, graph="admins") == "The role developer may not use the graph 'admins' (access.yaml)."
    assert "There is no graph 'scripted'" in await refused(404, graph="scripted")
    assert "message: " in await refused(400, message="  ")
    assert "run_tools: " in await refused(400, run_tools="yes")
    assert "messages: " in await refused(400, messages=[])
    assert "role: " in await refused(400, role="x" * 501)
    assert model.requests == []
    assert await turns(trying) == []

    assert (await state(trying, DEVELOPER))["trials"] == (await state(trying, SHARED_KEY))["trials"] == {}
    mine = (await state(trying))["trials"]
    assert list(mine) == ["developer", "guest", "admin"]
    assert "hidden" not in mine["admin"]
    assert "admins" not in mine["developer"]


async def test_limits_of_both_hold(trying: Facade, model: ScriptedModel, tools: Tools) -> None:
    calls = [Call("files__echo", {"text": text}) for text in "abc"]
    model.script(Answer(calls=calls), "Done.", "Hello.")
    events = await attempt(trying)
    assert [call["verdict"] for call in of_kind(events, "call")] == ["allow", "allow", "deny"]
    assert "the turn's limit of 2 tool calls (role developer" in of_kind(events, "call")[2]["rule"]
    await attempt(trying, role="guest")
    assert (await post(trying, role="guest")).status_code == 429


async def test_rules_and_graph_see_the_role_that_is_tried(trying: Facade) -> None:
    assert spoken(await attempt(trying, graph="greet")) == "You are developer."
    assert spoken(await attempt(trying, graph="greet", role="admin")) == "You are admin."


async def test_calls_of_the_graph_itself_fail_at_once_also_in_maps_and_subgraphs(trying: Facade, tools: Tools) -> None:
    words = "denied: files/echo was not run: this is a trial"
    for role in ("developer", "admin"):
        events = await attempt(trying, graph="inner", role=role, message="hello")
        assert [call["verdict"] for call in of_kind(events, "call")] == ["allow"]
        assert words.replace("denied", "tool") in spoken(events)
    events = await attempt(trying, graph="outer", message="hello")
    assert [call["verdict"] for call in of_kind(events, "call")] == ["allow", "allow"]
    assert "this is a trial" in spoken(events)
    assert tools.ran() == []
    events = await attempt(trying, graph="inner", message="hello", run_tools=True)
    assert (spoken(events), tools.ran()) == ("hello", ["echo hello"])


async def test_an_agent_gives_work_only_to_graphs_that_both_may_use_and_in_these_nothing_runs(
    trying: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("agent__inner", {"message": "hello"})]), what_the_tools_said)
    events = await attempt(trying, graph="lead")
    assert model.requests[0].tools == ["agent__inner"]
    assert [(call["tool"], decisions(call)) for call in of_kind(events, "call")] == [
        ("files/echo", {"developer": "allow", "admin": "allow"})
    ]
    assert "tool: files/echo was not run: this is a trial" in spoken(events)
    assert tools.ran() == []


@pytest.mark.parametrize("run_tools", [False, True])
async def test_functions_and_memory_do_nothing_since_no_rule_says_whether_both_may(
    trying: Facade, tmp_path: Path, run_tools: bool
) -> None:
    events = await attempt(trying, graph="step", run_tools=run_tools)
    assert spoken(events) == "python: reports:note was not run: this is a trial, in which no function runs"
    assert not (tmp_path / "ran").exists()
    await trying.say("before", model="keep")
    events = await attempt(trying, graph="keep", message="after", run_tools=run_tools)
    assert spoken(events) == "It was before."
    assert of_kind(events, "note") == [{"type": "note", "node": "write", "text": "nothing is remembered in a trial"}]
    assert await trying.say("last", model="keep") == "It was before."


async def test_nobody_is_asked_in_a_dry_run(trying: Facade) -> None:
    events = await attempt(trying, graph="form")
    assert "node 'ask' would ask “Sure?”, and in this trial nobody is asked" in spoken(events)
    assert (await state(trying))["questions"] == []


class Open:
    """A trial whose stream is read as it comes."""

    def __init__(self, facade: Facade, **body: Any) -> None:
        self._body = {"graph": "assistant", "role": "developer", "message": "Write.", "run_tools": True, **body}
        self._facade = facade
        self.events: list[dict[str, Any]] = []

    async def read(self) -> None:
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with self._facade.http.stream("POST", address(self._facade), json=self._body, headers=headers) as answer:
            async for line in answer.aiter_lines():
                if (event := parse(line)) is not None:
                    self.events.append(event)


async def until_asked(facade: Facade) -> dict[str, Any]:
    while not (waiting := (await state(facade))["approvals"]):
        await asyncio.sleep(0.01)
    return waiting[0]


async def decide(facade: Facade, id: str, decision: str = "approve") -> httpx.Response:
    headers = {"authorization": f"Bearer {ADMIN}"}
    return await facade.http.post(f"{facade.url}/approvals/{id}", json={"decision": decision}, headers=headers)


async def test_what_a_rule_asks_is_asked_where_calls_run_and_the_trial_goes_on(
    trying: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]), what_the_tools_said)
    trial = Open(trying)
    reading = asyncio.create_task(trial.read())
    entry = await until_asked(trying)
    assert (entry["yours"], entry["decidable"]) == (True, True)
    assert (await decide(trying, entry["id"])).status_code == 200
    await reading
    assert of_kind(trial.events, "waits")[0]["approvals"] == [entry["id"]]
    assert spoken(trial.events).endswith("I found written")
    assert tools.ran() == ["write x"]


async def test_a_trial_ends_with_its_page_and_nothing_goes_on_from_it(
    trying: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]))
    reading = asyncio.create_task(Open(trying).read())
    entry = await until_asked(trying)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    while (await turns(trying))[0]["status"] == "running":
        await asyncio.sleep(0.01)
    assert (await turns(trying))[0]["status"] == "stopped"
    assert (await state(trying))["approvals"] == []
    assert (await decide(trying, entry["id"])).status_code == 409
    model.script("Nothing to go on with.")
    assert "Nothing was run" in await trying.say("Write.", said("?"), f"approve {entry['id']}")
    # The same question in a chat is a question of its own.
    assert await trying.say("Write.") == "Nothing to go on with."
    assert [text_of(message["content"]) for message in model.requests[-1].messages if message["role"] == "tool"] == []
    assert tools.ran() == []


async def test_a_chat_that_repeats_a_trials_words_gets_nothing_of_it(
    trying: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "a"})]), "Echoed.", "Fresh.")
    await attempt(trying, role="admin", message="Echo.")
    assert await trying.say("Echo.", said("Echoed."), "And now?") == "Fresh."
    assert all(message["role"] != "tool" for message in model.requests[-1].messages)


def test_a_trial_whose_process_died_does_not_go_on_with_the_admins_own_rights(
    tmp_path: Path, tools: Tools, stuck_model: ScriptedModel
) -> None:
    """Whoever approves afterwards, in a chat, is not bound by the role that was tried."""
    stuck_model.script(Answer(calls=[Call("files__write", {"text": "x"})]), "Gone on.")
    folder = write_configs(tmp_path / "c", stuck_model.url, {"files": {"url": tools.url}}, access=PLAIN)
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with gateway(folder, tmp_path / "data") as first, httpx.Client(trust_env=False, headers=headers) as http:
        body = {"graph": "assistant", "role": "developer", "message": "Write.", "run_tools": True}
        with http.stream("POST", f"{first.root}/console/api/trials", json=body) as answer:
            lines = answer.iter_lines()
            while (event := parse(next(lines))) is None or event["type"] != "waits":
                pass
            while not http.get(f"{first.root}/console/api/turns").json()["turns"]:
                time.sleep(0.05)  # until its row is written
            first.process.stop(signal.SIGKILL)
    with gateway(folder, tmp_path / "data") as second, httpx.Client(trust_env=False, headers=headers) as http:
        messages = [as_message(f"approve {event['approvals'][0]}")]
        chat = http.post(
            f"{second.url}/chat/completions", json={"model": "assistant", "messages": messages}, timeout=60
        )
        assert chat.json()["choices"][0]["message"]["content"] == (
            "This was asked in a trial, which is over. Nothing was run."
        )
        shown = http.get(f"{second.root}/console/api/turns").json()["turns"]
        assert [turn["status"] for turn in shown] == ["finished", "stopped"]
    assert tools.ran() == []
