"""`interlock serve` as a person starts it: a process with nothing configured, its words, its end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from support.processes import Process, plain_environment, running

ROOT = Path(__file__).resolve().parents[3]
INTERLOCK = Path(sys.executable).with_name("interlock")
pytestmark = pytest.mark.timeout(180)  # whole programs start here, on machines that may be busy


def started(
    tmp_path: Path, *options: str, env: dict[str, str] | None = None
) -> tuple[list[str | Path], dict[str, str]]:
    command = [INTERLOCK, "serve", "--configs", ROOT / "configs", "--port", "0", *options]
    return command, {"INTERLOCK_DATA": str(tmp_path / "data"), "INTERLOCK_DEMO_DELAY": "0", **(env or {})}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `served`, with its data."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Process]:
    command, env = started(home)
    with running("interlock serve", command, home / "serve.log", env=env, cwd=home) as process:
        process.wait_for_line(r"^url http://127\.0\.0\.1:\d+/v1$")
        process.wait_for_line(r"Authorization: Bearer")
        yield process


def test_the_start_says_what_is_served_with_which_keys(served: Process, home: Path) -> None:
    text = served.text()
    assert re.search(r"^key admin ilk_[\w-]{43}$", text, re.MULTILINE)
    assert re.search(r"^key developer ilk_[\w-]{43}$", text, re.MULTILINE)
    assert "assistant: Answers with the help of your tools." in text
    assert "filesystem, database, monitoring" in text
    assert (home / "data" / "keys.env").stat().st_mode & 0o777 == 0o600


def test_the_printed_commands_answer_questions_that_need_a_tool(served: Process, home: Path) -> None:
    # A server that was late to come up is logged after it.
    chat, curl = served.wait_for_line(r"^Try it:\n(  .*interlock chat .*\n)((?:  .*\n)+)").groups()
    for pasted, expected in ((chat, "welcome.md"), (curl, "The door code in this story is 4711")):
        # The command's folder is on nobody's PATH, as in a checkout.
        env = plain_environment() | {"PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", "-c", pasted], cwd=home, env=env, capture_output=True, text=True, timeout=60, check=True
        )
        assert expected in done.stdout


def test_the_log_counts_tools(served: Process) -> None:
    served.wait_for_line(r"MCP server monitoring is up with 1 tool$")
    served.wait_for_line(r"MCP server filesystem is up with \d tools$")


def test_the_start_names_the_console_and_the_bare_address_leads_there(served: Process) -> None:
    url = served.wait_for_line(r"^url (\S+)/v1$")[1]
    assert served.wait_for_line(r"^console (\S+)$")[1] == f"{url}/console"
    assert served.wait_for_line(r"^docs (\S+)$")[1] == f"{url}/docs"
    assert httpx.get(f"{url}/docs", trust_env=False).status_code == 200
    page = httpx.get(url, follow_redirects=True, trust_env=False)
    assert (page.status_code, str(page.url)) == (200, f"{url}/console")


def test_the_terminal_chat_shows_tool_calls_and_streams_the_answer(served: Process, home: Path) -> None:
    url = served.wait_for_line(r"^url (\S+)$")[1]
    chat = subprocess.run(
        [INTERLOCK, "chat", "--url", url, "how many customers per country"],
        env=plain_environment() | {"INTERLOCK_DATA": str(home / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "> database/query" in chat
    assert "< completed" in chat
    assert "| Germany | 7 |" in chat


def test_bytes_that_are_no_text_end_no_chat(served: Process, home: Path) -> None:
    url = served.wait_for_line(r"^url (\S+)$")[1]
    env = plain_environment() | {"INTERLOCK_DATA": str(home / "data")}
    question = "list the files fr\u00e4nkly".encode("latin-1")
    for arguments, typed in (([question], b""), ([], question + b"\n")):
        done = subprocess.run(
            [INTERLOCK, "chat", "--url", url, *arguments],
            env=env,
            input=typed,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"welcome.md" in done.stdout


def test_a_conversation_in_the_terminal_can_approve(served: Process, home: Path) -> None:
    url = served.wait_for_line(r"^url (\S+)$")[1]
    chat = subprocess.Popen(
        [INTERLOCK, "chat", "--url", url],
        env=plain_environment() | {"INTERLOCK_DATA": str(home / "data")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert chat.stdin is not None
    assert chat.stdout is not None
    chat.stdin.write("write hello to notes.txt\n")
    chat.stdin.flush()
    shown = ""
    while (found := re.search(r"`approve ([a-z2-7]{8})` or", shown)) is None:
        line = chat.stdout.readline()
        assert line, shown
        shown += line
    assert not (home / "data" / "workspace" / "notes.txt").exists()
    rest, _ = chat.communicate(f"approve {found[1]}\n", timeout=60)
    assert "filesystem/write_file" in rest
    assert (home / "data" / "workspace" / "notes.txt").read_text() == "hello"


def test_the_three_seed_checks_end_in_executed(served: Process, home: Path) -> None:
    url = served.wait_for_line(r"^url (\S+)$")[1]
    checks = subprocess.run(
        [sys.executable, ROOT / "docs" / "seed_checks.py", "--url", url],
        env=plain_environment() | {"INTERLOCK_DATA": str(home / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checks.stdout.count(": executed") == 2, checks.stdout + checks.stderr
    assert "1. the model alone: detected, not executed" in checks.stdout
    assert checks.returncode == 0


def test_keys_outlive_a_restart_and_no_process_is_left(tmp_path: Path) -> None:
    command, env = started(tmp_path)
    keys: list[str] = []
    for number in range(2):
        with running("interlock serve", command, tmp_path / f"{number}.log", env=env) as process:
            keys.append(process.wait_for_line(r"^key admin (\S+)$")[1])
            process.wait_for_line(r"^url ")
            family = psutil.Process(process.popen.pid).children(recursive=True)
            process.popen.send_signal(signal.SIGTERM)
            assert process.popen.wait(20) in (0, -signal.SIGTERM)
        assert family
        assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert keys[0] == keys[1]


def test_sigterm_lets_a_running_turn_finish(tmp_path: Path) -> None:
    command, env = started(tmp_path, env={"INTERLOCK_DEMO_DELAY": "40"})
    with running("interlock serve", command, tmp_path / "serve.log", env=env) as process:
        key = process.wait_for_line(r"^key admin (\S+)$")[1]
        url = process.wait_for_line(r"^url (\S+)$")[1]
        body = {"model": "assistant", "stream": True, "messages": [{"role": "user", "content": "read welcome.md"}]}
        lines: list[str] = []
        with httpx.stream(
            "POST", f"{url}/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}, trust_env=False
        ) as response:
            for line in response.iter_lines():
                if '"content":' in line and len(lines) == 2:
                    process.popen.send_signal(signal.SIGTERM)
                lines.append(line)
        assert "[DONE]" in "".join(lines)
        assert "4711" in "".join(lines)
        assert process.popen.wait(20) in (0, -signal.SIGTERM)


def test_two_workers_share_keys_store_and_port(tmp_path: Path) -> None:
    command, env = started(tmp_path, "--workers", "2")
    with running("interlock serve", command, tmp_path / "serve.log", env=env) as process:
        key = process.wait_for_line(r"^key admin (\S+)$")[1]
        url = process.wait_for_line(r"^url (\S+)$")[1]
        headers = {"authorization": f"Bearer {key}"}
        for _ in range(6):
            body = {"model": "assistant", "messages": [{"role": "user", "content": "read welcome.md"}]}
            answer = httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=60, trust_env=False)
            assert "4711" in answer.text


def test_others_may_not_reach_it_without_configured_keys(tmp_path: Path) -> None:
    command, env = started(tmp_path, "--host", "0.0.0.0")
    whole = plain_environment() | env
    refused = subprocess.run(command, env=whole, capture_output=True, text=True, timeout=60, check=False)

    assert refused.returncode == 1
    assert "INTERLOCK_ADMIN_KEY" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_port_in_use_is_told_with_its_cure(served: Process, tmp_path: Path) -> None:
    port = served.wait_for_line(r"^url http://127\.0\.0\.1:(\d+)/v1$")[1]
    command = [INTERLOCK, "serve", "--configs", ROOT / "configs", "--port", port]
    env = plain_environment() | {"INTERLOCK_DATA": str(tmp_path / "other")}
    refused = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_mistakes_are_printed_and_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / "configs" / "graphs").mkdir(parents=True)
    (tmp_path / "configs" / "gateway.yaml").write_text("default_grph: x\n")
    (tmp_path / "configs" / "graphs" / "a.yaml").write_text("start: agnt\nnodes:\n  agent: {type: model, next: end}\n")
    for words in (["check", tmp_path / "configs"], ["serve", "--configs", tmp_path / "configs", "--port", "0"]):
        result = subprocess.run(
            [INTERLOCK, *words], env=plain_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        printed = result.stdout + result.stderr
        assert result.returncode == 1
        assert re.search(r"^gateway\.yaml:1:1: .*default_graph", printed, re.MULTILINE), printed
        assert re.search(r"^graphs/a\.yaml:1:\d+: .*agent", printed, re.MULTILINE), printed
        assert "Traceback" not in printed


def test_check_knows_good_files_and_missing_folders(tmp_path: Path) -> None:
    good = subprocess.run([INTERLOCK, "check", ROOT / "configs"], env=plain_environment(), timeout=60, check=False)
    missing = subprocess.run([INTERLOCK, "check", tmp_path / "none"], env=plain_environment(), timeout=60, check=False)
    assert (good.returncode, missing.returncode) == (0, 2)
