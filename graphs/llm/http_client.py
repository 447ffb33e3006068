"""The HTTP client by which LangChain asks a model, for Studio.

An endpoint that is broken, or in the wrong hands, must neither fill this process nor send a conversation elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ssl import SSLContext

import httpx


def build_client(longest: int) -> httpx.AsyncClient:
    """Build a client that follows no redirection, keeps no cookie, uses no proxy of the environment, asks for no
    compression and refuses what is compressed all the same, and reads at most `longest` bytes of an answer; beyond,
    requests fail with httpx.ReadError."""

    async def bound_response(response: httpx.Response) -> None:
        # Before the body is read: httpx would unpack whatever comes in one piece (CWE-409).
        if response.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise httpx.ReadError("the answer is compressed though no compression was asked for")
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = BoundedStream(response.stream, longest)

    return httpx.AsyncClient(
        verify=load_certificates(),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"accept-encoding": "identity"},
        follow_redirects=False,
        event_hooks={"response": [bound_response]},
        trust_env=False,
    )


@cache
def load_certificates() -> SSLContext:
    """Load the machine's certificates, once: it takes milliseconds."""
    return httpx.create_ssl_context()


class BoundedStream(httpx.AsyncByteStream):
    """A body of which no more than so many bytes are read."""

    def __init__(self, stream: httpx.AsyncByteStream, longest: int) -> None:
        self._stream = stream
        self._longest = longest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body's pieces. Raises httpx.ReadError when there are too many."""
        left = self._longest
        async for data in self._stream:
            left -= len(data)
            if left < 0:
                raise httpx.ReadError(f"the answer is longer than {self._longest} bytes")
            yield data

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()
