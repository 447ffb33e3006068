"""The real model endpoint and MCP servers of the configs, for cases that are recorded or run live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from graphs.config.loader import Snapshot
from graphs.policy.rules import Caller
from graphs.tools.registry import ToolRegistry
from graphs.tools.tool import ServedTool

_POLL = 0.02


@dataclass(frozen=True)
class LiveServices:
    """Where the model is asked, and the servers, which are up for as long as all cases take."""

    base_url: str
    tool_registry: ToolRegistry

    def list_absences(self) -> Iterator[str]:
        """List the servers that are not there, each with the reason."""
        for name, status in self.tool_registry.get_status().items():
            if status.status != "up" and name not in self.tool_registry.templates:
                yield f"the MCP server {name} is not there: {status.reason or 'it is still starting'}"

    def explain_absence(self, tool: str) -> str:
        """Explain why a tool, `server/tool`, is not there."""
        server = tool.partition("/")[0]
        status = self.tool_registry.get_status().get(server)
        if status is None:
            return f"servers.yaml has no server {server!r} that is switched on"
        if status.status == "up" or server in self.tool_registry.templates:
            return f"its server {server} does not offer it now"
        return f"its server is not there: {status.reason or 'it is still starting'}"

    async def find_tools(self, caller: Caller, owner: str, names: Collection[str]) -> dict[str, ServedTool]:
        """Find those of these tools, `server/tool`, that are there for a caller."""
        toolset = self.tool_registry.get_toolset(caller, owner)
        await toolset.open({name.partition("/")[0] for name in names} & self.tool_registry.templates.keys())
        return {tool.people_name: tool for tool in toolset.tools.values() if tool.people_name in names}


@asynccontextmanager
async def open_servers(snapshot: Snapshot, base_url: str, patience: float) -> AsyncGenerator[LiveServices]:
    """Start the MCP servers, and wait at most `patience` seconds until each is up or down."""
    registry = ToolRegistry(snapshot.servers, snapshot.server_templates)
    end = time.monotonic() + patience
    try:
        await registry.start()
        while is_starting(registry):
            await asyncio.sleep(_POLL)
            if time.monotonic() > end:
                break
        yield LiveServices(base_url, registry)
    finally:
        await registry.close()


def is_starting(registry: ToolRegistry) -> bool:
    """Whether a server is neither up nor down yet; one that is late may be downloading itself."""
    return any(
        status.status == "starting" or status.is_late
        for name, status in registry.get_status().items()
        if name not in registry.templates
    )
