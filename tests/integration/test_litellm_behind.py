"""What a real LiteLLM makes of Interlock's requests, and of those that lead back to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import openai
import pytest
from support.facade import ASSISTANT, write_configs
from support.gateway import Gateway, gateway
from support.litellm import LOOPS, LiteLLM
from support.scripted_model import ScriptedModel

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
EXTRAS: dict[str, Any] = {
    "top_k": 20,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "chat_template_kwargs": {"enable_thinking": False},
    "reasoning": {"effort": "low"},
    "num_ctx": 8192,
    "web_search_options": {"search_context_size": "low"},
    "modalities": ["text"],
    "store": False,
    "a_field_of_tomorrow": {"deep": [{"er": None}]},
}


@pytest.fixture(scope="module")
def behind(litellm: LiteLLM, round_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Interlock before a LiteLLM that hands on no headers. Some of its models lead back to Interlock."""
    folder = tmp_path_factory.mktemp("behind")
    graphs: dict[str, Any] = {"assistant": ASSISTANT}
    for provider in LOOPS:
        graphs[f"circle-{provider}"] = replace_model(ASSISTANT, f"round-{provider}")
    configs = write_configs(folder / "configs", litellm.url, {}, graphs=graphs, api_key=litellm.key)
    with gateway(configs, folder / "data", port=round_port) as served:
        yield served


def replace_model(graph: dict[str, Any], model: str) -> dict[str, Any]:
    """The same graph with another model."""
    return {**graph, "nodes": {**graph["nodes"], "agent": {**graph["nodes"]["agent"], "model": model}}}


def count_requests(served: Gateway) -> int:
    """How many chat completions have arrived at Interlock."""
    page = httpx.get(f"{served.root}/metrics", headers={"authorization": f"Bearer {served.key}"}, trust_env=False).text
    found = re.findall(r'^interlock_http_requests_total{[^}]*route="/v1/chat/completions"[^}]*} (\S+)$', page, re.M)
    return sum(int(float(count)) for count in found)


def ask(
    served: Gateway, model: str = "assistant", headers: Mapping[str, str] | None = None, **body: Any
) -> httpx.Response:
    headers = {"authorization": f"Bearer {served.key}", **(headers or {})}
    body = {"model": model, "messages": HELLO, **body}
    return httpx.post(f"{served.url}/chat/completions", json=body, headers=headers, trust_env=False, timeout=60)


def test_what_openai_does_not_know_goes_through_litellm(behind: Gateway, model: ScriptedModel) -> None:
    model.script("Hello.")
    assert ask(behind, **EXTRAS).json()["choices"][0]["message"]["content"] == "Hello."
    (request,) = model.requests
    assert {name: request.body.get(name) for name in EXTRAS} == EXTRAS


def test_a_fallback_answers_where_a_model_is_away(behind: Gateway, model: ScriptedModel) -> None:
    model.script("Hello.")
    assert ask(behind, "broken").status_code == 502
    assert ask(behind, "broken", fallbacks=["scripted-large"]).json()["choices"][0]["message"]["content"] == "Hello."
    assert [request.body["model"] for request in model.requests] == ["scripted-large"]


def test_embeddings_go_through_litellm_and_its_chat_models_do_not(behind: Gateway, model: ScriptedModel) -> None:
    model.embed(lambda text: (float(len(text)), 0.5))
    with behind.client() as client:
        answer = client.embeddings.create(model="embedder", input=["tea", "coffee"], encoding_format="float")
        assert {entry.index: entry.embedding for entry in answer.data} == {0: [3.0, 0.5], 1: [6.0, 0.5]}
        assert [request.body["input"] for request in model.embeddings] == [["tea", "coffee"]]
        assert "embedder" in [entry.id for entry in client.models.list(extra_query={"mode": "embedding"})]
        with pytest.raises(openai.NotFoundError, match="mode is 'embedding'"):
            client.chat.completions.create(model="embedder", messages=[{"role": "user", "content": "hello"}])
        with pytest.raises(openai.BadRequestError, match="is a graph"):
            client.embeddings.create(model="assistant", input="tea")


@pytest.mark.parametrize(
    "field",
    [
        {"mock_response": "bought"},
        {"api_base": "http://127.0.0.1:9/v1"},
        {"extra_body": {"api_base": "http://127.0.0.1:9/v1"}},
        {"fallbacks": [{"model": "scripted", "mock_response": "bought"}]},
    ],
)
def test_what_would_move_a_request_does_not_reach_litellm(
    behind: Gateway, model: ScriptedModel, field: dict[str, Any]
) -> None:
    response = ask(behind, **field)
    assert (response.status_code, model.requests) == (400, [])
    assert next(iter(field)) in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", LOOPS)
def test_a_loop_through_litellm_ends_in_words_after_one_round(
    behind: Gateway, model: ScriptedModel, provider: str, stream: bool
) -> None:
    before = count_requests(behind)
    response = ask(behind, f"circle-{provider}", stream=stream)
    assert "leads to Interlock itself" in response.text
    assert stream or response.status_code == 508
    assert (count_requests(behind) - before, model.requests) == (2, [])


def test_a_trace_goes_on_through_litellm(behind: Gateway, model: ScriptedModel) -> None:
    model.script("Hello.")
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert ask(behind, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}).status_code == 200
    (request,) = model.requests
    assert request.headers["traceparent"].split("-")[1] == trace
    assert "provider_specific_header" not in request.body


def test_headers_that_litellm_gives_a_model_stay(behind: Gateway, model: ScriptedModel) -> None:
    model.script("Hello.")
    assert ask(behind, "own-headers").status_code == 200
    (request,) = model.requests
    assert (request.headers["x-team"], request.headers["x-interlock-hop"]) == ("a", "1")


def test_models_are_listed_that_chat_and_do_not_lead_back(behind: Gateway) -> None:
    headers = {"authorization": f"Bearer {behind.key}"}
    listed = httpx.get(f"{behind.url}/models", headers=headers, trust_env=False, timeout=60).json()["data"]
    names = {entry["id"] for entry in listed}
    assert {"scripted", "scripted-large", "broken", "own-headers", "openai/gpt-4o"} <= names
    left_out = {
        "vectors",
        "embedder",
        "openai/text-embedding-3-small",
        "openai/whisper-1",
        *(f"round-{name}" for name in LOOPS),
    }
    assert not left_out & names
    assert not [name for name in names if name.startswith("here/") or "*" in name]


def test_a_model_that_litellm_has_by_a_wildcard_is_used(behind: Gateway, model: ScriptedModel) -> None:
    model.script("Hello.")
    assert ask(behind, "openai/of-tomorrow").json()["choices"][0]["message"]["content"] == "Hello."
    assert [request.body["model"] for request in model.requests] == ["of-tomorrow"]
    refused = {name: ask(behind, name) for name in ("vectors", "here/of-tomorrow", "other/of-tomorrow")}
    assert {name: response.status_code for name, response in refused.items()} == dict.fromkeys(refused, 404)
    assert "mode is 'embedding'" in refused["vectors"].text
    assert "sends it back to Interlock" in refused["here/of-tomorrow"].text
    assert "There is no model" in refused["other/of-tomorrow"].text
