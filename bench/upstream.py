"""A scripted model and a stateless MCP server of negligible cost, on one port, so that what is measured is not theirs.

    POST …/chat/completions   a tool call first, while tools are offered and fewer than `rounds` results came back since
                              the person spoke; then `chunks` pieces of text, "tok3 tok1 …"
    POST …/mcp, …/mcp/N       MCP over streamable HTTP with JSON answers: the tool `echo`, or N tools of which it is one
    GET  …/models, …/stats

The last user message steers it: "say=3104 chunks=200 delay=5 rounds=3" (ms between chunks). `say` makes answers differ,
as those of real models do; `size` asks for a tool result of so many bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httptools
import orjson
import uvloop

DIRECTIVE = re.compile(r"\b(chunks|delay|first|rounds|size|say)=(\d+)")
DEFAULTS = {"chunks": "20", "delay": "0", "first": "0", "rounds": "1", "size": "0", "say": "0123456789"}
ECHO = {
    "name": "echo",
    "description": "Returns its message.",
    "inputSchema": {
        "type": "object",
        "properties": {"message": {"type": "string"}, "size": {"type": "integer"}},
        "required": ["message"],
    },
}
END = b"\r\n0\r\n\r\n"


def said(digits: str, chunks: int) -> list[str]:
    """The pieces of the answer that was asked for with `say`."""
    return [f"tok{digits[index % len(digits)]} " for index in range(chunks)]


@lru_cache
def tools(count: int) -> list[dict[str, Any]]:
    """So many tools, `echo` among them, each as wordy as those of common servers."""
    others = [
        {
            "name": f"lookup_{number:04}",
            "description": f"Looks up entry {number} of the catalogue by name or by id; returns what is known.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "The name, whole or its beginning."},
                    "id": {"type": "integer", "description": "The number under which it is kept.", "minimum": 0},
                    "fields": {"type": "array", "items": {"type": "string"}, "description": "What to return of it."},
                },
                "required": ["name"],
            },
        }
        for number in range(1, count)
    ]
    return [ECHO, *others]


def sse(payload: object) -> bytes:
    """A server-sent event as one HTTP chunk."""
    data = b"data: " + (payload if isinstance(payload, bytes) else orjson.dumps(payload)) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


@lru_cache
def text_chunk(model: str, piece: str) -> bytes:
    return chunk(model, {"content": piece})


def chunk(model: str, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": model,
            "choices": [choice],
        }
    )


@dataclass
class Counts:
    """What was asked of this server so far."""

    chat: int = 0
    stream: int = 0
    mcp_calls: int = 0
    mcp_other: int = 0
    aborted: int = 0
    model_bytes: int = 0


@dataclass
class Exchange:
    """One HTTP request while it arrives."""

    url: bytes = b""
    parts: list[bytes] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.parser = httptools.HttpRequestParser(self)
        self.timer: asyncio.Handle | None = None
        self.transport: asyncio.Transport
        self.now = Exchange()
        self.parts: Iterator[bytes] = iter(())
        self.delay = 0.0
        self.words = 0
        """How many chunks are still to come that take their time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer:  # the client left before the end of the stream
            self.timer.cancel()
            self.counts.aborted += 1

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        self.now = Exchange()

    def on_url(self, url: bytes) -> None:
        self.now.url += url

    def on_body(self, body: bytes) -> None:
        self.now.parts.append(body)

    def on_message_complete(self) -> None:
        path, body = self.now.url.split(b"?")[0].decode(), b"".join(self.now.parts)
        _, mcp, offered = path.partition("/mcp")
        if path.endswith("/chat/completions"):
            self.counts.model_bytes += len(body)
            self.chat(orjson.loads(body))
        elif mcp:
            self.mcp(body, int(offered.strip("/") or 1))
        elif path.endswith("/models"):
            model = {"id": "fake", "object": "model", "created": 0, "owned_by": "bench"}
            self.reply({"object": "list", "data": [model]})
        elif path.endswith("/stats"):
            self.reply(vars(self.counts))
        else:
            self.reply({"error": {"message": f"no route {path}"}}, b"404 Not Found")

    def reply(self, payload: object, status: bytes = b"200 OK") -> None:
        data = orjson.dumps(payload) if payload is not None else b""
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(data))
        self.transport.write(head + data)

    def chat(self, body: dict[str, Any]) -> None:
        """Answers as the last user message says."""
        messages = body["messages"]
        last = max((index for index, message in enumerate(messages) if message.get("role") == "user"), default=0)
        asked = DEFAULTS | dict(DIRECTIVE.findall(str(messages[last].get("content"))))
        chunks, rounds, size = int(asked["chunks"]), int(asked["rounds"]), int(asked["size"])
        model = body.get("model", "fake")
        done = sum(message.get("role") == "tool" for message in messages[last:])
        names = [tool["function"]["name"] for tool in body.get("tools") or () if tool.get("type") == "function"]
        call: dict[str, Any] | None = None
        if names and done < rounds:
            name = next((name for name in names if name.endswith("echo")), names[0])
            arguments = {"message": "hi", **({"size": size} if size else {})}
            function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
            call = {"id": f"call_{time.monotonic_ns()}", "type": "function", "function": function}
        self.counts.chat += 1
        usage = {"prompt_tokens": 10, "completion_tokens": chunks, "total_tokens": 10 + chunks}
        pieces = said(asked["say"], chunks)
        delay, first = int(asked["delay"]) / 1e3, int(asked["first"]) / 1e3
        if body.get("stream"):
            self.stream(model, call, pieces, usage if (body.get("stream_options") or {}).get("include_usage") else None)
            self.delay = delay
            self.timer = asyncio.get_running_loop().call_later(first, self.tick)
            return
        message: dict[str, Any] = {"role": "assistant", "content": None if call else "".join(pieces)}
        if call:
            message["tool_calls"] = [call]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}
        answer = {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1700000000,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
        wait = first + (0 if call else delay * chunks)
        if wait:
            asyncio.get_running_loop().call_later(wait, self.reply, answer)
        else:
            self.reply(answer)

    def stream(self, model: str, call: dict[str, Any] | None, pieces: list[str], usage: dict[str, int] | None) -> None:
        self.counts.stream += 1
        parts: list[bytes]
        if call:
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            head = {"index": 0, **call, "function": {"name": name, "arguments": ""}}
            half = len(arguments) // 2
            parts = [chunk(model, {"role": "assistant", "content": None, "tool_calls": [head]})]
            for part in (arguments[:half], arguments[half:]):
                parts.append(chunk(model, {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))
            parts.append(chunk(model, {}, "tool_calls"))
        else:
            parts = [chunk(model, {"role": "assistant", "content": ""})]
            parts += [text_chunk(model, piece) for piece in pieces]
            parts.append(chunk(model, {}, "stop"))
        if usage:
            head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
            parts.append(sse({**head, "choices": [], "usage": usage}))
        parts.append(sse(b"[DONE]") + b"0\r\n\r\n")
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self.parts = iter(parts)
        self.words = 0 if call else 1 + len(pieces)

    def tick(self) -> None:
        """Writes one chunk per turn of the loop, so that chunks leave as separate packets. Words take their time; what
        follows them (why it ended, usage) does not, as with every real server."""
        loop = asyncio.get_running_loop()
        part = next(self.parts)
        self.words -= 1
        self.transport.write(part)
        if part.endswith(END):
            self.timer = None
        else:
            delay = self.delay if self.words > 0 else 0
            self.timer = loop.call_later(delay, self.tick) if delay else loop.call_soon(self.tick)

    def mcp(self, body: bytes, offered: int) -> None:
        if not body:
            self.reply(None, b"405 Method Not Allowed")
            return
        asked = orjson.loads(body)
        method, params = asked.get("method"), asked.get("params") or {}
        if method == "tools/call":
            self.counts.mcp_calls += 1
        else:
            self.counts.mcp_other += 1
        if "id" not in asked:
            self.reply(None, b"202 Accepted")
            return
        result: dict[str, Any]
        match method:
            case "initialize":
                version = params.get("protocolVersion", "2025-06-18")
                result = {"protocolVersion": version, "capabilities": {"tools": {}}}
                result["serverInfo"] = {"name": "bench", "version": "1"}
            case "tools/list":
                result = {"tools": tools(offered)}
            case "tools/call":
                arguments = params.get("arguments") or {}
                text = "x" * int(arguments.get("size") or 0) or str(arguments.get("message"))
                result = {"content": [{"type": "text", "text": text}], "isError": False}
            case "ping":
                result = {}
            case _:
                error = {"code": -32601, "message": f"no method {method}"}
                self.reply({"jsonrpc": "2.0", "id": asked["id"], "error": error})
                return
        self.reply({"jsonrpc": "2.0", "id": asked["id"], "result": result})


async def serve(port: int) -> None:
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counts), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
