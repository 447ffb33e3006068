"""`/v1/questions`: who sees what is asked, and answering it from elsewhere, once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ADMIN, DEVELOPER, Facade, content, said, serving, write_configs
from support.scripted_model import ScriptedModel
from test_questions import TICKET, Chat, ask, ask_or


async def get(facade: Facade, path: str = "", key: str = ADMIN) -> httpx.Response:
    return await facade.http.get(f"{facade.url}/questions{path}", headers={"authorization": f"Bearer {key}"})


async def post(facade: Facade, question: str, answer: Any, key: str = ADMIN, **more: Any) -> httpx.Response:
    return await facade.http.post(
        f"{facade.url}/questions/{question}",
        json={"answer": answer, **more},
        headers={"authorization": f"Bearer {key}"},
    )


async def list_pending(facade: Facade, key: str = ADMIN) -> list[dict[str, Any]]:
    return (await get(facade, "?status=pending", key)).json()["data"]


def configure(folder: Path, model: ScriptedModel, graph: Any) -> Path:
    return write_configs(folder / "configs", model.url, {}, graphs={"assistant": graph})


async def test_whoever_chats_may_answer_over_the_api_once(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask(["restart", "stop"])), tmp_path / "data") as facade:
        asked = await facade.say("go")
        (entry,) = await list_pending(facade)
        assert {name: entry[name] for name in ("object", "status", "graph", "node", "question", "role", "answer")} == {
            "object": "question",
            "status": "pending",
            "graph": "assistant",
            "node": "which",
            "question": "Which?",
            "role": None,
            "answer": None,
        }
        assert entry["schema"] == {"type": "string", "enum": ["restart", "stop"]}
        assert entry["expires"] - entry["created"] == 86400
        unfit = await post(facade, entry["id"], "begin")
        assert (unfit.status_code, unfit.json()["error"]["code"]) == (400, "answer_mismatch")
        assert unfit.json()["error"]["message"] == "The answer is none of its values; expected one of restart, stop."
        done = await post(facade, entry["id"], "stop")
        assert done.status_code == 200
        assert (done.json()["status"], done.json()["answer"], done.json()["answered_by"]) == (
            "answered",
            "stop",
            "admin",
        )
        assert (await post(facade, entry["id"], "stop")).status_code == 409
        assert await list_pending(facade) == []
        assert await facade.say("go", said(asked), "so?") == "admin answered “Which?”: stop\n\nGot stop."


async def test_an_object_is_answered_whole(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask(TICKET)), tmp_path / "data") as facade:
        chat = Chat(facade)
        await chat.say("go")
        await chat.say("Half of it")
        (entry,) = await list_pending(facade)
        assert (await post(facade, entry["id"], {"title": "x"})).status_code == 400
        assert (await post(facade, entry["id"], {"title": "x", "urgency": "low", "again": True})).status_code == 200
        assert (await chat.say("so?")).endswith('Got {"title":"x","urgency":"low","again":true}.')


async def test_a_question_for_a_role_waits_for_it_alone(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = ask("string", by="admin")
    async with serving(configure(tmp_path, model, graph), tmp_path / "data") as facade:
        chat = Chat(facade, key=DEVELOPER)
        assert await chat.say("go") == "Which?\n\nOnly the role admin may answer."
        still = "This still waits for an answer of the role admin: Which?"
        assert await chat.say("mine") == still
        assert await chat.say("mine!") == still
        (entry,) = await list_pending(facade)
        assert (entry["caller"], entry["role"]) == ("developer", "admin")
        assert [each["id"] for each in await list_pending(facade, DEVELOPER)] == [entry["id"]]
        refused = await post(facade, entry["id"], "mine", DEVELOPER)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")
        assert (await post(facade, entry["id"], "theirs")).status_code == 200
        assert await chat.say("and now?") == "admin answered “Which?”: theirs\n\nGot theirs."


async def test_who_has_the_role_may_answer_in_the_chat(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask("string", by="admin")), tmp_path / "data") as facade:
        chat = Chat(facade)
        await chat.say("go")
        assert await chat.say("mine") == "Got mine."


async def test_what_a_person_says_while_a_role_is_asked_reaches_the_model(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = ask("string", by="admin")
    graph["nodes"]["say"] = {"type": "model", "next": "end"}
    model.script("Fine.")
    async with serving(configure(tmp_path, model, graph), tmp_path / "data") as facade:
        chat = Chat(facade, key=DEVELOPER)
        await chat.say("go")
        (entry,) = await list_pending(facade)
        await post(facade, entry["id"], "theirs")
        assert (await chat.say("and now?")).endswith("Fine.")
    assert [message["content"] for message in model.requests[0].messages] == [
        "go",
        "admin answered “Which?”: theirs",
        "and now?",
    ]


async def test_others_neither_see_nor_answer(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask("string")), tmp_path / "data") as facade:
        await facade.say("go")
        (entry,) = await list_pending(facade)
        assert await list_pending(facade, DEVELOPER) == []
        assert (await get(facade, f"/{entry['id']}", DEVELOPER)).status_code == 403
        assert (await post(facade, entry["id"], "x", DEVELOPER)).status_code == 403
        assert (await post(facade, entry["id"], "x", "ilk_nobody")).status_code == 401
        assert (await post(facade, "aaaaaaaa", "x")).status_code == 404
        assert (await post(facade, entry["id"], "x", more=1)).status_code == 400
        assert (await post(facade, entry["id"], "")).status_code == 400
        assert (await get(facade, "?status=maybe")).status_code == 400
        assert (await get(facade, f"/{entry['id']}")).json()["status"] == "pending"
        # An approval is looked for among approvals alone.
        decided = await facade.http.post(
            f"{facade.url}/approvals/{entry['id']}",
            json={"decision": "approve"},
            headers={"authorization": f"Bearer {ADMIN}"},
        )
        assert decided.status_code == 404


async def test_an_expired_question_is_gone(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask_or("string", expires="1s")), tmp_path / "data") as facade:
        await facade.say("go")
        (entry,) = await list_pending(facade)
        await asyncio.sleep(1.05)  # the clock is what is tested
        assert (await post(facade, entry["id"], "x")).status_code == 410
        assert (await get(facade, f"/{entry['id']}")).json()["status"] == "expired"


async def test_an_open_stream_goes_on_at_once_when_the_answer_arrives(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    async with serving(configure(tmp_path, model, ask("int")), tmp_path / "data") as facade:
        turn = asyncio.create_task(facade.stream("go", headers={"x-interlock-approvals": "wait"}))
        while not (waiting := await list_pending(facade)):
            assert not turn.done()
            await asyncio.sleep(0.01)
        assert (await post(facade, waiting[0]["id"], 4)).status_code == 200
        assert content(await turn).endswith("admin answered “Which?”: 4\n\nGot 4.")


async def test_leaving_an_open_stream_leaves_the_question_waiting(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    async with serving(configure(tmp_path, model, ask("int")), tmp_path / "data") as facade:
        turn = asyncio.create_task(facade.stream("go", headers={"x-interlock-approvals": "wait"}))
        while not await list_pending(facade):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # the stream is in its wait
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        asked = said("Which?\n\nReply with a whole number.")
        for _ in range(200):  # the leaving is noticed, and the turn recorded, a moment later
            if (answer := await facade.say("go", asked, "4")) == "Got 4.":
                break
            await asyncio.sleep(0.01)
        assert answer == "Got 4."


@pytest.mark.parametrize("stream", [True, False])
async def test_a_program_is_told_of_a_question_by_an_error(
    tmp_path: Path, model: ScriptedModel, keys: None, stream: bool
) -> None:
    headers = {"x-interlock-approvals": "error"}
    async with serving(configure(tmp_path, model, ask("int")), tmp_path / "data") as facade:
        if stream:
            assert '"code":"answer_required"' in await facade.stream("go", headers=headers)
        else:
            paused = await facade.ask("go", headers=headers)
            assert (paused.status_code, paused.json()["error"]["code"]) == (409, "answer_required")
            assert paused.headers["x-should-retry"] == "false"
            assert paused.json()["error"]["questions"] == [each["id"] for each in await list_pending(facade)]
        (entry,) = await list_pending(facade)
        # Who asks again before it is answered is told the same: nothing new is asked.
        assert (await facade.ask("go", headers=headers)).status_code == 409
        assert [each["id"] for each in await list_pending(facade)] == [entry["id"]]
        assert (await post(facade, entry["id"], 4)).status_code == 200
        assert (await facade.say("go", headers=headers)).endswith("Got 4.")


async def test_the_answer_that_asks_names_its_question(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask("int")), tmp_path / "data") as facade:
        answer = await facade.ask("go")
        (entry,) = await list_pending(facade)
        assert answer.json()["interlock"] == {"questions": [entry["id"]]}


async def test_the_console_lists_what_waits(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask(TICKET, by="admin")), tmp_path / "data") as facade:
        await facade.say("go", key=DEVELOPER)
        shown = {}
        for key in (ADMIN, DEVELOPER):
            address = f"{facade.url.removesuffix('/v1')}/console/api/state"
            state = await facade.http.get(address, headers={"authorization": f"Bearer {key}"})
            (shown[key],) = state.json()["questions"]
        assert shown[ADMIN]["answerable"] is True
        assert shown[DEVELOPER]["answerable"] is False
        assert [(field["name"], field["kind"], field["is_optional"]) for field in shown[ADMIN]["fields"]] == [
            ("title", "string", False),
            ("urgency", "enum", False),
            ("steps", "string", True),
            ("again", "bool", False),
        ]
