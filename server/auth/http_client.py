"""HTTP client for LiteLLM and issuers: answers bounded in size and time, no redirects, no cookies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import orjson
from httpx._utils import get_environment_proxies

from graphs.config.http_transport import OutboundTransport

PATIENCE = 10.0
"""Seconds for a whole answer."""
LARGEST = 512 * 1024
"""Bytes of an answer."""


class UnfitAnswer(Exception):
    """An answer that is too long, compressed, or no JSON object."""


def build_client() -> httpx.AsyncClient:
    """Build a client without redirects and cookies: what one caller's answer sets is never sent for another."""
    trusted = httpx.create_ssl_context()
    return httpx.AsyncClient(
        transport=OutboundTransport(trusted),
        # With a transport of one's own, httpx leaves the proxies of the environment out.
        mounts={
            pattern: None if proxy is None else OutboundTransport(trusted, proxy=proxy)
            for pattern, proxy in get_environment_proxies().items()
        },
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
    )


async def ask(
    http: httpx.AsyncClient, url: str, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, Any] | None]:
    """Get a URL: the status of the answer, and its JSON object where the status is 200.

    Raises UnfitAnswer, httpx.HTTPError, and TimeoutError where the whole is not there in time.
    """
    sent = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
    async with (
        asyncio.timeout(PATIENCE),
        http.stream("GET", url, headers=sent, timeout=PATIENCE, follow_redirects=False) as response,
    ):
        if response.status_code != 200:
            return response.status_code, None
        # What comes compressed, though no compression was accepted, may unpack to any size.
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise UnfitAnswer("an answer that is compressed, though it was asked for as it is")
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > LARGEST:
                raise UnfitAnswer(f"an answer of more than {LARGEST // 1024} kB")
    return 200, parse_object(bytes(body))


def parse_object(body: bytes) -> Mapping[str, Any]:
    """Parse the JSON object of an answer, of at most 1,024 levels, which is as far as the parser goes. Raises
    UnfitAnswer."""
    try:
        value: Any = orjson.loads(body)
    except ValueError:
        raise UnfitAnswer("an answer that is no JSON") from None
    if not isinstance(value, dict):
        raise UnfitAnswer("an answer that is no JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]
