"""An MCP server over HTTP in the test's own event loop, whose answers the test writes one by one.

    async with WebServer() as server:                       # streamable HTTP at `server.url`; or `is_sse`
        server.reply = lambda asked: Reply(500, b"oops") if asked.method == "tools/call" else None   # None: as ever
        ... server.asked("tools/call") ...                  # what came in

What no `reply` answers is answered as a sound server does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, cast

from aiohttp import web

TOOLS: list[dict[str, Any]] = [
    {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "write", "inputSchema": {"type": "object"}},
    {"name": "wait", "inputSchema": {"type": "object"}},
]


@dataclass(frozen=True)
class Asked:
    """One request: its JSON-RPC message, or nothing where it had none."""

    verb: str
    path: str
    url: str
    """The path with the query."""
    headers: Mapping[str, str]
    message: Mapping[str, Any]

    @property
    def method(self) -> str:
        return self.message.get("method", "")

    @property
    def tool(self) -> str:
        return (self.message.get("params") or {}).get("name", "")


@dataclass
class Reply:
    """What a request is answered with. A body that is no text and no bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def encode(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class HangUp:
    """An end of the connection in place of an answer; `in_answer`: after the beginning of one."""

    in_answer: bool


async def _hang_up(request: web.Request, how: HangUp) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    if how.in_answer:
        await response.prepare(request)
        await response.write(b": wait\n\n")
    assert request.transport is not None
    request.transport.close()
    return response


def result(asked: Asked, value: Any) -> Reply:
    """A sound answer with this result."""
    return Reply(body={"jsonrpc": "2.0", "id": asked.message.get("id"), "result": value})


def error(asked: Asked, code: int, message: str, status: int = 200) -> Reply:
    """A JSON-RPC error."""
    said = {"jsonrpc": "2.0", "id": asked.message.get("id"), "error": {"code": code, "message": message}}
    return Reply(status, said)


class WebServer:
    """The server. `reply` answers what the test has something else to say to; it may be a coroutine function."""

    def __init__(self, port: int = 0, path: str = "/mcp", *, is_sse: bool = False) -> None:
        self.port = port
        self.path = path
        self.reply: Callable[[Asked], Any] = lambda _: None
        self.requests: list[Asked] = []
        self.sessions = 0
        self._is_sse = is_sse
        self._streams: dict[str, web.StreamResponse] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def asked(self, method: str) -> list[Asked]:
        return [one for one in self.requests if one.method == method]

    def ran(self, tool: str) -> int:
        """How many calls of this tool came in."""
        return sum(one.tool == tool for one in self.asked("tools/call"))

    async def __aenter__(self) -> WebServer:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        message = json.loads(content) if content else {}
        asked = Asked(request.method, request.path, request.path_qs, request.headers.copy(), message)
        self.requests.append(asked)
        said = self.reply(asked)
        if isinstance(said, Awaitable):
            said = await cast("Awaitable[Any]", said)
        if isinstance(said, HangUp):
            return await _hang_up(request, said)
        if said is None and self._is_sse:
            return await self._answer_in_stream(request, asked)
        said = said or self.answer(asked)
        kind = {"content-type": said.kind} if said.kind else {}
        return web.Response(status=said.status, body=said.encode(), headers={**kind, **said.headers})

    async def _answer_in_stream(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Answer as the older transport does: in the stream that was opened first."""
        if asked.verb == "GET":
            session = f"s{len(self._streams) + 1}"
            stream = self._streams[session] = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await stream.prepare(request)
            await stream.write(f"event: endpoint\ndata: /messages?session_id={session}\n\n".encode())
            await asyncio.Event().wait()
        said = self.answer(asked)
        if said.body:
            stream = self._streams[request.query["session_id"]]
            await stream.write(b"event: message\ndata: " + said.encode() + b"\n\n")
        return web.Response(status=202)

    def answer(self, asked: Asked) -> Reply:
        """What a sound server answers."""
        if asked.verb != "POST":
            return Reply(200 if asked.verb == "DELETE" else 405)
        params = asked.message.get("params") or {}
        match asked.method:
            case "initialize":
                self.sessions += 1
                info = {"name": "web", "version": "1"}
                greeting = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": info,
                }
                said = result(asked, greeting)
                said.headers = {"mcp-session-id": f"s{self.sessions}"}
                return said
            case "tools/list":
                return result(asked, {"tools": TOOLS})
            case "tools/call":
                return result(asked, {"content": [{"type": "text", "text": f"{asked.tool} done"}]})
            case "ping":
                return result(asked, {})
            case _:
                return Reply(202)
