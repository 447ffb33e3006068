"""Graphs with variables, over real HTTP: `vars`, `set`, `reply`, `into`, `input`, ways for each value, `visits`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.facade import said, serving, write_configs
from support.scripted_model import Answer, Body, Call, ScriptedModel

SUPPORT: dict[str, Any] = {
    "vars": {"kind": ["billing", "technical", "other"]},
    "start": "sort",
    "nodes": {
        "sort": {
            "type": "model",
            "prompt": "What is this about?",
            "into": "kind",
            "next": {"billing": "billing", "technical": "technical", "other": "other"},
        },
        "billing": {"type": "model", "prompt": "You do invoices.", "next": "end"},
        "technical": {"type": "model", "prompt": "You do outages.", "next": "end"},
        "other": {"type": "reply", "text": "I can help with invoices and outages, {{ caller.user }}.", "next": "end"},
    },
}


def choose(value: Any) -> Answer:
    return Answer(json.dumps({"value": value}))


async def talk(
    folder: Path, model: ScriptedModel, graph: Mapping[str, Any], *scripted: Any, say: str = "hello", **body: Any
) -> str:
    """What a person reads after one message to this graph, whose model answers so."""
    model.script(*scripted)
    configs = write_configs(folder / "configs", model.url, {}, graphs={"assistant": graph})
    async with serving(configs, folder / "data") as facade:
        return await facade.say(say, **body)


def system_of(body: Body) -> str:
    return next((str(message["content"]) for message in body["messages"] if message["role"] == "system"), "")


async def test_a_router_goes_the_way_of_its_value_and_says_nothing(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    assert await talk(tmp_path, model, SUPPORT, choose("billing"), "Your invoice is paid.") == "Your invoice is paid."
    asked, answered = (request.body for request in model.requests)
    schema = asked["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["value"]["enum"] == ["billing", "technical", "other"]
    assert system_of(answered) == "You do invoices."
    assert [message["role"] for message in answered["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    "written",
    ["other", " Other. ", '"other"', '```json\n{"value": "other"}\n```', '{"value":"other"}', '{"value": "Other"}'],
)
async def test_a_choice_is_understood_however_a_model_writes_it(
    written: str, tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    assert await talk(tmp_path, model, SUPPORT, written) == "I can help with invoices and outages, admin."
    assert len(model.requests) == 1


async def test_an_answer_that_does_not_fit_goes_back_once(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    answer = await talk(tmp_path, model, SUPPORT, choose("bill"), choose("other"))
    assert answer.startswith("I can help")
    told = str(model.requests[1].messages[-1]["content"])
    assert "is none of its values" in told
    assert '"enum":["billing","technical","other"]' in told


async def test_what_never_fits_ends_the_turn_in_words(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    answer = await talk(tmp_path, model, SUPPORT, choose("bill"), "I do not know.")
    assert answer == (
        "The graph stopped here: node 'sort': the model's answer for 'kind' is a text that is no JSON, and neither did"
        " its second fit."
    )


async def test_an_endpoint_without_schemas_is_asked_by_a_function(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    refusal = Answer(status=400, error="response_format is not supported")
    called = Answer(calls=[Call("answer", {"value": "other"})])
    model.script(refusal, called, called)
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": SUPPORT})
    async with serving(configs, tmp_path / "data") as facade:
        assert (await facade.say("hello")).startswith("I can help")
        assert (await facade.say("hello again")).startswith("I can help")
    bodies = [request.body for request in model.requests]
    assert [("response_format" in body, "tools" in body) for body in bodies] == [
        (True, False),
        (False, True),
        (False, True),
    ]
    assert bodies[1]["tool_choice"] == {"type": "function", "function": {"name": "answer"}}


REVISION: dict[str, Any] = {
    "vars": {
        "draft": "string",
        "verdict": {"fields": {"good": "bool", "wish?": "string"}},
        "wish": {"type": "string", "default": "none yet"},
        "tries": {"type": "int", "default": 0},
    },
    "start": "write",
    "nodes": {
        "write": {"type": "model", "prompt": "Write. Wish: {{ wish }}", "into": "draft", "next": "judge"},
        "judge": {
            "type": "model",
            "prompt": "Judge.",
            "input": "Draft {{ visits }}: {{ draft }}",
            "into": "verdict",
            "next": [
                {"when": "verdict.good", "to": "say"},
                {"when": "visits < 3 && has(verdict.wish)", "to": "note"},
                {"to": "say"},
            ],
        },
        "note": {"type": "set", "set": {"wish": "verdict.wish", "tries": "tries + 1"}, "next": "write"},
        "say": {"type": "reply", "text": "{{ draft }} ({{ tries }}, {{ verdict }})", "next": "end"},
    },
}


async def test_a_loop_with_a_bound_keeps_what_it_makes(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    answer = await talk(
        tmp_path,
        model,
        REVISION,
        "first",
        Answer('{"good": false, "wish": "shorter"}'),
        "second",
        Answer('{"good": true, "wish": null}'),
    )
    assert answer == 'second (1, {"good":true})'
    assert system_of(model.requests[2].body) == "Write. Wish: shorter"
    assert [message["content"] for message in model.requests[3].messages] == ["Judge.", "Draft 2: second"]


async def test_a_bound_ends_a_loop(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    bad = Answer('{"good": false, "wish": "more"}')
    answer = await talk(tmp_path, model, REVISION, "a", bad, "b", bad, "c", bad)
    assert answer.startswith("c (2,")
    assert len(model.requests) == 6


async def test_what_replies_say_is_one_message_and_the_model_after_it_is_not_asked_to_go_on_with_it(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = {
        "vars": {"n": "number"},
        "start": "count",
        "nodes": {
            "count": {"type": "set", "set": {"n": "size(message) / 2"}, "next": "one"},
            "one": {"type": "reply", "text": "You wrote {{ message }}: {{ n }}.", "next": "two"},
            "two": {"type": "model", "prompt": "Go on.", "next": "three"},
            "three": {"type": "reply", "text": "It said {{ text }}", "next": "end"},
        },
    }
    assert await talk(tmp_path, model, graph, "Fine.") == "You wrote hello: 2.\n\nFine.\n\nIt said Fine."
    last = model.requests[0].messages[-1]
    assert last["role"] == "user"
    assert "was said to the person" in str(last["content"])


async def test_the_limit_of_rounds_holds_for_silent_models_too(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = {
        "vars": {"word": "string"},
        "start": "a",
        "limits": {"rounds": 3},
        "nodes": {
            "a": {"type": "model", "into": "word", "next": [{"when": "word == 'stop'", "to": "end"}, {"to": "a"}]}
        },
    }
    model.respond(lambda _: "go")
    answer = await talk(tmp_path, model, graph)
    assert "the limit of 3 rounds" in answer
    assert len(model.requests) == 3


async def test_a_graph_that_says_nothing_says_so(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = {
        "vars": {"a": "int"},
        "start": "x",
        "nodes": {"x": {"type": "set", "set": {"a": 1}, "next": "end"}},
    }
    assert await talk(tmp_path, model, graph) == "_The graph came to its end without a word._"


async def test_a_value_that_does_not_fit_its_variable_names_the_node(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = {
        "vars": {"a": {"type": "any", "default": [1]}, "b": "int"},
        "start": "x",
        "nodes": {"x": {"type": "set", "set": {"b": "a[0] == 1 ? a[3] : 2"}, "next": "end"}},
    }
    answer = await talk(tmp_path, model, graph)
    assert answer.startswith("The graph stopped here: graphs/assistant.yaml, node 'x', set.b: ")


async def test_the_fields_of_the_clients_answer_are_not_those_of_a_silent_one(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    tool = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
    await talk(
        tmp_path, model, SUPPORT, choose("billing"), "Paid.", temperature=0.5, max_tokens=7, stop=["x"], tools=[tool]
    )
    silent, spoken = (request.body for request in model.requests)
    assert silent["temperature"] == spoken["temperature"] == 0.5
    assert not {"max_tokens", "stop", "tools"} & silent.keys()
    assert {"max_tokens", "stop", "tools"} <= spoken.keys()


GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "graphs.md"
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)]


def find_example(start: str, variable: str) -> Any:
    """The example with this first node and this variable."""
    [graph] = [each for each in EXAMPLES if each.get("start") == start and variable in each.get("vars", {})]
    return graph


async def test_the_router_of_the_guide_sorts(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    [graph] = [each for each in EXAMPLES if each.get("vars") == {"kind": ["billing", "technical", "other"]}]
    assert await talk(tmp_path, model, graph, choose("technical"), "Restart it.") == "Restart it."
    assert system_of(model.requests[1].body) == "You answer questions about outages."


async def test_the_loop_of_the_guide_mends_at_most_twice(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    bad = Answer('{"good": false, "wish": "kinder"}')
    assert await talk(tmp_path, model, find_example("write", "wish"), "a", bad, "b", bad, "c", bad) == "c"
    assert system_of(model.requests[2].body) == "Write the mail that was asked for. Wish: kinder"


async def test_the_question_of_the_guide_asks_until_it_is_good(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    model.script("Dear all", "Dear Ada")
    configs = write_configs(
        tmp_path / "configs", model.url, {}, graphs={"assistant": find_example("compose", "verdict")}
    )
    messages: list[Any] = []
    async with serving(configs, tmp_path / "data") as facade:
        for text in ("A mail to Ada", "change", "Use her name", "1"):
            messages.append(text)
            messages.append(said(await facade.say(*messages)))
    answers = [message["content"] for message in messages[1::2]]
    assert answers[0].startswith("Dear all\n\nIs this good?\n\n1. good\n2. change\n3. stop")
    assert answers[1] == "What should change?"
    assert answers[2].startswith("Dear Ada")
    assert answers[3] == "It is yours to send."
    assert system_of(model.requests[1].body) == "Write the mail that was asked for. Wish: Use her name"


COUNT: dict[str, Any] = {
    "vars": {"found": {"fields": {"n": "int", "names": "string[]"}}},
    "start": "count",
    "nodes": {
        "count": {"type": "model", "into": "found", "next": "say"},
        "say": {"type": "reply", "text": "{{ found }}", "next": "end"},
    },
}


@pytest.mark.parametrize(
    "written",
    [
        'Sure! Here it is: {"n": 3, "names": ["a"]} Anything else?',
        'First I tried ```json\n{"n": 1}\n``` but it is ```json\n{"n": 3, "names": ["a"]}\n```',
        '```{"n": 3, "names": ["a"]}```',
        '{"n": "3", "names": ["a"]}',
        '{"n": 3.0, "names": ["a"]}',
    ],
)
async def test_an_object_is_read_from_what_models_write_around_it(
    written: str, tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    assert await talk(tmp_path, model, COUNT, written) == '{"n":3,"names":["a"]}'
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "written",
    [
        '{"n": 3, "names": ["a"]} or {"n": 4, "names": ["a"]}',
        '{"n": "three", "names": ["a"]}',
        '{"n": true, "names": ["a"]}',
        '{"n": 3, "names": [1]}',
        '{"n": NaN, "names": []}',
        "[" * 100_000,
        '{"n": 3}',
    ],
)
async def test_what_is_not_certain_goes_back(written: str, tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    assert await talk(tmp_path, model, COUNT, written, '{"n": 1, "names": []}') == '{"n":1,"names":[]}'
    assert "could not be used" in str(model.requests[1].messages[-1]["content"])


async def test_a_value_that_differs_only_by_a_mark_is_itself(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph: dict[str, Any] = {
        "vars": {"grade": ["A", "A.", "a"]},
        "start": "judge",
        "nodes": {
            "judge": {"type": "model", "into": "grade", "next": "say"},
            "say": {"type": "reply", "text": "{{ grade }}", "next": "end"},
        },
    }
    assert await talk(tmp_path, model, graph, "A.") == "A."


async def test_long_texts_and_long_lists_are_values_like_others(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph: dict[str, Any] = {
        "vars": {"draft": "string", "rows": {"list": {"fields": {"n": "int"}}}, "sum": "int"},
        "start": "write",
        "nodes": {
            "write": {"type": "model", "into": "draft", "next": "read"},
            "read": {
                "type": "model",
                "into": "rows",
                "next": [{"when": "size(draft) > 100", "to": "add"}, {"to": "end"}],
            },
            "add": {"type": "set", "set": {"sum": "size(rows.filter(row, row.n >= 1000))"}, "next": "say"},
            "say": {"type": "reply", "text": "{{ sum }} {{ size(draft) }} {{ rows[2999].n }}", "next": "end"},
        },
    }
    rows = json.dumps({"value": [{"n": n} for n in range(3000)]})
    assert await talk(tmp_path, model, graph, "ä" * 200_000, rows) == "2000 200000 2999"
