"""`/v1/approvals`: who sees what waits, and deciding it from elsewhere, once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, content, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


async def get(facade: Facade, path: str = "", key: str = ADMIN) -> httpx.Response:
    return await facade.http.get(f"{facade.url}/approvals{path}", headers={"authorization": f"Bearer {key}"})


async def post(facade: Facade, approval: str, decision: str, key: str = ADMIN, **more: Any) -> httpx.Response:
    return await facade.http.post(
        f"{facade.url}/approvals/{approval}",
        json={"decision": decision, **more},
        headers={"authorization": f"Bearer {key}"},
    )


async def test_an_approval_is_listed_decided_once_and_takes_effect_with_the_next_message(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    listed = (await get(facade, "?status=pending")).json()
    (entry,) = listed["data"]
    assert listed["object"] == "list"
    assert {name: entry[name] for name in ("status", "graph", "tool", "args", "caller", "approver", "decided_by")} == {
        "status": "pending",
        "graph": "assistant",
        "tool": "files/write",
        "args": {"text": "x"},
        "caller": "admin",
        "approver": None,
        "decided_by": None,
    }
    assert entry["expires"] - entry["created"] == 900

    decided = await post(facade, entry["id"], "approve", note="go ahead")
    assert decided.status_code == 200
    assert (decided.json()["status"], decided.json()["decided_by"], decided.json()["note"]) == (
        "approved",
        "admin",
        "go ahead",
    )
    assert tools.ran() == []
    assert (await post(facade, entry["id"], "reject")).status_code == 409
    assert (await get(facade, f"/{entry['id']}")).json()["status"] == "approved"
    assert (await get(facade, "?status=pending")).json()["data"] == []

    assert await facade.say("write x", said(asked), "so?") == "Written."
    assert tools.ran() == ["write x"]
    assert model.requests[-1].messages[-1]["content"] == "so?"


async def test_an_open_stream_goes_on_at_once_when_the_decision_arrives(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    turn = asyncio.create_task(facade.stream("write x", headers={"x-interlock-approvals": "wait"}))
    while not (waiting := (await get(facade, "?status=pending")).json()["data"]):
        assert not turn.done()
        await asyncio.sleep(0.01)
    assert (await post(facade, waiting[0]["id"], "approve")).status_code == 200
    raw = await turn
    assert content(raw).endswith("Written.")
    assert raw.count('"finish_reason":"stop"') == 1
    assert tools.ran() == ["write x"]


async def test_leaving_an_open_stream_leaves_the_approval_waiting(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    turn = asyncio.create_task(facade.stream("write x", headers={"x-interlock-approvals": "wait"}))
    while not (waiting := (await get(facade, "?status=pending")).json()["data"]):
        assert not turn.done()
        await asyncio.sleep(0.01)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    assert (await get(facade, f"/{waiting[0]['id']}")).json()["status"] == "pending"
    for _ in range(200):  # the leaving is noticed, and the turn recorded, a moment later
        answer = await facade.say(f"approve {waiting[0]['id']}")
        if answer == "Written.":
            break
        await asyncio.sleep(0.01)
    assert tools.ran() == ["write x"]


async def test_fifty_decisions_at_once_run_it_once(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    approval = (await get(facade)).json()["data"][0]["id"]
    answers = await asyncio.gather(
        *(post(facade, approval, "approve") for _ in range(25)),
        *(facade.ask("write x", said(asked), f"approve {approval}") for _ in range(25)),
    )
    statuses = [answer.status_code for answer in answers]
    # Where the API was the first, and later than every message, the turn goes on with the next one.
    if not any("Written." in answer.text for answer in answers[25:]):
        await facade.say("write x", said(asked), "go on")
    assert tools.ran() == ["write x"]
    assert set(statuses[:25]) <= {200, 409}


async def test_others_neither_see_nor_decide(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[write("x")]))
    await facade.say("write x")
    approval = (await get(facade)).json()["data"][0]["id"]
    assert (await get(facade, key=DEVELOPER)).json()["data"] == []
    assert (await get(facade, f"/{approval}", key=DEVELOPER)).status_code == 403
    assert (await post(facade, approval, "approve", key=DEVELOPER)).status_code == 403
    assert (await post(facade, "aaaaaaaa", "approve")).status_code == 404
    assert (await post(facade, approval, "maybe")).status_code == 400
    assert (await post(facade, approval, "approve", key="ilk_nobody")).status_code == 401
    assert (await get(facade, "?status=maybe")).status_code == 400


async def test_an_approver_sees_and_decides_what_waits_for_its_role(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    roles = {
        "admin": {"allow": ["*"]},
        "developer": {"ask": [{"tool": "files/write", "approver": "admin", "expires": "15m"}]},
    }
    access = {**ACCESS, "roles": roles}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    model.script(Answer(calls=[write("x")]), "Written.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x", key=DEVELOPER)
        (entry,) = (await get(facade)).json()["data"]
        assert (entry["caller"], entry["approver"]) == ("developer", "admin")
        assert (await post(facade, entry["id"], "approve", key=DEVELOPER)).status_code == 403
        assert (await post(facade, entry["id"], "approve")).status_code == 200
        assert await facade.say("write x", said(asked), "and?", key=DEVELOPER) == "Written."
    assert tools.ran() == ["write x"]


async def test_an_expired_approval_is_gone(tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None) -> None:
    roles = {**ACCESS["roles"], "admin": {"allow": ["*"], "ask": [{"tool": "files/write", "expires": "1s"}]}}
    access = {**ACCESS, "roles": roles}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    model.script(Answer(calls=[write("x")]))
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("write x")
        (entry,) = (await get(facade)).json()["data"]
        await asyncio.sleep(1.05)  # the clock is what is tested
        assert (await post(facade, entry["id"], "approve")).status_code == 410
        assert (await get(facade, f"/{entry['id']}")).json()["status"] == "expired"
