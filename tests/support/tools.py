"""The MCP server that many tests share, and what really ran on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SERVER = Path(__file__).with_name("mcp_server.py")


@dataclass(frozen=True)
class Tools:
    """A running MCP server, and the log of the calls that really ran."""

    url: str
    log: Path

    def ran(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []
