"""What is remembered, with two processes on one store, one of which dies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.facade import write_configs
from support.scripted_model import Answer, ScriptedModel
from test_takeover import Pair, left, pair

__all__ = ["pair"]

VISITS: dict[str, Any] = {
    "vars": {"before": {"type": "int", "default": 0}, "found": "any[]"},
    "start": "know",
    "nodes": {
        "know": {"type": "memory", "recall": {"key": "before"}, "into": "before", "next": "keep"},
        "keep": {
            "type": "memory",
            "remember": {"before": "before + 1", "said {{ message }}": "message"},
            "next": "find",
        },
        "find": {"type": "memory", "recall": "said", "into": "found", "next": "say"},
        "say": {"type": "model", "prompt": "{{ before }} before, {{ size(found) }} said.", "next": "end"},
    },
}


@pytest.fixture
def configs(tmp_path: Path, model: ScriptedModel) -> Path:
    return write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": VISITS})


def told(model: ScriptedModel) -> str:
    return str(model.requests[-1].messages[0]["content"])


async def test_what_one_process_remembers_another_one_recalls(pair: Pair, model: ScriptedModel) -> None:
    model.script("a", "b", "c")
    await pair.first.say("tea")
    await pair.second.say("milk")
    assert told(model) == "1 before, 2 said."
    await pair.first.say("tea")
    assert told(model) == "2 before, 2 said."


async def test_a_turn_that_is_run_again_after_its_process_died_remembers_it_once(
    pair: Pair, model: ScriptedModel
) -> None:
    model.script(Answer(["Fi"], stall_after=1))
    turn = asyncio.create_task(pair.first.stream("tea"))
    await model.arrived(1)
    pair.die()
    try:
        model.script("Fine.")
        assert await pair.second.say("tea") == "Fine."
    finally:
        await left(turn)
    assert told(model).endswith(", 1 said."), "one entry, whether the node ran once or twice"
