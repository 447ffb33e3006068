"""Runs a stdio MCP server and writes every `tools/call` that it receives to a file, one JSON line a call.

    python tee.py CALLS.jsonl COMMAND ARG...

The server is the real one and its traffic is untouched; the file is what a test counts. `calls(file)` reads it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


def calls(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Name and arguments of every call that reached the server, oldest first."""
    if not file.exists():
        return []
    return [(call["name"], call["arguments"]) for call in map(json.loads, file.read_text().splitlines())]


def main(file: str, *command: str) -> int:
    with subprocess.Popen(command, stdin=subprocess.PIPE) as server:
        assert server.stdin is not None
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        threading.Thread(target=copy, args=(server, Path(file)), daemon=True).start()
        return server.wait()


def copy(server: subprocess.Popen[bytes], file: Path) -> None:
    """Our standard input into the server's; the end of ours is the end of its."""
    assert server.stdin is not None
    try:
        for line in sys.stdin.buffer:
            note(line, file)
            server.stdin.write(line)
            server.stdin.flush()
        server.stdin.close()
    except BrokenPipeError:
        pass  # the server has ended, and main() with it


def note(line: bytes, file: Path) -> None:
    message = json.loads(line)
    if message.get("method") == "tools/call":
        call = {"name": message["params"]["name"], "arguments": message["params"].get("arguments") or {}}
        with file.open("a") as log:
            log.write(json.dumps(call) + "\n")


if __name__ == "__main__":
    # Not sys.exit: the thread may sit in a read of standard input, and the interpreter would wait for its lock.
    os._exit(main(*sys.argv[1:]))
