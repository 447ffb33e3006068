"""A model endpoint for requests that are passed on: it records what came, byte for byte, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Arrival:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class PassedEndpoint:
    """`models` are what it lists, by their modes; None: LiteLLM does not know."""

    models: Mapping[str, str | None]
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    pieces: Sequence[bytes] = (b"{}",)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    stalls_at: int | None = None
    """The piece before which it says no more until the client has left."""
    breaks_off: bool = False
    """Whether it closes the connection after the pieces, in the middle of its answer."""
    was_left: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[PassedEndpoint]:
        """Serve while the block lasts."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/v1/model/info", self._describe)
        app.router.add_post("/v1/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _describe(self, _: web.Request) -> web.Response:
        entries: list[dict[str, Any]] = [
            {"model_name": name, "litellm_params": {"model": name}, "model_info": {"mode": mode}}
            for name, mode in self.models.items()
        ]
        return web.json_response({"data": entries})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.arrivals.append(Arrival(request.path, headers, await request.read()))
        try:
            if self.stalls_at == -1:
                await asyncio.sleep(60)
            response = web.StreamResponse(status=self.status, headers=self.headers)
            await response.prepare(request)
            for at, piece in enumerate(self.pieces):
                if at == self.stalls_at:
                    await asyncio.sleep(60)
                await response.write(piece)
                await asyncio.sleep(0)
        except (asyncio.CancelledError, ConnectionError):
            self.was_left.set()
            raise
        if self.breaks_off and request.transport is not None:
            request.transport.abort()
        return response
