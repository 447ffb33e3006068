"""An MCP server over HTTP that reads a call, notes it, and hangs up: `python mcp_hangup.py http LOG`.

`close` ends the connection as a program that dies does, `reset` as one whose machine takes it down.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOG = Path(sys.argv[2])
TOOLS: list[dict[str, Any]] = [
    {"name": "close", "inputSchema": {"type": "object"}},
    {"name": "reset", "inputSchema": {"type": "object"}},
    {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(405)

    def do_DELETE(self) -> None:
        self.answer(200)

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        match message.get("method"):
            case "initialize":
                asked = message["params"]["protocolVersion"]
                info = {"name": "hang-up", "version": "1"}
                result: Any = {"protocolVersion": asked, "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":
                result = {"tools": TOOLS}
            case "tools/call":
                self.hang_up(message["params"]["name"])
                return
            case "ping":
                result = {}
            case _:
                self.answer(202)
                return
        self.answer(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode())

    def hang_up(self, how: str) -> None:
        with LOG.open("a") as log:
            log.write(f"{how}\n")
        if how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
