"""Commands that wait say on a terminal for what, and leave nothing of it there; scripts see none of it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.configs import write_configs
from support.processes import plain_environment

INTERLOCK = Path(sys.executable).with_name("interlock")
ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.timeout(240)  # whole programs start here, on machines that may be busy

FILES = {
    "servers.yaml": f"""\
        mcpServers:
          slow:
            command: {sys.executable}
            args: [-c, "import sys, time, runpy; time.sleep(1.5); sys.argv[1:] = ['filesystem']; \
runpy.run_module('server.demo', run_name='__main__')"]
            env: {{PYTHONPATH: {ROOT}}}
        """,
    "access.yaml": 'roles:\n  dev: {allow: ["*"]}\nkeys:\n  - {name: dev, role: dev, env: INTERLOCK_DEV_KEY}\n',
}


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    terminal: str
    """What it wrote on stderr."""


def run_on_terminal(home: Path, *arguments: str, stdin: bytes | None = None) -> Ended:
    """The command with a terminal as its stderr; its stdout goes to a pipe, as into a file."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [INTERLOCK, *arguments],
        cwd=home,
        env=plain_environment() | {"TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # Linux: nobody has the other end any more
                return
            shown.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    assert process.stdin is not None
    if stdin is not None:
        # Somebody who writes slowly: until then the command waits.
        threading.Event().wait(3)
    stdout, _ = process.communicate(stdin, timeout=120)
    reader.join()
    os.close(ours)
    return Ended(process.returncode, stdout.decode(), shown.decode())


def assert_cleared(terminal: str, words: str) -> None:
    """The words were there, and after the last of them their line is erased and the cursor shown again."""
    assert words in terminal, terminal
    rest = terminal.rsplit("waiting for", 1)[1]
    assert "\x1b[2K" in rest
    assert "\x1b[?25h" in rest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_configs(tmp_path / "configs", FILES)
    return tmp_path


@pytest.mark.parametrize(
    "arguments", [("check", "--connect"), ("doctor",), ("access",)], ids=lambda arguments: arguments[0]
)
def test_a_command_that_starts_servers_says_which_it_waits_for(home: Path, arguments: tuple[str, ...]) -> None:
    ended = run_on_terminal(home, *arguments)
    assert ended.code == 0, ended
    assert_cleared(ended.terminal, "slow")
    assert "waiting for" not in ended.stdout
    assert "\x1b" not in ended.stdout


def test_the_check_of_an_audit_says_what_it_waits_for(home: Path) -> None:
    ended = run_on_terminal(home, "audit", "verify", "-", stdin=b"no record\n")
    assert ended.code == 1
    assert_cleared(ended.terminal, "waiting for the export")
    assert "-:1" in ended.stdout or "line 1" in ended.stdout


def test_without_a_terminal_nothing_is_shown(home: Path) -> None:
    done = subprocess.run(
        [INTERLOCK, "access"],
        cwd=home,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.search(r"^dev +slow/read_file", done.stdout, re.MULTILINE)
    assert done.stderr == ""
