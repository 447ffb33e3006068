"""An MCP server for graphs that call tools themselves: `python mcp_steps.py LOG`, over stdio.

Every call is a line in the file LOG.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
from mcp.server.fastmcp import FastMCP
from mcp.types import ToolAnnotations

READS = ToolAnnotations(readOnlyHint=True)


def build(log: Path) -> FastMCP:
    server: FastMCP = FastMCP("steps", log_level="ERROR")
    counts: Counter[str] = Counter()

    def note(line: str) -> int:
        with log.open("a") as file:
            file.write(line + "\n")
        counts[line] += 1
        return counts[line]

    @server.tool(annotations=READS)
    def grow() -> dict[str, Any]:
        """Say how often this was called."""
        return {"count": note("grow")}

    @server.tool(annotations=READS)
    def stumble(times: int) -> str:
        """Fail so many times."""
        if note("stumble") <= times:
            raise ValueError("not yet")
        return "done"

    @server.tool()
    def break_something(what: str) -> str:
        """Change something, and fail."""
        note(f"break {what}")
        raise ValueError(f"{what} is broken")

    @server.tool(annotations=READS)
    async def sleep(seconds: float) -> str:
        """Take a while."""
        note("sleep")
        await anyio.sleep(seconds)
        return "awake"

    @server.tool(annotations=READS)
    def query(sql: str, limit: int = 10, flags: list[bool] | None = None) -> dict[str, Any]:
        """Look something up."""
        note(f"query {sql} {limit!r} {flags!r}")
        return {"rows": [["Germany", 7], ["France", 5]], "limit": limit}

    @server.tool(annotations=READS)
    def names() -> list[str]:
        """A bare list, which the SDK wraps."""
        return ["ada", "grace"]

    @server.tool(annotations=READS, structured_output=False)
    def text() -> str:
        """JSON as text, as many servers have it."""
        return '{"rows": [1, 2]}'

    return server


if __name__ == "__main__":
    build(Path(sys.argv[1])).run("stdio")
