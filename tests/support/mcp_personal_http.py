"""The MCP server that says whose it is, over streamable HTTP, in the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web
from support.mcp_personal import Personal


@dataclass
class PersonalHttp:
    """The same over streamable HTTP. `headers` are those of every request, in order."""

    url: str = ""
    sessions: dict[str, Personal] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    numbers: Any = field(default_factory=count)

    async def post(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        message = await request.json()
        session = request.headers.get("mcp-session-id")
        if message.get("method") == "initialize":
            session = f"session-{next(self.numbers)}"
            self.sessions[session] = Personal(request.headers.get("x-user", ""), {"session": session})
        if session not in self.sessions:
            return web.Response(status=404)
        # What the session knows is told by who opened it; who asks now stands in this request.
        self.sessions[session].facts["now"] = request.headers.get("x-user", "")
        answer = self.sessions[session].answer(message)
        if answer is None:
            return web.Response(status=202)
        return web.json_response(answer, headers={"mcp-session-id": session})

    async def delete(self, request: web.Request) -> web.Response:
        self.ended.append(request.headers.get("mcp-session-id", ""))
        return web.Response()


@asynccontextmanager
async def personal_http() -> AsyncIterator[PersonalHttp]:
    served = PersonalHttp()
    app = web.Application()
    app.router.add_post("/mcp", served.post)
    app.router.add_delete("/mcp", served.delete)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    try:
        yield served
    finally:
        await runner.cleanup()
