"""The nightly backup of the team's set-up: made by itself, kept for so long, loud when it fails, and restored."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from support.composed_system import PATIENCE, Team
from support.images import DEPLOY

SCRIPT = DEPLOY / "backup" / "nightly.sh"
WORDS = "interlock backup {folder} --keep 14 --include /run/secrets --include /etc/interlock"


def write_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def run_nights(folder: Path, nights: int, **env: str) -> tuple[list[str], str]:
    """The backups and pauses of a run that ends before the last of so many pauses; and what it says on stderr."""
    programs, log = folder / "bin", folder / "log"
    write_program(
        programs,
        "interlock",
        f'echo "interlock $*" >> {log}; test ! -e {folder}/fails || {{ rm {folder}/fails; exit 1; }}',
    )
    ends = f'[ "$(grep -c pause {log})" -lt {nights} ] || kill $PPID'
    write_program(programs, "sleep", f'echo "pause $1" >> {log}; {ends}')
    settings = {"BACKUP_AT": "02:30", "BACKUP_KEEP": "14", "INTERLOCK_CONFIGS": "/etc/interlock"}
    settings |= {"BACKUP_FOLDER": str(folder / "backups"), "PATH": f"{programs}:{os.environ['PATH']}", **env}
    (folder / "backups").mkdir(exist_ok=True)
    done = subprocess.run(["sh", SCRIPT], env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines(), done.stderr


def test_one_is_made_at_the_first_start_and_one_each_night(tmp_path: Path) -> None:
    lines, said = run_nights(tmp_path, 2)
    backup = WORDS.format(folder=tmp_path / "backups")
    assert lines[0] == backup
    assert lines[2] == backup
    assert said == ""
    pause = int(lines[1].removeprefix("pause "))
    assert 0 < pause <= 86400
    # Until half past two: within a minute, however slow the machine is.
    assert abs((time.time() + pause - 9000 + 43200) % 86400 - 43200) < 60


def test_the_hour_may_have_a_leading_zero(tmp_path: Path) -> None:
    lines, said = run_nights(tmp_path, 1, BACKUP_AT="09:08")
    assert said == ""
    assert abs((time.time() + int(lines[1].removeprefix("pause ")) - 32880 + 43200) % 86400 - 43200) < 60


def test_a_restart_makes_none_where_there_is_one_of_today(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "interlock-20260101T000000Z.tar.gz").touch()
    lines, _ = run_nights(tmp_path, 1)
    assert [line.split()[0] for line in lines] == ["pause"]


def test_a_failure_is_said_and_tried_again_soon(tmp_path: Path) -> None:
    (tmp_path / "fails").touch()
    lines, said = run_nights(tmp_path, 2)
    backup = WORDS.format(folder=tmp_path / "backups")
    assert lines[:3] == [backup, "pause 300", backup]
    assert said == "no backup was made; the next attempt is in five minutes\n"


def check(folder: Path) -> int:
    env: Mapping[str, str] = {"BACKUP_FOLDER": str(folder), "PATH": os.environ["PATH"]}
    return subprocess.run(["sh", SCRIPT, "check"], env=env, check=False).returncode


def test_the_health_check_fails_where_the_newest_is_older_than_a_night(tmp_path: Path) -> None:
    assert check(tmp_path) != 0
    file = tmp_path / "interlock-20260101T000000Z.tar.gz"
    file.touch()
    assert check(tmp_path) == 0
    old = time.time() - 27 * 3600
    os.utime(file, (old, old))
    assert check(tmp_path) != 0


def test_the_health_check_counts_no_part_that_a_killed_backup_left(tmp_path: Path) -> None:
    part = tmp_path / ".interlock-backup-killed" / "interlock-20260101T000000Z.tar.gz"
    part.parent.mkdir()
    part.touch()
    assert check(tmp_path) != 0


def test_what_stops_the_service_ends_the_backup_that_it_makes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_program(
        tmp_path / "bin",
        "interlock",
        f"trap 'echo ended >> {log}; exit 143' TERM; echo begun >> {log}; while true; do sleep 0.1; done",
    )
    env = {"BACKUP_AT": "02:30", "BACKUP_KEEP": "14", "INTERLOCK_CONFIGS": "/etc/interlock"}
    env |= {"BACKUP_FOLDER": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    process = subprocess.Popen(["sh", SCRIPT], env=env)
    deadline = time.monotonic() + 30
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert log.read_text().split() == ["begun", "ended"]


def test_the_composed_systems_backup_is_restored_into_an_empty_database(team: Team) -> None:
    backup, postgres = team.composed.containers["backup"], team.composed.containers["postgres"]
    team.composed.wait_until_well(backup, PATIENCE)
    listed = backup.inside(["ls", "/var/backups/interlock"]).stdout.split()
    [archive] = [name for name in listed if re.fullmatch(r"interlock-\w+\.tar\.gz", name)][-1:]
    sql = (DEPLOY / "backup" / "new-database.sql").read_text().split("RENAME TO interlock_before_restore;")[1]
    for statement in sql.replace("DATABASE interlock ", "DATABASE restored ").split(";")[:-1]:
        made = postgres.inside(["psql", "--username", "postgres", "--command", statement])
        assert made.returncode == 0, made.stderr
    address = "postgresql://interlock:$(cat /run/secrets/postgres_interlock)@postgres:5432/restored"
    command = f'export TMPDIR=/var/backups/interlock INTERLOCK_STORAGE="{address}"; interlock restore '
    restored = backup.inside(
        ["sh", "-euc", f"{command}/var/backups/interlock/{archive} && interlock audit verify"], 300
    )
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert "left in the archive: " in restored.stdout
    assert restored.stdout.count("whole") == 2
    names = backup.inside(["tar", "-tzf", f"/var/backups/interlock/{archive}"]).stdout.split()
    assert {"included/secrets/postgres_admin", "included/interlock/access.yaml"} <= {*names}
