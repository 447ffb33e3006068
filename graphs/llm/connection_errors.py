"""Errors of the connection to the model endpoint, in words: nothing answered, or what did is no model endpoint."""

from __future__ import annotations

import aiohttp

from graphs.config.http_transport import TooManyInterim
from graphs.errors import ModelError


def build_connection_error(error: BaseException, base_url: str) -> ModelError:
    """Build the error for a request that got no answer."""
    return ModelError(
        f"No answer from the model endpoint {base_url} ({type(error).__name__}). Is LiteLLM running, and is "
        "LITELLM_BASE_URL right?",
        kind="unavailable",
        retryable=True,
    )


def build_protocol_error(error: aiohttp.ClientResponseError, base_url: str) -> ModelError:
    """Build the error for an answer that cannot be read."""
    if isinstance(error.__cause__, TooManyInterim):
        return ModelError(
            f"The model endpoint {base_url} {error.__cause__}, so it was left. Does LITELLM_BASE_URL lead to LiteLLM?",
            kind="unavailable",
        )
    # Not aiohttp's own words: they quote what was sent.
    return ModelError(
        f"The model endpoint {base_url} sent an answer that is no HTTP, or whose headers are longer than Interlock "
        f"reads ({type(error).__name__}). Does LITELLM_BASE_URL lead to LiteLLM?",
        kind="unavailable",
    )


def build_content_type_error(kind: str, base_url: str) -> ModelError:
    """Build the error for an answer of another kind than a stream of events."""
    return ModelError(
        f"The model endpoint {base_url} answered with {kind} where a stream of events (text/event-stream) was asked "
        "for. Does LITELLM_BASE_URL lead to LiteLLM, and end in /v1?",
        kind="unavailable",
    )
