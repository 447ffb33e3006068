"""The Pythons of this machine, for what must work with each: the set-up, and a part of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MINORS = (11, 12, 13, 14)
"""The versions 3.x that Interlock is for."""

SETUP = "set-up made under"
"""The property of a test's report that names the Python."""


@dataclass(frozen=True, order=True)
class Python:
    """One interpreter, and the pip that a new virtual environment of it gets."""

    pip: tuple[int, ...]
    version: str
    path: Path

    def __str__(self) -> str:
        return f"{self.version} with pip {'.'.join(map(str, self.pip))}"


@cache
def find_pythons() -> dict[int, Python]:
    """3.x → the interpreter with the oldest pip, of those that are here."""
    found: dict[int, Python] = {}
    for path in find_interpreters():
        probe = [path, "-c", "import ensurepip, platform; print(platform.python_version(), ensurepip.version())"]
        printed = subprocess.run(probe, capture_output=True, text=True, check=False).stdout.split()
        if len(printed) == 2 and (minor := int(printed[0].split(".")[1])) in MINORS:
            one = Python(tuple(int(part) for part in re.findall(r"\d+", printed[1])), printed[0], path)
            found[minor] = min(found.get(minor, one), one)
    return dict(sorted(found.items()))


def find_interpreters() -> Iterator[Path]:
    """Whatever the PATH, the system and pyenv offer under a name like python3.12, and the one of this run."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [*map(Path, os.environ["PATH"].split(os.pathsep)), Path("/usr/bin"), *sorted(pyenv.glob("*/bin"))]
    files = {Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"}
    files |= {folder / f"python3.{minor}" for folder in folders for minor in MINORS}
    yield from sorted(file for file in files if os.access(file, os.X_OK))
