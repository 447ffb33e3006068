"""The README's commands, as they stand there: run here, or named with the test that runs them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import free_port, plain_environment, running

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PORT = "8080"
pytestmark = pytest.mark.timeout(900)  # a program for each command, one after the other

COMMANDS = [
    line.split("   #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith(("#", "export "))
]
ELSEWHERE = {
    "make test": "this very run; .ci/run begins it by this name",
    "make bench": "test_bench.py",
    "make studio": "test_studio.py, and test_setup.py what it installs",
    next(line for line in COMMANDS if line.endswith("open-webui serve")): "e2e/",
}
MAKE = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "ARGS")
"""What a `make test ARGS=…` around this test would hand down to the `make serve` in it."""
ANSWERS = {
    "list the files, then read welcome.md": "4711",
    "how many customers per country, and how busy is this machine?": "| Germany | 7 |",
    "write hello to notes.txt": "approve ",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """`make serve` in this checkout with nothing configured: its port, and the environment for the other commands."""
    folder = tmp_path_factory.mktemp("readme")
    port = str(free_port())
    env = {"INTERLOCK_DATA": str(folder / "data"), "INTERLOCK_DEMO_DELAY": "0", "PORT": port, "PYTHON": sys.executable}
    env |= dict.fromkeys(MAKE, "")
    with running("make serve", ["make", "serve"], folder / "serve.log", env=env, cwd=ROOT) as process:
        process.wait_for_line(rf"^url http://127\.0\.0\.1:{port}/v1$", timeout=240)
        key = process.wait_for_line(r"^key admin (\S+)$")[1]
        yield port, {**plain_environment(), **env, "INTERLOCK_ADMIN_KEY": key}


def run(command: str, port: str, env: dict[str, str]) -> str:
    """What the command prints, with our port in place of the README's."""
    if "interlock chat" in command:
        command += f" --url http://127.0.0.1:{port}/v1"
        env = {**env, "INTERLOCK_KEY": env["INTERLOCK_ADMIN_KEY"]}
    here = command.replace(f":{PORT}/", f":{port}/").replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    here = here.replace(" data/", f" {env['INTERLOCK_DATA']}/")
    result = subprocess.run(
        ["bash", "-c", here], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_every_command_does_what_it_says(served: tuple[str, dict[str, str]]) -> None:
    port, env = served
    ran: list[str] = []
    for command in COMMANDS:
        if command == "make serve" or command in ELSEWHERE:
            continue
        printed = run(command, port, env if "curl" in command or "chat" in command else without_keys(env))
        ran.append(command)
        match shlex.split(command):
            case [".venv/bin/interlock", "chat", question]:
                assert ANSWERS[question] in printed
            case [".venv/bin/interlock", "doctor"]:
                assert "FAIL" not in printed
            case [".venv/bin/interlock", "draw"]:
                assert printed.startswith("%% graphs/assistant.yaml\nflowchart TD\n")
            case [".venv/bin/interlock", "draw", "assistant", "--output", _]:
                assert "<svg " in Path(printed.strip()).read_text()
            case ["curl", *_, address] if address.endswith("/metrics"):
                assert 'interlock_turns_total{graph="assistant",status="finished"}' in printed
            case [".venv/bin/interlock", "access"]:
                assert re.search(r"^developer +filesystem/write_file +ask +ask filesystem/write_file", printed, re.M)
            case [".venv/bin/interlock", "access", "explain", *_]:
                assert re.match(
                    r"deny: role developer, allow 'database/query' \(access.yaml:\d+\) holds only when", printed
                )
            case [".venv/bin/interlock", "audit", "show"]:
                assert "filesystem/write_file" in printed
            case [".venv/bin/interlock", "audit", "verify", *_]:
                assert re.search(r"^the store: .* whole$", printed, re.MULTILINE)
            case ["curl", *_]:
                assert '"tool":"filesystem/write_file"' in printed
            case _:
                pass
    assert len(ran) >= 6


def without_keys(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != "INTERLOCK_ADMIN_KEY"}


def test_the_named_targets_and_files_exist() -> None:
    for target in re.findall(r"`make (\w+)`", README):
        env = {**os.environ, **dict.fromkeys(MAKE, "")}
        subprocess.run(["make", "-n", target], cwd=ROOT, env=env, capture_output=True, check=True)
    for link in re.findall(r"\]\(((?:docs|deploy)/[^)]+)\)", README):
        assert (ROOT / link).is_file(), link
