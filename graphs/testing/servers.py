"""The MCP servers of a test: the SDK's own server in this process, which gives what the case or its cassette says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import CallToolResult, TextContent, Tool, ToolAnnotations

from graphs.config.loader import Snapshot
from graphs.config.spec.cases import HintsSpec, ToolResultSpec
from graphs.config.spec.cassettes import RecordedResultSpec
from graphs.config.spec.servers import ServerSpec
from graphs.testing.script import ServiceScript
from graphs.tools.http import HttpLink
from graphs.tools.message_limits import Intake
from graphs.tools.names import make_people_name
from graphs.tools.registry import ToolRegistry
from graphs.tools.shared import SharedConnections

SCHEME = "memory://"
"""How the address of such a server begins; its name follows."""
ROOM_FOR_NOTE = 1_000
"""Characters that a result may be longer than `max_result` says."""
UNANSWERED = "The test does not say what this call gives."


def build_server_specs(script: ServiceScript, snapshot: Snapshot) -> dict[str, ServerSpec]:
    """Build the entries of the servers that a case names tools of: as in servers.yaml, but for where they are.

    None has a command, so nothing can be started.
    """
    unknown = ServerSpec(url="http://localhost")
    return {
        name: snapshot.servers.get(name, unknown).model_copy(
            update={
                "url": f"{SCHEME}{name}",
                "type": "http",
                "command": None,
                "args": [],
                "env": {},
                "headers": {},
                "cwd": None,
                "per_user": False,
                # What a cassette holds of a long result is its beginning with a note, which must not be cut once more.
                "max_result": snapshot.servers.get(name, unknown).max_result + ROOM_FOR_NOTE,
            }
        )
        for name in script.list_tools()
    }


def build_tool_registry(script: ServiceScript, servers: Mapping[str, ServerSpec]) -> ToolRegistry:
    """Build the registry of these servers, which connects to what the case says instead."""
    tools = script.list_tools()

    @asynccontextmanager
    async def open_link(spec: ServerSpec, _: Intake) -> AsyncGenerator[HttpLink]:
        name = str(spec.url).removeprefix(SCHEME)
        server = build_server(name, tools[name], script)
        async with (
            create_client_server_memory_streams() as ((read, write), (server_read, server_write)),
            anyio.create_task_group() as group,
        ):
            group.start_soon(server.run, server_read, server_write, server.create_initialization_options())
            yield HttpLink(read=read, write=write)
            group.cancel_scope.cancel()

    return ToolRegistry(servers, connections=SharedConnections(open_remote=open_link))


def build_server(name: str, tools: Mapping[str, Sequence[str]], script: ServiceScript) -> Server[Any, Any]:
    """Build one server with these tools, each with the arguments that it declares; it takes others too."""
    server: Server[Any, Any] = Server(name)
    listed = [build_tool(tool, names, script.find_hints(make_people_name(name, tool))) for tool, names in tools.items()]

    async def list_tools() -> list[Tool]:
        return listed

    async def call_tool(tool: str, args: dict[str, Any]) -> CallToolResult:
        return build_result(script.take_result(make_people_name(name, tool), args))

    server.list_tools()(list_tools)  # pyright: ignore[reportUnknownMemberType]
    server.call_tool(validate_input=False)(call_tool)
    return server


def build_tool(name: str, arguments: Sequence[str], hints: HintsSpec | None) -> Tool:
    """Build a tool that takes any arguments."""
    anything: dict[str, Any] = {}
    properties = dict.fromkeys(arguments, anything)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": True}
    said = None
    if hints is not None:
        said = ToolAnnotations(
            readOnlyHint=hints.read_only, destructiveHint=hints.destructive, idempotentHint=hints.idempotent or None
        )
    return Tool(name=name, inputSchema=schema, annotations=said)


def build_result(entry: ToolResultSpec | RecordedResultSpec | None) -> CallToolResult:
    """Build what a tool answers; None: nothing says it, and the answer is an error."""
    if entry is None or entry.error is not None:
        said = UNANSWERED if entry is None or entry.error is None else entry.error
        return CallToolResult(content=[TextContent(type="text", text=said)], isError=True)
    result: object = entry.result
    if isinstance(result, str):
        return CallToolResult(content=[TextContent(type="text", text=result)])
    written = entry.text if isinstance(entry, RecordedResultSpec) else None
    text = json.dumps(result, ensure_ascii=False) if written is None else written
    structured = cast("dict[str, Any]", result) if isinstance(result, dict) else None
    return CallToolResult(content=[TextContent(type="text", text=text)], structuredContent=structured)
