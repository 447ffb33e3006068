"""The fields of a request that a client may set.

Every vendor has fields of its own, so what is not known here goes along as it came. LiteLLM, though, reads its own
settings from the same place and obeys whoever shows a key, which here is Interlock's. So what says where a request
goes, which model answers, whose key and money it takes, or what is guarded and noted of it, is the operator's to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, cast

from graphs.errors import InterlockError, describe_kind
from graphs.policy.patterns import build_any_matcher, matches_any
from graphs.text import escape_invisible

MOST_FIELDS = 100
"""Fields of one request that OpenAI does not know."""
LARGEST = 2**20
"""Characters of all of them together, as JSON."""
DEEPEST = 64
"""Levels of lists and objects in one of them; a JSON schema takes two for each of its own."""
MOST_NAMES = 5_000
"""Names inside one of them: each is looked at."""
MOST_FALLBACKS = 20
LONGEST_NAME = 128

OPENAI_FIELDS = frozenset({
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty",
    "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format", "reasoning_effort", "verbosity",
    "tool_choice", "parallel_tool_calls", "user", "service_tier", "prediction", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "modalities", "audio", "web_search_options", "store",
})  # fmt: skip
"""OpenAI's own: what stands in them is the model's affair."""

_PLACES = """
    *api_base* *base_url* *endpoint* *api_key* *secret* *credential* *password* headers *_headers extra_body extra_query
    litellm_* _* mock_* user_config user_api_key* model_list custom_llm_provider deployment_id aws_* azure_* vertex_*
    gcs_* s3_*
"""
"""What may stand nowhere in a field: where a request goes, and with which key."""

_OBSERVERS = """
    arize_* braintrust_* dd_* humanloop_* langfuse_* langsmith_* lunary_* newrelic_* opik_* phoenix_* pillar_* posthog_*
    signoz_* slack_* wandb_* weave_* *callback* *logger* *logging* *guardrail* policies policy_* no_log
"""
"""Who is told of a request, and what is checked of it."""

_SETTINGS = """
    *_url *_host *_key *_token token_exchange_* *_header extra_* api_* azure* vertex* gcp_* bedrock_* sagemaker_*
    agentcore_* oci_* watsonx_* wx_* nvcf_* milvus_* valkey_* redis_* openai_* github_copilot_* fireworks_forward_*
    *workspace* *federation* *identity* *issuer* *keycloak* *organization* *service_account* *tenan* *bucket* *cost*
    *pricing* *uplift* max_budget budget_duration models model_* *_model custom_* *deployment* engine *router*
    routing_* *fallback* attempted_* fastest_response enable_tag_filtering tags tag_* *_tags weight weights order rpm
    tpm itpm otpm *_rpm_limit *_tpm_limit *region* data_residency max_parallel_requests num_retries max_retries
    *retry_* cooldown_time timeout *_timeout *_timeout_* timeout_* *keepalive* ttl *cache_key* caching caching_groups
    enable_prompt_caching hf_model_name prompt_id prompt_version prompt_label prompt_variables prompt_environment
    applied_* ssl_* *_ssl client client_* user_provider_* use_xai_oauth use_litellm_proxy use_client
    use_in_pass_through use_chat_completions_api rust self shared_session secret_fields standard_logging_*
    proxy_server_request verbose complete_response text_completion acompletion atext_completion aembedding
    aimg_generation allm_* async_call completion_call_id stream_response stream_chunk_size provider_specific_*
    provider_affinity_* search_tool_name vector_store* mcp_* adapter_id lora_* max_agentic_loops max_file_size_mb
    output_vector_size additional_drop_params configurable_clientside_* project project_id team_id log_*
"""
"""What LiteLLM's settings are called at the top of a request."""

_CHECKED = frozenset({"fallbacks", "guardrails", "metadata", "cache", "functions", "function_call"})
"""Fields whose values have a form of their own."""
_CACHE_CONTROLS = frozenset({"no_cache", "no_store", "use_cache", "ttl", "s_maxage"})
_NAMES_OF_DATA = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords of JSON Schema under which names are not fields but data."""


class FieldRefused(InterlockError):
    """A field that a request may not set, or not so. `param` is its path."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def check_fields(fields: Mapping[str, Any], forbidden: Sequence[str]) -> dict[str, Any]:
    """Return the fields that go to the endpoint: all that say something. `forbidden`: the operator's own patterns.

    Raises:
        FieldRefused: One of them is not the client's to set.
    """
    said = {name: value for name, value in fields.items() if value is not None}
    unknown = said.keys() - OPENAI_FIELDS
    if len(unknown) > MOST_FIELDS:
        words = f"The request has {len(unknown)} fields that OpenAI does not know; {MOST_FIELDS} are taken."
        raise FieldRefused(words, "")
    size = sum(len(json.dumps(said[name])) for name in unknown)
    if size > LARGEST:
        words = f"The request's fields that OpenAI does not know take {size:,} characters; {LARGEST:,} are taken."
        raise FieldRefused(words, "")
    kept: dict[str, Any] = {}
    for name, value in said.items():
        if forbidden and matches_any(forbidden, name):
            raise FieldRefused(f"{_show(name)}: gateway.yaml (models.forbid) lets no request set this field.", name)
        if name not in unknown:
            kept[name] = value
        elif value not in ("", [], {}) or not (name in _CHECKED or _is_settings(name)):  # empty, it asks for nothing
            _check_field(name, value)
            kept[name] = value
    return kept


def list_fallbacks(fields: Mapping[str, Any]) -> list[str]:
    """List the models that a request names as fallbacks. Raises FieldRefused for anything but names."""
    fallbacks: object = fields.get("fallbacks") or []
    names: list[str] = []
    entries = cast("list[object]", fallbacks) if isinstance(fallbacks, list) else [fallbacks]
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.keys() == {"model"}:
            entry = cast("dict[str, object]", entry)["model"]
        if not isinstance(entry, str):
            words = 'expected the names of models, such as ["model-a", "model-b"]'
            where = f"fallbacks.{index}" if isinstance(fallbacks, list) else "fallbacks"
            raise FieldRefused(f"fallbacks: found {_describe(entry)}; {words}", where)
        names.append(entry)
    if len(names) > MOST_FALLBACKS:
        raise FieldRefused(f"fallbacks: {len(names)} models; {MOST_FALLBACKS} are taken.", "fallbacks")
    return names


def _check_field(name: str, value: object) -> None:
    if len(name) > LONGEST_NAME or not name.isascii() or not name.isprintable():
        raise FieldRefused(f"{_show(name)}: this is no name of a field.", name[:LONGEST_NAME])
    match name:
        case "functions" | "function_call":
            raise FieldRefused(
                f"{name}: this is the older form, which Interlock does not speak. Send `tools` and `tool_choice`.", name
            )
        case "fallbacks":
            pass  # by whoever knows the caller's models
        case "guardrails":
            # With settings of its own, a guardrail that always runs could be made to let everything through.
            names = cast("list[object]", value) if isinstance(value, list) else [None]
            if not all(isinstance(each, str) for each in names):
                words = 'expected the names of guardrails to add, such as ["pii-mask"]'
                raise FieldRefused(f"{name}: found {_describe(value)}; {words}", name)
        case "metadata":
            _check_metadata(value)
        case "cache":
            if not isinstance(value, dict):
                raise FieldRefused(f'cache: found {_describe(value)}; expected such as {{"no-cache": true}}', name)
            for each in cast("Mapping[str, object]", value):
                if _fold(each) not in _CACHE_CONTROLS:
                    raise _refuse(f"cache.{each}")
        case _:
            if _is_settings(name):
                raise _refuse(name)
            _check_inside(name, value)


def _check_metadata(value: object) -> None:
    if not isinstance(value, dict):
        raise FieldRefused(f"metadata: found {_describe(value)}; expected an object of texts", "metadata")
    for name, part in cast("Mapping[str, object]", value).items():
        where = f"metadata.{name}"
        if _build_matcher(_PLACES, _OBSERVERS)(_fold(name)):
            raise _refuse(where)
        # LiteLLM reads its own settings from lists and objects here: tags choose the budget and the deployment.
        if _has_parts(part):
            raise FieldRefused(f"{_show(where)}: found {_describe(part)}; metadata holds texts", where)


def _check_inside(name: str, value: object) -> None:
    """Check the names inside a field, at every depth."""
    waiting: list[tuple[str, object, bool, int]] = [(name, value, False, 1)]
    found = 0
    is_place = _build_matcher(_PLACES)
    while waiting:
        where, current, is_data, depth = waiting.pop()
        if depth > DEEPEST:
            raise FieldRefused(f"{_show(name)}: nested more than {DEEPEST} deep.", name)
        if isinstance(current, list):
            items = enumerate(cast("list[object]", current))
            waiting += ((f"{where}.{at}", item, False, depth + 1) for at, item in items if _has_parts(item))
        elif isinstance(current, dict):
            entries = cast("dict[str, object]", current)
            found += len(entries)
            if found > MOST_NAMES:
                raise FieldRefused(f"{_show(name)}: holds more than {MOST_NAMES:,} names.", name)
            for key, part in entries.items():
                if not is_data and is_place(_fold(key)):
                    raise _refuse(f"{where}.{key}")
                if _has_parts(part):
                    waiting.append((f"{where}.{key}", part, not is_data and key in _NAMES_OF_DATA, depth + 1))


def _is_settings(name: str) -> bool:
    """Whether this is the name of one of LiteLLM's own settings."""
    if name in ("fallbacks", "guardrails", "disable_fallbacks"):
        return False
    return _build_matcher(_PLACES, _OBSERVERS, _SETTINGS)(_fold(name))


def _refuse(where: str) -> FieldRefused:
    return FieldRefused(
        f"{_show(where)}: a request cannot set this. It is for the model endpoint's own configuration to say where a "
        "request goes, which model answers, whose key and money it takes, and what is checked and noted of it. Leave "
        "the field out.",
        where,
    )


def _fold(name: str) -> str:
    """Fold a name to the form of the patterns. A longer one is no setting's."""
    return name.lower().replace("-", "_").strip() if len(name) <= LONGEST_NAME else ""


@cache  # not at import: it takes milliseconds
def _build_matcher(*groups: str) -> Callable[[str], bool]:
    return build_any_matcher(pattern for group in groups for pattern in group.split())


def _has_parts(value: object) -> bool:
    return isinstance(value, list | dict)


def _describe(value: Any) -> str:
    return "an object" if isinstance(value, dict) else describe_kind(value)


def _show(name: str) -> str:
    return escape_invisible(name[:LONGEST_NAME])
