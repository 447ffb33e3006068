"""The first minutes of somebody who has installed Interlock: an empty folder, or one with a single file in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import plain_environment

INTERLOCK = Path(sys.executable).with_name("interlock")
ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.timeout(180)  # whole programs start here, on machines that may be busy

SERVERS = """\
mcpServers:
  {name}:
    command: {python}
    args: [-m, server.demo, filesystem]
    env: {{PYTHONPATH: {root}}}
"""


def run(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What the command says and makes of it, in the folder."""
    return subprocess.run(
        [INTERLOCK, *arguments],
        cwd=home,
        env=plain_environment(),
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
