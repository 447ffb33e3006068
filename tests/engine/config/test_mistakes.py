"""One mistake a file, each with everything that `interlock check` says of it: read these as the person who made it.

A file `mistakes/KIND/NAME.yaml` stands where a config folder has its file of that kind, beside the shipped other ones;
`mistakes/folder/NAME/` is a whole folder. After changing words, rewrite what is expected and read the difference:

    .venv/bin/python -m pytest tests/engine/config/test_mistakes.py --inline-snapshot=create,fix
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from inline_snapshot import external_file
from support.configs import write_configs
from typer.testing import CliRunner

from server.cli.main import app

MISTAKES = Path(__file__).parents[2] / "mistakes"
PLACES = {
    "gateway": "gateway.yaml",
    "servers": "servers.yaml",
    "access": "access.yaml",
    "graph": "graphs/assistant.yaml",
    "test": "graphs/assistant.test.yaml",
}
CASES = sorted(
    [
        *(path for kind in PLACES for path in (MISTAKES / kind).glob("*.yaml")),
        *(path for path in (MISTAKES / "folder").iterdir() if path.is_dir()),
    ]
)
SECRET = "hush-hush"
PROBLEM = re.compile(r"[^:\n]+\.(?:ya?ml|py):\d+:\d+: \S.*")
EXCERPT = re.compile(r" *\d+ \| .*\n *\| *\^")


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def laid_out(case: Path, folder: Path) -> Path:
    """The config folder with this mistake in it."""
    if case.is_dir():
        return Path(shutil.copytree(case, folder))
    target = folder / PLACES[case.parent.name]
    target.parent.mkdir(parents=True)
    shutil.copy(case, target)
    return folder


@pytest.fixture(autouse=True)
def _known_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("INTERLOCK_", "LITELLM_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("LOST_FILE", "/nowhere/lost")


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_mistake_is_named_with_its_place_and_its_cure(case: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(laid_out(case, tmp_path / "configs"))])
    assert result.exit_code == 1, result.output
    (problem,) = result.stdout.splitlines()
    assert PROBLEM.fullmatch(problem)
    assert problem.split(":")[1] == "0" or EXCERPT.fullmatch(result.stderr.rstrip("\n"))
    assert SECRET not in result.output
    assert result.output == external_file(str(case.with_suffix(".txt")))


def test_every_expected_text_belongs_to_a_mistake() -> None:
    assert {path for path in MISTAKES.rglob("*.txt") if path.parent.parent == MISTAKES} == {
        case.with_suffix(".txt") for case in CASES
    }


# --- the command ---

INTERLOCK = Path(sys.executable).with_name("interlock")
TWO_MISTAKES = {"gateway.yaml": "defualt_graph: assistant\nmodels: {ofer: [x]}\n"}
PLAIN = """\
gateway.yaml:1:1: there is no setting 'defualt_graph'. Did you mean 'default_graph'?
gateway.yaml:2:10: there is no setting 'ofer'. Did you mean 'offer'?
"""
FULL = """\
gateway.yaml:1:1: there is no setting 'defualt_graph'. Did you mean 'default_graph'?
    1 | defualt_graph: assistant
      | ^
gateway.yaml:2:10: there is no setting 'ofer'. Did you mean 'offer'?
    2 | models: {ofer: [x]}
      |          ^
"""


def test_what_scripts_read_is_one_line_a_problem(tmp_path: Path) -> None:
    command = [INTERLOCK, "check", write_configs(tmp_path, TWO_MISTAKES)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (1, PLAIN)
    assert result.stderr == "".join(line for line in FULL.splitlines(True) if line.startswith(" "))
    in_one_log = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert in_one_log.output == FULL
    bare = CliRunner().invoke(app, ["check", "--no-excerpts", str(tmp_path)])
    assert bare.output == PLAIN


def at_a_terminal(command: list[str | Path], **streams: int) -> tuple[str, str]:
    """What a person sees, and what the program behind `|` reads."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stderr=theirs, **{"stdout": theirs, **streams}) as process:
        read = process.stdout.read().decode() if process.stdout else ""
        assert process.wait(30) == 1
        os.close(theirs)
        seen = b""
        # Linux ends the reading of a terminal that nobody writes to any more with an error.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                seen += piece
    os.close(ours)
    return seen.decode().replace("\r\n", "\n"), read


def test_a_person_at_a_terminal_sees_the_place_and_a_pipe_is_left_in_peace(tmp_path: Path) -> None:
    command: list[str | Path] = [INTERLOCK, "check", write_configs(tmp_path, TWO_MISTAKES)]
    assert at_a_terminal(command) == (FULL, "")
    assert at_a_terminal(command, stdout=subprocess.PIPE) == ("", PLAIN)


def test_a_check_needs_no_network_and_starts_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **_: object) -> NoReturn:
        raise AssertionError(f"check went out: {arguments}")

    for where, name in ((socket.socket, "connect"), (socket, "getaddrinfo"), (os, "posix_spawn"), (os, "fork")):
        monkeypatch.setattr(where, name, refused)
    monkeypatch.setattr(subprocess, "Popen", refused)
    files = {
        "servers.yaml": "mcpServers:\n  one: {command: touch}\n  two: {url: 'http://localhost:9/mcp'}\n",
        "gateway.yaml": "models: {base_url: 'http://localhost:9'}\nstorage: postgresql://u@localhost:9/x\n",
    }
    result = CliRunner().invoke(app, ["check", str(write_configs(tmp_path, files))])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
