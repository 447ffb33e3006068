"""The demo's MCP server for metrics: how busy the machine is that Interlock runs on."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from anyio import to_thread
from mcp.server.fastmcp import FastMCP
from mcp.types import ToolAnnotations

from server.demo.results import MetricsResult, Process, Share

SAMPLE_SECONDS = 0.2
BUSIEST = 5


def create_server(data: Path) -> FastMCP:
    """Create the server; `data` only says whose disk is measured."""
    server = FastMCP("monitoring", instructions="Metrics of the machine Interlock runs on.", log_level="WARNING")

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True, idempotentHint=True, openWorldHint=False))
    async def metrics() -> MetricsResult:  # pyright: ignore[reportUnusedFunction]
        """Processor, load, memory, disk, uptime and the busiest processes of this machine, as of now."""
        return await to_thread.run_sync(measure, data)

    return server


def measure(data: Path) -> MetricsResult:
    """Measure for a fifth of a second."""
    # Processor time is a difference between two looks; the first look of each process only starts its clock.
    seen = list(psutil.process_iter())
    for process in seen:
        _measure_cpu(process)
    cpu_percent = psutil.cpu_percent(interval=SAMPLE_SECONDS)
    running = [found for process in seen if (found := _read_process(process)) is not None]
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(str(_find_existing_parent(data)))
    return MetricsResult(
        cpu_percent=cpu_percent,
        cores=psutil.cpu_count() or 1,
        load=[round(value, 2) for value in psutil.getloadavg()],
        memory=Share(used_bytes=memory.total - memory.available, total_bytes=memory.total, percent=memory.percent),
        disk=Share(used_bytes=disk.used, total_bytes=disk.total, percent=disk.percent),
        uptime_seconds=max(0, int(time.time() - psutil.boot_time())),
        processes=len(running),
        busiest=sorted(running, key=lambda process: (-process.cpu_percent, -process.memory_bytes))[:BUSIEST],
    )


def _measure_cpu(process: psutil.Process) -> float:
    try:
        return process.cpu_percent()
    except psutil.Error:
        return 0.0


def _read_process(process: psutil.Process) -> Process | None:
    # Names only: command lines can hold secrets.
    try:
        with process.oneshot():
            return Process(
                pid=process.pid,
                name=process.name(),
                cpu_percent=round(process.cpu_percent(), 1),
                memory_bytes=process.memory_info().rss,
            )
    except psutil.Error:  # it ended meanwhile, or is not ours to look at
        return None


def _find_existing_parent(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
