"""Graphs whose own calls wait for approval, or whose turn is cut off: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.facade import Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from test_asking import ids
from test_decided_elsewhere import decide
from test_takeover import Pair, left
from test_takeover import pair as pair  # a fixture

AGAIN = {"x-stainless-retry-count": "1"}


def change(text: str, to: str, **fields: Any) -> dict[str, Any]:
    return {"type": "call", "tool": "files/write", "args": {"text": text}, "into": "found", "next": to, **fields}


def write_graph(tmp_path: Path, model: ScriptedModel, tools: Tools, nodes: Mapping[str, Any]) -> Path:
    """A folder with one graph, which begins with its first node."""
    say = {"type": "reply", "text": "Got {{ found }}.", "next": "end"}
    graph = {"vars": {"found": "any"}, "start": next(iter(nodes)), "nodes": {**nodes, "say": say}}
    return write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})


async def retry(facade: Facade, *messages: Any) -> str:
    """The answer to a request that says that it is a retry."""
    return (await facade.ask(*messages, headers=AGAIN)).json()["choices"][0]["message"]["content"]


async def test_an_approval_that_is_asked_for_again_can_be_given(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    folder = write_graph(tmp_path, model, tools, {"one": change("x", "two"), "two": change("y", "say")})
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("go")
        assert await retry(facade, "go") == asked
        yes = f"approve {ids(asked)[0]}"
        further = await facade.say("go", said(asked), yes)
        assert await retry(facade, "go", said(asked), yes) == further
        assert tools.ran() == ["write x"]
        last = f"approve {ids(further)[0]}"
        assert await facade.say("go", said(asked), yes, said(further), last) == "Got written."
    assert tools.ran() == ["write x", "write y"]


@pytest.mark.parametrize(
    ("decision", "answer", "calls"),
    [
        ("approve", "Got written.", ["write x"]),
        ("reject", "The graph stopped here: files/write was not run: rejected by the user", []),
    ],
)
async def test_the_next_message_goes_on_from_what_was_decided_elsewhere(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, decision: str, answer: str, calls: list[str]
) -> None:
    folder = write_graph(tmp_path, model, tools, {"change": change("x", "say")})
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("go")
        await decide(facade, ids(asked)[0], decision)
        assert (await facade.say("go", said(asked), "is it done?")).startswith(answer)
    assert tools.ran() == calls


@pytest.fixture
def configs(tmp_path: Path, model: ScriptedModel, tools: Tools) -> Path:
    """An agent, then a call of the graph's own, then a model."""
    nodes = {
        "work": {"type": "agent", "tools": ["files/order"], "next": "note"},
        "note": {"type": "call", "tool": "files/echo", "args": {"text": "noted"}, "into": "found", "next": "talk"},
        "talk": {"type": "model", "prompt": "Say goodbye.", "next": "say"},
    }
    return write_graph(tmp_path, model, tools, nodes)


async def test_a_turn_that_another_process_takes_up_after_a_call_keeps_what_models_called_before(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        Answer(calls=[Call("files__order", {"item": "tea"})]), "Ordered.", Answer("Bye", stall_after=1), "Bye."
    )
    turn = asyncio.create_task(pair.first.stream("go"))
    try:
        await model.arrived(3)
        pair.die()
        assert await pair.second.say("go") == "Ordered.\n\nBye.\n\nGot noted."
    finally:
        await left(turn)
    assert tools.ran() == ["order tea", "echo noted"]
    assert model.requests[3].messages[0]["content"] == "Say goodbye."
    [calls] = [message["tool_calls"] for message in model.requests[3].messages if message.get("tool_calls")]
    assert [call["function"]["name"] for call in calls] == ["files__order"]
