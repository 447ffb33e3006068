"""`/console` over HTTP: the page's files and their headers, and data cut to what each key may see."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ACCESS, ADMIN, ASSISTANT, DEVELOPER, KEYS, Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from server.routes.console import PAGES

FILES = sorted(file.name for file in PAGES.iterdir())


async def get(facade: Facade, path: str, key: str = ADMIN, **headers: str) -> httpx.Response:
    root = facade.url.removesuffix("/v1")
    return await facade.http.get(f"{root}/console{path}", headers={"authorization": f"Bearer {key}", **headers})


async def state(facade: Facade, key: str = ADMIN, **headers: str) -> dict[str, Any]:
    answer = await get(facade, "/api/state", key, **headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def turns(facade: Facade, key: str = ADMIN, query: str = "", **headers: str) -> list[dict[str, Any]]:
    answer = await get(facade, f"/api/turns{query}", key, **headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["turns"]


async def test_the_pages_files_are_public_and_may_do_nothing_but_ask_this_server(facade: Facade) -> None:
    root = facade.url.removesuffix("/v1")
    for path in ("", *(f"/{name}" for name in FILES)):
        answer = await facade.http.get(f"{root}/console{path}")
        assert answer.status_code == 200, path
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in str(policy)
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        again = await facade.http.get(f"{root}/console{path}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_files_name_nothing_outside_and_parse_no_markup() -> None:
    assert {"index.html", "console.css", "main.js"} <= set(FILES)
    for name in FILES:
        text = (PAGES / name).read_text()
        assert re.findall(r"https?://(?!www\.w3\.org/)", text) == [], name
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text) == [], name
    html = (PAGES / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", html) == []


async def test_the_address_with_a_slash_leads_to_the_page(facade: Facade) -> None:
    answer = await get(facade, "/")
    assert answer.status_code == 307
    assert str(answer.url.join(answer.headers["location"])).endswith("/console")


async def test_data_needs_a_key_and_is_kept_by_nobody(facade: Facade) -> None:
    for path in ("/api/state", "/api/turns"):
        refused = await get(facade, path, "ilk_nobody")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        answer = await get(facade, path)
        assert answer.headers["cache-control"] == "no-store"
        again = await get(facade, path, **{"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_what_an_open_page_asks_for_again_and_again_does_not_fill_the_log(
    facade: Facade, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="server.observability.request_log"):
        await get(facade, "/api/state")
        await get(facade, "/api/turns")
        assert caplog.messages == []
        await get(facade, "/api/state", "ilk_nobody")
    assert caplog.messages == ["GET /console/api/state 401"]


async def test_each_role_sees_its_own_graphs_servers_and_tools(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    roles = {
        "admin": {"allow": ["*"], "deny": ["files/environment", {"tool": "files/pid", "when": "false"}]},
        "developer": {"allow": ["files/e*", "gone/*"], "deny": ["gone/*"], "graphs": ["assist*"]},
    }
    servers = {"files": {"url": tools.url}, "gone": {"command": "no-such-program"}}
    graphs = {"assistant": ASSISTANT, "secret": ASSISTANT}
    access = {**ACCESS, "roles": roles}
    folder = write_configs(tmp_path / "c", model.url, servers, access=access, graphs=graphs)
    async with serving(folder, tmp_path / "data") as facade:
        seen = await state(facade)
        assert seen["you"] == {"user": "admin", "key": "admin", "role": "admin", "narrowed_by": None, "remembers": True}
        assert [graph["id"] for graph in seen["graphs"]] == ["assistant", "secret"]
        files, gone = seen["servers"]
        assert {"echo", "pid", "write"} <= set(files["tools"])
        assert "environment" not in files["tools"]
        assert (gone["name"], gone["status"]) == ("gone", "down")
        assert gone["reason"].startswith("no-such-program: not found.")

        seen = await state(facade, DEVELOPER)
        assert [graph["id"] for graph in seen["graphs"]] == ["assistant"]
        drawn = await get(facade, "/api/graphs/assistant.svg", DEVELOPER)
        assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
        assert (drawn.headers["cache-control"], drawn.headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert 'data-node="agent"' in drawn.text
        for name in ("secret", "nothing"):
            assert (await get(facade, f"/api/graphs/{name}.svg", DEVELOPER)).status_code == 404
        assert [(server["name"], server["tools"]) for server in seen["servers"]] == [("files", ["echo", "environment"])]


async def test_a_turn_tells_its_calls_with_verdicts_rules_and_outcomes(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    began = time.time()
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}})
    calls = [Call("files__echo", {"text": "a"}), Call("files__echo", {"text": "secret"}), Call("files__echo", "{oops")]
    model.script(Answer(calls=calls), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("Echo three times.", key=DEVELOPER)
        (turn,) = await turns(facade, DEVELOPER)
        assert await turns(facade, ADMIN) == []
    assert {name: turn[name] for name in ("graph", "status", "question", "answer", "rounds", "left_out")} == {
        "graph": "assistant",
        "status": "finished",
        "question": "Echo three times.",
        "answer": "Done.",
        "rounds": 2,
        "left_out": 0,
    }
    assert began <= turn["began"] <= turn["ended"] <= time.time()
    done, denied, broken = turn["calls"]
    assert (done["tool"], done["verdict"], done["outcome"], done["result"]) == ("files/echo", "allow", "done", "a")
    assert done["rule"].startswith("role developer, allow 'files/echo' (access.yaml:")
    assert 0 < done["seconds"] < turn["ended"] - turn["began"]
    assert denied["seconds"] is None
    assert done["arguments"] == '{\n  "text": "a"\n}'
    assert turn["began"] <= done["began"] <= turn["ended"]
    assert (denied["verdict"], denied["outcome"]) == ("deny", "refused")
    assert denied["rule"].startswith("role developer, allow 'files/echo' (access.yaml:")
    assert (broken["arguments"], broken["outcome"]) == ("{oops", "refused")


async def test_a_turn_that_waited_is_told_as_one_with_who_decided(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]), "Written.")
    asked = await facade.say("Write x.")
    (turn,) = await turns(facade)
    (call,) = turn["calls"]
    assert (turn["status"], call["verdict"], call["outcome"], call["result"]) == ("waiting", "ask", "waiting", "")
    assert call["rule"].startswith("role admin, ask 'files/write' (access.yaml:")
    (entry,) = (await state(facade))["approvals"]
    assert (entry["id"], entry["yours"], entry["decidable"]) == (call["approval"]["id"], True, True)

    root = facade.url.removesuffix("/v1")
    headers = {"authorization": f"Bearer {ADMIN}"}
    body = {"decision": "approve", "note": "fine"}
    await facade.http.post(f"{root}/v1/approvals/{entry['id']}", json=body, headers=headers)
    assert (await state(facade))["approvals"] == []
    (turn,) = await turns(facade)
    assert turn["calls"][0]["outcome"] == "decided"

    await facade.say("Write x.", said(asked), "And?")
    (turn,) = await turns(facade)
    (call,) = turn["calls"]
    assert (turn["status"], turn["question"], turn["later"]) == ("finished", "Write x.", ["And?"])
    assert (turn["rounds"], turn["answer"]) == (2, "Written.")
    assert (call["outcome"], call["result"]) == ("done", "written")
    approval = call["approval"]
    assert (approval["status"], approval["by"], approval["note"]) == ("approved", "admin", "fine")
    assert approval["asked"] <= approval["decided"] <= turn["ended"]


async def test_stopped_and_failed_turns_and_a_clients_own_calls_are_told(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    own = {"type": "function", "function": {"name": "theirs", "parameters": {"type": "object", "properties": {}}}}
    model.script(Answer(calls=[Call("theirs")]), Answer(status=400, error="no"))
    first = (await facade.ask("Use mine.", tools=[own])).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "7"}
    await facade.ask("Use mine.", first, result, tools=[own])
    failed, handed = await turns(facade)
    assert (handed["status"], handed["calls"][0]["tool"], handed["calls"][0]["outcome"]) == (
        "finished",
        "theirs",
        "client",
    )
    assert (failed["status"], failed["calls"]) == ("failed", [])


async def test_numbers_and_odd_letters_arrive_as_they_were_written(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    arguments = '{"text": "x", "number": 12345678901234567891, "2": [], "1": true}'
    model.script(Answer(calls=[Call("files__write", arguments), Call("files__echo", '{"text": "\\ud800"}')]), "So.")
    await facade.say("Write odd things.")
    (entry,) = (await state(facade))["approvals"]
    assert entry["values"] == [["text", "x"], ["number", "12345678901234567891"], ["2", "[]"], ["1", "true"]]
    assert '"number": 12345678901234567891,' in entry["json"]
    (turn,) = await turns(facade)
    assert [call["arguments"] for call in turn["calls"]][1] == '{"text": "\\ud800"}'


async def test_a_turn_under_way_tells_what_runs_and_what_waits(
    hasty: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        Answer(calls=[Call("files__echo", {"text": "first"})]),
        Answer(calls=[Call("files__write", {"text": "x"})]),
        Answer(calls=[Call("files__hang", {"mark": "m"})]),
    )
    turn = asyncio.create_task(hasty.stream("Hang.", headers={"x-interlock-approvals": "wait"}))
    while not (waiting := (await state(hasty))["approvals"]):
        await asyncio.sleep(0.01)
    (told,) = await turns(hasty)
    assert (told["status"], told["question"], told["ended"]) == ("running", "Hang.", None)
    assert [call["outcome"] for call in told["calls"]] == ["done", "waiting"]
    await hasty.http.post(
        f"{hasty.url}/approvals/{waiting[0]['id']}",
        json={"decision": "approve"},
        headers={"authorization": f"Bearer {ADMIN}"},
    )
    await asyncio.to_thread(tools.wait_for, "hang m")
    (told,) = await turns(hasty)
    assert (told["status"], told["rounds"]) == ("running", 3)
    assert [call["outcome"] for call in told["calls"]] == ["done", "done", "running"]
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    while (told := (await turns(hasty))[0])["status"] == "running":
        await asyncio.sleep(0.01)
    assert (told["status"], told["calls"][-1]["outcome"]) == ("stopped", "unknown")


async def test_turns_are_the_newest_ones_up_to_the_limit(facade: Facade, model: ScriptedModel) -> None:
    model.respond(lambda body: "Yes.")
    for number in range(4):
        await facade.say(f"Question {number} {'x' * 1000}")
    answer = (await get(facade, "/api/turns?limit=3")).json()
    assert [turn["question"][:10] for turn in answer["turns"]] == ["Question 3", "Question 2", "Question 1"]
    assert all(len(turn["question"]) == 400 for turn in answer["turns"])
    assert answer["more"] is True
    assert (await get(facade, "/api/turns?limit=201")).status_code == 400


@pytest.fixture
async def shared(
    tmp_path: Path, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Facade]:
    """A facade whose one key speaks for many people, without any proof of who."""
    monkeypatch.setenv("INTERLOCK_ADMIN_KEY", KEYS["INTERLOCK_ADMIN_KEY"])
    keys = [{"name": "webui", "role": "admin", "env": "INTERLOCK_ADMIN_KEY", "forwards_users": True}]
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access={**ACCESS, "keys": keys})
    async with serving(folder, tmp_path / "data") as facade:
        yield facade


async def test_of_people_whom_nobody_vouches_for_no_turn_is_shown(shared: Facade, model: ScriptedModel) -> None:
    model.script("Yes.", "Yes.")
    await shared.say("Mine?")
    ann = {"x-openwebui-user-name": "Ann", "x-openwebui-user-email": "ann@example.org"}
    await shared.ask("Anns?", headers=ann)
    assert await turns(shared) == []
    assert await turns(shared, **ann) == []
    assert (await state(shared))["you"]["remembers"] is False


async def test_a_bad_save_is_shown_and_the_snapshot_stays(facade: Facade, configs: Path) -> None:
    before = await state(facade)
    (configs / "graphs" / "assistant.yaml").write_text("start: nowhere\nnodes: {}\n")
    for _ in range(500):
        if (seen := await state(facade))["problems"]:
            break
        await asyncio.sleep(0.02)
    assert seen["snapshot"] == before["snapshot"]
    assert any(problem.startswith("graphs/assistant.yaml:") for problem in seen["problems"])
