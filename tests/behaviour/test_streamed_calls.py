"""Calls in the stream of an endpoint that is not OpenAI's: what runs is what the model asked for, or nothing."""

from __future__ import annotations

import json

from support.facade import Facade
from support.scripted_answer import stream_calls
from support.scripted_model import ScriptedModel
from support.tool_server import Tools


async def test_calls_that_share_an_index_run_with_their_own_arguments(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "files__echo"}}
    second = {"index": 0, "id": "c2", "type": "function", "function": {"name": "files__add"}}
    model.script(
        stream_calls(
            first,
            {"index": 0, "function": {"arguments": '{"text": "4711"}'}},
            second,
            {"index": 0, "function": {"arguments": '{"a": 1, "b": 2}'}},
        ),
        "Done.",
    )
    assert await facade.say("look and add") == "Done."
    echoed, added = model.requests[1].tool_results
    assert (echoed, json.loads(added)) == ("4711", {"sum": 3})
    assert sorted(tools.ran()) == ["add", "echo 4711"]


async def test_a_name_on_every_piece_is_one_name(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    pieces = ["", '{"text"', ': "4711"}']
    model.script(
        stream_calls(
            *({"index": 0, "id": "c1", "function": {"name": "files__echo", "arguments": piece}} for piece in pieces)
        ),
        "Done.",
    )
    assert await facade.say("look") == "Done."
    assert tools.ran() == ["echo 4711"]


async def test_calls_that_cannot_be_told_apart_do_not_run(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(
        stream_calls(
            {"index": 0, "function": {"name": "files__echo", "arguments": '{"text"'}},
            {"index": 0, "function": {"name": "files__write", "arguments": '{"text": "x"}'}},
            {"index": 0, "function": {"arguments": ': "4711"}'}},
        ),
        "I will ask again.",
    )
    assert await facade.say("look and write") == "I will ask again."
    # Its arguments may be fine JSON: what is wrong is said, and nothing else.
    words = "was not run: what arrived of it can be read in more than one way (the endpoint began another call"
    assert all(words in result for result in model.requests[1].tool_results)
    assert len(model.requests[1].tool_results) == 2
    assert tools.ran() == []


async def test_a_call_whose_arguments_came_with_another_does_not_run(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        stream_calls(
            {"index": 0, "id": "c1", "function": {"name": "files__echo"}},
            {"index": 1, "id": "c2", "function": {"name": "files__order"}},
            {"index": 0, "function": {"arguments": '{"text": "4711"}'}},
            {"index": 0, "function": {"arguments": '{"item": "beer"}'}},
        ),
        stream_calls(
            {"index": 0, "id": "c1", "function": {"name": "files__pid"}},
            {"index": 1, "function": {"arguments": '{"text": "4711"}'}},
        ),
        "I will ask again.",
    )
    assert await facade.say("look and order") == "I will ask again."
    echoed, ordered = model.requests[1].tool_results
    assert "its arguments are not a JSON object" in echoed
    words = "it came without arguments, and some that may be its own came with another call"
    assert words in ordered
    assert words in model.requests[2].tool_results[2]
    assert tools.ran() == []


async def test_an_id_says_whose_a_piece_is_whatever_its_index(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        stream_calls(
            {"index": 0, "id": "c1", "function": {"name": "files__echo"}},
            {"index": 1, "id": "c2", "function": {"name": "files__pid"}},
            {"index": 2, "id": "c3", "function": {"name": "files__add"}},
            {"index": 0, "id": "c3", "function": {"arguments": '{"a": 1, "b": 2}'}},
            {"id": "c1", "function": {"arguments": '{"text": "4711"}'}},
        ),
        "Done.",
    )
    assert await facade.say("look and add") == "Done."
    echoed, pid, added = model.requests[1].tool_results
    assert (echoed, pid.isdigit(), json.loads(added)) == ("4711", True, {"sum": 3})
    assert sorted(tools.ran()) == ["add", "echo 4711"]
