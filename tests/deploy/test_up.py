"""deploy/up, the one command of the set-up: what it makes, keeps, checks, starts and says; docker is a stand-in."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import termios
from pathlib import Path

import pytest
from support.composed_system import Team
from support.containers import HOST
from support.docker_stand_in import DockerStandIn
from support.images import DEPLOY


class SetUp:
    """A copy of deploy/ and a docker beside it."""

    def __init__(self, folder: Path) -> None:
        self.deploy = folder / "deploy"
        shutil.copytree(DEPLOY, self.deploy, ignore=shutil.ignore_patterns("secrets", ".env"))
        self.docker = DockerStandIn(folder / "docker")
        self.docker.end_up()

    def up(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", self.deploy / "up", *words],
            env=self.docker.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def read_secrets(self) -> dict[str, str]:
        return {file.name: file.read_text() for file in (self.deploy / "secrets").iterdir()}


@pytest.fixture
def set_up(tmp_path: Path) -> SetUp:
    return SetUp(tmp_path)


def test_it_makes_what_is_missing_checks_starts_and_says_where_all_is(set_up: SetUp) -> None:
    done = set_up.up(OPENAI_API_KEY="sk-of-the-provider", INTERLOCK_PORT="8090")
    assert done.returncode == 0, done.stderr
    assert set_up.docker.list_calls() == [
        "compose version --short",
        "compose config --quiet",
        "compose build --quiet",
        "compose run --rm --no-deps interlock interlock check",
        "compose up --detach --wait --remove-orphans",
    ]
    secrets = set_up.read_secrets()
    assert "made .env, from .env.example" in done.stdout
    assert {*re.findall(r"(?m)^made secrets/(\w+)$", done.stdout)} == secrets.keys()
    assert not any(secret in done.stdout + done.stderr for secret in secrets.values())
    assert secrets["openai_api_key"] == "sk-of-the-provider"
    assert "http://localhost:3000 " in done.stdout
    assert f"http://localhost:8090/v1   with the key in {set_up.deploy}/secrets/admin_key" in done.stdout
    assert "Grafana" not in done.stdout
    assert "models    none yet" not in done.stdout


def test_run_again_it_keeps_everything_and_makes_a_new_secret_alone(set_up: SetUp) -> None:
    set_up.up()
    env = set_up.deploy / ".env"
    env.write_text(env.read_text().replace("=3000", "=3100") + "COMPOSE_FILE=compose.yaml:compose.grafana.yaml\n")
    before, settings = set_up.read_secrets(), env.read_text()
    (set_up.deploy / "secrets" / "litellm_key").unlink()
    done = set_up.up(OPENAI_API_KEY="sk-another")
    assert re.findall(r"(?m)^made .*$", done.stdout) == ["made secrets/litellm_key"]
    after = set_up.read_secrets()
    assert after.pop("litellm_key") != before.pop("litellm_key")
    assert after == before
    assert env.read_text() == settings
    assert "http://localhost:3100 " in done.stdout
    assert (
        f"http://localhost:3001   as admin, with the password in {set_up.deploy}/secrets/grafana_admin" in done.stdout
    )


def test_without_a_key_of_a_provider_it_starts_and_says_how_to_give_one(set_up: SetUp) -> None:
    done = set_up.up()
    assert done.returncode == 0
    assert f"models    none yet: write a key to {set_up.deploy}/secrets/openai_api_key" in done.stdout


def start_at_terminal(set_up: SetUp) -> tuple[int, int]:
    """Start it at a terminal: its process id, and the terminal's file, once it asks."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
        os.execvpe("sh", ["sh", str(set_up.deploy / "up")], set_up.docker.env)
    shown = b""
    while b"The key of OpenAI" not in shown:
        shown += os.read(terminal, 4096)
    return child, terminal


def test_on_a_terminal_it_asks_for_the_key_and_does_not_show_it(set_up: SetUp) -> None:
    child, terminal = start_at_terminal(set_up)
    os.write(terminal, b"sk-typed\n")
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:
        pass  # how a terminal says that its program has ended
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert set_up.read_secrets()["openai_api_key"] == "sk-typed"
    assert b"sk-typed" not in shown
    assert b"chat      http://localhost:3000" in shown


def test_ctrl_c_at_the_question_leaves_a_terminal_that_shows_what_is_typed(set_up: SetUp) -> None:
    child, terminal = start_at_terminal(set_up)
    assert not termios.tcgetattr(terminal)[3] & termios.ECHO
    os.kill(child, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert termios.tcgetattr(terminal)[3] & termios.ECHO
    assert not (set_up.deploy / "secrets" / "openai_api_key").exists()


def test_a_folder_of_secrets_that_was_open_is_closed(set_up: SetUp) -> None:
    (set_up.deploy / "secrets").mkdir(mode=0o755)
    assert set_up.up().returncode == 0
    assert (set_up.deploy / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_mistake_in_the_configs_is_shown_and_nothing_is_started(set_up: SetUp) -> None:
    graph = set_up.deploy / "configs" / "graphs" / "assistant.yaml"
    graph.write_text(graph.read_text().replace("start:", "strat:"))
    done = set_up.up()
    assert done.returncode == 1
    assert "strat" in done.stdout
    assert done.stderr.strip().endswith("nothing was started: mend configs/, then ./up again")
    assert not any(call.startswith("compose up") for call in set_up.docker.list_calls())


def test_parts_that_do_not_become_well_are_listed(set_up: SetUp) -> None:
    set_up.docker.end_up(1)
    done = set_up.up()
    assert done.returncode == 1
    assert "not all parts are well. Why: docker compose logs NAME" in done.stderr
    assert set_up.docker.list_calls()[-1] == "compose ps --all"
    assert "http://localhost" not in done.stdout


@pytest.mark.parametrize(
    ("version", "is_new"), [("2.23.3", False), ("v2.24.0", True), ("1.29.2", False), ("5.0.1", True)]
)
def test_an_old_compose_is_refused_before_anything_is_made(set_up: SetUp, version: str, is_new: bool) -> None:
    (set_up.docker.folder / "version").write_text(f"{version}\n")
    done = set_up.up()
    assert (done.returncode == 0) == is_new, done.stderr
    assert (set_up.deploy / "secrets").exists() == is_new
    if not is_new:
        assert done.stderr == f"Compose is of version {version}: install 2.24 or newer\n"


def test_without_docker_and_with_words_it_says_what_is_wanted(set_up: SetUp) -> None:
    (set_up.docker.folder / "docker").unlink()
    assert "docker is not on the PATH" in set_up.up(PATH=f"{set_up.docker.folder}:/usr/bin:/bin").stderr
    assert "usage: ./up" in set_up.up("--now").stderr


def test_what_it_names_answers_in_the_composed_system(team: Team, folder: Path) -> None:
    [chat] = re.findall(r"(?m)^chat +http://localhost(\S+) ", team.printed)
    [(api, key)] = re.findall(r"(?m)^programs +http://localhost(\S+) +with the key in (\S+)$", team.printed)
    assert "made " not in team.printed
    for address in (f"http://{HOST}{chat}", f"http://{HOST}{api}/models"):
        command = ["curl", "-sf", "-H", f"Authorization: Bearer {Path(key).read_text()}", address]
        said = subprocess.run([*team.composed.person.enter, *command], capture_output=True, text=True, check=False)
        assert said.returncode == 0, address
        assert "assistant" in said.stdout or "Open WebUI" in said.stdout
    assert Path(key).is_relative_to(folder)
