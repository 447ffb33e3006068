"""An MCP server that says whose it is: `python mcp_personal.py` over stdio; `mcp_personal_http.py` has it over HTTP.

Plain JSON-RPC from the standard library alone, so that a test can have many of them at once. Every user is shown a tool
of their own name, and what `remember` keeps is the process's (over HTTP: the session's) alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass, field
from typing import Any

TOOLS = ("whoami", "remember", "crash")


@dataclass
class Personal:
    """What one process, or one session, knows."""

    user: str
    facts: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    calls: int = 0

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to one message; None to a notification."""
        if "id" not in message:
            return None
        params = message.get("params") or {}
        match message["method"]:
            case "initialize":
                result: dict[str, Any] = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "personal", "version": "1"},
                }
            case "tools/list":
                own = "only_" + re.sub(r"\W", "_", self.user, flags=re.ASCII)
                result = {"tools": [self._tool(name) for name in (*TOOLS, own)]}
            case "tools/call":
                result = {"content": [{"type": "text", "text": self._call(params["name"], params["arguments"])}]}
            case _:
                result = {}
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    def _tool(self, name: str) -> dict[str, Any]:
        texts = {"text": {"type": "string"}} if name == "remember" else {}
        return {"name": name, "description": name, "inputSchema": {"type": "object", "properties": texts}}

    def _call(self, name: str, arguments: dict[str, Any]) -> str:
        if name == "crash":
            os._exit(3)
        self.calls += 1
        if name == "remember":
            self.kept.append(arguments["text"])
        return json.dumps({"user": self.user, "calls": self.calls, "kept": self.kept, **self.facts})


def main() -> None:
    me = Personal(os.environ.get("ME", ""), {"pid": os.getpid(), "token": os.environ.get("TOKEN", "")})
    me.facts["args"] = sys.argv[1:]
    for line in sys.stdin:
        if (answer := me.answer(json.loads(line))) is not None:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
