"""Decided by API, then `approve ID` or `reject ID` in the chat: the conversation's next message, whatever it says, goes
on from what was decided."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


def ids(answer: str) -> list[str]:
    return re.findall(r"(?:`approve |may decide `)([a-z2-7]{8})`", answer)


async def decide(facade: Facade, approval: str, decision: str, key: str = ADMIN) -> None:
    response = await facade.http.post(
        f"{facade.url}/approvals/{approval}",
        json={"decision": decision},
        headers={"authorization": f"Bearer {key}"},
    )
    assert response.status_code == 200, response.text


FORMS = ["approve {}", "Approve {}", "  APPROVE \t {}\n"]


@pytest.mark.parametrize("form", FORMS)
async def test_approve_after_an_approval_by_api_runs_it_once(
    facade: Facade, model: ScriptedModel, tools: Tools, form: str
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    (approval,) = ids(asked)
    await decide(facade, approval, "approve")
    assert await facade.say("write x", said(asked), form.format(approval.upper())) == "Written."
    assert tools.ran() == ["write x"]

    again = await facade.say("write x", said(asked), f"approve {approval}")
    assert "already approved" in again
    assert "nothing was run by this message" in again
    assert tools.ran() == ["write x"]


async def test_reject_after_an_approval_by_api_goes_on_and_says_so(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    await decide(facade, ids(asked)[0], "approve")
    answer = await facade.say("write x", said(asked), f"reject {ids(asked)[0]}")
    assert f"{ids(asked)[0]} is already approved by admin" in answer
    assert answer.endswith("\n\nWritten.")
    assert tools.ran() == ["write x"]


@pytest.mark.parametrize("word", ["approve", "reject"])
async def test_either_word_after_a_rejection_by_api_goes_on_without_the_call(
    facade: Facade, model: ScriptedModel, tools: Tools, word: str
) -> None:
    model.script(Answer(calls=[write("x")]), "All right.")
    asked = await facade.say("write x")
    await decide(facade, ids(asked)[0], "reject")
    answer = await facade.say("write x", said(asked), f"{word} {ids(asked)[0]}")
    assert answer.endswith("All right.")
    assert ("already rejected by admin" in answer) == (word == "approve")
    assert "rejected by the user" in model.requests[-1].tool_results[0]
    assert tools.ran() == []


async def test_from_another_conversation_it_goes_on_too(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    await decide(facade, ids(asked)[0], "approve")
    assert await facade.say(f"approve {ids(asked)[0]}") == "Written."
    assert tools.ran() == ["write x"]


async def test_ten_at_once_after_an_approval_by_api_run_it_once(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    await decide(facade, ids(asked)[0], "approve")
    answers = await asyncio.gather(*(facade.say("write x", said(asked), f"approve {ids(asked)[0]}") for _ in range(10)))
    assert answers.count("Written.") == 1
    assert tools.ran() == ["write x"]


async def test_of_two_calls_the_one_decided_by_api_waits_for_the_other(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x"), write("y")]), "Both.")
    asked = await facade.say("write both")
    first, second = ids(asked)
    await decide(facade, first, "approve")
    waits = await facade.say("write both", said(asked), f"approve {first}")
    assert "already approved" in waits
    assert f"`approve {second}`" in waits
    assert tools.ran() == []
    answer = await facade.say("write both", said(asked), said(waits), f"approve {second}")
    assert answer == "Both."
    assert sorted(tools.ran()) == ["write x", "write y"]


async def test_of_two_calls_both_decided_by_api_either_id_goes_on(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x"), write("y")]), "One.")
    asked = await facade.say("write both")
    first, second = ids(asked)
    await decide(facade, first, "approve")
    await decide(facade, second, "reject")
    assert await facade.say("write both", said(asked), f"approve {first}") == "One."
    assert tools.ran() == ["write x"]


async def test_decided_in_time_it_runs_after_its_time(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    roles = {**ACCESS["roles"], "admin": {"allow": ["*"], "ask": [{"tool": "files/write", "expires": "1s"}]}}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access={**ACCESS, "roles": roles})
    model.script(Answer(calls=[write("x")]), "Written.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x")
        await decide(facade, ids(asked)[0], "approve")
        await asyncio.sleep(1.05)  # the clock is what is tested
        assert await facade.say("write x", said(asked), f"approve {ids(asked)[0]}") == "Written."
    assert tools.ran() == ["write x"]


APPROVED_BY_ADMIN: dict[str, Any] = {
    **ACCESS,
    "roles": {
        "admin": {"allow": ["*"]},
        "developer": {"ask": [{"tool": "files/write", "approver": "admin", "expires": "15m"}]},
    },
}


@pytest.mark.parametrize("word", ["approve", "reject"])
async def test_whoever_asked_goes_on_with_what_the_approver_decided_by_api(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, word: str
) -> None:
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=APPROVED_BY_ADMIN)
    model.script(Answer(calls=[write("x")]), "Written.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x", key=DEVELOPER)
        (approval,) = ids(asked)
        early = await facade.say("write x", said(asked), f"approve {approval}", key=DEVELOPER)
        assert "Only the role admin may decide" in early
        await decide(facade, approval, "approve")
        others = await facade.say(f"approve {approval}", key=ADMIN)
        assert "already approved" in others
        assert "when developer goes on" in others
        assert tools.ran() == []
        answer = await facade.say("write x", said(asked), f"{word} {approval}", key=DEVELOPER)
    assert answer.endswith("Written.")
    assert ("already approved by admin" in answer) == (word == "reject")
    assert tools.ran() == ["write x"]


async def test_a_right_taken_away_meanwhile_wins(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}})
    model.script(Answer(calls=[write("x")]), "Not allowed.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x")
        await decide(facade, ids(asked)[0], "approve")
    roles = {**ACCESS["roles"], "admin": {"allow": ["*"], "deny": ["files/write"]}}
    write_configs(folder, model.url, {"files": {"url": tools.url}}, access={**ACCESS, "roles": roles})
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("write x", said(asked), f"approve {ids(asked)[0]}") == "Not allowed."
    assert "deny 'files/write'" in model.requests[-1].tool_results[0]
    assert tools.ran() == []
