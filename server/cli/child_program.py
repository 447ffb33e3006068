"""Programs of others that a command of ours runs in its place."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType


def run_in_front(
    command: Sequence[str], env: Mapping[str, str], folder: Path | None = None, log: Path | None = None
) -> int:
    """Run the program until it ends, and return its exit code, as a shell counts it: 128 and the signal.

    Ctrl-C reaches the program by the terminal; what ends this process alone (SIGTERM, SIGHUP) is handed on to it, so
    that it is never left behind. With `log`, what it prints goes into that file, which is written anew.
    """
    with (
        nullcontext() if log is None else log.open("wb") as sink,
        subprocess.Popen(command, env=dict(env), cwd=folder, stdout=sink, stderr=sink) as child,  # noqa: S603  ours
    ):

        def hand_on(number: int, _: FrameType | None) -> None:
            child.send_signal(number)

        before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGHUP)}
        before[signal.SIGINT] = signal.signal(signal.SIGINT, wait_on)
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return 128 - code if code < 0 else code


def wait_on(_: int, __: FrameType | None) -> None:
    """Do nothing: the terminal sends Ctrl-C to the program too, which ends as it likes."""
