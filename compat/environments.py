"""Environments of other people's programs: one each, with the newest versions that are published, made once and kept.

They live outside the repository, in ~/.cache/interlock/compat or where INTERLOCK_COMPAT_CACHE says. What is there is
used again, whatever was published since; `--renew` makes them anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from support.environments import node

Language = Literal["Python", "Node"]
OLDEST_NODE = (22, 5)
"""What the newest of these programs ask for."""
PATIENCE = 900.0
"""Seconds that one installation may take."""


class NotInstalled(Exception):
    """Packages that could not be had; the message is the end of what the installer said."""


@dataclass(frozen=True)
class Environment:
    """Packages that are installed together."""

    folder: Path
    language: Language
    versions: dict[str, str]
    """By package, of those that were asked for."""

    @property
    def programs(self) -> Path:
        """The folder of its programs."""
        return self.folder / ("bin" if self.language == "Python" else "node_modules/.bin")

    @property
    def path(self) -> str:
        """A PATH that begins with its programs and has a Node that is new enough."""
        return os.pathsep.join([str(self.programs), node(OLDEST_NODE).path])

    @property
    def interpreter(self) -> Path:
        """Its Python, or the Node that runs its programs."""
        return self.programs / "python" if self.language == "Python" else node(OLDEST_NODE).node


def install(language: Language, packages: Sequence[str], *, renew: bool = False) -> Environment:
    """The environment with the newest versions of the packages, named by the first. Raises NotInstalled."""
    home = Path(os.environ.get("INTERLOCK_COMPAT_CACHE") or Path.home() / ".cache" / "interlock" / "compat")
    name = name_of(packages[0]).strip("@").replace("/", "-")
    folder = home / f"{name}-{language.lower()}"
    mark = folder / ".packages.json"
    found = json.loads(mark.read_text()) if mark.exists() else {}
    if renew or list(found) != [name_of(package) for package in packages]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (install_python if language == "Python" else install_node)(folder, packages)
        found = {name_of(package): version(folder, language, name_of(package)) for package in packages}
        # Written last, so that a half-made environment is made again.
        mark.write_text(json.dumps(found))
    return Environment(folder, language, found)


def install_python(folder: Path, packages: Sequence[str]) -> None:
    uv = [sys.executable, "-m", "uv"]
    run([*uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder])
    run([*uv, "pip", "install", "--quiet", "--python", folder, *packages])


def install_node(folder: Path, packages: Sequence[str]) -> None:
    runtime = node(OLDEST_NODE)
    (folder / "package.json").write_text('{"private": true}')
    # Scripts of packages are not run: some download programs, and none of these needs its own.
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder]
    run([*runtime.npm, "install", *options, *packages], PATH=runtime.path)


def name_of(package: str) -> str:
    """The name in a requirement: `smolagents` of `smolagents[openai]`."""
    return re.split(r"[\[<]", package)[0]


def version(folder: Path, language: Language, package: str) -> str:
    """The installed version of a package."""
    if language == "Node":
        return json.loads((folder / "node_modules" / package / "package.json").read_text())["version"]
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return run([folder / "bin" / "python", "-c", code, package]).strip()


def run(command: Sequence[str | Path], **env: str) -> str:
    """What the command printed. Raises NotInstalled if it fails."""
    parts = [str(part) for part in command]
    try:
        done = subprocess.run(parts, env=os.environ | env, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"not installed after {PATIENCE:g} seconds") from error
    if done.returncode:
        raise NotInstalled(done.stderr.strip()[-500:])
    return done.stdout
