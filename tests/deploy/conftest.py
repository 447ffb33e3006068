"""deploy/compose.yaml brought up once: after its README, with a scripted model where the internet is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chatmodel import ChatModel
from support.composed_system import NOT_HERE, PATIENCE, Team, shell_blocks
from support.composefile import dotenv, read
from support.containers import Composed
from support.docker_stand_in import DockerStandIn
from support.images import DEPLOY
from support.netns import Relay, wiring
from support.processes import running
from support.scripted_model import ScriptedModel

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)
            # The first one on a machine builds the images.
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/ in which the README's own commands have made settings and secrets, `./up` first."""
    copy = tmp_path_factory.mktemp("deploy") / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("secrets", ".env"))
    docker = DockerStandIn(copy.with_name("docker"))
    docker.end_up()
    write_age(copy.with_name("age"))
    env = docker.env | {"OPENAI_API_KEY": "sk-of-the-provider"}
    env["PATH"] = f"{copy.with_name('age')}:{env['PATH']}"
    for block in shell_blocks():
        lines = block.replace("\\\n", " ").splitlines(True)
        here = "".join(line for line in lines if not NOT_HERE.match(line))
        subprocess.run(["bash", "-eu"], input=here, cwd=copy, text=True, check=True, env=env)
    # As on the machine of somebody whose numbers .env.example names.
    subprocess.run(["chown", "--recursive", "1000:1000", copy / "workspace"], check=True)
    return copy


def write_age(folder: Path) -> None:
    """A stand-in for age, which encrypts nothing."""
    folder.mkdir()
    (folder / "age").write_text("#!/bin/sh\nexec cat\n")
    (folder / "age").chmod(0o755)


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="session")
def team(folder: Path, upstream: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Everything up and well after `./up`, in the order of `depends_on`; Open WebUI alone is started early, as it takes
    longest."""
    ChatModel(upstream)
    one = read(folder / "compose.yaml", dotenv(folder / ".env"))
    both = read(folder / "compose.yaml", dotenv(folder / ".env"), folder / "compose.replicas.yaml")
    # LiteLLM's own way to say where OpenAI is; the rest of its configuration is the shipped one.
    extra = {"litellm": {"OPENAI_BASE_URL": "http://api.openai.com:8000/v1"}}
    work = tmp_path_factory.mktemp("containers")
    port = int(upstream.url.split(":")[2].split("/")[0])
    docker = DockerStandIn(folder.with_name("docker-of-the-team"))
    with (
        running("./up", ["sh", folder / "up"], work / "up.log", env=docker.env, cwd=work) as up,
        wiring() as cables,
        Composed(both, folder, work, cables, extra) as composed,
        Relay(composed.internet, ("0.0.0.0", 8000), None, ("127.0.0.1", port)),
    ):
        docker.wait_for_up(PATIENCE)
        composed.start_without_waiting("open-webui", PATIENCE)
        for name in one.services:
            composed.start_when_needed(name, PATIENCE)
        for name, service in one.services.items():
            if service.healthcheck:
                composed.wait_until_well(composed.containers[name], PATIENCE)
            composed.publish(name)
        docker.end_up()
        assert up.popen.wait(PATIENCE) == 0, up.tail()
        yield Team(composed, upstream, up.text())
