"""Where a measurement was made: what matters of the machine and of the versions, nothing that names it."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("langgraph", "langchain-core", "langchain-openai", "fastapi", "uvicorn", "aiohttp", "mcp")


def facts() -> dict[str, Any]:
    """The facts, with the load of the machine at this moment."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "load_before": round(os.getloadavg()[0], 1),
    }


def processor() -> str:
    """The processor's model, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def told(made: dict[str, Any]) -> str:
    """The facts as two lines."""
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return (
        f"{made['date']}, {made['cores']} cores ({made['processor']}), {made['memory_gb']} GB, {made['system']}, "
        f"load {made['load_before']} before\nPython {made['python']}, {versions}"
    )
