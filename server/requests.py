"""What is noted of each HTTP request: its id, which each log line and the answer bear, its metrics, its access line."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graphs.library import Library
from graphs.run import Turn

log = logging.getLogger(__name__)

HEADER = b"x-request-id"
SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/health", "/ready", "/metrics"})
"""Asked for every few seconds by machines: answered well, they are logged at DEBUG only."""
UNMATCHED = "unmatched"


@dataclass(slots=True)
class Noted:
    """One request. The route fills in what it learns."""

    id: str
    key: str | None = None
    """The name of the key; never the key."""
    graph: str | None = None
    turn: Turn | None = None
    status: int = 499
    """499: the client left before an answer began."""
    ended: bool = False
    """The whole answer was sent."""


_noted: ContextVar[Noted | None] = ContextVar("noted", default=None)


def current_request() -> Noted | None:
    """The request for which this code runs."""
    return _noted.get()


def noted() -> Noted:
    """Where to note something of the current request; what is noted outside of any is forgotten."""
    return _noted.get() or Noted("")


class ObservedFastAPI(FastAPI):
    """FastAPI with `Requests` around everything, the handler of last resort included."""

    def build_middleware_stack(self) -> ASGIApp:
        """The one that FastAPI builds, observed."""
        return Requests(super().build_middleware_stack())


class Requests:
    """ASGI middleware: the outermost one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request and notes how."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Noted(request_id(scope["headers"]))
        header = (HEADER, request.id.encode())
        began = perf_counter()

        def told(message: Message) -> Awaitable[None]:  # no coroutine of its own: it is passed once per chunk
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), header]}
            else:
                request.ended = not message.get("more_body", False)
            return send(message)

        _noted.set(request)  # for good: the server logs what this raises, in the same task, which is the request's own
        try:
            await self._app(scope, receive, told)
        finally:
            self._noted(scope, request, perf_counter() - began)

    def _noted(self, scope: Scope, request: Noted, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = route_of(scope)
        cast(Library, scope["state"]["library"]).metrics.http(method, route, request.status, seconds)
        level = logging.DEBUG if route in PROBES and request.status < 400 else logging.INFO
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
        if not request.ended:
            fields["cut"] = True
        log.log(level, "%s %s %d", method, fields.get("path", route), request.status, extra={"fields": fields})


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that the client or a proxy gave, if it is one that can stand in a log; else a new one."""
    for name, value in headers:
        if name == HEADER and SANE.fullmatch(given := value.decode("latin-1")):
            return given
    return secrets.token_hex(16)


def route_of(scope: Scope) -> str:
    """The path of the route that answered, as it is declared: what people put into paths is not for labels."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else UNMATCHED
