"""Calls that endpoints write in ways of their own, with a real LiteLLM before them: the right call runs, or none."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.facade import Facade, serving, write_configs
from support.litellm import LiteLLM
from support.scripted_answer import stream_calls
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

ECHO, ADD = ("files__echo", '{"text": "4711"}'), ("files__add", '{"a": 1, "b": 2}')
Piece = dict[str, Any]


@pytest.fixture
async def gateway(litellm: LiteLLM, tools: Tools, tmp_path: Path, keys: None) -> AsyncIterator[Facade]:
    configs = write_configs(tmp_path / "configs", litellm.url, {"files": {"url": tools.url}}, api_key=litellm.key)
    async with serving(configs, tmp_path / "data") as facade:
        yield facade


def piece(name: str | None = None, arguments: str | None = None, **more: Any) -> Piece:
    said = {"name": name, "arguments": arguments}
    return {"type": "function", "function": {key: text for key, text in said.items() if text is not None}, **more}


def calls_of(model: ScriptedModel, number: int) -> list[tuple[str, dict[str, Any], str]]:
    """The calls of the request with this number: the tool, its arguments, and the result that answers its id."""
    messages = model.requests[number].messages
    results = {message["tool_call_id"]: message["content"] for message in messages if message["role"] == "tool"}
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    assert len(results) == len(calls)
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"]), results[call["id"]]) for call in calls
    ]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [
                *(piece(ECHO[0], "", index=0, id="c1"), piece(arguments=ECHO[1], index=0)),
                *(piece(ADD[0], "", index=0, id="c2"), piece(arguments=ADD[1], index=0)),
            ],
            id="one index for all",
        ),
        pytest.param(
            [
                piece(name, part, index=index, id=f"c{index}")
                for index, (name, text) in enumerate((ECHO, ADD))
                for part in ("", text[:4], text[4:])
            ],
            id="the name and the id on every piece",
        ),
        pytest.param(
            [piece(ECHO[0], part, index=0) for part in ("", ECHO[1][:4], ECHO[1][4:])] + [piece(*ADD, index=1)],
            id="the name on every piece, no ids",
        ),
        pytest.param([piece(*ECHO, index=0), piece(*ADD, index=1)], id="no ids"),
        pytest.param([piece(*ECHO, index=0), piece(*ADD, index=0)], id="no ids, one index for all"),
        pytest.param([piece(*ECHO), piece(*ADD)], id="no ids and no indexes"),
        pytest.param([[piece(*ECHO), piece(*ADD)]], id="no ids and no indexes, in one event"),
        pytest.param(
            [
                *(piece(ECHO[0], "", index=0, id=""), piece(arguments=ECHO[1], index=0, id="")),
                *(piece(ADD[0], "", index=1, id=""), piece(arguments=ADD[1], index=1, id="")),
            ],
            id="empty ids",
        ),
        pytest.param(
            [
                *(piece(ECHO[0], "", index=0, id=""), piece(arguments=ECHO[1], index=0, id="")),
                *(piece(ADD[0], "", index=0, id=""), piece(arguments=ADD[1], index=0, id="")),
            ],
            id="empty ids, one index for all",
        ),
        pytest.param(
            [
                *(piece("files_", "", index=0, id="c1"), piece("_echo", "", index=0)),
                *(piece(arguments=ECHO[1], index=0), piece("files__a", index=1, id="c2")),
                *(piece("dd", index=1), piece(arguments=ADD[1], index=1)),
            ],
            id="names in pieces",
        ),
        # LiteLLM gives a piece without an index its place in the event.
        pytest.param(
            [
                [piece(ECHO[0], "", id="c1"), piece(ADD[0], "", id="c2")],
                *([piece(arguments=ADD[1], id="c2")], [piece(arguments=ECHO[1], id="c1")]),
            ],
            id="ids without indexes, begun in one event",
        ),
    ],
)
async def test_calls_in_pieces_run_with_their_own_arguments(
    gateway: Facade, model: ScriptedModel, tools: Tools, events: list[Piece | list[Piece]]
) -> None:
    model.script(stream_calls(*events), "Done.")
    assert await gateway.say("look and add") == "Done."
    echoed, added = calls_of(model, 1)
    assert echoed == ("files__echo", {"text": "4711"}, "4711")
    assert (*added[:2], json.loads(added[2])) == ("files__add", {"a": 1, "b": 2}, {"sum": 3})
    assert sorted(tools.ran()) == ["add", "echo 4711"]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [
                *(piece(ECHO[0], '{"text"', index=0), piece("files__order", '{"item": "beer"}', index=0)),
                piece(arguments=': "4711"}', index=0),
            ],
            id="a call in the middle of another",
        ),
        pytest.param(
            [
                [piece(ECHO[0], ""), piece("files__pid", "")],
                *([piece(arguments=ECHO[1])], [piece(arguments='{"item": "beer"}')]),
            ],
            id="no ids and no indexes, begun in one event",
        ),
    ],
)
async def test_calls_that_cannot_be_told_apart_do_not_run(
    gateway: Facade, model: ScriptedModel, tools: Tools, events: list[Piece | list[Piece]]
) -> None:
    model.script(stream_calls(*events), "I will ask again.")
    assert await gateway.say("look and order") == "I will ask again."
    results = model.requests[1].tool_results
    assert (len(results), [result for result in results if "was not run" not in result]) == (2, [])
    assert tools.ran() == []


async def test_what_a_call_certainly_means_is_run(gateway: Facade, model: ScriptedModel, tools: Tools) -> None:
    calls = [
        Call("functions.files__echo", {"text": "a"}),
        Call("files__echo<|channel|>commentary", {"text": "b"}),
        Call("files/echo", {"text": "c"}),
        Call("files__echo", json.dumps(json.dumps({"text": "d"}))),
        *(Call("files__pid", text) for text in ("null", '"null"', "")),
    ]
    model.script(Answer(calls=calls), "Done.")
    assert await gateway.say("go") == "Done."
    *echoed, first, second, third = calls_of(model, 1)
    assert echoed == [("files__echo", {"text": text}, text) for text in "abcd"]
    assert re.fullmatch(r"\d+", first[2])
    assert first == second == third
    assert sorted(tools.ran()) == [f"echo {text}" for text in "abcd"]
