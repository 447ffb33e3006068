"""An MCP server written by hand, over stdio, that misbehaves as told: `python mcp_raw.py HOW…`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HOW = set(sys.argv[1:])
TOOLS: list[dict[str, Any]] = [
    {"name": "good", "inputSchema": {"type": "object"}},
    {"name": "blocks", "inputSchema": {}},
    {"name": "garbage", "inputSchema": {"type": "object", "properties": {}}},
    {"name": "flood", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "refused", "inputSchema": {"type": "object"}},
]
if "environment" in HOW:
    TOOLS.append({"name": "environment", "inputSchema": {"type": "object"}})


def say(message: dict[str, Any]) -> None:
    text = json.dumps({"jsonrpc": "2.0", **message})
    if "batch" in HOW:
        text = f"[{json.dumps({'jsonrpc': '2.0', 'method': 'notifications/message', 'params': {}})}, {text}]"
    mark = "\ufeff" if "bom" in HOW else ""
    sys.stdout.write(f"{mark}{text}\n")
    sys.stdout.flush()


def tools(cursor: str | None) -> dict[str, Any]:
    if "bad-tools" in HOW:
        return {"tools": [{"name": 7}, *TOOLS, TOOLS[0], "nonsense"]}
    if "pages" in HOW:
        page = int(cursor or 0)
        return {"tools": [TOOLS[page]], **({"nextCursor": str(page + 1)} if page < 4 else {})}
    if "long-names" in HOW:
        long = "a" * 100
        return {"tools": [{**TOOLS[0], "name": name} for name in (f"{long}1", f"{long}2", "x.y", "x/y", "x_y")]}
    return {"tools": TOOLS}


def call(name: str) -> dict[str, Any]:
    if name == "blocks":
        link = {"type": "resource_link", "name": "notes", "uri": "file:///notes.txt"}
        text = {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "inside", "mimeType": "text/plain"}}
        blob = {"type": "resource", "resource": {"uri": "file:///a.zip", "blob": "AAAA", "mimeType": "application/zip"}}
        return {"content": [{"type": "hologram", "data": 1}, link, text, blob, "what"]}
    if name == "environment":
        return {"content": [{"type": "text", "text": json.dumps(dict(os.environ))}]}
    if name == "garbage":
        return {"content": 7}
    if name == "flood":
        for _ in range(70):
            sys.stdout.write("x" * 1024 * 1024)
        sys.stdout.flush()
        if "endless" in HOW:
            time.sleep(3600)
    return {"content": [{"type": "text", "text": "good"}]}


def main() -> None:
    if "mute" in HOW:
        time.sleep(3600)
    if "exit" in HOW:
        print("starting", file=sys.stderr)
        print(f"cannot open the database with {os.environ.get('DB_TOKEN')}", file=sys.stderr, flush=True)
        sys.exit(4)
    if "stubborn" in HOW:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in HOW:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        print(f"child {child.pid}", file=sys.stderr, flush=True)
    if "noise" in HOW:
        print("Welcome to the server!\n\n{}", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        params: dict[str, Any] = request.get("params") or {}
        gone = Path(os.environ.get("GONE", "/nowhere"))
        if gone.exists() and request.get("method") == "initialize":
            gone.unlink()
        elif gone.exists() and "id" in request:
            say({"id": request["id"], "error": {"code": -32000, "message": "Session not found"}})
            continue
        match request.get("method"):
            case "initialize":
                asked = params["protocolVersion"]
                info = {"name": "raw", "version": "1"}
                abilities: dict[str, Any] = {} if "no-tools" in HOW else {"tools": {}}
                answer = {"protocolVersion": asked, "capabilities": abilities, "serverInfo": info}
            case "tools/list":
                answer = tools(params.get("cursor"))
            case "tools/call" if params["name"] == "refused":
                words = "not today" + "\x7f" * params["arguments"].get("more", 0)
                code = params["arguments"].get("code", -32602)
                say({"id": request["id"], "error": {"code": code, "message": words}})
                continue
            case "tools/call":
                answer = call(params["name"])
            case _:
                continue
        say({"id": request["id"], "result": answer})
    if "stubborn" in HOW:
        time.sleep(3600)


main()
