"""A question and its answer, with two processes on one store, one of which dies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.facade import said, write_configs
from support.scripted_model import Answer, ScriptedModel
from test_questions import ask
from test_takeover import Pair, left, pair

__all__ = ["pair"]

ASKED = said("Which?\n\nReply with a whole number.")


def ask_then_model() -> dict[str, Any]:
    graph = ask("int")
    graph["nodes"]["say"] = {"type": "model", "prompt": "It is {{ found }}.", "next": "end"}
    return graph


@pytest.fixture
def configs(tmp_path: Path, model: ScriptedModel) -> Path:
    return write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": ask_then_model()})


async def test_any_process_takes_the_answer(pair: Pair, model: ScriptedModel) -> None:
    model.script("Fine.")
    assert await pair.first.say("go") == ASKED["content"]
    wrong = await pair.second.say("go", ASKED, "many")
    assert wrong.startswith("“many” does not fit")
    assert await pair.first.say("go", ASKED, "many", said(wrong), "4") == "Fine."
    assert model.requests[0].messages[0]["content"] == "It is 4."


async def go_on_elsewhere(pair: Pair, model: ScriptedModel, *messages: Any) -> str:
    """What the second process answers to this message, after the first died over it."""
    model.script(Answer(["Fi"], stall_after=1))
    turn = asyncio.create_task(pair.first.stream(*messages))
    await model.arrived(1)
    pair.die()
    try:
        model.script("Fine.")
        return await pair.second.say(*messages)
    finally:
        await left(turn)


async def test_an_answer_whose_process_died_is_not_asked_for_again(pair: Pair, model: ScriptedModel) -> None:
    await pair.first.say("go")
    assert await go_on_elsewhere(pair, model, "go", ASKED, "4") == "Fine."
    kept = [("system", "It is 4."), ("user", "go"), ("assistant", "Which?"), ("user", "4")]
    assert [(m["role"], m["content"]) for m in model.requests[-1].messages] == kept


async def test_another_message_after_a_process_died_stands_behind_the_answer(pair: Pair, model: ScriptedModel) -> None:
    await pair.first.say("go")
    model.script(Answer(["Fi"], stall_after=1))
    turn = asyncio.create_task(pair.first.stream("go", ASKED, "4"))
    await model.arrived(1)
    pair.die()
    model.script("Fine.")
    assert await pair.second.say("go", ASKED, "hello?") == "Fine."
    assert [m["content"] for m in model.requests[-1].messages][1:] == ["go", "Which?", "4", "hello?"]
    await left(turn)
