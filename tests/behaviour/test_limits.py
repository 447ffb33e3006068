"""What limits a role: requests a minute, tool calls a turn and tokens a day, as clients see them over HTTP."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import jwt
import openai
import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.telemetry.token_count import count_characters

Served = Callable[..., AbstractAsyncContextManager[Facade]]


def limited(admin: Mapping[str, Any], **roles: Any) -> dict[str, Any]:
    """The tests' access.yaml with more in the role `admin`, and more roles."""
    return {**ACCESS, "roles": {**ACCESS["roles"], "admin": {**ACCESS["roles"]["admin"], **admin}, **roles}}


@pytest.fixture
def served(tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None) -> Served:
    """The facade with this access.yaml, on one and the same store."""

    def serve(access: Mapping[str, Any], **settings: Any) -> AbstractAsyncContextManager[Facade]:
        configs = write_configs(tmp_path / "configs", model.url, {"files": {"url": tools.url}}, access=access)
        return serving(configs, tmp_path / "data", **settings)

    return serve


SECRET = "a-secret-that-open-webui-and-interlock-share"


def signed(name: str, role: str) -> dict[str, str]:
    """The headers by which Open WebUI says who chats."""
    now = int(time.time())
    claims = {"sub": f"id-of-{name}", "name": name, "role": role, "iss": "open-webui", "iat": now, "exp": now + 300}
    return {"x-openwebui-user-jwt": jwt.encode(claims, SECRET, algorithm="HS256")}


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


# --- tool calls a turn ---


async def test_calls_beyond_the_limit_of_the_role_are_refused_and_end_the_turn(
    served: Served, model: ScriptedModel, tools: Tools
) -> None:
    access = limited({"include": "careful", "limits": {"tool_calls": 9}}, careful={"limits": {"tool_calls": 2}})
    model.script(Answer(calls=[echo("one"), echo("two"), echo("three")]), "That is all I have.")
    async with served(access) as facade:
        answer = await facade.say("go")

    assert sorted(tools.ran()) == ["echo one", "echo two"]
    refused = next(text for text in model.requests[1].tool_results if "limit" in text)
    assert "the turn's limit of 2 tool calls (role careful, access.yaml:17)" in refused
    assert "limit of 2 tool calls in one turn (role careful, access.yaml:17) is reached" in answer
    assert model.requests[1].tools == []


async def test_a_graph_that_allows_fewer_calls_than_the_role_is_obeyed(
    served: Served, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[echo(str(number)) for number in range(41)]), "Enough.")
    async with served(limited({"limits": {"tool_calls": 50}})) as facade:
        answer = await facade.say("go")
    assert len(tools.ran()) == 40
    assert "the limit of 40 tool calls in one turn is reached" in answer


# --- requests a minute ---


def told(response: httpx.Response) -> tuple[int, dict[str, Any], int]:
    """A refusal: its status, its error, and the seconds until there is room."""
    return response.status_code, response.json()["error"], int(response.headers["retry-after"])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_too_many_gets_a_429_that_says_when_before_the_model_is_asked(
    served: Served, model: ScriptedModel, stream: bool
) -> None:
    model.respond(lambda _: "Hello.")
    async with served(limited({"limits": {"requests_per_minute": 2}})) as facade:
        for _ in range(2):
            assert (await facade.ask("go", stream=stream)).status_code == 200
        for _ in range(2):
            response = await facade.ask("go", stream=stream)
            status, error, seconds = told(response)
            assert (status, error["type"], error["code"]) == (429, "rate_limit_exceeded", "rate_limit_exceeded")
            assert 0 < seconds <= 60
            words = rf"The limit of 2 requests a minute is reached \(role admin, access\.yaml:9\)\. .* in {seconds} s\."
            assert re.fullmatch(words, error["message"]), error
            assert response.headers["content-type"] == "application/json"
        assert len(model.requests) == 2
        page = (await facade.http.get(facade.url.removesuffix("/v1") + "/metrics")).text
        assert 'interlock_limited_requests_total{limit="requests_per_minute",role="admin"} 2.0' in page


async def test_only_what_asks_a_model_counts_and_each_caller_counts_alone(
    served: Served, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.respond(lambda _: "Hello.")
    monkeypatch.setenv("OTHER_KEY", "ilk_other-of-the-tests")
    access = limited({"limits": {"requests_per_minute": 2}})
    access["keys"] = [*ACCESS["keys"], {"name": "other", "role": "admin", "env": "OTHER_KEY"}]
    async with served(access) as facade:
        headers = {"authorization": f"Bearer {ADMIN}"}
        for path in ("models", "approvals", "models/assistant"):
            assert (await facade.http.get(f"{facade.url}/{path}", headers=headers)).status_code == 200
        assert (await facade.ask("go", model="nowhere")).status_code == 404
        assert (await facade.ask("go", n=2)).status_code == 400
        # What Open WebUI asks on its own account asks a model too.
        title = {"x-openwebui-task": "title_generation"}
        assert (await facade.ask("go")).status_code == 200
        assert (await facade.ask("A title!", headers=title)).status_code == 200
        assert (await facade.ask("A title!", headers=title)).status_code == 429
        assert (await facade.ask("go", key="ilk_other-of-the-tests")).status_code == 200
        assert (await facade.ask("go", key=DEVELOPER)).status_code == 200


async def test_the_strictest_limit_of_a_role_and_of_those_it_includes_holds(
    served: Served, model: ScriptedModel
) -> None:
    model.respond(lambda _: "Hello.")
    access = limited(
        {"include": ["base", "wide"], "limits": {"requests_per_minute": 5}},
        base={"include": "lowest"},
        wide={"limits": {"requests_per_minute": 900, "tokens_per_day": 9000}},
        lowest={"limits": {"requests_per_minute": 1}},
    )
    async with served(access) as facade:
        assert (await facade.ask("go")).status_code == 200
        assert "(role lowest, access.yaml:" in told(await facade.ask("go"))[1]["message"]


@pytest.mark.parametrize(("key", "person"), [(1, 5), (5, 1)])
async def test_a_person_behind_a_front_end_is_bound_by_both_roles_and_alone(
    served: Served, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, key: int, person: int
) -> None:
    model.respond(lambda _: "Hello.")
    monkeypatch.setenv("WEBUI_KEY", "ilk_webui-of-the-tests")
    access = {
        "roles": {
            "team": {"limits": {"requests_per_minute": key}},
            "user": {"limits": {"requests_per_minute": person}},
        },
        "keys": [{"name": "webui", "role": "team", "env": "WEBUI_KEY", "forwards_users": True}],
    }
    async with served(access, forwarded_jwt_secret=SECRET) as facade:

        async def ask(name: str) -> int:
            headers = signed(name, "user")
            return (await facade.ask("go", key="ilk_webui-of-the-tests", headers=headers)).status_code

        assert [await ask("Zoë"), await ask("Zoë")] == [200, 429]
        assert [await ask("Max"), await ask("Max")] == [200, 429]


async def test_saved_limits_hold_at_once_and_what_was_used_before_counts(
    served: Served, model: ScriptedModel, tmp_path: Path
) -> None:
    model.respond(lambda _: "Hello.")
    wide, narrow = (limited({"limits": {"requests_per_minute": most}}) for most in (3, 2))
    async with served(wide) as facade:
        for expected in (200, 200, 200, 429):
            assert (await facade.ask("go")).status_code == expected
    for access, expected in ((limited({"limits": {"requests_per_minute": 4}}), 200), (narrow, 429), (ACCESS, 200)):
        async with served(access) as facade:
            assert (await facade.ask("go")).status_code == expected
    async with served(ACCESS) as facade:
        before = (await facade.ready()).json()["snapshot"]
        served(narrow)
        while (await facade.ready()).json()["snapshot"] == before:
            await asyncio.sleep(0.02)
        assert (await facade.ask("go")).status_code == 429


async def test_the_official_client_waits_as_long_as_it_is_told_and_gets_through(
    served: Served, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.respond(lambda _: "Hello.")
    async with served(limited({"limits": {"requests_per_minute": 1}})) as facade:
        async with facade.client() as client:
            ask = functools.partial(
                client.chat.completions.create, model="assistant", messages=[{"role": "user", "content": "go"}]
            )
            await ask()
            with pytest.raises(openai.RateLimitError) as caught:
                await ask()
            assert caught.value.code == "rate_limit_exceeded"
            with pytest.raises(openai.RateLimitError):
                await ask(stream=True)

        waited: list[float] = []

        async def later(seconds: float) -> None:
            # A minute goes by for everybody.
            waited.append(seconds)
            then = time.time() + seconds
            monkeypatch.setattr("graphs.runtime.admission.time", SimpleNamespace(time=lambda: then))

        monkeypatch.setattr("openai._base_client.anyio", SimpleNamespace(**{**vars(anyio), "sleep": later}))
        async with facade.client().with_options(max_retries=1) as client:
            answer = await client.chat.completions.create(
                model="assistant", messages=[{"role": "user", "content": "go"}]
            )
        assert answer.choices[0].message.content == "Hello."
        # Left to itself it waits eight seconds at most.
        assert [8 < seconds <= 60 for seconds in waited] == [True]


# --- tokens a day ---


def tokens(most: int, **more: int) -> dict[str, Any]:
    return limited({"limits": {"tokens_per_day": most, **more}})


async def used(data: Path) -> int:
    """What the store counted, whoever used it."""
    rows = await asyncio.to_thread(look, data / "interlock.db", "SELECT tokens FROM usage")
    return sum(count for (text,) in rows for _, count in json.loads(text))


def look(file: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


async def eventually(found: Callable[[], Awaitable[int]], wanted: int) -> None:
    """Waits for it: what is counted after an answer was cut off is counted a moment later."""
    async with asyncio.timeout(20):
        while await found() != wanted:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_used_its_tokens_gets_a_429_and_what_it_used_is_that_of_all_rounds(
    served: Served, model: ScriptedModel, tools: Tools, tmp_path: Path, stream: bool
) -> None:
    model.script(
        Answer(calls=[echo("x")], usage=(10, 5)), Answer("Done.", usage=(20, 7)), Answer("More.", usage=(1, 1))
    )
    async with served(tokens(43)) as facade:
        assert (await facade.ask("go", stream=stream)).status_code == 200
        assert await used(tmp_path / "data") == 42
        assert (await facade.ask("go", stream=stream)).status_code == 200, "there is room for one token"
        assert await used(tmp_path / "data") == 44
        response = await facade.ask("go", stream=stream)
        status, error, seconds = told(response)
        assert (status, error["code"]) == (429, "rate_limit_exceeded")
        assert 23 * 3600 < seconds <= 24 * 3600
        words = r"The limit of 43 tokens a day is reached \(role admin, access\.yaml:9\)\. .* in 2[34] h \d+ min\."
        assert re.fullmatch(words, error["message"]), error
        assert len(model.requests) == 3
        page = (await facade.http.get(facade.url.removesuffix("/v1") + "/metrics")).text
        assert 'interlock_limited_requests_total{limit="tokens_per_day",role="admin"} 1.0' in page
    async with served(tokens(45)) as facade:
        model.script("Restarts forget nothing.")
        assert (await facade.ask("go")).status_code == 200


async def test_who_leaves_in_the_middle_of_an_answer_has_used_what_was_asked_and_said(
    served: Served, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    model.script(
        Answer(calls=[echo("x")], usage=(100, 11)), Answer(["four" * 10, " never read"], stall_after=1), "Hello."
    )
    async with served(tokens(150)) as facade:
        body = {"model": "assistant", "stream": True, "messages": [{"role": "user", "content": "go"}]}
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with facade.http.stream("POST", f"{facade.url}/chat/completions", json=body, headers=headers) as response:
            async for line in response.aiter_lines():
                if "four" in line:
                    break
        assert await model.requests[1].ended() == "cut"
        sent = model.requests[1].body
        asked = count_characters(sent["messages"]) + count_characters(sent["tools"])
        expected = 111 + math.ceil((asked + 40) / 4)
        await eventually(lambda: used(tmp_path / "data"), expected)
        assert expected > 150
        assert (await facade.ask("go")).status_code == 429


async def test_a_call_of_which_the_endpoint_says_nothing_is_counted_by_its_length_and_one_it_refused_is_not(
    served: Served, model: ScriptedModel, tmp_path: Path
) -> None:
    words = b'data: {"choices":[{"index":0,"delta":{"content":"Hello there."}}]}\n\n'
    end = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    model.script(Answer(status=400), Answer(raw=[words, end]), Answer(raw=[words], cut_after=1))
    async with served(tokens(10_000)) as facade:
        assert (await facade.ask("go")).status_code == 400
        assert await used(tmp_path / "data") == 0
        assert await facade.say("go") == "Hello there."
        sent = model.requests[1].body
        one = math.ceil(
            (count_characters(sent["messages"]) + count_characters(sent["tools"]) + len("Hello there.")) / 4
        )
        assert await used(tmp_path / "data") == one
        assert (await facade.ask("go")).status_code == 502, "the model was cut off"
        assert await used(tmp_path / "data") == 2 * one


async def test_what_open_webui_asks_on_its_own_account_uses_tokens_too(
    served: Served, model: ScriptedModel, tmp_path: Path
) -> None:
    model.script(Answer("A title", usage=(30, 3)))
    access = tokens(33)
    access["keys"] = [{**key, "forwards_users": True} for key in access["keys"]]
    async with served(access) as facade:
        title = {"x-openwebui-task": "title_generation"}
        assert (await facade.ask("A title!", headers=title)).status_code == 200
        await eventually(lambda: used(tmp_path / "data"), 33)
        assert (await facade.ask("go")).status_code == 429


async def test_tokens_before_and_after_an_approval_count_once(
    served: Served, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "x"})], usage=(10, 1)), Answer("Done.", usage=(20, 2)))
    async with served(tokens(1000)) as facade:
        asked = await facade.say("go")
        assert await used(tmp_path / "data") == 11
        found = re.search(r"approve [a-z2-7]{8}", asked)
        assert found is not None
        assert await facade.say("go", said(asked), found[0]) == "Done."
        assert await used(tmp_path / "data") == 33


async def test_a_role_without_limits_leaves_no_trace_in_the_store(
    served: Served, model: ScriptedModel, tmp_path: Path
) -> None:
    model.respond(lambda _: "Hello.")
    async with served(limited({"limits": {"tool_calls": 3}})) as facade:
        await facade.say("go")
        assert await asyncio.to_thread(look, tmp_path / "data" / "interlock.db", "SELECT * FROM usage") == []


def test_pictures_are_not_counted_by_the_length_of_their_bytes() -> None:
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "wav"}}
    assert count_characters([{"role": "user", "content": [{"type": "text", "text": "x" * 400}, url, sound]}]) < 450
