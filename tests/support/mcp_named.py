"""An MCP server over stdio with the tools that it is told, each taking anything: `python mcp_named.py LOG TOOL…`.

A tool may also be its whole entry of `tools/list`, as JSON.

Every call is a line in the file LOG: JSON with `tool` and `args`. It starts in no time, and knows nothing else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": True}


def read_tool(said: str) -> dict[str, Any]:
    return json.loads(said) if said.startswith("{") else {"name": said, "inputSchema": SCHEMA}


def main(log: Path, tools: list[str]) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        params: dict[str, Any] = request.get("params") or {}
        match request.get("method"):
            case "initialize":
                info = {"name": "named", "version": "1"}
                version = params["protocolVersion"]
                answer = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":
                answer = {"tools": [read_tool(tool) for tool in tools]}
            case "tools/call":
                with log.open("a") as file:
                    file.write(json.dumps({"tool": params["name"], "args": params.get("arguments")}) + "\n")
                answer = {"content": [{"type": "text", "text": "done"}]}
            case _:
                continue
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": answer}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
