"""The connection to a server over HTTP: streamable HTTP, or the older HTTP+SSE."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.request import getproxies

import anyio.to_thread
import httpx
import orjson
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from graphs.config.http_transport import OutboundTransport
from graphs.config.spec.servers import ServerSpec
from graphs.tools.http_limits import ENCODINGS, BoundedTransport
from graphs.tools.message_limits import Intake

_CONNECT_TIMEOUT = 10.0
_ANSWER_GRACE = 30.0
"""Seconds after a call's own time limit in which its answer is still awaited: then the request is ended."""
_READ_TIMEOUT = 3600.0
"""Seconds. The SDK answers a silent stream by ending the whole connection, and every call on it, so silence is judged
by our own time limits and pings; this one only frees what was forgotten."""


@dataclass(frozen=True, kw_only=True)
class HttpLink:
    """The two streams that a session needs."""

    read: MemoryObjectReceiveStream[SessionMessage | Exception]
    write: MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def open_http(spec: ServerSpec, intake: Intake) -> AsyncGenerator[HttpLink]:
    """Connect to the server's `url` until the block is left; what it answers comes through `intake`.

    Raises httpx errors, RequestFailed and UnfitMessage, alone or in groups.
    """
    url = spec.url or ""
    # Reads the machine's certificates: too slow for the event loop.
    trusted = await anyio.to_thread.run_sync(httpx.create_ssl_context)
    if spec.transport == "sse":
        make = partial(_make_client, trusted, intake, spec.timeout + _ANSWER_GRACE, is_sse=True)
        async with sse_client(url, headers=dict(spec.headers), httpx_client_factory=make) as (read, write):
            yield HttpLink(read=read, write=write)
    else:
        async with (
            _make_client(trusted, intake, spec.timeout + _ANSWER_GRACE, headers=dict(spec.headers)) as client,
            streamable_http_client(url, http_client=client) as (read, write, _),
        ):
            yield HttpLink(read=read, write=write)


async def add_trace_headers(request: httpx.Request) -> None:
    """Repeat the message's trace context in the headers, for proxies that read those alone (an httpx hook).

    The message is sent by the connection's own task, which knows nothing of the turn's trace.
    """
    content = await request.aread()
    if b'"traceparent"' not in content:
        return
    try:
        meta = orjson.loads(content)["params"]["_meta"]
        request.headers.update({name: meta[name] for name in ("traceparent", "tracestate") if name in meta})
    except (ValueError, KeyError, TypeError):  # it was a word among the arguments
        return


async def strip_credentials(request: httpx.Request) -> None:
    """Remove credentials from the address (an httpx hook): they are in a header by now, and aiohttp takes only one of
    the two."""
    if request.url.userinfo:
        request.url = request.url.copy_with(userinfo=b"")


def _make_client(
    trusted: ssl.SSLContext,
    intake: Intake,
    patience: float,
    headers: dict[str, str] | None = None,
    timeout: httpx.Timeout | None = None,
    auth: httpx.Auth | None = None,
    *,
    is_sse: bool = False,
) -> httpx.AsyncClient:
    """Make a client with our own timeouts instead of the SDK's, and without a limit of connections: `concurrency` is
    one.

    aiohttp carries the requests: measured, a tool call costs half of what it costs over httpx's own transport.
    """
    inner = OutboundTransport(trusted, trust_env=bool(getproxies()))
    own = httpx.Headers(headers)
    own["accept-encoding"] = ENCODINGS
    return httpx.AsyncClient(
        headers=own,
        event_hooks={"request": [add_trace_headers, strip_credentials]},
        transport=BoundedTransport(inner, intake, patience=patience, is_sse=is_sse),
        timeout=httpx.Timeout(connect=_CONNECT_TIMEOUT, read=_READ_TIMEOUT, write=60.0, pool=None),
        auth=auth,
    )
