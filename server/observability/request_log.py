"""A note of each HTTP request: its id, which each log line and the answer bear, its metrics, its access line."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI
from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graphs.runtime.engine import Engine
from graphs.runtime.runner import TurnSpan
from graphs.telemetry.tracing import NULL_SPAN, Span, Tracing, attach_trace, detach_trace

log = logging.getLogger(__name__)

HEADER = b"x-request-id"
TRACE_CONTEXT = (b"traceparent", b"tracestate")
HEADERS_READ = frozenset({HEADER, b"host", *TRACE_CONTEXT})
VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/health", "/ready", "/metrics", "/console/api/state", "/console/api/turns"})
"""Asked for every few seconds by machines and open pages: answered well, they are logged at DEBUG only."""
UNMATCHED = "unmatched"


@dataclass(slots=True)
class RequestNote:
    """What is known of one request. The route fills in what it learns."""

    id: str
    key: str | None = None
    """The name of the key; never the key."""
    graph: str | None = None
    turn: TurnSpan | None = None
    status: int = 499
    """499: the client left before an answer began."""
    is_complete: bool = False
    """The whole answer was sent."""
    is_quiet: bool = False
    """One of very many that are alike: logged at DEBUG only."""
    abort: Callable[[], None] | None = None
    """Ends the connection at once, whatever still waits to be sent; None where the server does not show it."""


_current_note: ContextVar[RequestNote | None] = ContextVar("noted", default=None)


def find_current_request() -> RequestNote | None:
    """Find the request for which this code runs."""
    return _current_note.get()


def get_request_note() -> RequestNote:
    """Get the current request's note; what is noted outside of any request is forgotten."""
    return _current_note.get() or RequestNote("")


class ObservedFastAPI(FastAPI):
    """FastAPI with `RequestLog` around everything, the handler of last resort included."""

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap the stack that FastAPI builds."""
        return RequestLog(super().build_middleware_stack())


class RequestLog:
    """ASGI middleware, the outermost: notes how each request was answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and note how."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        if scope["path"].endswith("/") and scope["path"].startswith("/v1/"):
            scope["path"] = scope["path"].rstrip("/")
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in HEADERS_READ}
        request = RequestNote(choose_request_id(headers), abort=find_abort(send))
        header = (HEADER, request.id.encode())

        def send_message(message: Message) -> Awaitable[None]:  # no coroutine of its own: it is passed once per chunk
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), header]}
            else:
                request.is_complete = not message.get("more_body", False)
            return send(message)

        _current_note.set(
            request
        )  # for good: the server logs what this raises, in the same task, which is the request's own
        engine = cast("Engine[object]", scope["state"]["engine"])
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        carried = {name.decode(): headers[name] for name in TRACE_CONTEXT if name in headers}
        token = attach_trace(carried) if carried else None
        try:
            with start_span(engine.tracing, scope, method, headers.get(b"host", "")) as span:
                try:
                    await self._app(scope, receive, send_message)
                finally:
                    route = find_route(scope)
                    span.set_name(f"{method} {route}")
                    span.set_attributes(
                        {
                            "http.route": route,
                            "http.response.status_code": request.status,
                            "interlock.request.id": request.id,
                        }
                    )
                    if request.status >= 500:
                        span.record_failure(str(request.status))
                    seconds = perf_counter() - began
                    engine.metrics.count_http_request(method, route, request.status, seconds)
                    self._log(scope, request, method, route, seconds)
        finally:
            if token is not None:
                detach_trace(token)

    def _log(self, scope: Scope, request: RequestNote, method: str, route: str, seconds: float) -> None:
        quiet = request.is_quiet or (route in PROBES and request.status < 400)
        level = logging.DEBUG if quiet else logging.INFO
        if not log.isEnabledFor(level):
            return
        fields: dict[str, Any] = {
            "method": method,
            "route": route,
            "status": request.status,
            "seconds": round(seconds, 4),
        }
        if route == UNMATCHED:
            fields["path"] = quote(scope["path"])[:200]
        if (turn := request.turn) is not None:
            fields["turn_status"] = turn.status or "running"
            fields["tools"] = turn.tools
        if not request.is_complete:
            fields["cut"] = True
        log.log(level, "%s %s %d", method, fields.get("path", route), request.status, extra={"fields": fields})


def find_abort(send: Send) -> Callable[[], None] | None:
    """Find what aborts the connection of a request. ASGI has no word for it, and a transport that is closed first sends
    what it holds, which a client that does not read never takes; so uvicorn's own object is looked at."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    return getattr(transport, "abort", None)


def choose_request_id(headers: Mapping[bytes, str]) -> str:
    """Choose the id that the client or a proxy gave, if it can stand in a log; else a new one."""
    given = headers.get(HEADER, "")
    return given if VALID_ID.fullmatch(given) else secrets.token_hex(16)


def start_span(tracing: Tracing, scope: Scope, method: str, host: str) -> Span:
    """Start the span of a request, by OpenTelemetry's conventions for HTTP servers; none for probes."""
    if not tracing.is_enabled or scope["path"] in PROBES:
        return NULL_SPAN
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "url.scheme": scope["scheme"],
        "url.path": quote(scope["path"])[:200],
    }
    name, _, port = host.rpartition(":")
    if port.isdecimal():
        attributes |= {"server.address": name, "server.port": int(port)}
    elif host:
        attributes["server.address"] = host
    return tracing.start_span(method, attributes, SpanKind.SERVER)


def find_route(scope: Scope) -> str:
    """Find the path of the route that answered, as it is declared: what people put into paths is not for labels."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else UNMATCHED
