"""The first minutes of somebody who has installed Interlock: an empty folder, or one with a single file in it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.processes import plain_environment, running

INTERLOCK = Path(sys.executable).with_name("interlock")
ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.timeout(180)  # whole programs start here, on machines that may be busy

QUICK = {"INTERLOCK_DEMO_DELAY": "0"}
SERVERS = """\
mcpServers:
  {name}:
    command: {python}
    args: [-m, server.demo, filesystem]
    env: {{PYTHONPATH: {root}}}
"""


def run(home: Path, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What the command says and makes of it, in the folder."""
    return subprocess.run(
        [INTERLOCK, *arguments],
        cwd=home,
        env=plain_environment() | dict(env or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(params=["mine", "databases"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with `configs/servers.yaml` alone; the second name is nearly one that the shipped rules speak of."""
    (tmp_path / "configs").mkdir()
    text = SERVERS.format(name=request.param, python=sys.executable, root=ROOT)
    (tmp_path / "configs" / "servers.yaml").write_text(text)
    return tmp_path


def test_a_folder_with_servers_alone_has_no_problems_in_files_that_it_does_not_have(home: Path) -> None:
    for arguments in (["check"], ["check", "--connect"]):
        checked = run(home, *arguments)
        assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout
        assert "access.yaml" not in checked.stderr
    examined = run(home, "doctor")
    assert examined.returncode == 0, examined.stdout
    assert "FAIL" not in examined.stdout
    places = {re.split(r":\d+:", line[5:])[0] for line in examined.stdout.splitlines()}
    assert places == {"servers.yaml", "shipped default access.yaml", "shipped default gateway.yaml"}


def test_a_rule_of_ones_own_about_a_server_that_is_not_there_is_still_said(home: Path) -> None:
    rules = 'roles:\n  dev:\n    allow: ["*", nosuch/read]\nkeys:\n  - {name: dev, role: dev, env: INTERLOCK_DEV_KEY}\n'
    (home / "configs" / "access.yaml").write_text(rules)
    checked = run(home, "check", "--connect")
    assert checked.returncode == 1
    assert checked.stdout.startswith("access.yaml:3:18: no server is called 'nosuch'")


def test_the_chat_finds_the_address_and_the_key_of_the_serve_of_its_folder(tmp_path: Path) -> None:
    missing = run(tmp_path, "chat", "hello")
    assert missing.returncode == 1
    assert missing.stderr.startswith("No `interlock serve` runs in this folder, and there is no key.")
    command = [INTERLOCK, "serve", "--port", "0"]
    with running("interlock serve", command, tmp_path / "made.log", env=QUICK, cwd=tmp_path) as process:
        process.wait_for_line(r"^url ")
        chat = run(tmp_path, "chat", "list the files, then read welcome.md")
        assert (chat.returncode, chat.stderr) == (0, "")
        assert "4711" in chat.stdout
        unknown = run(tmp_path, "chat", "--model", "nosuch", "hello")
        assert unknown.returncode == 1
        assert unknown.stderr.splitlines() == [
            "There is no model 'nosuch'. Choose one with --model: assistant, demo",
        ]
    elsewhere = run(tmp_path, "chat", "--url", "http://interlock.example.com/v1", "hello")
    assert elsewhere.stderr.startswith("No key: give one with --key or INTERLOCK_KEY; the keys of this folder are for ")
    gone = run(tmp_path, "chat", "--url", "http://127.0.0.1:9/v1", "hello")
    assert gone.stderr.startswith("http://127.0.0.1:9/v1 does not answer. Is")
    assert "Is `interlock serve` running? Start it in this folder, or name another with --url." in gone.stderr


def test_the_chat_takes_the_key_that_serve_was_given_and_not_one_that_was_made_before(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "keys.env").write_text("admin=ilk_of-an-earlier-start\n")
    keys = {"INTERLOCK_DEVELOPER_KEY": "ilk_configured"}
    command = [INTERLOCK, "serve", "--port", "0"]
    with running("interlock serve", command, tmp_path / "serve.log", env=QUICK | keys, cwd=tmp_path) as process:
        process.wait_for_line(r"^url ")
        assert "ilk_configured" not in (tmp_path / "data" / "serve.json").read_text()
        without = run(tmp_path, "chat", "list the files")
        assert without.returncode == 1
        assert without.stderr == (
            "No key: the `interlock serve` of this folder has its own. Set INTERLOCK_DEVELOPER_KEY here too, or give"
            " --key.\n"
        )
        with_key = run(tmp_path, "chat", "list the files", env=keys)
        assert (with_key.returncode, with_key.stderr) == (0, "")


GRAPH = """\
start: agent
nodes:
  agent: {type: model, next: end}
"""


def list_names(listed: Mapping[str, Any]) -> list[str]:
    """The names of a model list, in its order."""
    return [model["id"] for model in listed["data"]]


def test_the_first_graph_that_is_saved_is_served_beside_the_shipped_one(tmp_path: Path) -> None:
    command = [INTERLOCK, "serve", "--port", "0"]
    with running("interlock serve", command, tmp_path / "serve.log", env=QUICK, cwd=tmp_path) as process:
        url = process.wait_for_line(r"^url (\S+)$")[1]
        key = process.wait_for_line(r"^key admin (\S+)$")[1]
        expected = ["support", "assistant", "demo"]
        (tmp_path / "configs" / "graphs").mkdir()
        (tmp_path / "configs" / "graphs" / "support.yaml").write_text(GRAPH)
        process.wait_for_json(f"{url}/models", lambda listed: list_names(listed) == expected, key=key)
    checked = run(tmp_path, "check")
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout


CASE = """\
as: {role: admin}
cases:
  hello: {say: hello, model: {agent: hi}, expect: {route: [agent, end]}}
"""


def test_the_ways_of_the_shipped_graph_are_not_counted_with_those_of_the_folder(tmp_path: Path) -> None:
    graphs = tmp_path / "configs" / "graphs"
    graphs.mkdir(parents=True)
    (graphs / "support.yaml").write_text(GRAPH)
    (graphs / "support.test.yaml").write_text(CASE)
    tested = run(tmp_path, "test")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "assistant" not in tested.stdout
    assert "(100 %)" in tested.stdout


def test_a_graph_that_is_made_before_init_leaves_a_folder_without_problems(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    made = run(tmp_path, "graph", "new", "helper")
    assert made.returncode == 0, made.stderr
    assert "write configs/gateway.yaml with the line: default_graph: helper" in made.stderr
    assert run(tmp_path, "check").returncode == 0
    begun = run(tmp_path, "init")
    assert "configs/graphs/assistant.yaml" in begun.stdout.splitlines()
    assert "configs/graphs/helper.yaml is there already, and stays as it is" in begun.stderr
    checked = run(tmp_path, "check")
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout


def test_init_writes_no_graph_beside_a_gateway_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "configs" / "graphs").mkdir(parents=True)
    (tmp_path / "configs" / "graphs" / "helper.yaml").write_text(GRAPH)
    (tmp_path / "configs" / "gateway.yaml").write_text("default_graph: helper\n")
    assert "assistant" not in run(tmp_path, "init").stdout
    assert run(tmp_path, "check").returncode == 0


@pytest.mark.parametrize("command", ["check", "doctor", "access", "turn", "audit verify", "notify test", "studio"])
def test_every_command_says_alike_how_to_get_a_folder(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, *command.split())
    assert done.returncode in (1, 2)
    expected = (
        "configs: no such folder; name one with --configs, or make one: interlock init configs;"
        " `interlock serve` without --configs makes configs/"
    )
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("", expected)
