"""`interlock doctor` names what is wrong, where it is written, and its cure; and it leaves nothing running."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.facade import ACCESS, KEYS, add_to_gateway, write_configs
from support.notice_receivers import Receiver
from support.processes import plain_environment
from support.scripted_model import ScriptedModel
from support.tool_server import SERVER, Tools

from graphs.config.loader import load
from graphs.diagnostics.doctor import Finding, check_servers, examine

ENV = {**os.environ, **KEYS}
MUTE = "import time; time.sleep(600)"
DIES = "import sys; print('no licence found', file=sys.stderr); sys.exit(3)"


async def findings(folder: Path, data: Path, env: dict[str, str] | None = None) -> dict[str, Finding]:
    env = ENV if env is None else env
    found = await examine(load(folder, env), env, storage="", data=data, patience=8)
    return {finding.subject: finding for finding in found}


async def test_eight_planted_faults_are_named_each_with_its_cure(
    tmp_path: Path, model: ScriptedModel, tools: Tools
) -> None:
    servers = {
        "good": {"url": tools.url},
        "missing": {"command": "npx-is-not-here", "args": ["-y", "x"]},
        "dies": {"command": sys.executable, "args": ["-c", DIES]},
        "mute": {"command": sys.executable, "args": ["-c", MUTE], "timeout": "1s"},
        "unreachable": {"url": "http://127.0.0.1:9/mcp"},
        "wrong-path": {"url": f"{tools.url}/nothing"},
    }
    folder = write_configs(tmp_path / "c", model.url, servers, default="gpt-nowhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "interlock.db").mkdir()
    found = await findings(folder, tmp_path / "data", {**ENV, "INTERLOCK_DEVELOPER_KEY": ""})

    assert {subject for subject, finding in found.items() if finding.sound} == {"good", "roles", "models", "key admin"}
    assert "tools after" in found["good"].message
    assert "not found" in found["missing"].message
    assert "no licence found" in found["dies"].message
    assert "status 3" in found["dies"].message
    assert "1 s" in found["mute"].message
    assert "cannot connect" in found["unreachable"].message
    assert "Check the path in 'url'" in found["wrong-path"].message
    assert "set INTERLOCK_MODEL to one of: scripted" in found["models.default"].message
    assert "set INTERLOCK_DEVELOPER_KEY" in found["key developer"].message
    assert "interlock.db" in found["storage"].message
    for subject in ("missing", "dies", "mute", "unreachable", "wrong-path"):
        line = (folder / "servers.yaml").read_text().splitlines()[int(found[subject].where.split(":")[1]) - 1]
        assert line.strip().startswith(f"{subject}:")


async def test_a_litellm_that_is_down_is_named_with_its_address(tmp_path: Path, tools: Tools) -> None:
    folder = write_configs(tmp_path / "c", "http://127.0.0.1:9/v1", {"good": {"url": tools.url}})
    found = await findings(folder, tmp_path / "data")
    assert not found["models"].sound
    assert "http://127.0.0.1:9/v1" in found["models"].message
    assert found["models"].where.startswith("gateway.yaml:")


@pytest.mark.timeout(180)
def test_the_command_says_it_line_by_line_and_leaves_no_process(tmp_path: Path) -> None:
    servers = {"own": {"command": sys.executable, "args": [str(SERVER), "stdio"]}, "gone": {"command": "gone-entirely"}}
    access = {**ACCESS, "roles": {"admin": {"allow": ["own/echo"]}, "developer": {"allow": ["gone/query"]}}}
    folder = write_configs(tmp_path / "c", "", servers, access=access)
    interlock = Path(sys.executable).with_name("interlock")
    env = plain_environment() | {"INTERLOCK_DATA": str(tmp_path / "data")}
    result = subprocess.run(
        [interlock, "doctor", "--configs", folder], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert [line[:4] for line in lines] == ["ok  ", "FAIL", *["ok  "] * 8]
    assert lines[1].startswith("FAIL servers.yaml:7:3: gone: gone-entirely: not found")
    assert lines[1].endswith("; not judged without it: access.yaml:7:7")
    assert lines[2].startswith("ok   servers.yaml:2:3: roles: admin: 1 of ")
    assert "(1 allowed); no rule names " in lines[2]
    assert lines[3].startswith("ok   servers.yaml:2:3: roles: developer: 0 of ")
    assert lines[3].endswith(" tools of own; no rule names them")
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]


async def test_a_model_that_cannot_embed_is_named_where_a_graph_names_it(tmp_path: Path) -> None:
    def remember(model: str) -> dict[str, Any]:
        search = {"type": "memory", "recall": "{{ message }}", "into": "found", "next": "say"}
        say = {"type": "reply", "text": "{{ json(found) }}", "next": "end"}
        memory = {"memory": {"embed": model}, "vars": {"found": "any[]"}}
        return {**memory, "start": "find", "nodes": {"find": search, "say": say}}

    graphs = {"assistant": remember("embedder"), **{name: remember(name) for name in ("gone", "chatty", "vague")}}
    modes = {"embedder": "embedding", "chatty": "chat", "vague": None}
    entries = [
        {"model_name": name, "litellm_params": {}, "model_info": {"mode": mode} if mode else {}}
        for name, mode in modes.items()
    ]
    async with ScriptedModel(["scripted", *modes], entries) as model:
        folder = write_configs(tmp_path / "c", model.url, {}, graphs=graphs)
        found = await findings(folder, tmp_path / "data")
    assert {name: found[f"embedding model {name}"].sound for name in ("embedder", "gone", "chatty", "vague")} == {
        "embedder": True,
        "gone": False,
        "chatty": False,
        "vague": True,
    }
    assert "LiteLLM has no such model" in found["embedding model gone"].message
    assert "its mode is 'chat', not embedding" in found["embedding model chatty"].message
    assert found["embedding model chatty"].where.startswith("graphs/chatty.yaml:")
    demo = await findings(write_configs(tmp_path / "d", "", {}, graphs=graphs), tmp_path / "data")
    assert "the demo model has no embeddings" in demo["embedding model embedder"].message


async def test_destinations_of_notifications_are_tried_and_nothing_is_sent(tmp_path: Path, tools: Tools) -> None:
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    with Receiver() as receiver:
        destinations = {
            "good": {"webhook": {"url": f"{receiver.url}/interlock", "secret": secret}},
            "gone": {"mattermost": {"url": "http://127.0.0.1:9/hooks/T0KEN"}},
        }
        folder = write_configs(tmp_path / "c", "http://127.0.0.1:9/v1", {"good": {"url": tools.url}})
        notifications = {"console": "https://interlock.example.com/console", "destinations": destinations}
        found = await findings(add_to_gateway(folder, notifications=notifications), tmp_path / "data")
        problems, notes = await check_servers(load(folder, ENV), 8)
        assert {request.method for request in receiver.requests} == {"HEAD"}
    good, gone = found["notifications good"], found["notifications gone"]
    assert (good.sound, gone.sound) == (True, False)
    assert good.message.startswith("127.0.0.1 answers (status 204 to HEAD)")
    assert gone.message == "127.0.0.1:9 cannot be reached"
    for name, finding in (("good", good), ("gone", gone)):
        line = (folder / "gateway.yaml").read_text().splitlines()[int(finding.where.split(":")[1]) - 1]
        assert line.strip().startswith(f"{name}:")
    assert f"{gone.where}: gone: 127.0.0.1:9 cannot be reached" in [str(problem) for problem in problems]
    assert f"good: {good.message}" in notes
