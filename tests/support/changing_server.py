"""An MCP server whose tools are what a file says: `python changing_server.py TOOLS LOG`, over stdio.

TOOLS is a JSON list of tools as the protocol has them. Whenever the file changes, the server says that its list did.
Every call is a line in LOG.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.session import ServerSession
from mcp.server.stdio import stdio_server
from mcp.types import TextContent, Tool

PATH, LOG = Path(sys.argv[1]), Path(sys.argv[2])
server: Server[Any, Any] = Server("changing")
sessions: set[ServerSession] = set()


@server.list_tools()
async def list_tools() -> list[Tool]:
    sessions.add(server.request_context.session)
    return [Tool.model_validate(tool) for tool in json.loads(PATH.read_text())]


@server.call_tool(validate_input=False)
async def call_tool(name: str, arguments: dict[str, Any]) -> list[TextContent]:
    with LOG.open("a") as file:
        file.write(f"{name} {json.dumps(arguments)}\n")
    return [TextContent(type="text", text="done")]


async def watch() -> None:
    """Tells every session of a change of the file."""
    before = PATH.read_text()
    while True:
        await asyncio.sleep(0.02)
        if (now := PATH.read_text()) != before:
            before = now
            for session in sessions:
                await session.send_tool_list_changed()


async def main() -> None:
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    async with stdio_server() as (read, write):
        watching = asyncio.create_task(watch())
        await server.run(read, write, options)
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(main())
