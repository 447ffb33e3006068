"""Servers that tell everybody what they were given in confidence, as careless ones do, for tests of what reaches whom.

`python leaky.py talks …` is an MCP server over stdio that says its environment and its arguments wherever it can;
`python leaky.py http` one over HTTP, which prints its port and repeats the headers and the address of each request.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import uvicorn
from mcp.server.fastmcp import Context, FastMCP

SCRIPT = Path(__file__)


def given() -> str:
    """What this process was told in confidence."""
    names = sorted(name for name in os.environ if name.startswith("LEAKY_"))
    return f"env {[(name, os.environ[name]) for name in names]} argv {sys.argv[2:]}"


def talking() -> FastMCP:
    """An MCP server whose tools fail with all that it knows."""
    server: FastMCP = FastMCP("leaky", log_level="CRITICAL")

    @server.tool()
    async def refuses(context: Context[Any, Any, Any], password: str = "") -> str:
        """Fails, and says more than it should."""
        request = context.request_context.request
        told = f"{request.url} {dict(request.headers)}" if request is not None else given()
        print(f"refused: {told}", file=sys.stderr, flush=True)
        raise ValueError(f"401 from {told}")

    @server.tool()
    async def takes(password: str) -> str:
        """Does as it is told, and says so."""
        return f"Taken: {password}."

    return server


def serve_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(talking().streamable_http_app(), log_level="critical", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


class Refusing(BaseHTTPRequestHandler):
    """Answers everything with an error that repeats what it was sent: in the status line, in a header, in the body."""

    def refuse(self) -> None:
        told = f"{self.command} {unquote(self.path)} {dict(self.headers)}"
        body = json.dumps({"error": {"message": f"no entry for {told}"}, "detail": told}).encode()
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(401, f"no entry for {told}".replace("\n", " "))
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = refuse

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def refusing() -> Iterator[str]:
    """The `host:port` of a server that refuses everything and repeats what it was sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def leaking_server(folder: Path) -> Iterator[str]:
    """The `host:port` of an MCP server over HTTP that repeats what it is sent."""
    with (folder / "leaky.log").open("w") as noise:
        command = [sys.executable, str(SCRIPT), "http"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, text=True)
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


if __name__ == "__main__":
    print(f"starting with {given()}", file=sys.stderr, flush=True)
    if sys.argv[1] == "http":
        serve_http()
    else:
        print(f"this is no message: {given()}", flush=True)
        talking().run("stdio")
