"""A call that must be approved runs exactly once after a yes, and never otherwise."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, content, events, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


def ids(answer: str) -> list[str]:
    return re.findall(r"(?:`approve |may decide `)([a-z2-7]{8})`", answer)


def with_ask(**rule: Any) -> dict[str, Any]:
    roles = {**ACCESS["roles"], "admin": {"allow": ["*"], "ask": [{"tool": "files/write", **rule}]}}
    return {**ACCESS, "roles": roles}


async def test_an_approved_call_runs_once_and_the_turn_goes_on(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("I will write.", calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    assert "files/write" in asked
    assert '"text": "x"' in asked
    assert "access.yaml:" in asked
    assert tools.ran() == []

    answer = await facade.say("write x", said(asked), f"approve {ids(asked)[0]}")
    assert answer == "Written."
    assert tools.ran() == ["write x"]
    assert [m["role"] for m in model.requests[-1].messages] == ["system", "user", "assistant", "tool"]
    assert model.requests[-1].tool_results == ["written"]


async def test_the_pause_streams_and_ends_with_stop(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[write("x")]))
    raw = await facade.stream("write x")
    assert ids(content(raw))
    assert '"finish_reason":"stop"' in raw
    assert raw.endswith("data: [DONE]\n\n")


async def test_a_client_that_shows_tool_calls_learns_which_calls_wait_too(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[write("x")]))
    raw = await facade.stream("write x", headers={"x-interlock-tools": "items"})
    named = [event["interlock"] for event in events(raw) if "interlock" in event]
    assert named == [{"approvals": ids(content(raw))}]


async def test_a_rejected_call_never_runs(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[write("x")]), "All right.")
    asked = await facade.say("write x")
    answer = await facade.say("write x", said(asked), f"reject {ids(asked)[0]}")
    assert answer == "All right."
    assert "rejected by the user" in model.requests[-1].tool_results[0]
    again = await facade.say("write x", said(asked), f"approve {ids(asked)[0]}")
    assert "already rejected" in again
    assert tools.ran() == []


async def test_a_second_approve_runs_nothing(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    await facade.say("write x", said(asked), f"approve {ids(asked)[0]}")
    again = await facade.say("write x", said(asked), f"approve {ids(asked)[0]}")
    assert "already approved" in again
    assert tools.ran() == ["write x"]


async def test_another_callers_approve_runs_nothing_and_tells_nothing(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    other = await facade.say("write x", said(asked), f"approve {ids(asked)[0]}", key=DEVELOPER)
    unknown = await facade.say("approve aaaaaaaa", key=DEVELOPER)
    assert other.replace(ids(asked)[0], "aaaaaaaa") == unknown
    assert tools.ran() == []
    assert await facade.say("write x", said(asked), f"approve {ids(asked)[0]}") == "Written."


async def test_ten_at_once_run_it_once(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    answers = await asyncio.gather(*(facade.say("write x", said(asked), f"approve {ids(asked)[0]}") for _ in range(10)))
    assert tools.ran() == ["write x"]
    assert answers.count("Written.") == 1


async def test_an_expired_approval_runs_nothing(tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None) -> None:
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=with_ask(expires="1s"))
    model.script(Answer(calls=[write("x")]))
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x")
        await asyncio.sleep(1.05)  # the clock is what is tested
        answer = await facade.say("write x", said(asked), f"approve {ids(asked)[0]}")
    assert "expired" in answer
    assert tools.ran() == []


async def test_any_other_message_supersedes_what_waits(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[write("x")]), "Never mind then.", "Still no.")
    asked = await facade.say("write x")
    answer = await facade.say("write x", said(asked), "forget it, what is 1+1?")
    late = await facade.say("write x", said(asked), f"approve {ids(asked)[0]}")

    assert answer == "Never mind then."
    roles = [message["role"] for message in model.requests[1].messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert "not run" in model.requests[1].tool_results[0]
    assert model.requests[1].messages[-1]["content"] == "forget it, what is 1+1?"
    assert "already superseded" in late
    assert tools.ran() == []


async def test_two_calls_of_one_round_are_decided_one_by_one(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("a"), write("b"), Call("files__echo", {"text": "c"})]), "Done.")
    asked = await facade.say("go")
    first, second = ids(asked)
    half = await facade.say("go", said(asked), f"approve {first}")
    assert f"approve {second}" in half
    assert tools.ran() == []
    assert await facade.say("go", said(asked), f"approve {first}", said(half), f"reject {second}") == "Done."
    assert sorted(tools.ran()) == ["echo c", "write a"]


async def test_an_approval_inside_a_sentence_decides_nothing(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Hm.")
    asked = await facade.say("write x")
    await facade.say("write x", said(asked), f"please approve {ids(asked)[0]}, will you")
    assert tools.ran() == []


async def test_a_pause_outlives_a_restart(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.")
    async with serving(configs, tmp_path / "data") as facade:
        asked = await facade.say("write x")
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("write x", said(asked), f"approve {ids(asked)[0]}") == "Written."
    assert tools.ran() == ["write x"]


async def test_a_right_taken_away_meanwhile_wins(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    servers = {"files": {"url": tools.url}}
    folder = write_configs(tmp_path / "c", model.url, servers)
    model.script(Answer(calls=[write("x")]), "Refused.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x")
    roles = {**ACCESS["roles"], "admin": {"allow": ["*"], "deny": ["files/write"]}}
    write_configs(folder, model.url, servers, access={**ACCESS, "roles": roles})
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("write x", said(asked), f"approve {ids(asked)[0]}") == "Refused."
    assert tools.ran() == []
    assert "deny" in model.requests[-1].tool_results[0]


async def test_an_approver_of_another_role_decides(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    roles = {
        "admin": {"allow": ["*"]},
        "developer": {"ask": [{"tool": "files/write", "approver": "admin"}]},
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access={**ACCESS, "roles": roles})
    model.script(Answer(calls=[write("x")]), "Written.")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x", key=DEVELOPER)
        own = await facade.say("write x", said(asked), f"approve {ids(asked)[0]}", key=DEVELOPER)
        assert "Only the role admin" in own
        assert tools.ran() == []
        decided = await facade.say(f"approve {ids(asked)[0]}", key=ADMIN)
        assert "is approved" in decided
        answer = await facade.say("write x", said(asked), "go on", key=DEVELOPER)
    assert answer == "Written."
    assert tools.ran() == ["write x"]


async def test_the_turn_after_an_approved_one_knows_its_results(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[write("x")]), "Written.", "Yes.")
    asked = await facade.say("write x")
    yes = f"approve {ids(asked)[0]}"
    written = await facade.say("write x", said(asked), yes)
    await facade.say("write x", said(asked), yes, said(written), "sure?")
    assert model.requests[-1].tool_results == ["written"]
    assert tools.ran() == ["write x"]
