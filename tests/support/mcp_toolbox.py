"""Toolboxes for tests: over the test servers, with little patience, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from langchain_core.messages import ToolMessage

from graphs.config.spec.servers import ServerSpec
from graphs.tools.registry import ToolRegistry
from graphs.tools.timing import Timing

SUPPORT = Path(__file__).parent
QUICK = Timing(first_delay=0.05, longest_delay=0.2, launch=20, check=0.1, ping=1, close=2, grace=0.3)


def spec(**values: Any) -> ServerSpec:
    return ServerSpec.model_validate(values)


def stdio(log: Path | None = None, **values: Any) -> ServerSpec:
    args = [str(SUPPORT / "mcp_server.py"), "stdio", *([str(log)] if log else [])]
    return spec(command=sys.executable, args=args, **{"timeout": 20, **values})


def raw(*how: str, **values: Any) -> ServerSpec:
    return spec(command=sys.executable, args=[str(SUPPORT / "mcp_raw.py"), *how], **{"timeout": 20, **values})


@asynccontextmanager
async def opened(servers: Mapping[str, ServerSpec], timing: Timing = QUICK) -> AsyncGenerator[ToolRegistry, None]:
    toolbox = ToolRegistry(servers, timing=timing)
    await toolbox.start()
    try:
        assert await toolbox.wait_ready(30)
        yield toolbox
    finally:
        await toolbox.close()


async def ask(toolbox: ToolRegistry, tool: str, **arguments: Any) -> ToolMessage:
    """Call `server/tool` the way a tools node does."""
    served = toolbox.find_by_people_name(tool)
    assert served is not None, f"{tool} is not served: {toolbox.get_status()}"
    call = {"type": "tool_call", "id": "call_1", "name": served.model_name, "args": arguments}
    message = await served.tool.ainvoke(call)
    assert isinstance(message, ToolMessage)
    return message


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that will happen. Raises TimeoutError where it does not."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def children() -> set[int]:
    """The processes started here that still run, and theirs."""
    return {child.pid for child in _children()}


def processes_of(script: str) -> list[psutil.Process]:
    """Our own processes that run one of the test servers."""
    return [child for child in _children() if any(script in part for part in child.info["cmdline"])]


def _children() -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for child in psutil.Process(os.getpid()).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.info = child.as_dict(["status", "cmdline"])
            if child.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found
