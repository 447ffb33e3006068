"""The MCP server that many tests share, and what really ran on it."""

from __future__ import annotations

import time
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

    def wait_for(self, line: str, timeout: float = 10) -> None:
        """Returns once the log holds that line."""
        deadline = time.monotonic() + timeout
        while line not in self.ran():
            assert time.monotonic() < deadline, f"{line!r} did not come; there was {self.ran()}"
            time.sleep(0.02)
