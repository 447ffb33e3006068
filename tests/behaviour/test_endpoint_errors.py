"""Whoever asks reads what the model endpoint said of its failure, in whatever form it said it, and that it said so."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from support.facade import Facade, events
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

pytestmark = pytest.mark.usefixtures("brief_pauses")
SAID = "the context is too long"
FORMS: dict[str, Any] = {
    "openai": {"error": {"message": SAID, "type": "invalid_request_error", "code": "context_length_exceeded"}},
    "a text": {"error": SAID},
    "vllm": {"object": "error", "message": SAID, "type": "BadRequestError", "param": None, "code": 400},
    "detail": {"detail": SAID},
    "fastapi": {"detail": [{"loc": ["body", "messages", 0], "msg": SAID, "type": "missing"}]},
    "message": {"message": SAID},
    "google": [{"error": {"code": 400, "message": SAID, "status": "INVALID_ARGUMENT"}}],
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": SAID}},
    "nested": {"error": {"message": {"error": {"msg": SAID}}}},
    "several": {"errors": [{"message": SAID}]},
    "problem": {"title": "Bad Request", "detail": SAID, "status": 400},
}


def whole(payload: Any) -> Answer:
    """A JSON body under HTTP 200."""
    return Answer(raw=[json.dumps(payload).encode()], headers={"content-type": "application/json"})


def event(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


async def test_the_endpoints_own_sentence_is_read(facade: Facade, model: ScriptedModel) -> None:
    for form, payload in FORMS.items():
        ways = [
            (Answer(status=400, body=json.dumps(payload).encode()), "The model endpoint answered 400: "),
            (whole(payload), "The model endpoint answered"),
            (Answer(raw=[json.dumps(payload).encode()]), "The model endpoint answered"),  # in the place of a stream
        ]
        for answer, expected in ways:
            model.script(answer)
            response = await facade.ask("go")
            message = response.json()["error"]["message"]
            assert response.status_code in (400, 502), (form, message)
            assert message.startswith(expected), form
            assert SAID in message, form
    assert len(model.requests) == 3 * len(FORMS)


async def test_a_sentence_without_json_is_read_and_a_page_is_not(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer(status=422, body=SAID.encode()), Answer(status=422, body=b"<html>x</html>"))
    assert (await facade.ask("go")).json()["error"]["message"] == f"The model endpoint answered 422: {SAID}"
    assert (await facade.ask("go")).json()["error"]["message"] == "The model endpoint answered with status 422."


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 400, "message": SAID}, 400),
        ({"code": "429", "message": SAID}, 429),
        ({"status": 429, "message": SAID}, 429),
        ({"code": 8, "status": "RESOURCE_EXHAUSTED", "message": SAID}, 429),
        ({"type": "invalid_request_error", "message": SAID}, 400),
        ({"type": "rate_limit_error", "message": SAID}, 429),
        ({"code": 503, "message": SAID}, 502),
        ({"message": SAID}, 502),
    ],
)
async def test_an_error_in_the_stream_has_its_own_status_while_nothing_was_said(
    facade: Facade, model: ScriptedModel, error: dict[str, Any], status: int
) -> None:
    tries = 3 if status == 429 or error.get("code") == 503 else 1
    for stream in (False, True):
        model.reset()
        model.respond(lambda _: Answer(raw=[event({"error": error})]))
        response = await facade.ask("go", stream=stream)
        assert response.status_code == status
        assert SAID in response.json()["error"]["message"]
        assert len(model.requests) == tries
        assert (f"; tried {tries} times." in response.json()["error"]["message"]) == (tries > 1)


@pytest.mark.parametrize(
    "payload",
    [
        {"error": {"code": 400, "message": SAID}},
        {"object": "error", "message": SAID, "code": 400},
        {"choices": [{"index": 0, "delta": {"content": ""}, "error": {"code": 502, "message": SAID}}]},
        [{"error": {"code": 500, "message": SAID}}],
    ],
)
async def test_an_error_after_the_first_word_ends_the_stream_with_its_words(
    facade: Facade, model: ScriptedModel, payload: Any
) -> None:
    word = {"choices": [{"index": 0, "delta": {"content": "Well"}}]}
    model.script(Answer(raw=[event(word), event(payload)]))
    last = events(await facade.stream("go"))[-1]
    assert last["error"]["message"] == f"The model endpoint broke its answer off: {SAID}"


async def test_what_is_no_error_is_an_answer(facade: Facade, model: ScriptedModel) -> None:
    model.script(
        Answer(
            raw=[
                event({"choices": [], "prompt_filter_results": [], "error": None}),
                event({"message": "hold on"}),
                event({"choices": [{"index": 0, "delta": {"content": "Well."}, "finish_reason": "stop"}]}),
                b"data: [DONE]\n\n",
            ]
        )
    )
    assert await facade.say("go") == "Well."


async def test_a_secret_in_the_sentence_stays_one(facade: Facade, model: ScriptedModel) -> None:
    payload = {"detail": "bad key sk-of-the-tests"}
    model.script(Answer(status=400, body=json.dumps(payload).encode()), whole(payload), Answer(raw=[event(payload)]))
    for _ in range(3):
        text = (await facade.ask("go")).text
        assert "bad key" in text
        assert "sk-of-the-tests" not in text


async def test_a_tool_that_is_known_by_its_place_is_named(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    for words in ("tools[1]: no", "tools.1.custom.input_schema: no", "request.tools[0].function_declarations[1].x: no"):
        model.script(Answer(status=400, error=words))
        message = (await facade.ask("go")).json()["error"]["message"]
        assert "[1] is the tool 'files__" in message or "tools.1 is the tool 'files__" in message


async def test_a_retry_is_one_line_of_the_log(
    facade: Facade, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    model.script(Answer(status=503, error="overloaded by: secret words"), "Done.")
    with caplog.at_level(logging.INFO):
        assert await facade.say("go") == "Done."
    lines = [record for record in caplog.records if record.name.startswith("graphs") and "try 1" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].exc_info is None
    assert "secret words" not in lines[0].getMessage()


async def test_a_later_round_says_it_too(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "x"})]), Answer(status=400, body=b'{"detail": "no"}'))
    assert (await facade.ask("go")).json()["error"]["message"] == "The model endpoint answered 400: no"
