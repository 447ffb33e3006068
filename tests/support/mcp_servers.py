"""The MCP servers that people run, as entries of `mcpServers`, each noting the calls that reach it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import tee
from support.environments import node, node_environment, python_environment
from support.processes import free_port, running

PROXY_PORT = 8585
"""Where people run mcp-proxy."""


@dataclass(frozen=True)
class RealServer:
    """`entry` is what stands under the server's name in servers.yaml."""

    entry: Mapping[str, Any]
    noted: Path
    url: str = ""
    sse_url: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Values that can be learnt from its tools only."""

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and arguments of every call that reached the server, oldest first."""
        return tee.calls(self.noted)


class CallsSince:
    """Counts from its making on: called, it gives `server/tool` and arguments of each call, server by server."""

    def __init__(self, servers: Mapping[str, RealServer]) -> None:
        self._servers = servers
        self._before = {name: len(server.calls()) for name, server in servers.items()}

    def __call__(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (f"{name}/{tool}", args)
            for name, server in self._servers.items()
            for tool, args in server.calls()[self._before[name] :]
        ]


def noting(noted: Path, command: str | Path, *args: str | Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A stdio entry for the command, behind the tee that notes its calls."""
    return {
        "command": sys.executable,
        "args": [str(part) for part in (tee.__file__, noted, command, *args)],
        "env": dict(env or {}),
    }


def filesystem(folder: Path) -> RealServer:
    """@modelcontextprotocol/server-filesystem through npx, over `folder`/workspace."""
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "budget.txt").write_text("The harbour budget is 73914 crowns.\n")
    runtime = node()
    prefix = node_environment("mcp-proxy", runtime)
    # --no-install: the package is in the prefix already, and must come from there.
    command = [*runtime.npx, "--no-install", "--prefix", prefix, "mcp-server-filesystem", workspace]
    noted = folder / "filesystem.jsonl"
    env = {"PATH": runtime.path, "npm_config_update_notifier": "false"}
    return RealServer(noting(noted, *command, env=env), noted, facts={"budget": "73914", "workspace": str(workspace)})


def dbhub(folder: Path, database: str) -> RealServer:
    """@bytebase/dbhub on a PostgreSQL address, over stdio."""
    runtime = node((22, 5))
    script = node_environment("mcp-proxy", runtime) / "node_modules" / "@bytebase" / "dbhub" / "dist" / "index.js"
    noted = folder / "postgres.jsonl"
    return RealServer(noting(noted, runtime.node, script, "--transport", "stdio", "--dsn", database), noted)


def prometheus_mcp_server(folder: Path, address: str) -> RealServer:
    """prometheus-mcp-server on a Prometheus, over stdio."""
    noted = folder / "monitoring.jsonl"
    quiet = {"FASTMCP_CHECK_FOR_UPDATES": "off", "FASTMCP_SHOW_SERVER_BANNER": "false"}
    command = python_environment("prometheus-mcp-server") / "bin" / "prometheus-mcp-server"
    return RealServer(noting(noted, command, env={"PROMETHEUS_URL": address, **quiet}), noted)


@contextmanager
def behind_mcp_proxy(name: str, server: RealServer, folder: Path) -> Iterator[RealServer]:
    """The same server over HTTP: its entry is a url now. mcp-proxy serves it at port 8585, if that is free."""
    port = free_port(PROXY_PORT)
    config = folder / "mcp-proxy.json"
    config.write_text(json.dumps({"mcpServers": {name: dict(server.entry)}}))
    command = python_environment("mcp-proxy") / "bin" / "mcp-proxy"
    options = ["--host", "127.0.0.1", "--port", str(port), "--pass-environment", "--named-server-config", config]
    with running("mcp-proxy", [command, *options], folder / "mcp-proxy.log") as process:
        process.wait_for_url(f"http://127.0.0.1:{port}/status")
        url = f"http://127.0.0.1:{port}/servers/{name}"
        yield RealServer({"url": f"{url}/mcp"}, server.noted, f"{url}/mcp", f"{url}/sse", server.facts)
