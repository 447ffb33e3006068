"""Requests that go to the model endpoint as they came, and answers that come back so: no graph is run for them."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import Literal

import aiohttp
from pydantic import SecretStr

from graphs.config.spec.gateway import EndpointGroup
from graphs.errors import ModelError
from graphs.llm.body_reader import read_refusal
from graphs.llm.client import ChatModel
from graphs.llm.connection_errors import build_connection_error, build_protocol_error
from graphs.llm.endpoint_errors import build_model_error

SLOW_SILENCE = 600.0
"""Seconds for which sounds and pictures may take at least: they come when they are done."""
PASSED_HEADERS = ("content-type", "content-length", "content-disposition", "content-encoding")
"""Headers of an answer that are the client's. LiteLLM's own name deployments and addresses."""


@dataclass(frozen=True, kw_only=True)
class EndpointRoute:
    """One route of OpenAI's API that is passed on."""

    path: str
    """Behind `/v1/`, here and at the model endpoint."""
    group: EndpointGroup
    content: frozenset[str]
    """Fields that hold what the model works on: texts, which say nothing of where the request goes."""
    counts_as: Literal["requests_per_minute", "endpoint_requests_per_minute"]
    is_slow: bool = False
    is_counted: bool = True
    """Whether it uses tokens."""

    def find_patience(self, silence: float) -> float:
        """Find how many seconds the endpoint may say nothing, where `silence` are those for a chat."""
        return max(silence, SLOW_SILENCE) if self.is_slow else silence


ROUTES = (
    EndpointRoute(
        path="embeddings",
        group="embeddings",
        content=frozenset({"input"}),
        counts_as="endpoint_requests_per_minute",
    ),
    EndpointRoute(
        path="moderations",
        group="moderations",
        content=frozenset({"input"}),
        counts_as="endpoint_requests_per_minute",
    ),
    EndpointRoute(
        path="rerank",
        group="rerank",
        content=frozenset({"query", "documents"}),
        counts_as="endpoint_requests_per_minute",
    ),
    EndpointRoute(
        path="completions",
        group="completions",
        content=frozenset({"prompt", "suffix"}),
        counts_as="requests_per_minute",
    ),
    EndpointRoute(
        path="audio/speech",
        group="audio",
        content=frozenset({"input", "instructions"}),
        counts_as="requests_per_minute",
        is_slow=True,
        is_counted=False,
    ),
    EndpointRoute(
        path="images/generations",
        group="images",
        content=frozenset({"prompt"}),
        counts_as="requests_per_minute",
        is_slow=True,
        is_counted=False,
    ),
)


async def pass_on(
    model: ChatModel,
    route: EndpointRoute,
    body: bytes,
    accept: str,
    *,
    key: SecretStr | None,
    patience: float,
) -> aiohttp.ClientResponse:
    """Send a JSON body as it came, and return the answer, whose bytes are still to be read, as they are: nothing is
    unpacked. Whoever gets it closes it. `accept` is the client's header.

    `key` takes the place of our own; `patience` is how many seconds the endpoint may say nothing. Nothing is tried
    twice: it may have cost money. Raises ModelError where the endpoint does not answer with success.
    """
    await model.find_address()
    sent = {
        **model.build_headers(key),
        # Not the client's: as a form, the same bytes would say another model than the JSON that was checked.
        "content-type": "application/json",
        "accept": accept,
    }
    try:
        async with asyncio.timeout(2 * patience):
            response = await model.open_session().post(
                f"{model.base_url}/{route.path}",
                data=io.BytesIO(body),  # in steps; bytes are written at once, however many they are
                headers=sent,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=patience),
                allow_redirects=False,
                auto_decompress=False,
            )
    except TimeoutError as error:
        raise build_silence_error(patience) from error
    except aiohttp.ClientResponseError as error:
        raise model.clean_error(build_protocol_error(error, model.base_url), key) from None
    except aiohttp.ClientError as error:
        raise build_connection_error(error, model.base_url) from error
    if response.status < 300:
        return response
    try:
        words = b"" if "content-encoding" in response.headers else await read_refusal(response)
    finally:
        response.close()
    raise model.clean_error(build_model_error(response.status, response.headers, words, model.base_url), key)


def build_silence_error(seconds: float) -> ModelError:
    """Build the error for an endpoint that said nothing."""
    return ModelError(
        f"The model endpoint said nothing for {seconds:g} seconds, so the request was given up.",
        kind="unavailable",
        code="timeout",
    )
