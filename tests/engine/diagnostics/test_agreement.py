"""`interlock check --connect` and `interlock doctor` hold what the files say of tools against the tools there are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.configs import loaded, write_configs
from support.processes import plain_environment
from typer.testing import CliRunner

from graphs.config.loader import load
from graphs.diagnostics.doctor import examine
from graphs.diagnostics.probe import ServerProbe, probe_servers
from graphs.diagnostics.tool_check import check_tools
from graphs.errors import Position
from graphs.policy.rules import ToolFacts
from server.cli.main import app

INTERLOCK = Path(sys.executable).with_name("interlock")
RAW = Path(__file__).parents[2] / "support" / "mcp_raw.py"

FILES = {
    "servers.yaml": """\
        mcpServers:
          filesystem:
            command: python
            args: [-m, server.demo, filesystem]
            env: {INTERLOCK_DATA: "${INTERLOCK_DATA:-data}"}
          gone: {command: interlock-has-no-such-program}
          spare: {command: interlock-has-no-such-program, disabled: true}
        """,
    "access.yaml": """\
        roles:
          developer:
            allow:
              - {tool: filesystem/read_file, when: 'path_within(args.pth, "/workspace")'}
              - {tool: [filesystem/raed_*, filesystem/list_directory], when: 'args.path != ""'}
              - jira/*
              - gone/query
              - spare/query
        keys:
          - {name: laptop, role: developer, env: LAPTOP_KEY}
        """,
    "graphs/assistant.yaml": """\
        start: agent
        nodes:
          agent:
            type: model
            tools: [filesystem/read_files, "*"]
            next: [{when: size(tool_calls) > 0, to: check}, {to: end}]
          check: {type: permission, next: act}
          act: {type: tools, next: agent}
        """,
}
SAID = """\
access.yaml:4:62: filesystem/read_file takes no argument 'pth'; there is path. Did you mean 'path'?
    4 |       - {tool: filesystem/read_file, when: 'path_within(args.pth, "/workspace")'}
      |                                                              ^
access.yaml:5:17: no tool of any server matches 'filesystem/raed_*'. Did you mean 'filesystem/read_*'?
    5 |       - {tool: [filesystem/raed_*, filesystem/list_directory], when: 'args.path != ""'}
      |                 ^
access.yaml:6:9: no server is called 'jira', so 'jira/*' matches no tool; there is filesystem, gone, spare
    6 |       - jira/*
      |         ^
graphs/assistant.yaml:5:13: no tool of any server matches 'filesystem/read_files'. Did you mean 'filesystem/read_file'?
    5 |     tools: [filesystem/read_files, "*"]
      |             ^
servers.yaml:6:3: gone: interlock-has-no-such-program: not found. Install it, or give its full path, or correct \
'command' in servers.yaml.
    6 |   gone: {command: interlock-has-no-such-program}
      |   ^
filesystem: 3 tools after … s
developer: 2 of 3 tools of filesystem (2 depending on the call); no rule names write_file
gone: is down, so what is said of its tools was not judged: access.yaml:7:9
spare: is disabled, so what is said of its tools was not judged: access.yaml:8:9
"""


def test_check_connect_says_what_is_not_so_at_its_place_with_the_nearest_that_is(tmp_path: Path) -> None:
    command = [INTERLOCK, "check", "--connect", write_configs(tmp_path / "configs", FILES)]
    env = plain_environment() | {"INTERLOCK_DATA": str(tmp_path / "data")}
    result = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert re.sub(r"after [0-9.]+ s", "after … s", result.stdout) == SAID


async def test_doctor_says_the_same(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "configs", FILES)
    env = {"INTERLOCK_DATA": str(tmp_path / "data")}
    found = await examine(load(folder, env), env, storage="", data=tmp_path / "data", patience=30)
    told = {f"{finding.where}: {finding.message}" for finding in found if finding.subject == "tools"}
    assert told == {line for line in SAID.splitlines() if re.match(r"(access|graphs/assistant)\.yaml:", line)}
    (gone,) = [finding.message for finding in found if finding.subject == "gone"]
    assert gone.endswith("in servers.yaml; not judged without it: access.yaml:7:9")


async def test_a_tool_that_is_listed_twice_is_a_problem_of_its_server(tmp_path: Path) -> None:
    snapshot = loaded(
        tmp_path, {"servers.yaml": f"mcpServers: {{raw: {{command: {sys.executable}, args: ['{RAW}', bad-tools]}}}}\n"}
    )
    found = check_tools(snapshot, await probe_servers(snapshot, 30)).problems
    (twice,) = [str(problem) for problem in found if "second" in problem.message]
    assert twice == "servers.yaml:1:14: raw: a second tool named 'good' is left out"


# --- what is judged, and what is not ---

PATH = {"type": "object", "properties": {"path": {"type": "string"}}}
WRITE = {"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}}
OPEN = {"type": "object", "properties": {"path": {}}, "additionalProperties": True}
TOOLS: dict[str, dict[str, Mapping[str, Any]]] = {
    "files": {"read_file": PATH, "write_file": WRITE, "read_text": PATH},
    "web": {"fetch_page": OPEN, "ping": {"type": "object", "properties": {}}},
}


def judged(folder: Path, rule: str, *, down: tuple[str, ...] = (), **env: str) -> tuple[list[str], dict[str, Any]]:
    """What is said of one rule that a role is allowed, and what was not judged."""
    servers = [*TOOLS, *down]
    files = {
        "servers.yaml": "mcpServers:\n" + "".join(f"  {name}: {{command: x}}\n" for name in servers),
        "access.yaml": f"roles:\n  dev:\n    allow:\n      - {rule}\n",
        "graphs/assistant.yaml": "start: agent\nnodes:\n  agent: {type: model, next: end}\n",
    }
    seen = [
        ServerProbe(
            name=name,
            position=Position("servers.yaml", 2, 3),
            up=name in TOOLS,
            message="",
            tools=TOOLS.get(name, {}),
            left_out=(),
        )
        for name in servers
    ]
    found = check_tools(loaded(folder, files, env), seen)
    return [str(problem).removeprefix("access.yaml:") for problem in found.problems], dict(found.unchecked)


@pytest.mark.parametrize(
    "rule",
    [
        '"*"',
        '"*/*"',
        "files/*",
        '"*/ping"',
        "files/????_file",
        "{tool: files/read_file, when: 'args.path == \"\"'}",
        "{tool: files/*, when: 'args.content == \"\"'}",
        "{tool: [files/read_*, files/write_file], when: 'args.content == \"\"'}",
        "{tool: web/fetch_page, when: 'args.anything == 1'}",
        "{tool: web/ping, when: 'args.anything == 1'}",
        "{tool: files/read_file, when: 'size(args) > 1'}",
    ],
)
def test_what_is_so_is_not_complained_of(tmp_path: Path, rule: str) -> None:
    assert judged(tmp_path, rule) == ([], {})


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("files/read_fiel", "4:9: no tool of any server matches 'files/read_fiel'. Did you mean 'files/read_file'?"),
        ('"*/raed_file"', "4:9: no tool of any server matches '*/raed_file'. Did you mean '*/read_file'?"),
        (
            "files/delete_*",
            "4:9: no tool of any server matches 'files/delete_*'; there is files/read_file, files/write_file,"
            " files/read_text",
        ),
        (
            '"*_zip_*"',
            "4:9: no tool of any server matches '*_zip_*'; there is files/read_file, files/write_file, files/read_text,"
            " web/fetch_page, web/ping",
        ),
        ("archive/list", "4:9: no server is called 'archive', so 'archive/list' matches no tool; there is files, web"),
        (
            "{tool: files/read_file, when: '\"pth\" in args'}",
            "4:41: files/read_file takes no argument 'pth'; there is path. Did you mean 'path'?",
        ),
        (
            '{tool: files/write_file, when: \'args.path == "" || args["contents"] == ""\'}',
            "4:66: files/write_file takes no argument 'contents'; there is path, content. Did you mean 'content'?",
        ),
        (
            "{tool: files/read_*, when: 'args.content == \"\"'}",
            "4:42: none of the 2 tools of this rule takes an argument 'content'; there is path",
        ),
        (
            "{tool: '${PATTERN}'}",
            "4:10: no tool of any server matches '${PATTERN}', with its variables filled in",
        ),
    ],
)
def test_what_is_not_so_is_said(tmp_path: Path, rule: str, said: str) -> None:
    assert judged(tmp_path, rule, PATTERN="files/hush-hush") == ([said], {})


def test_what_only_a_server_that_is_down_could_match_is_not_judged_and_that_is_said(tmp_path: Path) -> None:
    assert judged(tmp_path, "mail/send_*", down=("mail",)) == ([], {"mail": ("access.yaml:4:9",)})
    assert judged(tmp_path, '"*/send_*"', down=("mail",)) == ([], {"mail": ("access.yaml:4:9",)})
    assert judged(tmp_path, "m?il/*", down=("mail",)) == ([], {"mail": ("access.yaml:4:9",)})
    # What matches a tool that is there is right; what can match none of the server's is judged.
    assert judged(tmp_path, '"*/ping"', down=("mail",)) == ([], {})
    said, unjudged = judged(tmp_path, "files/send_mail", down=("mail",))
    assert (len(said), unjudged) == (1, {})
    # The tools of a server that is down may be those that take the argument.
    assert judged(tmp_path, "{tool: '*', when: 'args.subject == \"\"'}", down=("mail",)) == ([], {})


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_results_are_used_again_only_of_a_tool_that_says_that_it_only_reads(
    tmp_path: Path, read_only: bool, up: bool
) -> None:
    nodes = "  look: {type: call, tool: files/read_text, args: {path: x}, into: found, cache: 10m, next: end}\n"
    files = {
        "servers.yaml": "mcpServers:\n  files: {command: x}\n",
        "access.yaml": "roles:\n  dev: {allow: ['*']}\n",
        "graphs/assistant.yaml": f"vars: {{found: string}}\nstart: look\nnodes:\n{nodes}",
    }
    probe = ServerProbe(
        name="files",
        position=Position("servers.yaml", 2, 3),
        up=up,
        message="",
        tools={"read_text": PATH} if up else {},
        left_out=(),
        tool_facts=(ToolFacts("files", "read_text", read_only=read_only),) if up else (),
    )
    found = [str(problem) for problem in check_tools(loaded(tmp_path, files), [probe]).problems]
    refused = (
        "graphs/assistant.yaml:4:75: files/read_text does not say that it only reads, so its results cannot be used"
        " again; remove 'cache'"
    )
    assert found == ([refused] if up and not read_only else [])


def test_a_folder_with_mistakes_in_it_is_mended_first(tmp_path: Path) -> None:
    folder = write_configs(tmp_path, {"access.yaml": "rules: {}\n", "servers.yaml": "mcpServers: {a: {command: x}}\n"})
    result = CliRunner().invoke(app, ["check", "--connect", str(folder)])
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr.endswith("the servers were not asked: mend this first\n")
