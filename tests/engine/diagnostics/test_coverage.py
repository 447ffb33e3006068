"""What each role may do with a server's tools, said in words: in `doctor`, in `check --connect` and at the start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.configs import loaded
from support.facade import write_configs
from support.gateway import gateway
from support.processes import plain_environment
from support.scripted_model import ScriptedModel
from support.tool_server import Tools

from graphs.diagnostics.coverage import describe_coverage
from graphs.policy.rules import ToolFacts

TICKETS = [ToolFacts("tickets", f"tool{number:02}") for number in range(25)]


def described(tmp_path: Path, rules: str, tools: list[ToolFacts] = TICKETS) -> str:
    access = f"roles:\n  developer:\n{rules}\nkeys: []\n"
    snapshot = loaded(tmp_path, {"access.yaml": access, "servers.yaml": "mcpServers: {}\n"})
    (line,) = describe_coverage(snapshot.policy, "tickets", tools)
    return line


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("    allow: [monitoring/*]", "developer: 0 of 25 tools of tickets; no rule names them"),
        ("    allow: ['*']", "developer: 25 of 25 tools of tickets (25 allowed)"),
        ("    ask: ['tickets/*']", "developer: 25 of 25 tools of tickets (25 asked first)"),
        (
            "    allow: ['*']\n    ask: [{tool: '*', when: '!tool.read_only'}]",
            "developer: 25 of 25 tools of tickets (25 asked first)",
        ),
        (
            "    allow: [tickets/tool0*]\n    ask: [tickets/tool09]",
            "developer: 10 of 25 tools of tickets (9 allowed, 1 asked first); "
            "no rule names tool10, tool11, tool12, tool13, tool14 and 10 more",
        ),
        (
            "    allow: [{tool: tickets/*, when: size(args) == 0}]",
            "developer: 25 of 25 tools of tickets (25 depending on the call)",
        ),
        (
            "    allow: ['*']\n    deny: [tickets/*]",
            "developer: 0 of 25 tools of tickets; 25 denied by role developer, deny 'tickets/*' (access.yaml:4)",
        ),
    ],
)
def test_each_role_is_described_in_a_sentence(tmp_path: Path, rules: str, words: str) -> None:
    assert described(tmp_path, rules) == words


def test_one_tool_is_one(tmp_path: Path) -> None:
    line = described(tmp_path, "    allow: [monitoring/*]", TICKETS[:1])
    assert line == "developer: 0 of 1 tool of tickets; no rule names it"


def pasted(folder: Path, model: ScriptedModel, tools: Tools) -> Path:
    """What somebody has who replaced the demo's servers by one of their own, and nothing else."""
    access: dict[str, Any] = {}
    configs = write_configs(folder, model.url, {"tickets": {"url": tools.url}}, access=access)
    (configs / "access.yaml").unlink()
    return configs


ADMIN_ASKED, NOBODY = "admin: {0} of {0} tools of tickets ({0} asked first)", "developer: 0 of {0} tools of tickets; "


def test_check_and_the_start_say_what_a_pasted_server_means_for_each_role(tmp_path: Path, tools: Tools) -> None:
    with ScriptedModel() as model:
        configs = pasted(tmp_path / "configs", model, tools)
        interlock = Path(sys.executable).with_name("interlock")
        env = plain_environment() | {"INTERLOCK_DATA": str(tmp_path / "data")}
        checked = subprocess.run(
            [interlock, "check", "--connect", "--configs", configs], env=env, capture_output=True, text=True
        )
        with gateway(configs, tmp_path / "data") as served:
            count = len(served.ready()["servers"]["tickets"]["tools"])
            lines = [ADMIN_ASKED.format(count), NOBODY.format(count) + "no rule names them"]
            for line in lines:
                served.process.wait_for_line(f"{line}$".replace("(", r"\(").replace(")", r"\)"))
    for line in lines:
        assert line in checked.stderr
