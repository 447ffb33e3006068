"""The vital signs of a gateway under attack: its memory and how long `/health` takes, sampled while a block runs."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil

MOST_MEMORY = 400 * 2**20
"""Bytes that the process with its workers may take, MCP servers not counted."""
SLOWEST_HEALTH = 0.2
"""Seconds that `GET /health` may take while anything goes on."""
EVERY = 0.05
"""Seconds between two samples."""


@dataclass
class Vitals:
    """What was sampled. `memory` in bytes, `health` in seconds; a probe that failed is in `failures`."""

    memory: list[int] = field(default_factory=list[int])
    health: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])

    def check(self) -> None:
        """Fails the test unless the gateway stayed small and answered quickly throughout."""
        assert not self.failures, f"/health did not answer: {self.failures[:3]}"
        assert self.health, "/health was never asked: the block was too short"
        assert max(self.health) < SLOWEST_HEALTH, f"/health took {max(self.health) * 1000:.0f} ms"
        assert max(self.memory) < MOST_MEMORY, f"the process took {max(self.memory) / 2**20:.0f} MB"


@contextmanager
def watch_vitals(pid: int, root: str) -> Iterator[Vitals]:
    """Samples the process `pid` and `root`/health while the block lasts, and checks the bounds at its end.

    One connection is kept open for the probe, made before the block: what is measured is the loop, not a listener that
    an attack of connections fills. A server that closes it is asked over a new one.
    """
    vitals, over = Vitals(), threading.Event()
    probe = threading.Thread(target=_sample, args=(pid, root, vitals, over), daemon=True)
    probe.start()
    try:
        yield vitals
    finally:
        over.set()
        probe.join(timeout=30)
    vitals.check()


def _sample(pid: int, root: str, vitals: Vitals, over: threading.Event) -> None:
    process = psutil.Process(pid)
    address = urlsplit(root)
    connection: http.client.HTTPConnection | None = None
    while not over.is_set():
        began = time.perf_counter()
        for attempt in range(2):
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
                connection.request("GET", "/health")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    vitals.failures.append(f"status {answer.status}")
                break
            except (OSError, http.client.HTTPException) as error:
                if connection is not None:
                    connection.close()
                connection = None
                if attempt:
                    vitals.failures.append(type(error).__name__)
        vitals.health.append(time.perf_counter() - began)
        vitals.memory.append(_memory(process))
        over.wait(EVERY)
    if connection is not None:
        connection.close()


def _memory(process: psutil.Process) -> int:
    """Resident bytes of the process and those of its children that are its own workers."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        total = process.memory_info().rss
        for child in process.children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                command = " ".join(child.cmdline())
                if "multiprocessing" in command or "graphs.expressions.worker" in command:
                    total += child.memory_info().rss
    return total
