"""A person at a terminal: a program on a pseudo-terminal, what it shows, and what is typed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.processes import plain_environment

COLUMNS, ROWS = 100, 40
CTRL_C, CTRL_D, UP, ENTER = "\x03", "\x04", "\x1b[A", "\r"
CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>()][0-9A-B]?|\r")
# Its own session, with the pseudo-terminal as the one that sends it Ctrl-C. Whoever runs the tests in the background
# ignores that, and what is ignored is handed on.
LAUNCHER = """
import fcntl, os, signal, sys, termios
for each in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(each, signal.SIG_DFL)
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass
class Terminal:
    """A program that runs on a terminal of its own."""

    file: int
    popen: subprocess.Popen[bytes]
    raw: bytes = b""
    read_up_to: int = 0
    """Where, in the text, the next `wait_for` looks from."""

    def text(self) -> str:
        """Everything that it has shown so far, without colours; where the cursor goes up, a line begins."""
        whole = re.sub(rb"\x1b[^A-Za-z]*$", b"", self.raw)  # a sequence may be there in part
        return CONTROLS.sub(lambda found: "\n" if found[0].endswith("A") else "", whole.decode(errors="replace"))

    def type(self, text: str, end: str = ENTER) -> None:
        """Type a line, or other keys with `end=""`."""
        os.write(self.file, f"{text}{end}".encode())

    def wait_for(self, pattern: str, timeout: float = 20) -> re.Match[str]:
        """The next match of the pattern, once it is shown; AssertionError where it does not come."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.text()
            if found := re.compile(pattern, re.MULTILINE).search(text, self.read_up_to):
                self.read_up_to = found.end()
                return found
            assert time.monotonic() < deadline, f"{pattern!r} was not shown after:\n{text[self.read_up_to :]}"
            assert self._read(0.1), f"it ended before {pattern!r} was shown:\n{text[self.read_up_to :]}"

    def wait_for_end(self, timeout: float = 20) -> int:
        """Its exit status, once it has ended and everything was read."""
        deadline = time.monotonic() + timeout
        while self._read(0.1):
            assert time.monotonic() < deadline, f"it goes on:\n{self.text()[-2000:]}"
        return self.popen.wait(timeout)

    def _read(self, seconds: float) -> bool:
        """Read what comes within that time; false once nothing can come any more."""
        if select.select([self.file], [], [], seconds)[0]:
            with suppress(OSError):  # EIO: the other end is closed
                data = os.read(self.file, 65536)
                self.raw += data
                return bool(data)
            return False
        return True


@contextmanager
def at_terminal(command: Sequence[str | Path], env: Mapping[str, str]) -> Iterator[Terminal]:
    """Runs a program on a terminal while the block lasts. `env` is added to the tests' own environment."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    popen = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *map(str, command)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**plain_environment(), "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **env},
    )
    os.close(theirs)
    try:
        yield Terminal(ours, popen)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()
        os.close(ours)
