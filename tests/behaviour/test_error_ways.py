"""Nodes that fail, over real HTTP: `on_error`, `retry` and `timeout`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.facade import serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

CAREFUL: dict[str, Any] = {
    "vars": {"n": "int", "why": {"type": "string", "default": ""}},
    "start": "count",
    "nodes": {
        "count": {
            "type": "model",
            "prompt": "Count. {{ why }}",
            "into": "n",
            "retry": 1,
            "on_error": "failed",
            "next": "say",
        },
        "failed": {
            "type": "set",
            "set": {"why": "error.kind + ': ' + error.message"},
            "next": [{"when": "visits < 2 && error.kind == 'invalid'", "to": "count"}, {"to": "sorry"}],
        },
        "say": {"type": "reply", "text": "{{ n }}", "next": "end"},
        "sorry": {"type": "reply", "text": "Sorry: {{ error.node }}: {{ why }}", "next": "end"},
    },
}


async def talk(folder: Path, model: ScriptedModel, graph: dict[str, Any], *scripted: Any) -> str:
    model.script(*scripted)
    configs = write_configs(folder / "configs", model.url, {}, graphs={"assistant": graph})
    async with serving(configs, folder / "data") as facade:
        return await facade.say("hello")


def with_node(name: str, **changes: Any) -> dict[str, Any]:
    return {**CAREFUL, "nodes": {**CAREFUL["nodes"], name: {**CAREFUL["nodes"][name], **changes}}}


async def test_a_failure_goes_the_way_of_on_error_and_may_come_back(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    assert await talk(tmp_path, model, CAREFUL, "many", "lots", '{"value": 3}') == "3"
    told = str(model.requests[2].messages[0]["content"])
    assert told.startswith("Count. invalid: node 'count': the model's answer for 'n' is a text that is no JSON")


async def test_a_bound_ends_the_way_back_and_the_failure_can_be_told(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    model.respond(lambda _: "many")
    answer = await talk(tmp_path, model, CAREFUL)
    assert answer.startswith("Sorry: count: invalid: ")
    assert len(model.requests) == 4


async def test_what_the_endpoint_says_is_the_message(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    model.respond(lambda _: Answer(status=400, error="no such model here"))
    answer = await talk(tmp_path, model, CAREFUL)
    assert answer.startswith("Sorry: count: model: ")
    assert "no such model here" in answer
    assert ["response_format" in request.body for request in model.requests] == [True, False]


@pytest.mark.usefixtures("brief_pauses")
async def test_an_agent_that_fails_goes_on_too(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph: dict[str, Any] = {
        "start": "a",
        "nodes": {
            "a": {"type": "agent", "on_error": "b", "next": "end"},
            "b": {"type": "reply", "text": "It failed ({{ error.kind }}).", "next": "end"},
        },
    }
    model.respond(lambda _: Answer(status=503, error="busy"))
    assert await talk(tmp_path, model, graph) == "It failed (model)."
    assert len(model.requests) == 3


async def test_attempts_are_counted_for_answers_that_do_not_fit_as_well(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = with_node("count", retry={"times": 2, "wait": "1ms"})
    assert await talk(tmp_path, model, graph, "many", "lots", "some", '{"value": 4}') == "4"


async def test_a_timeout_is_a_failure(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = with_node("count", timeout="200ms")
    answer = await talk(tmp_path, model, graph, Answer("1 2 3", stall_after=1))
    assert answer == "Sorry: count: timeout: node 'count' took longer than 0.2 seconds"
    assert await model.requests[0].ended() == "cut"


async def test_without_on_error_a_timeout_ends_the_turn_in_words(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = {
        "start": "a",
        "nodes": {"a": {"type": "model", "timeout": "200ms", "next": "end"}},
    }
    answer = await talk(tmp_path, model, graph, Answer("1 2 3", stall_after=1))
    assert answer.endswith("The graph stopped here: node 'a' took longer than 0.2 seconds.")


async def test_a_value_that_cannot_be_computed_goes_the_way_too(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph: dict[str, Any] = {
        "vars": {"a": {"type": "any", "default": []}, "n": "int"},
        "start": "first",
        "nodes": {
            "first": {"type": "set", "set": {"n": "a[0]"}, "on_error": "none", "next": "say"},
            "say": {"type": "reply", "text": "{{ n }}", "next": "end"},
            "none": {"type": "reply", "text": "Nothing: {{ error.kind }}", "next": "end"},
        },
    }
    assert await talk(tmp_path, model, graph) == "Nothing: invalid"


async def test_an_agent_that_fails_in_a_later_round_was_there_once(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    graph: dict[str, Any] = {
        "vars": {"n": {"type": "int", "default": 0}},
        "start": "work",
        "nodes": {
            "work": {
                "type": "agent",
                "prompt": "Visit {{ visits }}.",
                "tools": ["*"],
                "retry": 1,
                "on_error": "failed",
                "next": "end",
            },
            "failed": {
                "type": "set",
                "set": {"n": "n + 1"},
                "next": [{"when": "visits < 3", "to": "work"}, {"to": "say"}],
            },
            "say": {"type": "reply", "text": "Failed {{ n }} times.", "next": "end"},
        },
    }
    call = Answer(calls=[Call("files__echo", {"text": "x"})])
    busy = Answer(status=503, error="busy")
    model.script(call, busy, call, busy, busy)
    configs = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("go") == "Failed 3 times."
    prompts = [str(request.messages[0]["content"]) for request in model.requests]
    assert prompts == ["Visit 1.", "Visit 1.", "Visit 2.", "Visit 2.", "Visit 3."]


@pytest.mark.usefixtures("brief_pauses")
async def test_what_another_node_says_after_a_failure_does_not_count_it_twice(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    graph: dict[str, Any] = {
        "start": "work",
        "nodes": {
            "work": {
                "type": "agent",
                "prompt": "Visit {{ visits }}.",
                "tools": ["*"],
                "on_error": "say",
                "next": "end",
            },
            "say": {"type": "reply", "text": "Again.", "next": [{"when": "visits < 2", "to": "work"}, {"to": "end"}]},
        },
    }
    call = Answer(calls=[Call("files__echo", {"text": "x"})])
    busy = [Answer(status=503, error="busy")] * 3
    model.script(call, *busy, "Done.")
    configs = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("go") == "Again.\n\nDone."
    assert str(model.requests[-1].messages[0]["content"]) == "Visit 2."


async def test_a_graph_that_stops_with_words_is_not_said_to_be_without(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    ways = [{"when": "a[0] == 1 && visits < 2", "to": "first"}, {"to": "end"}]
    graph: dict[str, Any] = {
        "vars": {"a": {"type": "any", "default": []}, "n": "int"},
        "start": "first",
        "nodes": {
            "first": {"type": "set", "set": {"n": 1}, "next": ways},
        },
    }
    answer = await talk(tmp_path, model, graph)
    assert answer.startswith("The graph stopped here: the condition at ")
    assert "without a word" not in answer
