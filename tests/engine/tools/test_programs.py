"""The programs of servers: which one a command means, what they are started with, and why they end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from support.mcp_toolbox import SUPPORT, ask, opened, raw, spec, stdio

from graphs.config.secrets import NETWORK_VARIABLES
from graphs.tools.errors import build_redaction

RAW = str(SUPPORT / "mcp_raw.py")


def write_program(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


async def read_environment(**env: str) -> dict[str, str]:
    """What a program sees of its environment."""
    async with opened({"raw": raw("environment", env=env)}) as toolbox:
        return json.loads(str((await ask(toolbox, "raw/environment")).content))


@pytest.mark.parametrize("name", ["python", "python3"])
async def test_python_is_the_one_on_the_path(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    write_program(tmp_path / "bin" / name, f'echo "$@" > {mark}; exec {sys.executable} "$@"')
    async with opened({"raw": spec(command="python", args=[RAW], env={"PATH": str(tmp_path / "bin")})}) as toolbox:
        assert (await ask(toolbox, "raw/good")).content == "good"
    assert mark.read_text() == f"{RAW}\n"


async def test_a_missing_python_says_what_to_write() -> None:
    async with opened({"raw": spec(command="python", args=[RAW], env={"PATH": "/nowhere"})}) as toolbox:
        assert toolbox.get_status()["raw"].reason == (
            "python: not found, nor python3. Install Python, or write the path of the interpreter that has the "
            "server's packages as 'command' in servers.yaml."
        )


async def test_the_demos_servers_run_with_our_own_python(tmp_path: Path) -> None:
    demo = spec(
        command="python",
        args=["-m", "server.demo", "database"],
        env={"PATH": "/nowhere", "INTERLOCK_DATA": str(tmp_path), "PYTHONPATH": str(SUPPORT.parents[1])},
    )
    async with opened({"database": demo}) as toolbox:
        assert toolbox.get_status()["database"].status == "up"


async def test_programs_are_told_of_proxies_and_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NETWORK_VARIABLES:
        monkeypatch.setenv(name, f"http://of-{name}")
    monkeypatch.setenv("LITELLM_API_KEY", "secret")
    seen = await read_environment(https_proxy="http://mine")
    assert {name: seen.get(name) for name in NETWORK_VARIABLES} == {
        # What an entry says holds in both cases of its name: programs differ in which they look at first.
        **{name: f"http://of-{name}" for name in NETWORK_VARIABLES},
        "HTTPS_PROXY": None,
        "https_proxy": "http://mine",
    }
    assert "LITELLM_API_KEY" not in seen


def test_the_password_of_a_proxy_is_blotted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3s%40me@proxy:3128")
    monkeypatch.setenv("http_proxy", "me:other-s3same@proxy:3128")
    redaction = build_redaction(spec(command="x"))
    line = "via http://me:s3s%40me@proxy:3128: s3s@me, other-s3same, bWU6czNzQG1l"
    assert redaction.redact_known(line) == "via http://me:[redacted]@proxy:3128: [redacted], [redacted], [redacted]"


async def test_a_command_line_in_command_is_taken_apart_in_words() -> None:
    line = "npx -y @x/server --api-key s3cr3ts3cr3t"
    async with opened({"line": spec(command=line)}) as toolbox:
        assert toolbox.get_status()["line"].reason == (
            "npx -y @x/server --api-key [redacted]: not found. 'command' is the program alone: write command: npx, and "
            'the rest as args: ["-y", "@x/server", "--api-key", "[redacted]"].'
        )


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (
            "no-such-program -y some-server",
            'write command: no-such-program, and the rest as args: ["-y", "some-server"]',
        ),
        ("/bin/sh start.sh", 'write command: /bin/sh, and the rest as args: ["start.sh"]'),
        ("FOLDER/my server", "FOLDER/my server: not found. Check the path, or correct 'command' in servers.yaml."),
    ],
    ids=["a line", "a line with a path", "a path"],
)
async def test_a_command_with_spaces_is_a_line_or_a_path(command: str, reason: str, tmp_path: Path) -> None:
    command, reason = (text.replace("FOLDER", str(tmp_path)) for text in (command, reason))
    async with opened({"line": spec(command=command)}) as toolbox:
        found = toolbox.get_status()["line"].reason
        assert found is not None
        assert reason in found


@pytest.mark.parametrize("where", ["1", "2"])
async def test_a_program_that_shows_its_usage_and_ends_well_says_so(where: str, tmp_path: Path) -> None:
    program = write_program(tmp_path / "usage", f"echo 'Usage: server [FOLDER...]' >&{where}; echo '  -v' >&{where}")
    async with opened({"usage": spec(command=str(program))}) as toolbox:
        status = toolbox.get_status()["usage"]
        assert status.reason == "exited with status 0 before it answered a greeting"
        assert status.last_output == "Usage: server [FOLDER...]"


async def test_colours_are_not_part_of_what_is_said(tmp_path: Path) -> None:
    program = write_program(tmp_path / "red", r"printf '\033[1;31merror\033[0m: no token\n' >&2; exit 1")
    async with opened({"red": spec(command=str(program))}) as toolbox:
        assert toolbox.get_status()["red"].last_output == "error: no token"


@pytest.mark.parametrize("closes", ["", "exec 1>&-; sleep 0.2; "])
async def test_a_program_that_ends_while_it_is_greeted_says_why(closes: str, tmp_path: Path) -> None:
    program = write_program(tmp_path / "ends", f"{closes}read line; echo 'no token' >&2; exit 1")
    async with opened({"ends": spec(command=str(program))}) as toolbox:
        status = toolbox.get_status()["ends"]
        assert (status.reason, status.last_output) == ("exited with status 1", "no token")


@pytest.mark.parametrize("how", ["batch", "bom"])
async def test_lines_of_other_forms_are_taken(how: str) -> None:
    async with opened({"raw": raw(how)}) as toolbox:
        assert (await ask(toolbox, "raw/good")).content == "good"


async def test_a_session_that_a_program_lost_is_opened_anew(tmp_path: Path) -> None:
    """As of a bridge to a server elsewhere that was started again."""
    gone = tmp_path / "gone"
    async with opened({"raw": raw(env={"GONE": str(gone)})}) as toolbox:
        gone.write_text(str(os.getpid()))
        assert (await ask(toolbox, "raw/good")).content == "good"
        assert not gone.exists()


async def test_a_refused_call_does_not_end_a_program() -> None:
    async with opened({"test": stdio(), "raw": raw()}) as toolbox:
        version = toolbox.version
        assert "not today" in str((await ask(toolbox, "raw/refused")).content)
        assert (await ask(toolbox, "raw/good")).content == "good"
        assert toolbox.version == version
