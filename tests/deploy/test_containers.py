"""Each part of the composed system from inside: who it is, what it may write, and what its health check notices."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from support.composed_system import PATIENCE, Team
from support.containers import innermost

SERVICES = ("open-webui", "interlock", "litellm", "mcp-proxy", "postgres", "prometheus", "backup")
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd")


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("name", SERVICES)
def test_it_runs_as_its_user_without_any_capability(team: Team, name: str) -> None:
    container = team.composed.containers[name]
    assert container.process is not None
    user, group = container.service.user
    own = psutil.Process(innermost(container.process.popen.pid))
    for process in (own, *own.children(recursive=True)):
        said = status(process.pid)
        assert set(said["Uid"].split()) == {str(user)}, process
        assert set(said["Gid"].split()) == {str(group)}, process
        assert said["Groups"] in ("", str(group)), process
        assert {said[one] for one in CAPABILITIES} == {"0000000000000000"}, process
        assert said["NoNewPrivs"] == "1", process


@pytest.mark.parametrize("name", SERVICES)
def test_it_writes_nowhere_but_to_its_volumes_and_tmpfs(team: Team, name: str) -> None:
    container = team.composed.containers[name]
    writable = {target for _, target, read_only in container.service.volumes if not read_only}
    writable |= {one.split(":")[0] for one in container.service.spec["tmpfs"]}
    places = ["/", "/etc", "/usr", "/opt", "/run/secrets", container.image.workdir, *container.image.path]
    places += [
        str(Path(target).parent if "." in Path(target).name else target) for _, target, _ in container.service.volumes
    ]
    for place in places:
        made = container.inside(["touch", f"{place}/made-by-the-test"])
        expected = any(Path(place).is_relative_to(one) for one in writable)
        assert (made.returncode == 0) == expected, f"{place}: {made.stderr}"
        if expected:
            assert container.inside(["rm", f"{place}/made-by-the-test"]).returncode == 0


def test_interlock_holds_no_secret_in_its_environment_and_says_none(team: Team, folder: Path) -> None:
    container = team.composed.containers["interlock"]
    assert container.process is not None
    kept = {file.name: file.read_text() for file in (folder / "secrets").iterdir()}
    environment = str(psutil.Process(innermost(container.process.popen.pid)).environ())
    for name, secret in kept.items():
        assert secret not in environment, name
    for one in team.composed.containers.values():
        if one.process is not None:
            said = one.process.text()
            assert [name for name, secret in kept.items() if secret in said] == [], one.service.name


def test_a_service_has_its_own_secrets_and_no_others(team: Team) -> None:
    for container in team.composed.containers.values():
        if container.process is not None and container.process.popen.poll() is None and container.service.secrets:
            listed = container.inside(["ls", "/run/secrets"]).stdout.split()
            assert sorted(listed) == sorted(container.service.secrets), container.service.name


def test_the_servers_come_from_the_image_without_any_download(team: Team) -> None:
    container = team.composed.containers["mcp-proxy"]
    assert container.process is not None
    running = psutil.Process(innermost(container.process.popen.pid)).children(recursive=True)
    commands = " ".join(" ".join(process.cmdline()) for process in running)
    for program in ("server-filesystem", "dbhub", "prometheus-mcp-server"):
        assert program in commands
    assert container.inside(["sh", "-c", "ls /tmp/npm/_npx 2> /dev/null"]).stdout == ""


@pytest.mark.parametrize("name", SERVICES)
def test_a_health_check_notices_what_does_not_answer(team: Team, name: str) -> None:
    container = team.composed.containers[name]
    assert container.complaint() is None
    elsewhere = [
        word.replace(":8", ":1").replace(":4", ":1").replace(":9", ":1") for word in container.service.healthcheck
    ]
    if name == "postgres":
        elsewhere += ["--port", "1"]
    if name == "backup":
        elsewhere = ["env", "BACKUP_FOLDER=/tmp", *elsewhere]
    assert elsewhere != container.service.healthcheck
    assert container.inside(elsewhere).returncode != 0


def test_prometheus_collects_interlocks_metrics(team: Team) -> None:
    query = ["promtool", "query", "instant", "http://127.0.0.1:9090", "up{job='interlock'}"]
    said = team.composed.containers["prometheus"]
    for _ in range(int(PATIENCE)):
        if "=> 1 @" in said.inside(query).stdout:
            return
    pytest.fail(said.inside(query).stdout)
