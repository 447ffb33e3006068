"""`fallback`: the models that a node asks where the one before failed and nothing was said, over real HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, events, serving, write_configs
from support.metrics_page import scraped
from support.scripted_model import Answer, Body, Call, ScriptedModel

pytestmark = pytest.mark.usefixtures("brief_pauses", "keys")
BUSY = Answer(status=503, error="busy")


def graph(**node: Any) -> dict[str, Any]:
    """A graph of one node, which asks the model `small` and instead of it `large`, then `huge`."""
    return {
        "start": "a",
        "nodes": {
            "a": {"type": "model", "model": "small", "fallback": ["large", "huge"], "retry": 1, "next": "end", **node}
        },
    }


def answer_as(**by_model: Answer | str) -> Callable[[Body], Answer | str]:
    """Answer each request as its model does."""
    return lambda body: by_model[body["model"]]


async def talk(
    folder: Path,
    model: ScriptedModel,
    definition: Mapping[str, Any],
    *,
    access: Mapping[str, Any] = ACCESS,
    key: str = ADMIN,
    **body: Any,
) -> str:
    configs = write_configs(folder / "configs", model.url, {}, access=access, graphs={"assistant": definition})
    async with serving(configs, folder / "data") as facade:
        return await facade.say("hello", key=key, **body)


async def fail(folder: Path, model: ScriptedModel, definition: Mapping[str, Any]) -> tuple[int, str]:
    """The status and the message of an answer that fails."""
    configs = write_configs(folder / "configs", model.url, {}, graphs={"assistant": definition})
    async with serving(configs, folder / "data") as facade:
        response = await facade.ask("hello")
        return response.status_code, response.json()["error"]["message"]


def asked(model: ScriptedModel) -> list[str]:
    return [request.body["model"] for request in model.requests]


@pytest.mark.parametrize("kind", ["model", "agent"])
@pytest.mark.parametrize(
    "failure",
    [
        BUSY,
        Answer(status=429, error="slow down", headers={"retry-after": "70"}),
        Answer(status=404, error="there is no model small"),
        Answer(status=400, error="this is too long", code="context_length_exceeded"),
        Answer("", cut_after=0),
        Answer(raw=[b'data: {"error": {"code": 500, "message": "no"}}\n\n']),
        Answer(status=508, error="it leads round"),
    ],
    ids=["5xx", "429", "404", "400", "cut", "in the stream", "loop"],
)
async def test_the_next_model_answers_where_one_fails(
    tmp_path: Path, model: ScriptedModel, kind: str, failure: Answer
) -> None:
    model.respond(answer_as(small=failure, large="Here I am."))
    assert await talk(tmp_path, model, graph(type=kind)) == "Here I am."
    assert asked(model) == ["small", "large"]


async def test_a_model_that_says_nothing_is_left_for_the_next(tmp_path: Path, model: ScriptedModel) -> None:
    model.respond(answer_as(small=Answer("x", stall_after=0), large="Here I am."))
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph()}, timeout="200ms")
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("hello") == "Here I am."
    assert asked(model) == ["small", "large"]


async def test_the_next_model_is_asked_the_same(tmp_path: Path, model: ScriptedModel) -> None:
    model.respond(answer_as(small=BUSY, large="Hello."))
    await talk(tmp_path, model, graph(prompt="Be kind.", max_tokens=70), temperature=0.5)
    first, second = (dict(request.body) for request in model.requests)
    assert first.pop("model") != second.pop("model")
    assert first == second
    assert (second["max_tokens"], second["temperature"]) == (70, 0.5)


@pytest.mark.parametrize("piece", [{"content": "Well"}, {"reasoning_content": "Hm"}])
async def test_nothing_is_asked_again_once_a_word_was_heard(
    tmp_path: Path, model: ScriptedModel, piece: Mapping[str, str]
) -> None:
    word = b"data: " + json.dumps({"choices": [{"index": 0, "delta": piece}]}).encode() + b"\n\n"
    failure = b'data: {"error": {"code": 503, "message": "busy"}}\n\n'
    model.respond(answer_as(small=Answer(raw=[word, failure])))
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph()})
    async with serving(configs, tmp_path / "data") as facade:
        last = events(await facade.stream("hello"))[-1]
    assert last["error"]["message"] == "The model endpoint broke its answer off: busy"
    assert asked(model) == ["small"]


async def test_a_key_that_is_refused_is_no_failure_of_a_model(tmp_path: Path, model: ScriptedModel) -> None:
    model.respond(answer_as(small=Answer(status=401, error="no")))
    status, message = await fail(tmp_path, model, graph())
    assert (status, asked(model)) == (502, ["small"])
    assert "refused Interlock's own key" in message


async def test_what_every_model_said_is_told(tmp_path: Path, model: ScriptedModel) -> None:
    model.respond(
        answer_as(
            small=Answer(status=429, error="slow down"), large=BUSY, huge=Answer(status=404, error="never heard of it")
        )
    )
    assert await fail(tmp_path, model, graph()) == (
        429,
        "The model endpoint answered 429: slow down. Instead, large was asked: The model endpoint answered 503: busy. "
        "Instead, huge was asked: The model endpoint answered 404: never heard of it.",
    )


async def test_each_attempt_goes_through_all_models(tmp_path: Path, model: ScriptedModel) -> None:
    model.script(BUSY, BUSY, BUSY, Answer(status=404, error="gone"), "Here I am.")
    assert await talk(tmp_path, model, graph(retry={"times": 2, "wait": "1ms"})) == "Here I am."
    assert asked(model) == ["small", "large", "huge", "small", "large"]


async def test_a_failure_that_may_pass_is_worth_an_attempt_whichever_model_had_it(
    tmp_path: Path, model: ScriptedModel
) -> None:
    gone = Answer(status=404, error="gone")
    model.script(gone, BUSY, gone, "Here I am.")
    assert await talk(tmp_path, model, graph(retry={"times": 2, "wait": "1ms"})) == "Here I am."
    assert asked(model) == ["small", "large", "huge", "small"]


LIMITED: dict[str, Any] = {
    **ACCESS,
    "roles": {"admin": {"models": ["s*", "huge"]}, "developer": {"models": ["small"]}},
}


async def test_a_model_that_the_role_may_not_use_is_left_out(tmp_path: Path, model: ScriptedModel) -> None:
    model.respond(answer_as(small=BUSY, huge="Here I am."))
    assert await talk(tmp_path, model, graph(), access=LIMITED) == "Here I am."
    assert asked(model) == ["small", "huge"]


async def test_where_no_fallback_is_left_the_failure_stands(tmp_path: Path, model: ScriptedModel) -> None:
    model.respond(answer_as(small=BUSY))
    definition = graph(on_error="sorry")
    definition["nodes"]["sorry"] = {"type": "reply", "text": "{{ error.message }}", "next": "end"}
    answer = await talk(tmp_path, model, definition, access=LIMITED, key=DEVELOPER)
    assert answer == "The model endpoint answered 503: busy"
    assert asked(model) == ["small"]


async def test_the_model_that_a_client_asked_for_comes_first_and_once(tmp_path: Path, model: ScriptedModel) -> None:
    model.models = ("large",)
    model.respond(answer_as(large=BUSY, huge="Here I am."))
    definition = {
        "start": "a",
        "nodes": {"a": {"type": "model", "fallback": ["large", "huge"], "retry": 1, "next": "end"}},
    }
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": definition})
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("hello", model="large") == "Here I am."
    assert asked(model) == ["large", "huge"]


async def test_numbers_and_logs_name_the_model_that_answered(
    tmp_path: Path, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    model.respond(answer_as(small=BUSY, large=Answer("Hello.", usage=(70, 7))))
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph()})
    async with serving(configs, tmp_path / "data") as facade:
        with caplog.at_level(logging.INFO):
            response = await facade.ask("hello")
        metrics = await scraped(facade.http, facade.url)
    assert response.json()["usage"]["total_tokens"] == 77
    assert metrics("interlock_model_requests_total", model="large", outcome="ok") == 1
    assert metrics.labels("interlock_tokens_total", "model") == {"large"}
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("graphs")]
    assert any("node a: asking large instead of small" in line for line in logged)


async def test_thoughts_go_back_to_the_model_that_had_them(tmp_path: Path, model: ScriptedModel) -> None:
    thought = {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}]}
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "no__such", "arguments": "{}"}}
    pieces = [
        {"choices": [{"index": 0, "delta": {**thought, "tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]
    raw = [b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in pieces] + [b"data: [DONE]\n\n"]
    model.script(BUSY, Answer(raw=raw), BUSY, "Done.")
    assert await talk(tmp_path, model, graph(type="agent")) == "Done."
    assert asked(model) == ["small", "large", "small", "large"]
    told = [json.dumps(request.messages) for request in model.requests[2:]]
    assert ["reasoning_details" in text for text in told] == [False, True]


async def test_words_are_asked_for_of_the_model_that_gave_none(tmp_path: Path, model: ScriptedModel) -> None:
    model.script(BUSY, "", "Hello.")
    assert await talk(tmp_path, model, graph()) == "Hello."
    assert asked(model) == ["small", "large", "large"]


FIND: dict[str, Any] = {
    "vars": {"n": "int"},
    "start": "count",
    "nodes": {
        "count": {
            "type": "model",
            "model": "small",
            "fallback": ["large"],
            "into": "n",
            "retry": 1,
            "next": "say",
        },
        "say": {"type": "reply", "text": "{{ n }}", "next": "end"},
    },
}


async def test_a_value_is_found_by_the_next_model_in_the_form_that_it_takes(
    tmp_path: Path, model: ScriptedModel
) -> None:
    no_schemas = Answer(status=400, error="response_format is not supported")
    model.script(BUSY, no_schemas, Answer(calls=[Call("answer", {"value": 3})]))
    assert await talk(tmp_path, model, FIND) == "3"
    assert [(request.body["model"], "response_format" in request.body) for request in model.requests] == [
        ("small", True),
        ("large", True),
        ("large", False),
    ]


async def test_an_answer_that_does_not_fit_goes_back_to_the_model_that_gave_it(
    tmp_path: Path, model: ScriptedModel
) -> None:
    model.script(BUSY, "many", '{"value": 4}')
    assert await talk(tmp_path, model, FIND) == "4"
    assert asked(model) == ["small", "large", "large"]


async def test_half_a_value_was_heard_by_nobody(tmp_path: Path, model: ScriptedModel) -> None:
    model.respond(answer_as(small=Answer(["{", '"value"'], cut_after=2), large='{"value": 5}'))
    assert await talk(tmp_path, model, FIND) == "5"
    assert asked(model) == ["small", "large"]
