"""A test server behind a real HTTP port, as a process that can be killed and started again on the same port."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("mcp_server.py")


class HttpServer:
    """One server of the kind `http` or `sse`."""

    def __init__(self, kind: str, log: Path, script: Path = SCRIPT) -> None:
        self.kind = kind
        self._script = script
        self.port = 0
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{'mcp' if self.kind == 'http' else 'sse'}"

    async def start(self) -> None:
        """Start it, on the port it had before if it had one; returns when that port takes connections."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self._script),
            self.kind,
            str(self._log),
            env={**os.environ, "PORT": str(self.port)},
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def http_server(kind: str, log: Path, script: Path = SCRIPT) -> AsyncGenerator[HttpServer, None]:
    server = HttpServer(kind, log, script)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
