"""Programs that the tests start: each with a log file, awaited by what it says or serves, stopped by its own pid."""

from __future__ import annotations

import json
import os
import random
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
from typing import Any

import psutil

POLL = 0.05
OURS = range(20_000, 32_000)
"""Ports that no kernel gives to outgoing connections: one of those might be taken before the program listens at it."""
GRACE = 10.0
"""Seconds a program has to end by itself once it was told to."""


class ProcessFailed(Exception):
    """The program ended, or did not become ready; the message ends with the tail of its log."""


@dataclass(frozen=True)
class Process:
    """A running program. Its standard output and error are in `log`."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        """Everything that it has written so far."""
        return self.log.read_text(errors="replace")

    def wait_for_line(self, pattern: str, timeout: float = 60) -> re.Match[str]:
        """The first match of the pattern in its log, once there; ProcessFailed if it ends or is late."""
        for _ in self._polls(f"a line like {pattern!r}", timeout):
            if found := re.search(pattern, self.text(), re.MULTILINE):
                return found
        raise AssertionError

    def wait_for_url(self, url: str, timeout: float = 60, key: str | None = None) -> bytes:
        """The body of the first 200 that the address answers; ProcessFailed if the program ends or is late.

        `key` is shown as a bearer key."""
        request = urllib.request.Request(url, headers={} if key is None else {"authorization": f"Bearer {key}"})
        for _ in self._polls(f"an answer of {url}", timeout):
            try:
                with direct_opener().open(request, timeout=5) as response:
                    return response.read()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                continue
        raise AssertionError

    def wait_for_json(
        self, url: str, wanted: Callable[[dict[str, Any]], bool], timeout: float = 60, key: str | None = None
    ) -> dict[str, Any]:
        """The first answer of the address that is wanted; ProcessFailed if the program ends or is late."""
        for _ in self._polls(f"the wanted answer of {url}", timeout):
            answer = json.loads(self.wait_for_url(url, timeout, key))
            if wanted(answer):
                return answer
        raise AssertionError

    def wait_for_port(self, port: int, timeout: float = 60) -> None:
        """Returns once the loopback port takes connections; ProcessFailed if the program ends or is late."""
        for _ in self._polls(f"port {port}", timeout):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
        raise AssertionError

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends this program, politely first, then by force, and whatever it started and left behind."""
        if self.popen.poll() is None:
            family = descendants(self.popen.pid)
            self.popen.send_signal(how)
            try:
                self.popen.wait(GRACE)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
            for child in family:
                with suppress(psutil.NoSuchProcess):  # it may end by itself at this very moment
                    child.kill()
            psutil.wait_procs(family, timeout=GRACE)

    def _polls(self, what: str, timeout: float) -> Iterator[None]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            ended = self.popen.poll() is not None
            yield
            if ended:
                raise ProcessFailed(f"{self.name} ended with {self.popen.returncode}, before {what}:\n{self.tail()}")
            time.sleep(POLL)
        raise ProcessFailed(f"{self.name} did not give {what} within {timeout:g} s:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.text().splitlines()[-40:])


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[Process]:
    """Runs a program while the block lasts. `env` is added to the tests' own environment."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        popen = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=plain_environment() | dict(env or {}),
            cwd=cwd,
            user=user,
            group=None if user is None else "nogroup",
            extra_groups=None if user is None else [],
            start_new_session=True,
        )
    process = Process(name, popen, log)
    try:
        yield process
    finally:
        process.stop(stop)


def plain_environment() -> dict[str, str]:
    """The tests' environment, less what would send loopback traffic through a proxy or configure the product."""
    unwanted = re.compile(r"(?i)^(https?|all)_proxy$|^INTERLOCK_|^OTEL_|^LITELLM_|^OPENAI_")
    return {name: value for name, value in os.environ.items() if not unwanted.match(name)}


def direct_opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def free_port(wanted: int = 0) -> int:
    """The wanted loopback port if nobody has it, else a free one."""
    below = random.SystemRandom().sample(OURS, 100)
    for port in [wanted, *below] if wanted else below:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise OSError(f"no free port among those of {OURS}")
