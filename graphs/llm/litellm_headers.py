"""Headers that LiteLLM sends on: it drops those of a request, so they stand in the body.

`provider_specific_header` adds to the headers that LiteLLM's own configuration gives a model. `extra_headers` would
take their place, and the changing trace with it would be part of the key of LiteLLM's cache. Only providers that speak
Chat Completions at any address get them: no other road leads back to Interlock. LiteLLM reads a list of providers
since October 2025; an older one takes no notice.
"""

from __future__ import annotations

from typing import Any

from graphs.telemetry.tracing import build_trace_headers

HOP_HEADER = "x-interlock-hop"
"""Sent with every request, so that a road that leads back to Interlock can be recognised and ended."""
ANSWER_HEADER = "x-litellm-call-id"
"""A header of every answer of LiteLLM to a chat completion, errors too."""
PROVIDERS = (
    "openai, custom_openai, openai_like, litellm_proxy, hosted_vllm, vllm, lm_studio, llamafile, xinference, "
    "docker_model_runner, lemonade, azure, azure_ai, deepseek, mistral, groq, openrouter, together_ai, fireworks_ai, "
    "perplexity, xai, deepinfra, nvidia_nim, cerebras, sambanova, databricks, moonshot, dashscope, vercel_ai_gateway"
)
"""LiteLLM's names of them."""


def build_litellm_headers() -> dict[str, Any]:
    """Build the part of a request's body that marks it as ours, with its trace."""
    headers = {HOP_HEADER: "1", **build_trace_headers()}
    return {"provider_specific_header": {"custom_llm_provider": PROVIDERS, "extra_headers": headers}}
