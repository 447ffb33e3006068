"""The address of an endpoint's API: the one that is configured, or that with `/v1`, which people leave out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import aiohttp
import orjson

from graphs.errors import ModelError

Fetch = Callable[[str], Awaitable[tuple[int, bytes]]]
"""Asks for an address and returns the status and the body. Raises ModelError, aiohttp's errors and TimeoutError."""

_VERSION = re.compile(r"/v\d+$")


def has_version(base_url: str) -> bool:
    """Whether the address ends in the version of an API, such as `/v1`: then it is taken as it is."""
    return _VERSION.search(base_url) is not None


async def find_api_address(base_url: str, fetch: Fetch) -> str | None:
    """Find the address at which an endpoint answers as an API: `base_url`, or that with `/v1`.

    `base_url` also where neither does: some endpoints have no list of models. None where it cannot be known now.
    """
    for address in (base_url, f"{base_url}/v1"):
        try:
            status, body = await fetch(f"{address}/models")
        except (ModelError, aiohttp.ClientError, TimeoutError):
            return None
        if status >= 500:
            return None
        if is_api_answer(status, body):
            return address
    return base_url


def is_api_answer(status: int, body: bytes) -> bool:
    """Whether this is what an API says at `/models`: its list, or that the key is wrong; no page, and no 404."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(said, dict):
        return False
    return "data" in said if status == 200 else 400 <= status < 500 and status not in (404, 405)
