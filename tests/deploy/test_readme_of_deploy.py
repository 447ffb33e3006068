"""deploy/README.md: its commands, run where they can be, and looked at where only a container engine could."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from support.composed_system import NOT_HERE, Team, shell_blocks
from support.composefile import dotenv, read
from support.containers import HOST
from support.images import DEPLOY, ROOT

README = (DEPLOY / "README.md").read_text()
LINES = [line.strip() for block in shell_blocks() for line in block.replace("\\\n", " ").splitlines()]
EXEC = re.compile(r"docker compose exec (?:-T )?(\S+) (.*)")
KNOWN = {"up", "exec", "logs", "restart", "stop", "start", "pull", "run"}


def test_settings_and_secrets_are_made_closed_and_each_its_own(folder: Path) -> None:
    assert dotenv(folder / ".env") == dotenv(DEPLOY / ".env.example")
    secrets = {file.name: file.read_text() for file in (folder / "secrets").iterdir()}
    assert secrets.keys() == read(DEPLOY / "compose.yaml", {}).raw["secrets"].keys() | {"grafana_admin"}
    assert secrets.pop("openai_api_key") == "sk-of-the-provider"
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets.values())
    assert len(set(secrets.values())) == len(secrets)
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_backup_holds_all_that_was_set(folder: Path) -> None:
    assert (folder / "settings.tar.gz.age").stat().st_size > 1000


@pytest.mark.parametrize(
    "line", [found for line in LINES if (found := line[line.find("docker compose") :]).startswith("docker compose")]
)
def test_commands_for_compose_name_files_and_services_that_exist(line: str) -> None:
    services = {*read(DEPLOY / "compose.yaml", {}).services, "grafana"}
    words = shlex.split(re.split(r"[;&<>|]", line)[0])[2:]
    while words[0] == "-f":
        assert (DEPLOY / words[1]).is_file()
        words = words[2:]
    assert words[0] in KNOWN
    named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    assert not named or named[0] in services


@pytest.mark.parametrize("line", [line for line in LINES if EXEC.match(line) and not re.search("[<|]", line)])
def test_commands_inside_a_container_do_their_work(team: Team, line: str) -> None:
    match = EXEC.match(line)
    assert match is not None
    said = team.composed.containers[match[1]].inside(shlex.split(match[2].split(">")[0]))
    assert said.returncode == 0, said.stdout + said.stderr
    if "doctor" in line:
        assert "FAIL" not in said.stdout
        assert said.stdout.count("ok  ") >= 7
        assert "tools after" in said.stdout


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("curl")])
def test_commands_for_a_person_answer(team: Team, folder: Path, line: str) -> None:
    there = [*team.composed.person.enter, "sh", "-euc", line.replace("localhost", HOST)]
    said = subprocess.run(there, cwd=folder, capture_output=True, text=True, check=True)
    assert '"status":"ok"' in said.stdout


def test_commands_for_docker_and_kubectl_name_what_exists() -> None:
    rest = [line for line in LINES if NOT_HERE.match(line) and not line.startswith(("docker compose", "curl", "cd"))]
    text = "\n".join(rest)
    for image in re.findall(r"(?:node|postgres):[\w.-]+", text):
        files = ["compose.yaml", "Dockerfile"]
        assert any(f"{image}" in (DEPLOY / file).read_text() for file in files), image
    for image in re.findall(r"--tag (\S+)", text):
        name, _, tag = image.rpartition(":")
        assert f"newName: {name}, newTag: {tag}" in (DEPLOY / "kustomization.yaml").read_text()
    assert "kubectl apply --kustomize ." in rest


def test_its_links_and_headings_fit_and_the_first_readme_points_here() -> None:
    headings = {anchor(title) for title in re.findall(r"(?m)^## (.+)$", README)}
    for link in re.findall(r"\]\(#([\w-]+)\)", README):
        assert link in headings, link
    assert "(deploy/README.md)" in (ROOT / "README.md").read_text()


def anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
