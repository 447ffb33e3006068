"""What clients other than the two official ones send: other headers, other addresses, other shapes of the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ADMIN, DEVELOPER, Facade, add_to_gateway, serving
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

PAGE = "https://chat.example.com"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, x-mine"}

INVALID_MESSAGES: list[tuple[dict[str, Any], str, str]] = [
    ({"role": "user"}, "messages.0.content", "a message of role user needs a text"),
    ({"role": "user", "content": None}, "messages.0.content", "a message of role user needs a text"),
    ({"role": "user", "content": []}, "messages.0.content", "a message of role user needs a text"),
    ({"role": "system"}, "messages.0.content", "a message of role system needs a text"),
    ({"role": "user", "content": 5}, "messages.0.content", "expected a text, or a list of parts"),
    ({"role": "user", "content": {"type": "text"}}, "messages.0.content", "found an object"),
    ({"role": "user", "content": ["x"]}, "messages.0.content.0", "expected an object; found a text"),
    ({"role": "assistant", "tool_calls": {}}, "messages.0.tool_calls", "expected a list; found an object"),
]
"""A message, the field that is wrong in it, and words of the refusal."""


async def asked(facade: Facade, method: str, path: str, **headers: str) -> httpx.Response:
    root = facade.url.removesuffix("/v1")
    return await facade.http.request(
        method, f"{root}{path}", headers={n.replace("_", "-"): v for n, v in headers.items()}
    )


@pytest.mark.parametrize("header", ["api-key", "x-api-key"])
async def test_a_key_may_come_in_the_headers_of_other_vendors(
    facade: Facade, model: ScriptedModel, header: str
) -> None:
    model.script("Hello.")
    body = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
    answer = await facade.http.post(f"{facade.url}/chat/completions", json=body, headers={header: ADMIN})
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."
    ready = await asked(facade, "GET", "/ready", **{header: ADMIN})
    assert "graphs" in ready.json()


async def test_one_key_in_two_headers_is_one_key_and_two_are_none(facade: Facade) -> None:
    same = await asked(facade, "GET", "/v1/models", authorization=f"Bearer {ADMIN}", x_api_key=ADMIN, api_key="")
    assert same.status_code == 200
    for other in ({"authorization": f"Bearer {ADMIN}"}, {"api_key": ADMIN}):
        two = await asked(facade, "GET", "/v1/models", x_api_key=DEVELOPER, **other)
        assert two.status_code == 401
        assert two.json()["error"]["message"].startswith("Two different API keys were sent")
        assert ADMIN not in two.text


async def test_a_slash_at_the_end_changes_nothing(facade: Facade, model: ScriptedModel) -> None:
    listed = await asked(facade, "GET", "/v1/models/", authorization=f"Bearer {ADMIN}")
    assert [entry["id"] for entry in listed.json()["data"]] == ["assistant", "scripted"]
    one = await asked(facade, "GET", "/v1/models/assistant/", authorization=f"Bearer {ADMIN}")
    assert one.json()["id"] == "assistant"
    model.script("Hello.")
    body = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {ADMIN}"}
    assert (await facade.http.post(f"{facade.url}/chat/completions/", json=body, headers=headers)).status_code == 200


async def test_the_bare_address_leads_to_the_console(facade: Facade) -> None:
    answer = await asked(facade, "GET", "/")
    assert (answer.status_code, answer.headers["location"]) == (307, "console")


async def test_options_says_what_a_path_takes(facade: Facade) -> None:
    for path, method in (("/v1/models", "GET"), ("/v1/chat/completions", "POST"), ("/health", "GET")):
        answer = await asked(facade, "OPTIONS", path)
        assert answer.status_code == 204
        assert method in answer.headers["allow"].split(", ")
        assert (await asked(facade, "DELETE", path)).headers["allow"] == answer.headers["allow"]
    assert (await asked(facade, "OPTIONS", "/v1/nothing")).status_code == 404


async def test_no_page_of_another_origin_is_let_in_unless_it_is_listed(
    facade: Facade, configs: Path, tmp_path: Path, model: ScriptedModel
) -> None:
    refused = await asked(facade, "OPTIONS", "/v1/chat/completions", origin=PAGE, **PREFLIGHT)
    assert "access-control-allow-origin" not in refused.headers
    add_to_gateway(configs, http={"origins": [PAGE]})
    async with serving(configs, tmp_path / "listed") as listed:
        allowed = await asked(listed, "OPTIONS", "/v1/chat/completions", origin=PAGE, **PREFLIGHT)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == PAGE
        assert allowed.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
        other = await asked(listed, "OPTIONS", "/v1/models", origin="https://evil.example.com", **PREFLIGHT)
        assert "access-control-allow-origin" not in other.headers
        for key, status in ((ADMIN, 200), ("wrong", 401)):
            answer = await asked(listed, "GET", "/v1/models", origin=PAGE, authorization=f"Bearer {key}")
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
            assert "x-interlock-approvals" in answer.headers["access-control-expose-headers"]
        model.script("Hello.")
        assert "Hello." in await listed.stream("hi", headers={"origin": PAGE})


@pytest.mark.parametrize("arguments", [{"text": "größer", "deep": {"n": [1]}}, {}])
async def test_arguments_in_the_history_may_be_an_object(
    facade: Facade, model: ScriptedModel, arguments: dict[str, Any]
) -> None:
    model.script("Hello.")
    call = {"id": "c1", "type": "function", "function": {"name": "mine", "arguments": arguments}}
    history = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    await facade.say("hi", *history, {"role": "tool", "tool_call_id": "c1", "content": "ok"}, "and?")
    (sent,) = [message for message in model.requests[0].messages if message.get("tool_calls")]
    assert json.loads(sent["tool_calls"][0]["function"]["arguments"]) == arguments


async def test_a_message_that_is_not_valid_is_refused_in_words(facade: Facade, model: ScriptedModel) -> None:
    for message, field, words in INVALID_MESSAGES:
        answer = await facade.ask(message)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, field), message
        assert error["message"].startswith(f"{field}: "), message
        assert words in error["message"], message
        assert "str" not in error["message"].split(), message
    assert model.requests == []


async def test_an_empty_text_is_a_text(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "x"})]), "Hello.")
    assert await facade.say("") == "Hello."
    assert tools.ran() == ["echo x"]
