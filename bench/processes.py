"""The programs of a measurement: started on free loopback ports, measured and stopped by their own process ids."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
"""Seconds that a program has to become ready, and to end by itself."""
FOREIGN = re.compile(r"(?i)^(https?|all)_proxy$|^INTERLOCK_|^OTEL_|^LITELLM_|^OPENAI_|^LANGSMITH_|^LANGCHAIN_")
"""Variables that would send loopback traffic elsewhere, or configure what is measured."""


class NotStarted(Exception):
    """A program that ended or did not become ready; the message has the tail of its log."""


@dataclass(frozen=True)
class Program:
    """A running program."""

    popen: subprocess.Popen[bytes]
    log: Path
    started: float
    """When it was started, by `time.perf_counter`."""

    def family(self) -> list[psutil.Process]:
        """It and everything that it started."""
        first = psutil.Process(self.popen.pid)
        return [first, *first.children(recursive=True)]

    def cpu(self) -> float:
        """Seconds of processor time, user and system, of all its threads and processes so far; of those that have
        ended, as far as they were waited for."""
        total = 0.0
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        total = 0
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def wait_for(self, url: str, wanted: Callable[[bytes], bool] = lambda _: True, key: str = "") -> float:
        """Seconds from the start to the first 200 of the address with a body that is wanted. Raises NotStarted."""
        opener = direct()
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
        while time.perf_counter() < self.started + PATIENCE:
            with (
                suppress(urllib.error.URLError, ConnectionError, TimeoutError),
                opener.open(request, timeout=5) as answer,
            ):
                if wanted(answer.read()):
                    return time.perf_counter() - self.started
            if self.popen.poll() is not None:
                break
            time.sleep(0.01)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        raise NotStarted(f"{self.log.stem} did not answer at {url}; its log ends with:\n{tail}")

    def stop(self) -> None:
        """Ends it and what it started, politely first."""
        if self.popen.poll() is not None:
            return
        family = self.family()
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def program(command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Runs a program while the block lasts; what it says goes to the file."""
    mine = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
    with log.open("ab") as sink:
        started = time.perf_counter()
        popen = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**mine, **(env or {})},
            cwd=ROOT,
            start_new_session=True,
        )
    running = Program(popen, log, started)
    try:
        yield running
    finally:
        running.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def direct() -> urllib.request.OpenerDirector:
    """Opens loopback addresses whatever proxies the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
