"""Folders, files and settings that a first start cannot use, each said in a line with the file and the cure; and
Ctrl-C at its very beginning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import free_port, plain_environment, running
from support.scripted_model import ScriptedModel

INTERLOCK = Path(sys.executable).with_name("interlock")
QUICK = {"INTERLOCK_DEMO_DELAY": "0"}
pytestmark = pytest.mark.timeout(180)  # whole programs start here, on machines that may be busy


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [INTERLOCK, *arguments],
        cwd=home,
        env=plain_environment() | QUICK,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def break_data_folder(home: Path) -> None:
    (home / "data").write_text("a file in its place\n")


def break_keys_file(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "keys.env").write_bytes(b"\xff\xfe\x00")


def replace_keys_file(home: Path) -> None:
    (home / "data" / "keys.env").mkdir(parents=True)


INTERRUPTED_WHILE_LOADING = """\
import sys

class Person:
    def find_spec(self, name, *_):
        if name == "server.cli.main":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Person())
from server.cli.entry import main
main()
"""


def test_ctrl_c_while_the_program_loads_ends_it_without_a_word() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_LOADING], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (break_data_folder, "File exists"),
        (break_keys_file, "it is no text; move it away, and new keys are made"),
        (replace_keys_file, "Is a directory"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_said(tmp_path: Path, spoil: object, reason: str) -> None:
    assert callable(spoil)
    spoil(tmp_path)
    refused = run(tmp_path, "serve", "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"data/keys.env, the file for keys that Interlock makes, cannot be used: {reason}. Name a folder that can be"
        " written with INTERLOCK_DATA, or set the variables of the keys in access.yaml.\n"
    )


def test_the_chat_says_it_too(tmp_path: Path) -> None:
    break_keys_file(tmp_path)
    refused = run(tmp_path, "chat", "hello")
    assert refused.returncode == 1
    assert refused.stderr.startswith("No key: data/keys.env, the file for keys that Interlock makes, cannot be used: ")
    assert refused.stderr.endswith(" Or give one with --key or INTERLOCK_KEY.\n")


def test_a_file_that_a_command_cannot_write_is_said_whichever_it_is(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "schemas").write_text("a file in its place\n")
    refused = run(tmp_path, "schema")
    assert (refused.returncode, refused.stderr) == (1, "configs/schemas: File exists\n")


def test_a_database_that_cannot_be_used_is_said_and_no_traceback_begins(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "interlock.db").write_text("no database " * 100)
    refused = run(tmp_path, "serve", "--port", "0")
    assert refused.returncode != 0
    assert "interlock.db cannot be used: file is not a database" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_model_that_the_endpoint_does_not_have_is_said_at_the_start(tmp_path: Path) -> None:
    with ScriptedModel(models=["gpt-4o"]) as model:
        command = [INTERLOCK, "serve", "--port", "0"]
        env = QUICK | {"LITELLM_BASE_URL": model.url, "LITELLM_API_KEY": "sk-of-the-tests"}
        with running("interlock serve", command, tmp_path / "serve.log", env=env, cwd=tmp_path) as process:
            process.wait_for_line(
                r"WARNING .*: there is no model 'demo' at LiteLLM; set INTERLOCK_MODEL to one of: gpt-4o$"
            )


def test_a_model_endpoint_that_does_not_answer_is_said_at_the_start(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    command = [INTERLOCK, "serve", "--port", "0"]
    env = QUICK | {"LITELLM_BASE_URL": url, "INTERLOCK_MODEL": "gpt-4o"}
    with running("interlock serve", command, tmp_path / "serve.log", env=env, cwd=tmp_path) as process:
        process.wait_for_line(rf"WARNING .*: No answer from the model endpoint {url} .*Is LiteLLM running")
