"""Outgoing HTTP connections, with a bound on interim answers.

aiohttp carries what goes to models, MCP servers and issuers of tokens: bare, or under httpx by OutboundTransport.
"""

from __future__ import annotations

import asyncio
from functools import partial
from ssl import SSLContext
from typing import Any

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from httpx_aiohttp import AiohttpTransport

MOST_INTERIM = 16
"""Interim answers (1xx) before an answer; servers send one or two."""


class TooManyInterim(HttpProcessingError):
    """An endpoint sent more interim answers than any sends, or answers to nothing; aiohttp raises ClientResponseError
    from it."""

    def __init__(self) -> None:
        super().__init__(code=502, message=f"sent more than {MOST_INTERIM} interim answers (HTTP status 1xx)")

    def __str__(self) -> str:
        return self.message


class BoundedHandler(ResponseHandler):
    """One connection, which ends when there are too many interim answers, or answers that nobody asked for.

    aiohttp itself queues and skips them without end, and without a pause for whatever else runs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        """Take the head of an answer (see aiohttp)."""
        if self.exception() is not None:
            return
        self._interim = self._interim + 1 if data[0].code < 200 else 0
        if self._interim <= MOST_INTERIM and len(self) <= MOST_INTERIM:
            super().feed_data(data, size)
            return
        self.set_exception(TooManyInterim())
        if self.transport is not None:
            self.transport.abort()


class BoundedConnector(aiohttp.TCPConnector):
    """Connections of which each is a BoundedHandler; the arguments are those of aiohttp's."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]  aiohttp's types are not whole
        self._factory = partial(BoundedHandler, loop=self._loop)


class OutboundTransport(httpx.AsyncBaseTransport):
    """aiohttp under httpx, with httpx's errors alone. Its session is made with the first request.

    `proxy` is one for all requests; None with `trust_env` is whichever aiohttp finds in the environment.
    """

    def __init__(self, trusted: SSLContext, *, proxy: str | None = None, trust_env: bool = False) -> None:
        def open_session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=BoundedConnector(limit=0, ssl=trusted),
                cookie_jar=aiohttp.DummyCookieJar(),  # the client above has its own
                trust_env=trust_env,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
            )

        self._inner = AiohttpTransport(
            verify=trusted, client=open_session, proxy=None if proxy is None else httpx.Proxy(proxy)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request (see httpx). Raises httpx's errors."""
        try:
            return await self._inner.handle_async_request(request)
        except aiohttp.ClientResponseError as error:
            # Not aiohttp's own words: they quote what was sent.
            interim = isinstance(error.__cause__, TooManyInterim)
            words = str(error.__cause__) if interim else "sent something that is no HTTP, or headers that are too long"
            raise httpx.RemoteProtocolError(words, request=request) from error
        except httpx.ConnectTimeout as error:
            # httpx_aiohttp says so of every broken connection, also of one on which the request was sent and may have
            # been acted upon. Whoever repeats what was never sent must not repeat that.
            if isinstance(error.__cause__, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
                raise
            raise httpx.ReadError(str(error), request=request) from error.__cause__

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
