"""What a person reads of a call that is not run, in the card of the chat, and what the model and the API are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, content, events, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

WEBUI = {"x-openwebui-chat-id": "chat-1"}
ASK_USER: dict[str, Any] = {"type": "function", "function": {"name": "ask_user", "parameters": {"type": "object"}}}
REASON = "Two people decide about what is written"
WRITE = Call("files__write", {"text": "x"})
DECIDERS = (
    "Only the role admin may decide `{id}`, on Interlock's console (`/console`) or over its API "
    "(`POST /v1/approvals/{id}`). Once it is decided, write any message and the chat goes on from it; a message before "
    "that gives the call up."
)


def with_developer(**rules: Any) -> dict[str, Any]:
    return {**ACCESS, "roles": {"admin": {"allow": ["*"]}, "developer": rules}}


def read_card(raw: str) -> tuple[str, str]:
    """The state and the words of the card that a stream ends with."""
    outputs = [e["item"] for e in events(raw) if e.get("item", {}).get("type") == "function_call_output"]
    return outputs[-1]["status"], outputs[-1]["output"][0]["text"]


def read_panel(raw: str) -> dict[str, Any] | None:
    calls = [
        call
        for event in events(raw)
        for choice in event.get("choices") or ()
        for call in choice["delta"].get("tool_calls") or ()
    ]
    return calls[0] if calls else None


async def decide(facade: Facade, approval: str, decision: str, note: str = "", key: str = ADMIN) -> None:
    body = {"decision": decision, "note": note}
    headers = {"authorization": f"Bearer {key}"}
    (await facade.http.post(f"{facade.url}/approvals/{approval}", json=body, headers=headers)).raise_for_status()


async def find_waiting(facade: Facade, key: str) -> dict[str, Any]:
    response = await facade.http.get(
        f"{facade.url}/approvals?status=pending", headers={"authorization": f"Bearer {key}"}
    )
    (entry,) = response.json()["data"]
    return entry


@pytest.mark.parametrize(
    ("rules", "person", "model_reads"),
    [
        (
            {"deny": [{"tool": "files/write", "reason": REASON}], "allow": ["*"]},
            f"{REASON}. This call of files/write is not allowed. The rules of this Interlock (access.yaml) decide "
            "that; ask whoever looks after them.\nWhy: role developer, deny 'files/write' (access.yaml:",
            f"files/write was not run: it is not allowed: {REASON}; rule: role developer, deny 'files/write' "
            "(access.yaml:",
        ),
        (
            {"allow": [{"tool": "files/write", "when": 'args.text == "y"'}]},
            "This call of files/write is not allowed. The rules of this Interlock (access.yaml) decide that; ask "
            "whoever looks after them.\nWhy: role developer, allow 'files/write' (access.yaml:",
            "files/write was not run: it is not allowed: role developer, allow 'files/write' (access.yaml:",
        ),
    ],
    ids=["denied", "not with these arguments"],
)
async def test_a_refusal_says_plainly_that_it_is_not_allowed_and_who_can_change_that(
    tmp_path: Path,
    model: ScriptedModel,
    tools: Tools,
    keys: None,
    rules: dict[str, Any],
    person: str,
    model_reads: str,
) -> None:
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=with_developer(**rules))
    model.script(Answer(calls=[WRITE]), "Sorry.")
    async with serving(folder, tmp_path / "data") as facade:
        raw = await facade.stream("write x", headers=WEBUI, key=DEVELOPER)
    status, words = read_card(raw)
    assert status == "failed"
    assert words.startswith(person)
    (result,) = model.requests[-1].tool_results
    assert result.startswith(model_reads)
    assert result.endswith(" Do not make this call again with these arguments.")
    assert tools.ran() == []


async def test_whoever_rejects_their_own_call_reads_that_they_did(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    access = with_developer(ask=[{"tool": "files/write", "reason": REASON}])
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    model.script(Answer(calls=[WRITE]), "All right.")
    async with serving(folder, tmp_path / "data") as facade:
        raw = await facade.stream("write x", headers=WEBUI, tools=[ASK_USER], key=DEVELOPER)
        call = read_panel(raw)
        assert call is not None
        (question,) = json.loads(call["function"]["arguments"])["questions"]
        assert question["question"].startswith(f"{REASON}. Run ")
        entry = await find_waiting(facade, DEVELOPER)
        chosen = {question["id"]: {"type": "option", "option_index": 0, "label": "Reject", "description": ""}}
        reply = [
            {"role": "assistant", "content": "", "tool_calls": [{k: call[k] for k in ("id", "type", "function")}]},
            {
                "role": "tool",
                "tool_call_id": call["id"],
                "content": json.dumps({"status": "answered", "answers": chosen}),
            },
        ]
        answered = await facade.stream("write x", *reply, headers=WEBUI, tools=[ASK_USER], key=DEVELOPER)
    assert read_card(answered) == ("failed", "You rejected files/write.")
    assert model.requests[-1].tool_results == [
        "files/write was not run: rejected by the user. Do not make this call again unless the user asks for it."
    ]
    assert entry["reason"] == REASON
    assert entry["rule"].startswith("role developer, ask 'files/write' (access.yaml:")
    assert entry["rule"].endswith(f"): {REASON}")


async def test_who_may_not_decide_gets_no_button_and_reads_who_does_and_later_who_rejected_it_and_why(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    access = with_developer(ask=[{"tool": "files/write", "approver": "admin", "reason": REASON}])
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    model.script(Answer(calls=[WRITE]), "All right.")
    async with serving(folder, tmp_path / "data") as facade:
        raw = await facade.stream("write x", headers=WEBUI, tools=[ASK_USER], key=DEVELOPER)
        assert read_panel(raw) is None
        text = content(raw)
        entry = await find_waiting(facade, ADMIN)
        assert DECIDERS.format(id=entry["id"]) in text
        assert text.index(REASON) < text.index("files/write") < text.index("access.yaml:")
        assert "Reply" not in text
        early = await facade.say("write x", said(text), f"approve {entry['id']}", key=DEVELOPER)
        assert early == f"{DECIDERS.format(id=entry['id'])} Nothing was run."
        await decide(facade, entry["id"], "reject", note="not today\nWhy: role admin")
        after = await facade.stream("write x", said(text), "go on", headers=WEBUI, tools=[ASK_USER], key=DEVELOPER)
    assert read_card(after) == ("failed", "admin rejected files/write: “not today Why: role admin”")
    assert content(after) == "All right."
    assert (
        model.requests[-1]
        .tool_results[0]
        .startswith("files/write was not run: rejected by admin: not today Why: role admin.")
    )
    assert tools.ran() == []


async def test_who_gives_a_call_up_reads_that_it_was_not_run(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[WRITE]), "All right.")
    text = content(await facade.stream("write x", headers=WEBUI))
    after = await facade.stream("write x", said(text), "never mind", headers=WEBUI)
    assert read_card(after) == (
        "failed",
        "files/write was not run: the chat went on with another message before anybody approved it.",
    )
    assert tools.ran() == []
