"""What a request may tell the model: every field that is not ours, but for those that are the operator's to set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

TAKEN: dict[str, Any] = {
    "top_k": 20,
    "min_p": 0,
    "repetition_penalty": 1.1,
    "chat_template_kwargs": {"enable_thinking": False, "order": [1, {"id": "x", "headers_wanted": True}]},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "reasoning": {"effort": "low"},
    "num_ctx": 8192,
    "options": {"num_ctx": 8192, "mirostat": 1},
    "web_search_options": {"user_location": {"approximate": {"region": "x"}}},
    "modalities": ["text"],
    "store": False,
    "metadata": {"team": "harbour", "order": "42", "tags": "a,b", "user_id": 7},
    "guardrails": ["pii-mask"],
    "fallbacks": ["scripted-large", {"model": "scripted"}],
    "cache": {"no-cache": True, "ttl": 60},
    "stop_token_ids": [],
    "ignore_eos": True,
    "a-field-of-tomorrow": {"deep": [[[{"er": None}]]]},
    "guided_json": {"type": "object", "properties": {"api_key": {"type": "string"}, "headers": {}, "password": {}}},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"properties": {"api_base": {}}}},
    },
    "user": "somebody",
}
SETTINGS = """
    api_base base_url api_key api_version extra_headers extra_query extra_body headers user_config model_list
    mock_response mock_tool_calls mock_testing_fallbacks litellm_metadata litellm_credential_name litellm_params
    proxy_server_request secret_fields tags num_retries max_retries timeout cooldown_time custom_llm_provider
    deployment_id specific_deployment model_info model_group base_model vertex_credentials vertex_project
    aws_secret_access_key aws_role_name azure_ad_token organization input_cost_per_token tiered_pricing max_budget
    context_window_fallbacks content_policy_fallbacks default_fallbacks disable_global_guardrails
    opted_out_global_guardrails guardrail_config policies no-log turn_off_message_logging langfuse_host callbacks
    success_callback routing_strategy provider_specific_header cache_key preset_cache_key prompt_id models
    vector_store_ids mcp_servers user_api_key_user_id API_Base api-base Extra-Headers _router_weights
    additional_drop_params configurable_clientside_auth_params s3_endpoint_url hf_token some_vendor_api_key
"""
REFUSED: dict[str, Any] = {
    **dict.fromkeys(SETTINGS.split(), "x"),
    "thinking.extra_headers": {"thinking": {"type": "enabled", "extra_headers": {"a": "b"}}},
    "provider.options.0.api_base": {"provider": {"options": [{"api_base": "http://x"}]}},
    "plugins.properties.properties.api_key": {"plugins": {"properties": {"properties": {"api_key": 1}}}},
    "metadata.user_api_key_team_id": {"metadata": {"user_api_key_team_id": "t"}},
    "metadata.tags": {"metadata": {"tags": ["cheap"]}},
    "metadata.disable_global_guardrails": {"metadata": {"disable_global_guardrails": True}},
    "metadata": {"metadata": '{"api_base": "http://x"}'},
    "cache.namespace": {"cache": {"namespace": "theirs"}},
    "guardrails": {"guardrails": {"pii-mask": False}},
    "guardrails ": {"guardrails": [{"pii-mask": {"extra_body": {"threshold": 1}}}]},
    "fallbacks": {"fallbacks": ["no-such-model"]},
    "fallbacks ": {"fallbacks": ["assistant"]},
    "fallbacks.0": {"fallbacks": [{"model": "scripted", "api_base": "http://x"}]},
    "fallbacks.1": {"fallbacks": ["scripted", {"scripted": ["scripted-large"]}]},
    "functions": {"functions": [{"name": "f"}]},
    "deep": {"deep": eval("[" * 70 + "1" + "]" * 70)},
}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(["scripted", "scripted-large"]) as scripted:
        yield scripted


async def test_what_openai_does_not_know_reaches_the_model_in_every_round(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "x"})]), "Done.")
    assert await facade.say("go", **TAKEN, nothing=None, extra_headers=None, extra_body={}, tags=[]) == "Done."
    for request in model.requests:
        assert {name: request.body.get(name) for name in TAKEN} == TAKEN
        assert not {"nothing", "extra_body", "tags"} & set(request.body)


async def test_what_is_the_operators_to_set_is_refused_by_name(facade: Facade, model: ScriptedModel) -> None:
    for name, value in REFUSED.items():
        body = value if isinstance(value, dict) else {name: value}
        body = {"model": "assistant", "messages": [{"role": "user", "content": "go"}], **body}
        headers = {"authorization": f"Bearer {ADMIN}"}
        response = await facade.http.post(f"{facade.url}/chat/completions", json=body, headers=headers)
        assert response.status_code == 400, (name, response.text)
        error = response.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", name.strip())
        assert name.strip().split(".")[0] in error["message"]
    assert model.requests == []


async def test_a_fallback_is_a_model_that_the_role_may_use(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    access = {**ACCESS, "roles": {**ACCESS["roles"], "developer": {"models": ["scripted"]}}}
    configs = write_configs(tmp_path / "configs", model.url, {}, access=access)
    async with serving(configs, tmp_path / "data") as facade:
        model.script("Yes.", "Yes.")
        assert await facade.say("go", key=DEVELOPER, fallbacks=["scripted"]) == "Yes."
        assert await facade.say("go", key=ADMIN, fallbacks=["scripted-large"]) == "Yes."
        response = await facade.ask("go", key=DEVELOPER, fallbacks=["scripted", "scripted-large"])
        assert response.status_code == 403
        assert "'scripted-large'" in response.json()["error"]["message"]
    assert len(model.requests) == 2


async def test_the_gateway_file_forbids_more(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    configs = write_configs(tmp_path / "configs", model.url, {}, forbid=["service_tier", "top_*"])
    async with serving(configs, tmp_path / "data") as facade:
        for name in ("service_tier", "top_k", "top_p"):
            response = await facade.ask("go", **{name: "1"})
            assert response.status_code == 400
            assert "gateway.yaml" in response.json()["error"]["message"]
        model.script("Yes.")
        assert await facade.say("go", min_p=0.1) == "Yes."


async def test_fields_are_bounded(facade: Facade, model: ScriptedModel) -> None:
    for body in ({f"field{number}": 1 for number in range(101)}, {"documents": "x" * 2**20}):
        response = await facade.ask("go", **body)
        assert response.status_code == 400
        assert "are taken" in response.json()["error"]["message"]
    assert model.requests == []
