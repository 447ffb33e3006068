"""What a real LiteLLM makes of Interlock's requests, and of those that lead back to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.facade import ASSISTANT, write_configs
from support.gateway import Gateway, gateway
from support.litellm import litellm_proxy
from support.processes import free_port
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
def behind(upstream: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Interlock before a LiteLLM that hands on no headers."""
    folder = tmp_path_factory.mktemp("behind")
    port = free_port()
    broken = {"model": "openai/broken", "api_base": f"http://127.0.0.1:{free_port()}/v1", "api_key": "none"}
    entries: list[dict[str, Any]] = [{"model_name": "broken", "litellm_params": broken}]
    with litellm_proxy(upstream.url, ["scripted", "scripted-large"], folder, entries=entries) as proxy:
        graphs = {"assistant": ASSISTANT}
        configs = write_configs(folder / "configs", proxy.url, {}, graphs=graphs, api_key=proxy.key)
        proxy.wait()
        with gateway(configs, folder / "data", port=port) as served:
            yield served


def ask(served: Gateway, model: str = "assistant", **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {served.key}"}
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
