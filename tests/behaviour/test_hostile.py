"""What a hostile or careless client, model or machine sends, and what must not come of it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, ASSISTANT, DEVELOPER, Facade, content, events, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.errors import StorageError
from graphs.store.approvals import Approvals
from graphs.store.tool_journal import ToolJournal
from graphs.store.turns import Turns


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


@pytest.mark.parametrize("text", ["", None, "I", "This call needs"])
async def test_a_little_text_takes_no_other_conversations_call_over(
    facade: Facade, model: ScriptedModel, tools: Tools, text: str | None
) -> None:
    model.script(Answer("I will write.", calls=[write("A")]), "Something else.")
    await facade.say("write A")
    headers = {"authorization": f"Bearer {ADMIN}"}
    (entry,) = (await facade.http.get(f"{facade.url}/approvals", headers=headers)).json()["data"]
    approve = {"decision": "approve"}
    await facade.http.post(f"{facade.url}/approvals/{entry['id']}", json=approve, headers=headers)

    assert await facade.say("hello", {"role": "assistant", "content": text}, "and?") == "Something else."
    assert tools.ran() == []


async def test_another_chat_with_the_same_words_is_another_conversation(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[echo("SECRET")]), "Done.", "Hm.")
    await facade.say("look", headers={"x-openwebui-chat-id": "one"})
    await facade.say("look", said("Done."), "and?", headers={"x-openwebui-chat-id": "two"})
    assert model.requests[-1].tool_results == []


async def test_an_answer_without_text_restores_nothing_elsewhere(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    weather = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    model.script(Answer(calls=[echo("SECRET"), Call("weather")]), "Hm.")
    await facade.ask("look", tools=[weather])
    await facade.say("hello", said(""), "and?")
    assert model.requests[-1].tool_results == []


async def test_a_store_that_fails_ends_the_answer_in_words(
    facade: Facade, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Turns, "end", broken)
    model.script("Hello.", Answer(status=400))
    answer = await asyncio.wait_for(facade.stream("go"), 5)
    assert "Interlock's database cannot be used now" in answer
    assert "the disk is full" not in answer  # what the database says of itself is for the log
    assert (await asyncio.wait_for(facade.ask("go"), 5)).status_code == 400


async def test_a_result_that_cannot_be_kept_still_reaches_the_model(
    facade: Facade, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(ToolJournal, "finish", broken)
    model.script(Answer(calls=[echo("x")]), "Done.")
    assert await facade.say("go") == "Done."
    assert model.requests[1].tool_results == ["x"]


async def test_a_stopped_turn_leaves_no_approval_behind(
    facade: Facade, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()
    request = Approvals.request

    async def slow(self: Approvals, *given: Any) -> Any:
        found = await request(self, *given)
        asked.set()
        await asyncio.sleep(10)
        return found

    monkeypatch.setattr(Approvals, "request", slow)
    model.script(Answer(calls=[write("x")]))
    turn = asyncio.create_task(facade.stream("write x"))
    await asyncio.wait_for(asked.wait(), 5)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    headers = {"authorization": f"Bearer {ADMIN}"}
    for _ in range(300):
        (entry,) = (await facade.http.get(f"{facade.url}/approvals", headers=headers)).json()["data"]
        if entry["status"] != "pending":
            break
        await asyncio.sleep(0.01)
    assert entry["status"] == "superseded"


async def test_leaving_before_the_first_word_is_noticed_at_once(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer("x", stall_after=0))
    turn = asyncio.create_task(facade.stream("go"))
    arrived = await model.arrived(1)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    assert await arrived.ended(timeout=1) == "cut"


async def test_a_graph_that_may_not_be_used_any_more_runs_nothing_approved(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    servers = {"files": {"url": tools.url}}
    graphs = {"assistant": ASSISTANT, "other": ASSISTANT}
    folder = write_configs(tmp_path / "c", model.url, servers, graphs=graphs)
    model.script(Answer(calls=[write("x")]))
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x")
    approval = asked.split("`approve ")[1][:8]
    roles = {**ACCESS["roles"], "admin": {**ACCESS["roles"]["admin"], "graphs": ["other*"]}}
    write_configs(folder, model.url, servers, access={**ACCESS, "roles": roles}, graphs=graphs)
    async with serving(folder, tmp_path / "data") as facade:
        answer = await facade.say("write x", said(asked), f"approve {approval}", model="other")
    assert "You may not use the graph 'assistant' any more" in answer
    assert tools.ran() == []


async def test_what_a_server_said_last_is_not_shown_to_everybody(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    dies = "import sys; print('cannot reach postgres://u:TOPSECRET@h/db', file=sys.stderr); sys.exit(3)"
    servers = {"frail": {"command": sys.executable, "args": ["-c", dies]}}
    folder = write_configs(tmp_path / "c", model.url, servers)
    async with serving(folder, tmp_path / "data") as facade:
        ready = await facade.ready()
    assert ready.json()["servers"]["frail"]["reason"] == "exited with status 3"
    assert "TOPSECRET" not in ready.text


async def test_of_two_roles_the_one_with_an_approver_decides(
    tmp_path: Path, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBUI_KEY", "ilk_webui")
    access = {
        "roles": {
            "admin": {"allow": ["*"]},
            "team": {"ask": [{"tool": "files/write", "expires": "1h"}]},
            "user": {"ask": [{"tool": "files/write", "approver": "admin", "expires": "2h"}]},
        },
        "keys": [{"name": "webui", "role": "team", "env": "WEBUI_KEY", "forwards_users": True}],
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    model.script(Answer(calls=[write("x")]))
    max_ = {"x-openwebui-user-email": "max@example.org", "x-openwebui-user-role": "user"}
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x", key="ilk_webui", headers=max_)
        answer = await facade.say(f"approve {asked.split('may decide `')[1][:8]}", key="ilk_webui", headers=max_)
    assert "Only the role admin" in answer
    assert tools.ran() == []


async def test_people_behind_a_key_without_signatures_are_kept_apart(
    tmp_path: Path, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBUI_KEY", "ilk_webui")
    access = {
        "roles": {"team": {"ask": ["files/write"]}},
        "keys": [{"name": "webui", "role": "team", "env": "WEBUI_KEY", "forwards_users": True}],
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    model.script(Answer(calls=[write("x")]))
    alice, bob = ({"x-openwebui-user-email": f"{name}@example.org"} for name in ("alice", "bob"))
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x", key="ilk_webui", headers=alice)
        bearer = {"authorization": "Bearer ilk_webui"}
        listed = await facade.http.get(f"{facade.url}/approvals", headers={**bearer, **bob})
        answer = await facade.say(f"approve {asked.split('`approve ')[1][:8]}", key="ilk_webui", headers=bob)
    assert listed.json()["data"] == []
    assert "Nothing that you may decide" in answer
    assert tools.ran() == []


BIG = '{"text": 123456789012345678901234567890}'
DEEP = '{"text": ' + "[" * 900 + "]" * 900 + "}"
DELTAS: list[Any] = [
    {"choices": [{"delta": {"content": 5}}]},
    {"choices": [{"delta": "text"}]},
    {"choices": [None]},
    {"choices": "none"},
    {"choices": 7},
    {"choices": [{"delta": {"tool_calls": [None]}}]},
    {"choices": [{"delta": {"tool_calls": {"a": 1}}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": [], "function": {"name": "x"}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": "x"}]}}]},
]


@pytest.mark.parametrize("delta", DELTAS, ids=[json.dumps(delta)[:60] for delta in DELTAS])
async def test_a_model_that_speaks_another_language_is_told_in_words(
    facade: Facade, model: ScriptedModel, delta: Any
) -> None:
    raw = [f"data: {json.dumps(delta)}\n\n".encode(), b"data: [DONE]\n\n"]
    model.respond(lambda _: Answer(raw=raw))
    response = await facade.ask("go")
    assert response.status_code == 502
    assert "no chat completion" in response.json()["error"]["message"]


async def test_odd_but_readable_models_are_read(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    def lines(*deltas: Any) -> list[bytes]:
        whole = [
            *({"choices": [{"delta": delta}]} for delta in deltas),
            {"choices": [{"delta": {}, "finish_reason": {}}]},
        ]
        return [f"data: {json.dumps(line)}\n\n".encode() for line in whole] + [b"data: [DONE]\n\n"]

    both = [
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "files__echo", "arguments": '{"text":"1"}'}}]},
        {"tool_calls": [{"index": 0, "id": "b", "function": {"name": "files__echo", "arguments": {"text": "2"}}}]},
    ]
    model.script(
        Answer(raw=lines(*both)),
        Answer(raw=lines({"content": [{"type": "text", "text": "Fine."}]})),
        Answer(raw=[b'data: {"choices":[{"delta":{"content":"half \\ud83d"}}]}\n\n', b"data: [DONE]\n\n"]),
    )
    assert await facade.say("go") == "Fine."
    assert sorted(tools.ran()) == ["echo 1", "echo 2"]
    assert (await facade.say("go")).startswith("half ")


@pytest.mark.parametrize(
    "arguments",
    [BIG, DEEP, '{"text": NaN}', '"x"', '{"text": "\\ud83d"}'],
    ids=["big", "deep", "nan", "string", "surrogate"],
)
async def test_arguments_that_cannot_be_judged_are_not_run(
    facade: Facade, model: ScriptedModel, tools: Tools, arguments: str
) -> None:
    model.script(Answer(calls=[Call("files__echo", arguments)]), "Sorry.")
    assert await facade.say("go") == "Sorry."
    assert "not a JSON object" in model.requests[1].tool_results[0]
    assert tools.ran() == []


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "tool_calls": [{"id": "x", "function": "f"}]}, {"role": "user", "content": "x"}],
        [{"role": "assistant", "tool_calls": [None]}, {"role": "user", "content": "x"}],
        [{"role": "user", "content": 5}],
        [{"content": "x"}, None],
        "hello",
    ],
)
async def test_messages_of_no_known_shape_are_a_400(facade: Facade, model: ScriptedModel, messages: Any) -> None:
    response = await facade.http.post(
        f"{facade.url}/chat/completions",
        json={"model": "assistant", "messages": messages},
        headers={"authorization": f"Bearer {ADMIN}"},
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("messages")


async def test_numbers_over_64_bits_reach_the_model(facade: Facade, model: ScriptedModel) -> None:
    model.script("ok")
    assert await facade.say("go", metadata={"n": 123456789012345678901234567890}) == "ok"
    assert model.requests[0].body["metadata"] == {"n": 123456789012345678901234567890}


async def test_instructions_in_the_middle_join_the_first(facade: Facade, model: ScriptedModel) -> None:
    model.script("ok")
    await facade.say("a", said("b"), {"role": "system", "content": "Be brief."}, "c")
    assert [m["role"] for m in model.requests[0].messages] == ["system", "user", "assistant", "user"]
    assert model.requests[0].messages[0]["content"] == "You help admin.\n\nBe brief."


async def test_what_was_run_before_a_stop_is_not_forgotten(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer("I will write.", calls=[write("x")]), Answer("x", stall_after=0), "I know.")
    asked = await facade.say("write x")
    yes = f"approve {asked.split('`approve ')[1][:8]}"
    turn = asyncio.create_task(facade.stream("write x", said(asked), yes))
    arrived = await model.arrived(2)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    assert await arrived.ended(timeout=1) == "cut"
    for _ in range(300):  # the turn is recorded while it is being stopped
        answer = await facade.ask("write x", said(asked), yes, "did you?")
        if "written" in model.requests[-1].tool_results:
            break
        model.script("I know.")
        await asyncio.sleep(0.01)
    assert answer.json()["choices"][0]["message"]["content"] == "I know."
    assert model.requests[-1].tool_results == ["written"]
    assert tools.ran() == ["write x"]


async def test_a_wrong_status_is_told_without_anything_of_the_machine(facade: Facade) -> None:
    response = await facade.http.get(
        f"{facade.url}/approvals?status=bogus", headers={"authorization": f"Bearer {DEVELOPER}"}
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "status"
    assert "/" not in response.json()["error"]["message"].split("status:")[1]


async def test_what_a_model_declines_is_a_refusal_and_text_in_open_webui(facade: Facade, model: ScriptedModel) -> None:
    raw = [b'data: {"choices":[{"delta":{"refusal":"I will not."},"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]
    model.respond(lambda _: Answer(raw=raw))
    message = (await facade.ask("go")).json()["choices"][0]["message"]
    assert (message["refusal"], message["content"]) == ("I will not.", None)
    assert "I will not." in content(await facade.stream("go", headers={"x-openwebui-chat-id": "c"}))
    assert [e for e in events(await facade.stream("go")) if '"refusal"' in json.dumps(e)]
