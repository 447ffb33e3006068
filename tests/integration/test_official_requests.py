"""What the official clients may write into one request, and what they are told when it cannot be done."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from support.gateway import DEVELOPER_KEY
from support.official_clients import OfficialClient, Way
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
PROMPT = {"role": "system", "content": "You help admin."}
"""The graph's own."""
LOOK = Answer(calls=[Call("files__echo", {"text": "x"})])
WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}

PIXEL = "data:image/png;base64,iVBORw0KGgo="
PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "What is on these?"},
    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "https://example.org/harbour.jpg"}},
    {"type": "file", "file": {"filename": "plan.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
]
FIELDS: dict[str, Any] = {
    "temperature": 0.1,
    "top_p": 0.2,
    "presence_penalty": 0.3,
    "frequency_penalty": 0.4,
    "logit_bias": {"50256": -100},
    "stop": ["END", "STOP"],
    "seed": 7,
    "max_tokens": 33,
    "max_completion_tokens": 44,
    "reasoning_effort": "low",
    "verbosity": "low",
    "metadata": {"team": "harbour"},
    "user": "somebody",
    "service_tier": "flex",
    "safety_identifier": "s-1",
    "prompt_cache_key": "k-1",
    "parallel_tool_calls": False,
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "forecast",
            "description": "A forecast.",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "degrees": {"type": ["integer", "null"]}},
                "required": ["city", "degrees"],
                "additionalProperties": False,
                "$defs": {"unused": {"enum": ["a", 1, None]}},
            },
        },
    },
}
FORECAST = {"city": "Oslo", "degrees": 7}

each_way = pytest.mark.parametrize("way", get_args(Way))


# What reaches the model


@each_way
def test_every_field_reaches_the_model_verbatim_in_every_round(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    model.script(LOOK, json.dumps(FORECAST))
    turn = client.turn(way, messages=HELLO, tools=[WEATHER], n=1, **FIELDS)
    assert json.loads(turn.text) == FORECAST
    for request in model.requests:
        assert {name: request.body.get(name) for name in FIELDS} == FIELDS


@pytest.mark.parametrize("choice", ["auto", "none", "required", {"type": "function", "function": {"name": "weather"}}])
def test_a_choice_of_tool_reaches_the_model(client: OfficialClient, choice: Any, model: ScriptedModel) -> None:
    model.script("Fine.")
    client.create(messages=HELLO, tools=[WEATHER], tool_choice=choice)
    assert model.requests[0].body["tool_choice"] == choice


@each_way
def test_images_files_and_sound_reach_the_model_verbatim(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    model.script(LOOK, "A harbour.")
    asked = {"role": "user", "name": "skipper", "content": PARTS}
    assert client.turn(way, messages=[asked]).text == "A harbour."
    assert model.requests[0].messages == [PROMPT, asked]
    assert model.requests[1].messages[:2] == [PROMPT, asked]


@each_way
def test_system_and_developer_messages_follow_the_graphs_prompt_in_one_message(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    messages = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "developer", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "text", "text": f"Arr, {way}."}]},
        {"role": "developer", "content": "Be longer."},
        {"role": "user", "content": "again"},
    ]
    model.script("Arr, arr.")
    assert client.turn(way, messages=messages).text == "Arr, arr."
    instructions = {**PROMPT, "content": "You help admin.\n\nYou are a pirate.\n\nBe short.\n\nBe longer."}
    spoken = [message for message in messages if message["role"] in ("user", "assistant")]
    assert model.requests[0].messages == [instructions, *spoken]


# Structured output


@pytest.mark.parametrize("way", ["parse", "helper"])
def test_structured_output_comes_back_as_the_callers_own_type(
    client: OfficialClient, way: str, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, json.dumps(FORECAST))
    completion = client.value(way, job={"structured": True}, messages=HELLO)
    assert completion["choices"][0]["message"]["parsed"] == FORECAST
    assert tools.ran() == ["echo x"]
    for request in model.requests:
        wanted = request.body["response_format"]["json_schema"]
        assert (wanted["name"], wanted["strict"]) == ("Forecast", True)
        assert list(wanted["schema"]["properties"]) == ["city", "degrees"]


@each_way
def test_what_the_model_refuses_is_a_refusal_and_no_text(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    """With structured output a model says no in a field of its own; without it the person reads an empty answer."""
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    deltas = [({"role": "assistant", "content": None}, None), ({"refusal": "I will not."}, None), ({}, "stop")]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
    model.script(Answer(raw=[*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), b"data: [DONE]\n\n"]))
    told = client.do(way, messages=HELLO)
    assert told.error is None
    if way == "stream":
        assert "".join(chunk["choices"][0]["delta"].get("refusal") or "" for chunk in told.seen) == "I will not."
    else:
        assert told.value["choices"][0]["message"]["refusal"] == "I will not."


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize("way", ["create", "stream"])  # the helpers raise errors of their own
def test_an_answer_that_was_cut_short_says_why(
    client: OfficialClient, way: Way, reason: str, model: ScriptedModel
) -> None:
    model.script(LOOK, Answer("It is", finish=reason))
    turn = client.turn(way, messages=HELLO)
    assert (turn.text, turn.finish) == ("It is", reason)


# Refusals before any work


@pytest.mark.parametrize("way", ["create", "stream", "helper", "parse", "models"])
def test_an_unknown_key_is_an_authentication_error(client: OfficialClient, way: str, model: ScriptedModel) -> None:
    error = client.refused(way, key="ilk_nobody", messages=HELLO)
    assert (error["kind"], error["status"], error["code"]) == ("AuthenticationError", 401, "invalid_api_key")
    assert model.requests == []


@each_way
def test_an_unknown_model_is_not_found(client: OfficialClient, way: Way, model: ScriptedModel) -> None:
    error = client.refused(way, model="no-such-graph", messages=HELLO)
    assert (error["kind"], error["status"], error["param"]) == ("NotFoundError", 404, "model")
    assert "no-such-graph" in error["message"]
    assert model.requests == []


@each_way
def test_a_graph_that_the_role_may_not_use_is_a_permission_error(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    error = client.refused(way, model="private", key=DEVELOPER_KEY, messages=HELLO)
    assert (error["kind"], error["status"]) == ("PermissionDeniedError", 403)
    assert "developer" in error["message"]
    assert model.requests == []


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("messages", {"messages": []}),
        ("messages.1.role", {"messages": [*HELLO, {"role": "wizard", "content": "x"}]}),
        ("messages.0.content", {"messages": [{"role": "user", "content": 5}]}),
        ("n", {"messages": HELLO, "n": 2}),
        ("n", {"messages": HELLO, "n": 0}),
        ("tools.1", {"messages": HELLO, "tools": [WEATHER, {"type": "custom", "custom": {"name": "x"}}]}),
        ("tools.0", {"messages": HELLO, "tools": [{"type": "function", "function": {"name": "files__echo"}}]}),
    ],
)
@pytest.mark.parametrize("way", ["create", "stream"])
def test_a_field_that_cannot_be_served_is_named(
    client: OfficialClient, way: Way, field: str, request_: dict[str, Any], model: ScriptedModel
) -> None:
    error = client.refused(way, **request_)
    assert (error["kind"], error["status"], error["type"]) == ("BadRequestError", 400, "invalid_request_error")
    assert error["param"] is not None
    assert error["param"].startswith(field)
    assert model.requests == []


@each_way
def test_several_answers_at_once_are_refused_in_words(client: OfficialClient, way: Way, model: ScriptedModel) -> None:
    error = client.refused(way, messages=HELLO, n=3)
    assert "one answer" in error["message"]
    assert (error["param"], model.requests) == ("n", [])


# Failures of the model


@each_way
@pytest.mark.parametrize("header", ["retry-after", "llm_provider-retry-after"])
def test_too_many_requests_tells_when_to_come_back(
    client: OfficialClient, way: Way, header: str, model: ScriptedModel
) -> None:
    model.script(Answer(status=429, error="slow down", headers={header: "23"}))
    error = client.refused(way, messages=HELLO)
    assert (error["kind"], error["status"], error["code"]) == ("RateLimitError", 429, "rate_limit_exceeded")
    assert error["retry_after"] == "23"
    assert "slow down" in error["message"]


@each_way
def test_what_the_model_cannot_take_is_a_bad_request_in_its_own_words(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    model.script(Answer(status=400, error="temperature: 9 is too hot"))
    error = client.refused(way, messages=HELLO, temperature=9)
    assert (error["kind"], error["status"], error["type"]) == ("BadRequestError", 400, "invalid_request_error")
    assert "too hot" in error["message"]


@each_way
def test_the_models_own_error_keeps_its_code_and_its_field(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    """Programs look at them: `context_length_exceeded` is what makes a client shorten its history."""
    long = "This model's maximum context length is 8192 tokens."
    model.script(Answer(status=400, error=long, code="context_length_exceeded", param="messages"))
    error = client.refused(way, messages=HELLO)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


@each_way
def test_a_model_that_is_down_is_a_server_error_and_its_secrets_stay_here(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    model.script(Answer(status=401, error="Incorrect API key provided: sk-of-the-tests"))
    error = client.refused(way, messages=HELLO)
    assert (error["kind"], error["status"], error["code"]) == ("InternalServerError", 502, "upstream_authentication")
    assert "sk-of-the-tests" not in error["message"]


@each_way
def test_a_model_that_breaks_off_is_an_error_after_what_was_said(
    client: OfficialClient, way: Way, model: ScriptedModel
) -> None:
    model.script(LOOK, Answer("one two three", cut_after=2))
    outcome = client.do(way, messages=HELLO)
    assert outcome.error is not None
    assert outcome.error["code"] == "upstream_unavailable"
    assert "cut off" in outcome.error["message"]
    if way == "create":
        assert (outcome.error["kind"], outcome.error["status"]) == ("InternalServerError", 502)
    else:
        # The status line had left by then.
        assert (outcome.error["kind"], outcome.error["status"]) == ("APIError", None)
        assert said(outcome.seen) == "one two "


@each_way
def test_a_model_that_fails_in_a_later_round_is_an_error_too(
    client: OfficialClient, way: Way, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, Answer(status=429, error="slow down", headers={"retry-after": "23"}))
    error = client.refused(way, messages=HELLO)
    assert error["code"] == "rate_limit_exceeded"
    assert "slow down" in error["message"]
    assert tools.ran() == ["echo x"]


def said(seen: list[Any]) -> str:
    """The text among chunks, or among the helper's events."""
    pieces = [
        piece.get("delta") or "" if piece.get("type") else piece["choices"][0]["delta"].get("content") or ""
        for piece in seen
    ]
    return "".join(pieces)
