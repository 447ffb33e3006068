"""The shipped configs load, are in the wheel, and allow what the demo promises."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from graphs.config.loader import Snapshot, find_shipped_configs, load
from graphs.config.spec.cases import is_case_file
from graphs.diagnostics.probe import probe_servers
from graphs.errors import ConfigError
from graphs.policy.rules import Caller, CallFacts, ToolFacts

CONFIGS = Path(__file__).parents[3] / "configs"
LOAD = """
import json, pathlib
from graphs.config.loader import find_shipped_configs, load
print(json.dumps([str(find_shipped_configs()), dict(load(pathlib.Path("empty"), {}).texts)]))
"""


@pytest.fixture
def shipped() -> Snapshot:
    return load(CONFIGS, {})


def read_texts(folder: Path) -> dict[str, str]:
    """The YAML files below a folder that are read as its configs, by their paths in it."""
    files = (
        path
        for path in folder.rglob("*.yaml")
        if path.is_file() and path.parent.name != "shelf" and not is_case_file(path.name)
    )
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


def test_a_checkout_takes_its_defaults_from_its_configs() -> None:
    assert find_shipped_configs() == CONFIGS
    assert set(read_texts(CONFIGS)) == {"gateway.yaml", "servers.yaml", "access.yaml", "graphs/assistant.yaml"}


def test_the_wheel_brings_the_configs_and_an_empty_folder_takes_them(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=CONFIGS.parent, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    (tmp_path / "empty").mkdir()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=tmp_path, env=env, check=True, capture_output=True)
    folder, texts = json.loads(done.stdout)
    assert folder == str(tmp_path / "installed" / "graphs" / "config" / "shipped")
    assert texts == {f"shipped default {name}": text for name, text in read_texts(CONFIGS).items()}
    shelf = {path.name: path.read_text() for path in (CONFIGS / "shelf").iterdir()}
    assert {path.name: path.read_text() for path in (Path(folder) / "shelf").iterdir()} == shelf


def test_a_file_that_is_neither_there_nor_shipped_is_missed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CONFIGS, tmp_path / "configs", ignore=shutil.ignore_patterns("data", "access.yaml"))
    monkeypatch.setattr("graphs.config.loader.find_shipped_configs", lambda: tmp_path / "configs")
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "configs", {})
    assert [str(problem) for problem in raised.value.problems] == [
        "access.yaml:0:0: there is no such file, and no shipped one to stand in for it; restore it"
    ]


def test_the_environment_names_of_the_contract_fill_the_gateway() -> None:
    env = {
        "LITELLM_BASE_URL": "http://litellm:4000",
        "LITELLM_API_KEY": "sk-x",
        "INTERLOCK_MODEL": "gpt",
        "INTERLOCK_STORAGE": "sqlite:///x.db",
        "INTERLOCK_DATA": "/srv/data",
    }
    snapshot = load(CONFIGS, env)
    assert snapshot.gateway.models.base_url == "http://litellm:4000"
    assert snapshot.gateway.models.api_key.get_secret_value() == "sk-x"
    assert snapshot.gateway.models.default == "gpt"
    assert snapshot.gateway.storage == "sqlite:///x.db"
    assert {server.env["INTERLOCK_DATA"] for server in snapshot.servers.values()} == {"/srv/data"}


def test_the_demo_servers_are_those_of_the_contract(shipped: Snapshot) -> None:
    assert {name: (spec.command, spec.args) for name, spec in shipped.servers.items()} == {
        name: ("python", ["-m", "server.demo", name]) for name in ("filesystem", "database", "monitoring")
    }


def test_the_shipped_keys_name_their_variables(shipped: Snapshot) -> None:
    assert {key.name: (key.role, key.env, key.forwards_users) for key in shipped.keys} == {
        "admin": ("admin", "INTERLOCK_ADMIN_KEY", False),
        "developer": ("developer", "INTERLOCK_DEVELOPER_KEY", False),
    }


def as_the_demo_says(server: str, name: str) -> ToolFacts:
    """The demo's tools with their annotations, which `trusted: true` makes known; of other servers nothing is."""
    if server not in ("filesystem", "database", "monitoring"):
        return ToolFacts(server, name, read_only=True)
    return ToolFacts(server, name, read_only=name not in ("write_file", "execute"), trusted=True)


@pytest.mark.parametrize(
    ("role", "tool", "args", "decision"),
    [
        ("admin", "monitoring/metrics", {}, "allow"),
        ("admin", "filesystem/read_file", {"path": "/workspace/a"}, "allow"),
        ("admin", "tickets/list", {}, "ask"),
        ("admin", "filesystem/write_file", {"path": "/workspace/a", "content": "x"}, "ask"),
        ("admin", "database/execute", {"sql": "delete from orders"}, "ask"),
        ("developer", "monitoring/metrics", {}, "allow"),
        ("developer", "filesystem/list_directory", {"path": "/workspace"}, "allow"),
        ("developer", "filesystem/read_file", {"path": "/workspace/welcome.md"}, "allow"),
        ("developer", "filesystem/read_file", {"path": "/etc/passwd"}, "deny"),
        ("developer", "filesystem/list_directory", {}, "deny"),
        ("developer", "database/list_tables", {}, "allow"),
        ("developer", "database/query", {"sql": "select country, count(*) from customers group by country"}, "allow"),
        ("developer", "database/query", {"sql": "delete from orders"}, "deny"),
        ("developer", "database/execute", {"sql": "select 1"}, "deny"),
        ("developer", "filesystem/write_file", {"path": "/workspace/a", "content": "x"}, "ask"),
    ],
)
def test_the_shipped_rules(shipped: Snapshot, role: str, tool: str, args: dict[str, Any], decision: str) -> None:
    server, name = tool.split("/")
    facts = CallFacts(
        call_id="call_1",
        tool=as_the_demo_says(server, name),
        args=args,
        graph="assistant",
        node="agent",
        rounds=1,
        calls=0,
        now=datetime(2026, 8, 1, tzinfo=UTC),
    )
    verdict = shipped.policy.decide(Caller(user="ann", role=role, key=role), facts)
    assert verdict.decision == decision
    assert "access.yaml:" in verdict.rule


def test_only_an_admin_approves_what_a_developer_writes(shipped: Snapshot) -> None:
    facts = CallFacts(
        call_id="call_1",
        tool=ToolFacts("filesystem", "write_file"),
        args={},
        graph="assistant",
        node="agent",
        rounds=1,
        calls=0,
        now=datetime(2026, 8, 1, tzinfo=UTC),
    )
    verdict = shipped.policy.decide(Caller(user="ann", role="developer", key="developer"), facts)
    assert (verdict.approver, verdict.expires) == ("admin", 900)
    verdict = shipped.policy.decide(Caller(user="root", role="admin", key="admin"), facts)
    assert (verdict.approver, verdict.expires) == (None, 900)


async def test_the_demo_tells_of_each_tool_whether_it_only_reads(shipped: Snapshot) -> None:
    found = {str(tool): tool for server in await probe_servers(shipped, 30) for tool in server.tool_facts}
    assert found
    for name, tool in found.items():
        assert tool.trusted
        assert tool.read_only is as_the_demo_says(*name.split("/")).read_only, name


def test_the_shipped_rules_serve_servers_that_nobody_trusts(tmp_path: Path) -> None:
    (tmp_path / "servers.yaml").write_text("mcpServers: {tickets: {url: http://127.0.0.1:9/mcp}}\n")
    assert set(load(tmp_path, {}).servers) == {"tickets"}
