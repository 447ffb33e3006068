"""Every lock of the repository is a closure, for every Python and platform, and is installed as one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.dockerfile import stages
from support.environments import missing
from support.pythons import MINORS

from scripts.install import SOURCES
from scripts.lock import LOCKS, ROOT, Lock, find_gaps, split_lock

PLATFORMS = ("x86_64-manylinux_2_34", "aarch64-manylinux_2_34", "aarch64-apple-darwin")
"""Linux since Debian 12, Ubuntu 22.04 and RHEL 9, and macOS."""
OURS = [name for name in LOCKS if name.startswith("requirements")]
pytestmark = pytest.mark.timeout(300)


def read_gaps(lock: Lock, text: str) -> Sequence[str]:
    """`find_gaps`, or a skip where the registry cannot be asked."""
    try:
        return find_gaps(lock, text)
    except subprocess.CalledProcessError as error:
        if re.search(r"(?i)no solution", error.stderr):
            return [error.stderr]
        missing("the package index", error.stderr[-1000:])


def test_every_lock_in_the_repository_is_known_here() -> None:
    files = subprocess.run(["git", "ls-files", "*.txt", "*.lock"], cwd=ROOT, capture_output=True, text=True, check=True)
    pinned = {name for name in files.stdout.split() if re.search(r"(?m)^[\w.\[\],-]+==", (ROOT / name).read_text())}
    assert pinned == LOCKS.keys()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_with_hashes_and_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"(?m)^\s*-(?!-hash=sha256:[0-9a-f]{64})", text)
    for pin, block in split_lock(text):
        assert "--hash=sha256:" in block, pin
    assert len(re.findall(r"(?m)^[^\s#]", text)) == len(split_lock(text))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_all_that_its_packages_want(name: str) -> None:
    assert read_gaps(LOCKS[name], (ROOT / name).read_text()) == []


def test_a_gap_is_found() -> None:
    lock, text = LOCKS["requirements-studio.lock"], (ROOT / "requirements-studio.lock").read_text()
    without = re.sub(r"(?m)^opentelemetry-sdk==.*\n(    .*\n)+", "", text)  # wanted by langsmith[otel] and by us
    assert [gap.split("==")[0] for gap in read_gaps(lock, without)] == ["opentelemetry-sdk"]
    narrow = re.sub(r"(?m)^(mako==[\d.]+)", r"\1 ; python_full_version < '3.13'", text)
    assert [gap.split("==")[0] for gap in read_gaps(lock, narrow)] == ["mako"]
    other = re.sub(r"(?m)^langsmith==[\d.]+", "langsmith==0.1.0", text)  # langgraph-api wants another
    assert "langsmith" in "".join(read_gaps(lock, other))


def test_a_larger_set_has_all_of_the_smaller_in_the_same_versions() -> None:
    dev, studio, serving = (
        {name: re.findall(r"==([^ ;\\\n]+)", block)[0] for name, block in split_lock((ROOT / file).read_text())}
        for file in OURS
    )
    assert dev.items() > studio.items() > serving.items()
    assert {"uv", "hatchling", "editables"} <= serving.keys()


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("name", OURS)
def test_every_wheel_is_there_for_each_python_and_common_platform(name: str, minor: int, tmp_path: Path) -> None:
    blocks = split_lock((ROOT / name).read_text())
    (tmp_path / "wheels.txt").write_text("".join(block for pin, block in blocks if pin not in SOURCES))
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--dry-run", "--target", str(tmp_path / "to")]
    command += [
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--requirement",
        str(tmp_path / "wheels.txt"),
    ]
    for platform in PLATFORMS:
        done = subprocess.run(
            [*command, "--python-version", f"3.{minor}", "--python-platform", platform],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not re.search(r"(?i)no solution", done.stderr):
            missing("the package index", done.stderr[-1000:])
        assert done.returncode == 0, f"{platform}: {done.stderr}"


@pytest.mark.parametrize("file", ["deploy/Dockerfile", "deploy/mcp-proxy/Dockerfile"])
def test_an_image_resolves_nothing(file: str) -> None:
    runs = [text for stage in stages(ROOT / file) for kind, text in stage.instructions if kind == "RUN"]
    installs = [command for text in runs for command in text.split("&&") if "pip install" in command]
    assert installs
    for command in installs:
        assert "--no-deps" in command, command
        assert "--require-hashes" in command or "--no-index" in command, command


def test_a_lock_that_is_not_there_is_named() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lock.py", "requirements.txt"],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert "there is no lock requirements.txt" in said.stderr
