"""Make .venv hold what one of the lock files pins: `python3 scripts/install.py serve` (or `studio`, or `dev`).

Needs Python 3.11 or newer and nothing else. A lock is a closure: nothing is resolved here, so what the package index
offers today changes nothing. pip installs uv, which the lock pins too, and uv installs the rest; where uv cannot be had
or cannot do it, pip does all of it and then looks that nothing is missing.

What another lock of this checkout put into .venv stays, and so does what somebody added by hand: only what an earlier
lock pinned, and none pins now, is removed. A mark in .venv for each set (`.serve`, `.studio`, `.dev`) tells make that
it is there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
LOCKS = {"serve": "requirements.lock", "studio": "requirements-studio.lock", "dev": "requirements-dev.lock"}
"""Set → its lock file. Each holds what the one before it holds, in the same versions."""
SOURCES = {"forbiddenfruit"}
"""What the registry has no wheels of. These come last, and are built with the setuptools that the lock pins."""
PIP = [BIN / "python", "-m", "pip", "--disable-pip-version-check", "-qq"]
CURE = """\
The reason is above. It is the way to the package index, most often: pip and uv read PIP_INDEX_URL and UV_DEFAULT_INDEX
(an index of your own), HTTPS_PROXY, and SSL_CERT_FILE. Then give the same command again; it goes on where it was."""


class InstallError(Exception):
    """The set-up cannot go on; the message says what to do."""


def main(name: str) -> None:
    """Install the set of that name. Raises InstallError."""
    lock = ROOT / LOCKS[name]
    pins = read_pins(lock)
    contained = list(LOCKS)[: list(LOCKS).index(name) + 1]
    aim_pip()
    make_environment()
    for each in contained:
        (VENV / f".{each}").unlink(missing_ok=True)
    record = VENV / ".installed"
    installed = set(pins) | set(record.read_text().split() if record.exists() else ())
    write_names(record, installed)
    say(f"installing {len(pins)} packages from {lock.name}")
    uv = install_uv(pins["uv"]) and install_with_uv(pins)
    if not uv:
        say("uv could not be used here; pip installs, which takes a minute")
        install_with_pip(pins)
    wanted = {pinned for other in LOCKS.values() for pinned in read_pins(ROOT / other)}
    if installed - wanted:
        run([*PIP, "uninstall", "--yes", *sorted(installed - wanted)])
    write_names(record, installed & wanted)
    if not uv:
        run([*PIP, "check"])
    for each in contained:
        (VENV / f".{each}").touch()


def aim_pip() -> None:
    """Have pip install into .venv, also where it is set up to install into a person's own or another folder."""
    os.environ["PIP_USER"] = "0"
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        os.environ.pop(name, None)


def read_pins(lock: Path) -> Mapping[str, str]:
    """Distribution → its lines in the lock: version, marker and hashes."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", lock.read_text())
    return {re.split(r"[=\[; ]", block, maxsplit=1)[0]: block for block in blocks if "==" in block}


def make_environment() -> None:
    """Make .venv, or make it anew where it belongs to another Python or is broken."""
    probe = [BIN / "python", "-c", "import pip, sys; print(*sys.version_info[:2])"]
    try:
        found = subprocess.run(probe, capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        found = []
    if found != [str(part) for part in sys.version_info[:2]]:
        say(f"making .venv with Python {sys.version.split()[0]}")
        run([sys.executable, "-m", "venv", "--clear", VENV])


def install_uv(pin: str) -> bool:
    """Whether the pinned uv is in .venv now. Never from source: that would take Rust, and minutes."""
    with write_requirements([pin]) as file:
        return succeeds([*PIP, "install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", file])


def install_with_uv(pins: Mapping[str, str]) -> bool:
    """Whether uv could install what is pinned, and this checkout."""
    # Compiled once by all cores, instead of by each program at its first start.
    os.environ.setdefault("UV_COMPILE_BYTECODE", "1")
    install = [BIN / "uv", "pip", "install", "--quiet", "--python", BIN / "python", "--no-deps"]
    return all(succeeds([*install, *options]) for options in list_steps(pins, ["--only-binary", ":all:"]))


def install_with_pip(pins: Mapping[str, str]) -> None:
    """All but uv, which would be built from source. Raises InstallError."""
    for options in list_steps({name: pin for name, pin in pins.items() if name != "uv"}, []):
        run([*PIP, "install", "--no-deps", *options])


def list_steps(pins: Mapping[str, str], binary: Sequence[str]) -> Iterator[Sequence[str | Path]]:
    """The options for each of the installations, one after the other: wheels, then what is built here."""
    for names, options in ((pins.keys() - SOURCES, binary), (pins.keys() & SOURCES, ["--no-build-isolation"])):
        if names:
            with write_requirements(pins[name] for name in sorted(names)) as file:
                yield ["--require-hashes", *options, "--requirement", file]
    yield ["--no-build-isolation", "--editable", ROOT]


@contextmanager
def write_requirements(blocks: Iterable[str]) -> Iterator[str]:
    """The path of a file with these lines, while the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("".join(blocks))
        yield str(file)


def succeeds(command: list[str | Path]) -> bool:
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def run(command: list[str | Path]) -> None:
    """Run the command, or raise InstallError below what it said itself."""
    if not succeeds(command):
        raise InstallError(CURE)


def write_names(file: Path, names: Iterable[str]) -> None:
    file.write_text("".join(f"{name}\n" for name in sorted(names)))


def say(line: str) -> None:
    """On stderr: what the server prints on stdout is read by programs."""
    print(f"interlock: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except InstallError as error:
        sys.exit(f"interlock: {error}")
