"""Routes of OpenAI's API beside chats: they reach LiteLLM as they came, under the keys, roles and limits of chats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, serving, write_configs
from support.metrics_page import scraped
from support.passed_endpoint import PassedEndpoint
from typer.testing import CliRunner

from server.cli.main import app

MODELS: Mapping[str, str | None] = {
    "scripted": "chat",
    "embedder": "embedding",
    "speaker": "audio_speech",
    "painter": "image_generation",
    "completer": "completion",
    "mystery": None,
    "secret-embedder": "embedding",
    "wild/*": None,
    "wild/instruct": "completion",
}
EMBEDDING = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "model": "embedder",
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}


@asynccontextmanager
async def passing(
    folder: Path, *, developer: Mapping[str, Any] | None = None, **models: Any
) -> AsyncGenerator[tuple[Facade, PassedEndpoint]]:
    """A facade before an endpoint with MODELS."""
    role = {"models": ["embedder", "speaker", "scripted"], **(developer or {})}
    access = {**ACCESS, "roles": {**ACCESS["roles"], "developer": role}}
    async with PassedEndpoint(MODELS).serving() as endpoint:
        configs = write_configs(folder / "configs", endpoint.url, {}, access=access, **models)
        async with serving(configs, folder / "data") as facade:
            yield facade, endpoint


async def post(facade: Facade, path: str, body: Any, key: str = ADMIN, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await facade.http.post(
        f"{facade.url}/{path}",
        content=content,
        headers={"authorization": f"Bearer {key}", "content-type": "application/json", **headers},
    )


async def read_audit(data: Path) -> list[dict[str, Any]]:
    words = ["audit", "show", "--format", "json", "--kind", "endpoint"]
    result = await asyncio.to_thread(CliRunner().invoke, app, words, env={"INTERLOCK_DATA": str(data)})
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


async def wait_for_records(data: Path, number: int) -> list[dict[str, Any]]:
    """The records of so many requests: each is written, after its tokens, once its client has its answer."""
    async with asyncio.timeout(20):
        while len(records := await read_audit(data)) < number:
            await asyncio.sleep(0.05)
    return records


async def test_the_official_client_gets_embeddings(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        endpoint.pieces = (json.dumps(EMBEDDING).encode(),)
        async with facade.client() as client:
            answer = await client.embeddings.create(model="embedder", input="tea", encoding_format="float")
        assert answer.data[0].embedding == [0.5, 0.25]
        assert answer.usage.total_tokens == 3
        assert [arrival.path for arrival in endpoint.arrivals] == ["/v1/embeddings"]


async def test_a_body_goes_on_byte_for_byte_and_nothing_else_with_it(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        endpoint.headers = {
            "content-type": "application/json; charset=utf-8",
            "x-litellm-model-api-base": "http://10.0.0.7:8000",
            "set-cookie": "a=b",
        }
        endpoint.pieces = (b'{"ok" :', b" 1}")
        body = b'{ "model":"embedder" ,\n "input":["caf\xc3\xa9",[1,2,3]], "dimensions": 64 }'
        answer = await post(
            facade, "embeddings?model=secret-embedder", body, **{"cookie": "a=b", "x-openwebui-user-id": "ada"}
        )
        assert (answer.status_code, answer.content) == (200, b'{"ok" : 1}')
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert not [name for name in answer.headers if name.startswith(("x-litellm", "set-cookie"))]
        assert "x-request-id" in answer.headers
        (arrival,) = endpoint.arrivals
        assert (arrival.path, arrival.body) == ("/v1/embeddings", body)
        assert arrival.headers["authorization"] == "Bearer sk-of-the-tests"
        assert not arrival.headers.keys() & {"cookie", "x-openwebui-user-id", "x-request-id"}


@pytest.mark.parametrize(
    ("path", "model", "body"),
    [
        ("moderations", "mystery", {"input": "a text"}),
        ("rerank", "mystery", {"query": "tea", "documents": ["a", {"text": "b"}], "top_n": 1}),
        ("audio/speech", "speaker", {"input": "Hello", "voice": "alloy", "response_format": "mp3"}),
        ("images/generations", "painter", {"prompt": "a cat", "size": "1024x1024", "n": 1, "quality": "high"}),
    ],
)
async def test_each_route_reaches_its_own_at_the_endpoint(
    tmp_path: Path, keys: None, path: str, model: str, body: Mapping[str, Any]
) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        answer = await post(facade, path, {"model": model, **body})
        assert answer.status_code == 200, answer.text
        assert [arrival.path for arrival in endpoint.arrivals] == [f"/v1/{path}"]


async def test_rerank_is_found_without_v1_too(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        body = {"model": "mystery", "query": "tea", "documents": ["a"]}
        answer = await post(facade, "../rerank", body)
        assert (answer.status_code, answer.request.url.path) == (200, "/rerank")
        assert [arrival.path for arrival in endpoint.arrivals] == ["/v1/rerank"]


async def test_speech_comes_in_pieces_while_it_is_made(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        endpoint.headers = {"content-type": "audio/mpeg"}
        endpoint.pieces, endpoint.stalls_at = (b"\xff\xfb" * 500, b"never"), 1
        async with (
            facade.client() as client,
            client.audio.speech.with_streaming_response.create(model="speaker", voice="alloy", input="Hello") as answer,
        ):
            assert answer.headers["content-type"] == "audio/mpeg"
            pieces = answer.iter_bytes()
            assert (await anext(pieces)).startswith(b"\xff\xfb")
        await asyncio.wait_for(endpoint.was_left.wait(), 10)


async def test_a_client_that_leaves_before_an_answer_ends_the_request_upstream(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        endpoint.stalls_at = -1
        with pytest.raises(httpx.ReadTimeout):
            await facade.http.post(
                f"{facade.url}/images/generations",
                json={"model": "painter", "prompt": "a cat"},
                headers={"authorization": f"Bearer {ADMIN}"},
                timeout=0.5,
            )
        await asyncio.wait_for(endpoint.was_left.wait(), 10)
        (record,) = await wait_for_records(tmp_path / "data", 1)
    assert (record["outcome"], record["args"]["status"]) == ("stopped", 499)


async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        endpoint.pieces, endpoint.breaks_off = (b'{"data": [',), True
        with pytest.raises(httpx.RemoteProtocolError):
            await post(facade, "embeddings", {"model": "embedder", "input": "tea"})


@pytest.mark.parametrize(
    ("path", "model", "key", "status", "words"),
    [
        (
            "embeddings",
            "nosuch",
            ADMIN,
            404,
            "There is no model 'nosuch'. GET /v1/models?mode=all lists what there is.",
        ),
        (
            "embeddings",
            "secret-embedder",
            DEVELOPER,
            403,
            "The role developer may not use the model 'secret-embedder' (access.yaml).",
        ),
        (
            "embeddings",
            "assistant",
            ADMIN,
            400,
            "model: 'assistant' is a graph. Ask it with POST /v1/chat/completions.",
        ),
        (
            "moderations",
            "scripted",
            ADMIN,
            400,
            "model: 'scripted' is a model for chats. Ask it with POST /v1/chat/completions.",
        ),
        (
            "completions",
            "completer",
            ADMIN,
            404,
            "/v1/completions is not passed on here: `models.endpoints` in gateway.yaml does not name completions. "
            "Whoever runs Interlock can add it.",
        ),
    ],
)
async def test_what_may_not_be_passed_on_is_refused_in_words(
    tmp_path: Path, keys: None, path: str, model: str, key: str, status: int, words: str
) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        answer = await post(facade, path, {"model": model, "input": "tea", "prompt": "tea"}, key)
        assert (answer.status_code, answer.json()["error"]["message"]) == (status, words)
        assert not endpoint.arrivals


async def test_a_key_is_needed(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        answer = await post(facade, "embeddings", {"model": "embedder", "input": "tea"}, "wrong")
        assert answer.status_code == 401
        assert (await facade.http.get(f"{facade.url}/audio/models")).status_code == 401
        assert not endpoint.arrivals


async def test_a_role_without_the_default_graph_has_no_models_here_either(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path, developer={"graphs": ["other"]}) as (facade, endpoint):
        answer = await post(facade, "embeddings", {"model": "embedder", "input": "tea"}, DEVELOPER)
        assert answer.status_code == 403
        assert not endpoint.arrivals


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b'{"input": "tea"}', "model", "model: the name of a model is missing."),
        (b'{"model": ["embedder"], "input": "tea"}', "model", "model: the name of a model is missing."),
        (
            b'{"model": "secret-embedder", "input": "tea", "model": "embedder"}',
            "model",
            "model: this field stands twice in the body.",
        ),
        (
            rb'{"model": "embedder", "input": "tea", "mod\u0065l": "secret-embedder"}',
            "model",
            "model: this field stands twice in the body.",
        ),
        (b'["embedder"]', None, "The body is not a JSON object."),
        (b'{"model": "embedder", "input": NaN}', None, "The body is not JSON: NaN is no JSON."),
    ],
)
async def test_a_body_that_two_programs_could_read_differently_is_refused(
    tmp_path: Path, keys: None, body: bytes, param: str | None, words: str
) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        answer = await post(facade, "embeddings", body, DEVELOPER)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert answer.json()["error"]["message"] == words
        assert not endpoint.arrivals


async def test_a_body_cannot_be_another_by_calling_itself_a_form(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        body = b'{"model":"embedder","input":"x&model=secret-embedder&input=stolen&z="}'
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await post(facade, "embeddings", body, DEVELOPER, **form)).status_code == 200
        assert endpoint.arrivals[0].headers["content-type"] == "application/json"


async def test_a_body_of_very_many_fields_holds_nobody_up(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        body = "{" + "".join(f'"{number:x}":0,' for number in range(140_000)) + '"zz":1,"zz":2}'
        answer = await asyncio.wait_for(post(facade, "embeddings", body.encode(), DEVELOPER), 10)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "The body has 140,002 fields; 200 are taken."
        assert not endpoint.arrivals


async def test_a_header_of_the_endpoint_that_cannot_be_sent_is_left_out(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        endpoint.headers = {"content-type": "audio/mpeg", "content-disposition": 'attachment; filename="ł.mp3"'}
        answer = await post(facade, "audio/speech", {"model": "speaker", "input": "Hello", "voice": "alloy"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
        assert "content-disposition" not in answer.headers


@pytest.mark.parametrize("field", ["api_base", "api_key", "base_url", "extra_headers", "mock_response", "tags"])
async def test_settings_of_litellm_are_no_clients_to_set(tmp_path: Path, keys: None, field: str) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        answer = await post(facade, "embeddings", {"model": "embedder", "input": "tea", field: "http://evil.test"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "field_refused")
        assert not endpoint.arrivals


async def test_many_texts_as_lists_of_tokens_are_passed_on(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        body = {"model": "embedder", "input": [[*range(250)] for _ in range(1_000)]}
        assert (await post(facade, "embeddings", body)).status_code == 200
        assert json.loads(endpoint.arrivals[0].body) == body


async def test_completions_are_passed_on_where_they_are_named_and_only_to_their_models(
    tmp_path: Path, keys: None
) -> None:
    async with passing(tmp_path, endpoints=["completions"]) as (facade, endpoint):
        endpoint.headers = {"content-type": "text/event-stream"}
        endpoint.pieces = (b'data: {"choices": [{"text": "Hi", "index": 0}]}\n\n', b"data: [DONE]\n\n")
        async with facade.client() as client:
            stream = await client.completions.create(model="completer", prompt="Say", stream=True)
            assert [chunk.choices[0].text async for chunk in stream] == ["Hi"]
        for model in ("scripted", "mystery", "wild/gpt-9"):
            answer = await post(facade, "completions", {"model": model, "prompt": "Say"})
            assert answer.status_code == 400, model
            assert "Ask it with POST /v1/chat/completions." in answer.json()["error"]["message"]
        assert (await post(facade, "embeddings", {"model": "embedder", "input": "x"})).status_code == 404


async def test_the_list_shows_models_by_their_mode(tmp_path: Path, keys: None) -> None:
    async def list_ids(query: str, key: str = ADMIN) -> list[str]:
        headers = {"authorization": f"Bearer {key}"}
        answer = await facade.http.get(f"{facade.url}/models{query}", headers=headers)
        return [entry["id"] for entry in answer.json()["data"]]

    async with passing(tmp_path) as (facade, _):
        assert await list_ids("") == ["assistant", "scripted", "completer", "mystery", "wild/instruct"]
        assert await list_ids("?mode=embedding") == ["embedder", "secret-embedder"]
        assert await list_ids("?mode=embedding", DEVELOPER) == ["embedder"]
        assert await list_ids("?mode=all") == ["assistant", *(name for name in MODELS if "*" not in name)]
        assert await list_ids("?mode=nosuch") == []
        headers = {"authorization": f"Bearer {ADMIN}"}
        spoken = await facade.http.get(f"{facade.url}/audio/models", headers=headers)
        assert spoken.json() == {"models": [{"id": "speaker"}]}


@pytest.mark.parametrize(
    ("said", "answered", "code"),
    [(401, 502, "upstream_authentication"), (429, 429, "rate_limit_exceeded"), (400, 400, None), (500, 502, None)],
)
async def test_errors_of_the_endpoint_are_told_as_for_chats(
    tmp_path: Path, keys: None, said: int, answered: int, code: str | None
) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        endpoint.status = said
        endpoint.pieces = (json.dumps({"error": {"message": "No, said sk-of-the-tests."}}).encode(),)
        endpoint.headers = {"content-type": "application/json", "retry-after": "7"}
        answer = await post(facade, "embeddings", {"model": "embedder", "input": "tea"})
        assert answer.status_code == answered
        assert "sk-of-the-tests" not in answer.text
        if code is not None:
            assert answer.json()["error"]["code"] == code
        assert (answer.headers.get("retry-after") == "7") is (said in (429, 500))
        assert len(endpoint.arrivals) == 1, "nothing is tried twice: it may have cost money"
    (record,) = await read_audit(tmp_path / "data")
    assert (record["outcome"], record["args"]["status"]) == ("failed", answered)


async def test_an_endpoint_that_says_nothing_is_given_up(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path, timeout="300ms") as (facade, endpoint):
        endpoint.stalls_at = -1
        answer = await post(facade, "embeddings", {"model": "embedder", "input": "tea"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_unavailable")


async def test_a_document_with_hundreds_of_requests_does_not_use_up_those_for_chats(tmp_path: Path, keys: None) -> None:
    limits = {"limits": {"requests_per_minute": 1, "endpoint_requests_per_minute": 3}}
    async with passing(tmp_path, developer=limits) as (facade, endpoint):
        body = {"model": "embedder", "input": "tea"}
        answers = [await post(facade, "embeddings", body, DEVELOPER) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert "3 requests for embeddings, moderations and rankings a minute" in answers[3].json()["error"]["message"]
        spoken = {"model": "speaker", "input": "Hello", "voice": "alloy"}
        assert (await post(facade, "audio/speech", spoken, DEVELOPER)).status_code == 200
        assert (await post(facade, "audio/speech", spoken, DEVELOPER)).status_code == 429
        assert len(endpoint.arrivals) == 4


async def test_tokens_count_as_the_endpoint_says_or_as_the_texts_are_long(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path, developer={"limits": {"tokens_per_day": 100}}) as (facade, endpoint):
        body = {"model": "embedder", "input": "t" * 200}
        endpoint.pieces = (json.dumps(EMBEDDING).encode(),)
        for _ in range(3):
            assert (await post(facade, "embeddings", body, DEVELOPER)).status_code == 200  # 3 each
        endpoint.pieces = (b"{}",)
        for records in (3, 4):
            await wait_for_records(tmp_path / "data", records)
            assert (await post(facade, "embeddings", body, DEVELOPER)).status_code == 200  # 50 each
        await wait_for_records(tmp_path / "data", 5)
        assert (await post(facade, "embeddings", body, DEVELOPER)).status_code == 429


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        pytest.param("embeddings", {"input": "data: " + "t" * 400}, b"{}", id="a text that looks like a picture"),
        pytest.param(
            "rerank",
            {"query": "t" * 400, "documents": [{"total_tokens": 0}]},
            b'{"results": [{"document": {"total_tokens": 0}}]}',
            id="an answer that quotes a number of the client's",
        ),
    ],
)
async def test_tokens_are_counted_whatever_the_texts_say(
    tmp_path: Path, keys: None, path: str, body: Mapping[str, Any], answer: bytes
) -> None:
    role = {"limits": {"tokens_per_day": 100}, "models": ["embedder", "mystery"]}
    async with passing(tmp_path, developer=role) as (facade, endpoint):
        endpoint.pieces = (answer,)
        body = {"model": "embedder" if path == "embeddings" else "mystery", **body}
        assert (await post(facade, path, body, DEVELOPER)).status_code == 200
        await wait_for_records(tmp_path / "data", 1)
        assert (await post(facade, path, body, DEVELOPER)).status_code == 429


async def test_a_stream_that_would_not_say_its_tokens_is_refused_where_they_are_limited(
    tmp_path: Path, keys: None
) -> None:
    role = {"limits": {"tokens_per_day": 100}, "models": ["completer"]}
    async with passing(tmp_path, developer=role, endpoints=["completions"]) as (facade, endpoint):
        body = {"model": "completer", "prompt": "Say", "stream": True}
        answer = await post(facade, "completions", body, DEVELOPER)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream_options")
        assert not endpoint.arrivals
        counted = {**body, "stream_options": {"include_usage": True}}
        assert (await post(facade, "completions", counted, DEVELOPER)).status_code == 200


async def test_a_request_that_the_client_leaves_is_counted_and_one_that_fails_is_not(
    tmp_path: Path, keys: None
) -> None:
    async with passing(tmp_path, developer={"limits": {"tokens_per_day": 100}}) as (facade, endpoint):
        body = {"model": "embedder", "input": "t" * 400}
        endpoint.status = 500
        assert (await post(facade, "embeddings", body, DEVELOPER)).status_code == 502
        endpoint.status, endpoint.stalls_at = 200, -1
        with pytest.raises(httpx.ReadTimeout):
            await facade.http.post(
                f"{facade.url}/embeddings", json=body, headers={"authorization": f"Bearer {DEVELOPER}"}, timeout=0.5
            )
        await wait_for_records(tmp_path / "data", 2)
        endpoint.stalls_at = None
        assert (await post(facade, "embeddings", body, DEVELOPER)).status_code == 429


async def test_each_request_is_in_the_audit_and_the_metrics_without_its_content(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        endpoint.pieces = (json.dumps(EMBEDDING).encode(),)
        body = json.dumps({"model": "embedder", "input": "a very private text"}).encode()
        for _ in range(2):
            await post(facade, "embeddings", body, DEVELOPER, **{"x-request-id": "the-same"})
        seen = await scraped(facade.http, facade.url.removesuffix("/v1"))
        out = len(endpoint.pieces[0])
        assert seen("interlock_endpoint_bytes_total", route="/v1/embeddings", direction="in") == 2 * len(body)
        assert seen("interlock_endpoint_bytes_total", route="/v1/embeddings", direction="out") == 2 * out
        assert seen("interlock_http_requests_total", route="/v1/embeddings", status="200") == 2
    records = await read_audit(tmp_path / "data")
    assert len(records) == 2
    assert "private" not in json.dumps(records)
    assert (records[0]["key"], records[0]["role"], records[0]["outcome"]) == ("developer", "developer", "ok")
    assert records[0]["args"] == {
        "request": "the-same",
        "route": "/v1/embeddings",
        "model": "embedder",
        "bytes_in": len(body),
        "bytes_out": out,
        "status": 200,
    }


async def test_a_request_that_came_from_interlock_goes_no_further(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, endpoint):
        answer = await post(facade, "embeddings", {"model": "embedder", "input": "x"}, **{"x-interlock-hop": "1"})
        assert answer.status_code == 508
        assert not endpoint.arrivals


async def test_messages_of_another_vendor_are_refused_in_words(tmp_path: Path, keys: None) -> None:
    async with passing(tmp_path) as (facade, _), facade.client() as client:
        with pytest.raises(openai.NotFoundError, match="There is no POST /v1/messages here"):
            await client.post("/messages", cast_to=object, body={})
