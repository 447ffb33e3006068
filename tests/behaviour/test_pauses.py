"""A pause for approval that programs can see: an error that they ask for, else a header and a field of the body."""

from __future__ import annotations

import pytest
from support.facade import ADMIN, Facade, content, events
from support.scripted_model import Answer, ScriptedModel
from support.tool_server import Tools
from test_asking import write
from test_takeover import echo


async def test_a_program_is_told_of_a_pause_by_an_error_and_asks_again_once_it_is_decided(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("Shall I?", calls=[echo("4711"), write("x")]), "Written.")
    headers = {"x-interlock-approvals": "error"}
    paused = await facade.ask("write x", headers=headers)
    error = paused.json()["error"]
    assert (paused.status_code, error["code"], error["type"]) == (409, "approval_required", "approval_required")
    (wanted,) = error["approvals"]
    assert wanted in error["message"]
    assert paused.headers["x-interlock-approvals"] == wanted
    assert paused.headers["x-should-retry"] == "false"
    # Who asks again before it is decided is told the same: nothing new is asked.
    assert (await facade.ask("write x", headers=headers)).json()["error"]["approvals"] == [wanted]
    decided = await facade.http.post(
        f"{facade.url}/approvals/{wanted}",
        json={"decision": "approve"},
        headers={"authorization": f"Bearer {ADMIN}"},
    )
    assert decided.status_code == 200
    answer = await facade.ask("write x", headers=headers)
    assert answer.json()["choices"][0]["message"]["content"] == "Written."
    assert "interlock" not in answer.json()
    assert "x-interlock-approvals" not in answer.headers
    assert sorted(tools.ran()) == ["echo 4711", "write x"]
    assert len(model.requests) == 2


async def test_a_program_that_streams_is_told_of_a_pause_by_an_error(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer("Shall I?", calls=[write("x")]), "Written.")
    raw = await facade.stream("write x", headers={"x-interlock-approvals": "error"})
    error = events(raw)[-1]["error"]
    assert error["code"] == "approval_required"
    (wanted,) = error["approvals"]
    assert raw.endswith("data: [DONE]\n\n")
    assert content(raw) == "Shall I?", "the question to people is left out"
    assert await facade.say("write x", f"approve {wanted}", headers={"x-interlock-approvals": "error"}) == "Written."


@pytest.mark.parametrize("stream", [True, False])
async def test_the_answer_that_asks_names_what_it_asks_for(facade: Facade, model: ScriptedModel, stream: bool) -> None:
    model.script(Answer("Shall I?", calls=[write("x"), write("y")]))
    if stream:
        chunks = events(await facade.stream("write"))
        (found,) = [chunk["interlock"]["approvals"] for chunk in chunks if "interlock" in chunk]
        assert "interlock" in chunks[-1]
    else:
        answer = await facade.ask("write")
        found = answer.json()["interlock"]["approvals"]
        assert answer.headers["x-interlock-approvals"] == ",".join(found)
    listed = await facade.http.get(f"{facade.url}/approvals", headers={"authorization": f"Bearer {ADMIN}"})
    assert sorted(found) == sorted(entry["id"] for entry in listed.json()["data"])
    assert len(found) == 2


async def test_what_is_still_to_be_decided_is_named_too(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(calls=[write("x"), write("y")]))
    paused = (await facade.ask("write")).json()
    first, second = paused["interlock"]["approvals"]
    question = {"role": "assistant", "content": paused["choices"][0]["message"]["content"]}
    again = await facade.ask("write", question, f"approve {first}")
    assert again.json()["interlock"]["approvals"] == [second]
    refused = await facade.ask("write", question, f"approve {first}", headers={"x-interlock-approvals": "error"})
    assert (refused.status_code, refused.json()["error"]["approvals"]) == (409, [second])


async def test_how_to_hear_of_approvals_is_one_of_two_words(facade: Facade) -> None:
    answer = await facade.ask("hi", headers={"x-interlock-approvals": "json"})
    assert answer.status_code == 400
    assert "neither 'wait' nor 'error'" in answer.json()["error"]["message"]
