"""How long from a clone to the first answer, on this machine: `make first-answer`.

Clones the last commit into an empty folder, runs `make serve` there with empty caches, asks the demo model for what
stands in a file of the sample workspace, and prints the seconds. Exit code 1 where it took longer than the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUESTION = "list the files, then read welcome.md"
ANSWER = "4711"
"""Stands in welcome.md, so the tool has really run."""
CONFIGURED = re.compile(r"^(INTERLOCK|LITELLM|OPENAI)_|^(MAKEFLAGS|MFLAGS|MAKEOVERRIDES|MAKELEVEL|VIRTUAL_ENV)$")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Measures the way from a clone to the first answer.")
    parser.add_argument("--limit", type=float, default=30, help="seconds that it may take")
    parser.add_argument("--cached", action="store_true", help="use the caches of pip and uv that are here")
    parser.add_argument("--python", default=sys.executable, help="the Python to make .venv with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), cached=options.cached, python=options.python)
    held = seconds["answer"] <= options.limit
    version = subprocess.run([options.python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    caches = "the caches of this machine" if options.cached else "empty caches"
    print(
        f"git clone && make serve: answered after {seconds['answer']:.1f} s (at most {options.limit:g}: "
        f"{'holds' if held else 'does not hold'}); the clone took {seconds['clone']:.1f} s, .venv was there after "
        f"{seconds['installed']:.1f} s, the server after {seconds['served']:.1f} s\n"
        f"with {version}, {caches}, on {os.cpu_count()} cores ({platform.machine()}, load {os.getloadavg()[0]:.1f})"
    )
    return 0 if held else 1


def measure(folder: Path, *, cached: bool, python: str) -> dict[str, float]:
    """Seconds since the start at which each step was done."""
    clone, log = folder / "clone", folder / "serve.log"
    env = {name: value for name, value in os.environ.items() if not CONFIGURED.match(name)}
    if not cached:
        env |= {"UV_CACHE_DIR": str(folder / "uv"), "PIP_CACHE_DIR": str(folder / "pip")}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.monotonic()
    seconds: dict[str, float] = {}
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    seconds["clone"] = time.monotonic() - start
    command = ["make", "serve", f"PORT={port}", f"PYTHON={python}"]
    with (
        log.open("w") as sink,
        subprocess.Popen(
            command,
            cwd=clone,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as server,
    ):
        try:
            while not (clone / ".venv" / ".serve").exists():
                wait(server, log)
            seconds["installed"] = time.monotonic() - start
            while not re.search(r"(?m)^url http", log.read_text()):
                wait(server, log)
            seconds["served"] = time.monotonic() - start
            ask(port, re.findall(r"(?m)^key admin (\S+)$", log.read_text())[0])
            seconds["answer"] = time.monotonic() - start
        finally:
            os.killpg(server.pid, signal.SIGTERM)
    return seconds


def wait(server: subprocess.Popen[bytes], log: Path) -> None:
    """A moment; exits with the log where the server has ended."""
    if server.poll() is not None:
        sys.exit(f"make serve ended with {server.returncode}:\n{log.read_text()}")
    time.sleep(0.05)


def ask(port: int, key: str) -> None:
    """Ask until the server answers; exits where the answer is not the wanted one."""
    body = {"model": "assistant", "messages": [{"role": "user", "content": QUESTION}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = direct.open(request, timeout=60).read().decode()
            break
        except OSError as error:  # not listening yet, or it answers with an error
            if time.monotonic() > deadline:
                sys.exit(f"the server does not answer: {error}")
        time.sleep(0.05)
    if ANSWER not in answer:
        sys.exit(f"the first answer lacks {ANSWER}: {answer}")


if __name__ == "__main__":
    sys.exit(main())
