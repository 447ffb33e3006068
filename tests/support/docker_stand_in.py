"""A program called docker that does what deploy/up asks of it, as far as that goes without an engine, and notes it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.processes import plain_environment

SCRIPT = """\
#!/bin/sh
# compose run … interlock check is a real check of the folder's files; compose up ends with the code that a test writes.
echo "$*" >> "$STAND_IN/calls"
case "$1 $2" in
    "compose version") cat "$STAND_IN/version" ;;
    "compose run") INTERLOCK_CONFIGS=configs {interlock} check ;;
    "compose up")
        while [ ! -e "$STAND_IN/up" ]; do sleep 0.1; done
        exit "$(cat "$STAND_IN/up")"
        ;;
esac
"""
FILLED_IN = {
    "LITELLM_BASE_URL": "http://litellm:4000/v1",
    "LITELLM_API_KEY": "sk-of-the-check",
    "INTERLOCK_MODEL": "gpt-4o",
    "INTERLOCK_STORAGE_PASSWORD": "of-the-check",
}
"""What compose.yaml gives the container that checks."""


@dataclass(frozen=True)
class DockerStandIn:
    """One in a folder of its own."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        interlock = Path(sys.executable).with_name("interlock")
        (self.folder / "docker").write_text(SCRIPT.replace("{interlock}", str(interlock)))
        (self.folder / "docker").chmod(0o755)
        (self.folder / "version").write_text("2.40.3\n")

    @property
    def env(self) -> dict[str, str]:
        """The environment in which `docker` is this one."""
        plain = plain_environment()
        return plain | FILLED_IN | {"STAND_IN": str(self.folder), "PATH": f"{self.folder}:{plain['PATH']}"}

    def list_calls(self) -> Sequence[str]:
        """What it was asked for so far."""
        return (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []

    def wait_for_up(self, timeout: float) -> None:
        """Return once it is asked to start all parts."""
        deadline = time.monotonic() + timeout
        while not any(call.startswith("compose up") for call in self.list_calls()):
            assert time.monotonic() < deadline, self.list_calls()
            time.sleep(0.1)

    def end_up(self, code: int = 0) -> None:
        """Let that end, or the next one at once."""
        (self.folder / "up.new").write_text(str(code))
        (self.folder / "up.new").rename(self.folder / "up")
