"""The wheel as `uv tool install`, pipx and pip install it: in an environment of its own, used from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import httpx
import pytest
from support.processes import plain_environment, running

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.timeout(240)  # a wheel is built, and whole programs start here, on machines that may be busy


@pytest.fixture(scope="module")
def interlock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `interlock` of the wheel, in an environment that has the packages of this one, but for ours."""
    home = tmp_path_factory.mktemp("installed")
    make = ["make", "-s", "wheel", f"DIST={home / 'dist'}"]
    env = {**os.environ, "PYTHON": sys.executable, "MAKEFLAGS": "", "MFLAGS": "", "MAKEOVERRIDES": ""}
    subprocess.run(make, cwd=ROOT, env=env, check=True, capture_output=True)
    (wheel,) = (home / "dist").glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "env"], check=True)
    python = home / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    # Packages from a .pth are found, and the .pth in their folder, which leads to this checkout, is not read.
    beside = sysconfig.get_path("purelib", vars={"base": str(home / "env"), "platbase": str(home / "env")})
    (Path(beside) / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "env" / "bin" / "interlock"


def run(interlock: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [interlock, *arguments],
        cwd=home,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_installed_program_serves_from_an_empty_folder(interlock: Path, tmp_path: Path) -> None:
    env = {"INTERLOCK_DEMO_DELAY": "0"}
    command = [interlock, "serve", "--port", "0"]
    with running("interlock serve", command, tmp_path / "serve.log", env=env, cwd=tmp_path) as process:
        url = process.wait_for_line(r"^url (http://\S+)/v1$")[1]
        key = process.wait_for_line(r"^key admin (\S+)$")[1]
        text = process.text()
        assert (
            "shipped defaults for what configs does not have: gateway.yaml, servers.yaml, access.yaml,"
            " graphs/assistant.yaml" in text
        )
        assert "interlock init configs" in text
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            assert client.get("/health").json() == {"status": "ok"}
            assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["assistant", "demo"]
            assert client.get("/console").status_code == 200
            question = {"role": "user", "content": "list the files, then read welcome.md"}
            body = {"model": "assistant", "messages": [question]}
            assert "4711" in client.post("/v1/chat/completions", json=body).text


def test_what_init_writes_outside_a_checkout_is_checked_and_has_its_schemas(interlock: Path, tmp_path: Path) -> None:
    made = run(interlock, tmp_path, "init")
    assert made.returncode == 0, made.stderr
    schemas = {path.name for path in (tmp_path / "configs" / "schemas").iterdir()}
    assert schemas == {"gateway.json", "servers.json", "access.json", "graph.json", "test.json"}
    checked = run(interlock, tmp_path, "check")
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout
    drawn = run(interlock, tmp_path, "draw")
    assert drawn.stdout.startswith("%% graphs/assistant.yaml\nflowchart TD\n")
    like = run(interlock, tmp_path, "graph", "new", "analyst", "--like", "sql-analyst")
    assert like.returncode == 0, like.stderr


def test_a_folder_that_was_named_and_is_not_there_is_refused_with_its_cure(interlock: Path, tmp_path: Path) -> None:
    refused = run(interlock, tmp_path, "serve", "--configs", "cofnigs")
    assert refused.returncode == 1
    assert refused.stderr == (
        "cofnigs: no such folder; name one with --configs, or make one: interlock init cofnigs;"
        " `interlock serve` without --configs makes configs/\n"
    )
    assert not [*tmp_path.iterdir()]
    for command in ("check", "doctor", "access"):
        assert "interlock init" in run(interlock, tmp_path, command).stderr


def test_where_no_folder_can_be_made_it_is_said(interlock: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").write_text("a file in its place\n")
    refused = run(interlock, tmp_path, "serve", "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr == f"{tmp_path}/configs: no folder can be made there: File exists. Name one with --configs.\n"
