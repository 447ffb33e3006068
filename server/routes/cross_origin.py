"""Cross-origin requests: scripts of other pages may call the API where gateway.yaml lists their origins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from graphs.runtime.engine import Engine

EXPOSED_HEADERS = ("retry-after", "x-request-id", "x-interlock-approvals")
"""What a script may read of an answer beside its body."""


class CrossOrigin:
    """ASGI middleware: Starlette's own, with the origins of the revision that serves now."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._origins: Sequence[str] = ()
        self._allowing: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. One that comes from no page costs a look at the setting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        engine = cast("Engine[Any]", scope["state"]["engine"])
        origins = engine.current_revision.snapshot.gateway.http.origins
        if origins is not self._origins:
            self._origins = origins
            self._allowing = self._allow(origins) if origins else self._app
        await self._allowing(scope, receive, send)

    def _allow(self, origins: Sequence[str]) -> ASGIApp:
        # Keys travel in headers that a script sets itself, so no page needs the browser's own credentials.
        return CORSMiddleware(
            self._app,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )
