"""The tee counts what reaches a server; it must miss nothing and change nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import tee

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)\nprint('the end', flush=True)\nsys.exit(3)"


def test_it_passes_everything_on_and_notes_the_calls(tmp_path: Path) -> None:
    noted = tmp_path / "calls.jsonl"
    call = {"method": "tools/call", "params": {"name": "query", "arguments": {"sql": "SELECT 'ü'"}}}
    lines = [json.dumps(message) for message in ({"method": "tools/list"}, call, {"result": {}}, call)]
    command = [sys.executable, tee.__file__, noted, sys.executable, "-c", ECHO]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=30)

    assert done.stdout.splitlines() == [*lines, "the end"]
    assert done.returncode == 3
    assert tee.calls(noted) == [("query", {"sql": "SELECT 'ü'"})] * 2


def test_before_the_first_call_there_are_none(tmp_path: Path) -> None:
    assert tee.calls(tmp_path / "calls.jsonl") == []
