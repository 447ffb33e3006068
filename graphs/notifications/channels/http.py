"""Requests to webhooks: only where gateway.yaml says, no redirects, no cookies, the answer's body unread."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
import httpx
from pydantic import SecretStr

from graphs.config.http_transport import OutboundTransport
from graphs.notifications.channels.failures import SendFailed

PATIENCE = 20.0
"""Seconds for one attempt; Standard Webhooks recommends 15 to 30."""
LONGEST_RETRY_AFTER = 3600.0
"""Seconds that a receiver can ask us to wait."""


def build_transport(trusted: ssl.SSLContext) -> OutboundTransport:
    """Build what carries the requests: the bare transport, since httpx's client would follow what it is told to, keep
    cookies, and log every address, which is a secret here."""
    return OutboundTransport(trusted, trust_env=bool(getproxies()))


async def post_json(
    transport: OutboundTransport, url: SecretStr, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Post a body of JSON; a status of 2xx says that it was taken. Raises SendFailed."""
    status, retry_after = await _request(transport, "POST", url, body, headers or {})
    host = _find_host(url)
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise SendFailed(f"{host} answered {status}; redirects are not followed: write the address that it leads to")
    if status == 410:
        raise SendFailed(f"{host} answered 410: it wants no more of these", is_final=True)
    raise SendFailed(f"{host} answered {status}", retry_after=retry_after)


async def probe_address(transport: OutboundTransport, url: SecretStr) -> str:
    """Find out whether something answers there, by HEAD, which changes nothing. Raises SendFailed."""
    status, _ = await _request(transport, "HEAD", url, None, {})
    return (
        f"{_find_host(url)} answers (status {status} to HEAD); whether it takes messages shows `interlock notify test`"
    )


async def _request(
    transport: OutboundTransport, method: str, url: SecretStr, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, float]:
    sent = {"user-agent": "Interlock", "accept-encoding": "identity", **headers}
    if body is not None:
        sent["content-type"] = "application/json"
    try:
        async with asyncio.timeout(PATIENCE):
            request = httpx.Request(method, url.get_secret_value(), headers=sent, content=body)
            response = await transport.handle_async_request(request)
            await response.aclose()
            return response.status_code, _read_retry_after(response.headers.get("retry-after", ""))
    except (TimeoutError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise SendFailed(_describe(error, url)) from None


def _describe(error: Exception, url: SecretStr) -> str:
    """Describe a failure without the error's own words: they may quote the address."""
    host = _find_host(url)
    if isinstance(error.__cause__, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError):
        return f"the certificate of {host} is not trusted"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"{_find_host_and_port(url)} cannot be reached"
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"{host} did not answer within {PATIENCE:.0f} seconds"
    if isinstance(error, ValueError | httpx.InvalidURL):
        return f"the address of {host} is malformed"
    return f"{host} broke off"


def _read_retry_after(text: str) -> float:
    """Read the seconds of a `Retry-After`; the form with a date counts as none."""
    return min(float(text), LONGEST_RETRY_AFTER) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0


def _find_host(url: SecretStr) -> str:
    return urlsplit(url.get_secret_value()).hostname or ""


def _find_host_and_port(url: SecretStr) -> str:
    """Find what was to be reached, with the port also where the address leaves it to its scheme."""
    parts = urlsplit(url.get_secret_value())
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
