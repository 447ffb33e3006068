"""Graphs that ask a person in Open WebUI: buttons for what has two or three values, the chat for everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.facade import DEVELOPER, Facade, content, said, serving, write_configs
from support.scripted_model import Answer, ScriptedModel
from support.tool_server import Tools
from test_asking import write
from test_openwebui import ASK_USER, WEBUI, answer, asked, panel
from test_questions import LOOP, approve_behind, ask, ask_or


async def stream(facade: Facade, *messages: Any, **more: Any) -> str:
    return await facade.stream(*messages, headers=WEBUI, tools=[ASK_USER], **more)


def configure(folder: Path, model: ScriptedModel, graph: Any) -> Path:
    return write_configs(folder / "configs", model.url, {}, graphs={"assistant": graph})


async def test_a_choice_has_a_button_for_each_value(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask(["restart", "stop"])), tmp_path / "data") as facade:
        raw = await stream(facade, "go")
        call = panel(raw)
        (question,) = asked(call)
        assert question["question"] == "Which?"
        assert [option["label"] for option in question["options"]] == ["restart", "stop"]
        assert all(option["description"] for option in question["options"])
        assert content(raw) == ""
        reply = answer(call, "stop")
        assert content(await stream(facade, "go", *reply)) == "Got stop."
        assert "answered before" in content(await stream(facade, "go", *reply))


async def test_yes_and_no_are_buttons(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask("bool")), tmp_path / "data") as facade:
        call = panel(await stream(facade, "go"))
        assert [option["label"] for option in asked(call)[0]["options"]] == ["No", "Yes"]
        assert content(await stream(facade, "go", *answer(call, "Yes"))) == "Got true."


async def test_free_text_numbers_and_large_choices_are_asked_in_the_chat(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    for at, (type_, reply, value) in enumerate([("string", "x", "x"), ("int", "4", "4"), ([*"abcd"], "3", "c")]):
        async with serving(configure(tmp_path, model, ask(type_)), tmp_path / f"data{at}") as facade:
            raw = await stream(facade, "go")
            assert content(raw).startswith("Which?")
            assert '"tool_calls"' not in raw
            assert content(await stream(facade, "go", said(content(raw)), reply)) == f"Got {value}."


FORM = {
    "fields": {
        "urgent": "bool",
        "system": ["shop", "app"],
        "again?": "bool",
        "late": "bool",
        "title": "string",
        "done": "bool",
    }
}


async def test_the_fields_of_an_object_are_asked_three_a_panel_and_texts_in_the_chat(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    async with serving(configure(tmp_path, model, ask(FORM, "A ticket.")), tmp_path / "data") as facade:
        first = panel(await stream(facade, "go"))
        assert [question["question"] for question in asked(first)] == [
            "A ticket. (urgent)",
            "A ticket. (system)",
            "A ticket. (again)",
        ]
        assert [option["label"] for option in asked(first)[2]["options"]] == ["No", "Yes", "Leave it out"]
        history: list[Any] = ["go", *answer(first, "Yes", "app", "Leave it out")]
        second = panel(await stream(facade, *history))
        assert [question["header"] for question in asked(second)] == ["late"]
        assert second["id"] != first["id"]
        history += answer(second, "No")
        text = content(await stream(facade, *history))
        assert text == "**title** (5 of 6)"
        history += [said(text), "It fails"]
        third = panel(await stream(facade, *history))
        assert [question["header"] for question in asked(third)] == ["done"]
        got = content(await stream(facade, *history, *answer(third, "Yes")))
        assert got == 'Got {"urgent":true,"system":"app","late":false,"title":"It fails","done":true}.'


async def test_cancel_takes_the_error_way(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask_or("bool")), tmp_path / "data") as facade:
        call = panel(await stream(facade, "go"))
        reply = answer(call, "Yes")
        reply[1]["content"] = "Error: tool call rejected by user."
        assert content(await stream(facade, "go", *reply)).startswith("rejected: ")


async def test_a_changed_or_foreign_panel_answers_nothing(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with serving(configure(tmp_path, model, ask(["restart", "stop"])), tmp_path / "data") as facade:
        call = panel(await stream(facade, "go"))
        foreign = await facade.stream("go", *answer(call, "stop"), headers=WEBUI, key=DEVELOPER)
        assert "not asked of you" in content(foreign)
        changed = json.loads(json.dumps(call))
        changed["function"]["arguments"] = changed["function"]["arguments"].replace("Which?", "Delete all?")
        assert "is not the one that was asked" in content(await stream(facade, "go", *answer(changed, "stop")))
        again = panel(await stream(facade, "go", *answer(call, "begin")))
        assert asked(again)[0]["question"] == "Which?"
        assert content(await stream(facade, "go", *answer(again, "stop"))) == "Got stop."


async def test_a_long_question_stands_whole_above_its_panel(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = ask(["send", "stop"], f"{'x' * 600} Send it?")
    async with serving(configure(tmp_path, model, graph), tmp_path / "data") as facade:
        raw = await stream(facade, "go")
        assert content(raw) == f"{'x' * 600} Send it?"
        (question,) = asked(panel(raw))
        assert len(question["question"]) == 500
        assert question["question"].endswith("x Send it?")


async def test_the_conversation_keeps_what_was_chosen(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    model.script("Dear all", "Bye.", "You are welcome.", "Sure.")
    async with serving(configure(tmp_path, model, LOOP), tmp_path / "data") as facade:
        call = panel(await stream(facade, "write"))
        history = ["write", *answer(call, "send")]
        assert content(await stream(facade, *history)) == "Bye."
        kept = [("user", "write"), ("assistant", "Send “Dear all”?"), ("user", "send")]
        assert [(m["role"], m["content"]) for m in model.requests[1].messages[1:]] == kept
        await stream(facade, *history, said("Bye."), "thanks")
        assert [(m["role"], m["content"]) for m in model.requests[2].messages[1:]] == [
            *kept,
            ("assistant", "Bye."),
            ("user", "thanks"),
        ]


async def test_a_panel_of_a_question_approves_no_call(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    """Nor can a question whose values are those of an approval's buttons."""
    servers = {"files": {"url": tools.url}}
    graph = approve_behind(["Reject", "Approve"])
    configs = write_configs(tmp_path / "c", model.url, servers, graphs={"assistant": graph})
    model.script(Answer(calls=[write("x")]), "Not written.")
    async with serving(configs, tmp_path / "data") as facade:
        question = panel(await stream(facade, "go"))
        history = ["go", *answer(question, "Approve")]
        approval = panel(await stream(facade, *history))
        assert tools.ran() == []
        # The question's panel once more, in the place of the approval's.
        again = await stream(facade, *history, *answer(question, "Approve"))
        assert tools.ran() == []
        assert "answered before" in content(again)
        assert content(await stream(facade, *history, *answer(approval, "Reject"))).startswith("Not written.")
        assert tools.ran() == []
