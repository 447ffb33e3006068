"""A small real MCP server for tests: `python mcp_server.py stdio|http|sse [LOG]`; over HTTP it prints its port first.

Every call is a line in the file LOG, so a test can count what really ran.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.fastmcp import Context, FastMCP, Image
from mcp.types import AudioContent, ImageContent, TextContent, ToolAnnotations

READS = ToolAnnotations(readOnlyHint=True)
PIXEL = b"\x89PNG\r\n\x1a\n"


def build(log: Path | None) -> FastMCP:
    server: FastMCP = FastMCP("test", log_level="WARNING")
    running = 0
    most = 0

    def ran(line: str) -> None:
        if log is not None:
            with log.open("a") as file:
                file.write(line + "\n")

    @server.tool(annotations=READS)
    def echo(text: str) -> str:
        """Say it again."""
        ran(f"echo {text}")
        return text

    @server.tool(annotations=READS, structured_output=True)
    def add(a: int, b: int) -> dict[str, int]:
        """Add."""
        ran("add")
        return {"sum": a + b}

    @server.tool()
    def write(text: str) -> str:
        """Change something."""
        ran(f"write {text}")
        return "written"

    @server.tool()
    async def order(item: str, hold: str = "") -> str:
        """Change something, and say so once the file `hold` is there."""
        ran(f"order {item}")
        while hold and not Path(hold).exists():
            await anyio.sleep(0.02)
        return f"ordered {item}"

    @server.tool(annotations=READS)
    def environment() -> str:
        """The names of the server's environment variables."""
        return " ".join(sorted(os.environ))

    @server.tool(annotations=READS)
    def pid() -> str:
        """The server's process."""
        return str(os.getpid())

    @server.tool(annotations=READS)
    def fails() -> str:
        """Fail."""
        raise ValueError("no such table: customers")

    @server.tool(annotations=READS)
    def big(size: int) -> str:
        """A long answer."""
        return "x" * size

    @server.tool(annotations=READS, structured_output=False)
    def picture() -> list[Any]:
        """A picture and a word."""
        return ["a picture", Image(data=PIXEL, format="png")]

    @server.tool(annotations=READS, structured_output=False)
    def concert() -> list[Any]:
        """Sound, a word and a picture that no model takes."""
        return [
            AudioContent(type="audio", data="AAAA", mimeType="audio/wav"),
            TextContent(type="text", text="bravo"),
            ImageContent(type="image", data="AAAA", mimeType="image/tiff"),
        ]

    @server.tool(annotations=READS)
    def nothing() -> None:
        """Nothing."""

    @server.tool(annotations=READS)
    async def steps(context: Context[Any, Any, Any]) -> str:
        """Say twice how far it is."""
        await context.report_progress(1, 2, "half way")
        await context.report_progress(2, 2)
        return "there"

    @server.tool(annotations=READS, structured_output=False)
    async def traced(context: Context[Any, Any, Any]) -> str:
        """What came in of a trace: in the message, and in the headers of an HTTP request."""
        meta = context.request_context.meta
        request = context.request_context.request
        told = {
            "message": (meta.model_extra or {}).get("traceparent") if meta else None,
            "header": request.headers.get("traceparent") if request else None,
        }
        return json.dumps(told)

    @server.tool()
    async def hang(mark: str) -> str:
        """Wait for ever, or until cancelled."""
        ran(f"hang {mark}")
        try:
            await anyio.sleep_forever()
        finally:
            ran(f"cancelled {mark}")

    @server.tool()
    def freeze() -> None:
        """Stop answering anything at all."""
        ran("freeze")
        while True:
            time.sleep(1)

    @server.tool()
    async def busy(hold: str) -> int:
        """How many of these ran at once, at most, until the file `hold` was there."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        ran("busy")
        while not Path(hold).exists():
            await anyio.sleep(0.01)
        running -= 1
        return most

    @server.tool()
    async def report(hold: str, context: Context[Any, Any, Any]) -> str:
        """Say again and again how far it is, until the file `hold` is there."""
        step = 0
        while not Path(hold).exists():
            step += 1
            await context.report_progress(step, None, f"step {step}")
            await anyio.sleep(0.01)
        return "there"

    @server.tool()
    def die() -> str:
        """End the process at once."""
        ran("die")
        print("it hurts", file=sys.stderr, flush=True)
        os._exit(3)

    @server.tool(annotations=READS)
    def die_once(marker: str) -> str:
        """End the process the first time."""
        ran("die_once")
        if not Path(marker).exists():
            Path(marker).touch()
            os._exit(3)
        return "alive"

    @server.tool(annotations=READS, name="odd.name/with-a-slash")
    def odd(config: str, run_manager: str, runtime: str, self: str, tool_input: str) -> str:
        """Arguments that LangChain uses for itself."""
        return f"{config} {run_manager} {runtime} {self} {tool_input}"

    @server.tool()
    async def learn(context: Context[Any, Any, Any]) -> str:
        """Offer one more tool from now on."""

        def learned() -> str:
            return "new"

        server.add_tool(learned, name="learned", description="New.")
        await context.session.send_tool_list_changed()
        return "learned"

    return server


def serve(server: FastMCP, kind: str) -> None:
    app = server.streamable_http_app() if kind == "http" else server.sse_app()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(os.environ.get("PORT", "0"))))
        listener.listen()
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)).run(sockets=[listener])


if __name__ == "__main__":
    # It warns, at length, about the odd names that are there on purpose.
    logging.disable(logging.WARNING)
    kind = sys.argv[1]
    test_server = build(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    if kind == "stdio":
        test_server.run("stdio")
    else:
        serve(test_server, kind)
