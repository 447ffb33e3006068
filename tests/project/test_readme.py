"""The commands, examples and links of README.md and docs/, as they stand there: run here, or in the test named here."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.configs import write_configs
from support.processes import free_port, plain_environment, running

from graphs.config.loader import load
from graphs.config.spec.notifications import decode_webhook_secret

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
PAGES = {
    str(file.relative_to(ROOT)): file.read_text() for file in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
}
PORT = "8080"
LARGEST_PICTURE = 300_000
"""Bytes."""
pytestmark = pytest.mark.timeout(900)  # a program for each command, one after the other


def read_commands(page: str) -> list[str]:
    """What the page tells people to type, without its comments."""
    return [
        line.split("   #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", PAGES[page], re.DOTALL)
        for line in block.splitlines()
        if line.strip() and not line.startswith(("#", "export "))
    ]


COMMANDS = {page: found for page in PAGES if (found := read_commands(page))}
ELSEWHERE = {
    r"make serve": "the fixture `served`",
    r"make test": "this very run; .ci/run begins it by this name",
    r"make bench( ARGS=\w+)?": "test_bench.py",
    r"make wheel|uv tool install dist/\S+|interlock init": "facade/cli/test_installed.py",
    r"make studio": "test_studio.py, and test_setup.py what it installs",
    r"\.venv/bin/interlock test assistant --record": "facade/cli/test_case_command.py",
    r"\.venv/bin/interlock notify test on-call": "facade/cli/test_notify_command.py",
    r"\.venv/bin/interlock turn( TURN)?": "behaviour/test_turn_paths.py",
    r"\.venv/bin/python docs/seed_checks\.py": "test_start.py",
    r"mkdir -m 700 backups|.*\.venv/bin/interlock (backup|restore) .*": "facade/cli/test_backup_command.py",
    r"\.venv/bin/interlock chat( --continue)?": "facade/cli/test_chat_terminal.py",
    r"git clone ADDRESS interlock|cd interlock|\.venv/bin/interlock open-webui": "e2e/test_first_minutes_page.py",
    r"OPENAI_API_BASE_URLS=\S+ .* open-webui serve --port 3000": "e2e/",
}
"""Commands that are run by other tests."""
MAKE = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "ARGS")
"""What a `make test ARGS=…` around this test would hand down to the `make serve` in it."""
ANSWERS = {
    "list the files, then read welcome.md": "4711",
    "how many customers per country, and how busy is this machine?": "| Germany | 7 |",
    "write hello to notes.txt": "approve ",
}
EXAMPLES = [
    pytest.param(example, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, example in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL), 1)
]
FILES = {
    "gateway.yaml": {"models", "default_graph", "storage", "tools", "retention", "ready", "http", "notifications"},
    "servers.yaml": {"mcpServers"},
    "access.yaml": {"roles", "keys", "identities"},
    "graphs/assistant.yaml": {
        "description",
        "input",
        "output",
        "vars",
        "start",
        "nodes",
        "limits",
        "memory",
        "defaults",
    },
    "graphs/assistant.test.yaml": {"as", "hints", "cases"},
}
"""The keys at the top of each kind of file."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """`make serve` in this checkout with nothing configured, after the README's chats: its port, and the environment
    for the other commands."""
    folder = tmp_path_factory.mktemp("readme")
    port = str(free_port())
    env = {"INTERLOCK_DATA": str(folder / "data"), "INTERLOCK_DEMO_DELAY": "0", "PORT": port, "PYTHON": sys.executable}
    env |= dict.fromkeys(MAKE, "")
    with running("make serve", ["make", "serve"], folder / "serve.log", env=env, cwd=ROOT) as process:
        process.wait_for_line(rf"^url http://127\.0\.0\.1:{port}/v1$", timeout=240)
        key = process.wait_for_line(r"^key admin (\S+)$")[1]
        env = {**plain_environment(), **env, "INTERLOCK_ADMIN_KEY": key}
        for command in COMMANDS["README.md"]:
            if "interlock chat" in command:
                run(command, port, env)
        yield port, env


def run(command: str, port: str, env: dict[str, str]) -> str:
    """What the command prints, with our port in place of the page's."""
    if "interlock chat" in command:
        command += f" --url http://127.0.0.1:{port}/v1"
        env = {**env, "INTERLOCK_KEY": env["INTERLOCK_ADMIN_KEY"]}
    elif "curl" not in command:
        env = {name: value for name, value in env.items() if name != "INTERLOCK_ADMIN_KEY"}
    here = command.replace(f":{PORT}/", f":{port}/").replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    here = here.replace(" data/", f" {env['INTERLOCK_DATA']}/")
    result = subprocess.run(
        ["bash", "-c", here], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.parametrize("page", COMMANDS)
def test_every_command_does_what_it_says(page: str, served: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    port, env = served
    configs = shutil.copytree(CONFIGS, tmp_path / "configs")
    saved = re.findall(r"Save it as `configs/(\S+)`:\n\n```yaml\n(.*?)```", PAGES[page], re.DOTALL)
    for name, example in saved:
        (configs / name).write_text(example)
    for command in COMMANDS[page]:
        if any(re.fullmatch(known, command) for known in ELSEWHERE):
            continue
        # What the page saves, and what one command writes, is not for the repository's folder, which others read now.
        here = {**env, "INTERLOCK_CONFIGS": str(configs)} if saved or command.endswith(" schema") else env
        printed = run(command, port, here)
        match shlex.split(command):
            case [".venv/bin/interlock", "chat", question]:
                assert ANSWERS[question] in printed
            case [".venv/bin/interlock", "doctor"]:
                assert "FAIL" not in printed
            case [".venv/bin/interlock", "check", *_]:
                assert printed == ""
            case [".venv/bin/interlock", "test", *_]:
                assert "0 failed" not in printed
                assert re.search(r"^\d+ cases: \d+ passed; 4 of 4 ways taken \(100 %\)$", printed, re.MULTILINE)
            case [".venv/bin/interlock", "diff", "HEAD"]:
                # This checkout may hold what is not committed yet.
                assert re.search(r"^(The two mean the same\.|\d+ changes?; .*)$", printed, re.MULTILINE)
            case [".venv/bin/interlock", "diff", "HEAD", "--format", "json"]:
                assert json.loads(printed).keys() == {"widens_rights", "changes"}
            case [".venv/bin/interlock", "schema"]:
                assert printed.split() == [f"{tmp_path / 'configs' / 'schemas' / file.name}" for file in SCHEMAS]
            case [".venv/bin/interlock", "draw"]:
                assert printed.startswith("%% graphs/assistant.yaml\nflowchart TD\n")
            case [".venv/bin/interlock", "draw", "assistant" | "support", *_]:
                assert "<svg " in Path(printed.strip()).read_text()
            case [".venv/bin/interlock", "draw", "--format", "svg", "--output", _]:
                assert all("<svg " in Path(file).read_text() for file in printed.split())
            case [".venv/bin/interlock", "access"]:
                assert re.search(r"^developer +filesystem/write_file +ask +ask filesystem/write_file", printed, re.M)
            case [".venv/bin/interlock", "access", "explain", *_]:
                assert re.match(
                    r"deny: role developer, allow 'database/query' \(access.yaml:\d+\) holds only when", printed
                )
            case [".venv/bin/interlock", "audit", "show"]:
                assert "filesystem/write_file" in printed
            case [".venv/bin/interlock", "audit", "show", "--since", *_]:
                assert printed == ""
            case [".venv/bin/interlock", "audit", "show", "--format", "json", *_]:
                assert '"tool": "filesystem/write_file"' in Path("/tmp/interlock-audit.jsonl").read_text()
            case [".venv/bin/interlock", "audit", "verify", *_]:
                assert re.search(r"^the store: .* whole$", printed, re.MULTILINE)
            case ["echo", _]:
                assert len(decode_webhook_secret(printed.strip())) == 32
            case ["curl", *_, address] if address.endswith("/metrics"):
                assert 'interlock_turns_total{graph="assistant",status="finished"}' in printed
            case ["curl", "-s", address, *_] if "/v1/approvals" in address:
                assert '"tool":"filesystem/write_file"' in printed
            case _:
                raise AssertionError(f"{page}: say here what {command!r} prints, or in ELSEWHERE which test runs it")


SCHEMAS = [CONFIGS / "schemas" / f"{kind}.json" for kind in ("gateway", "servers", "access", "graph", "test")]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_config_file_without_mistakes(example: str, tmp_path: Path) -> None:
    content = yaml.safe_load(example)
    [name] = [name for name, keys in FILES.items() if content.keys() <= keys]
    if name == "access.yaml":
        # Examples name roles of the shipped file.
        content["roles"] = yaml.safe_load((CONFIGS / name).read_text())["roles"] | content.get("roles", {})
    env = dict.fromkeys(re.findall(r"\$\{(\w+)\}", example), "x")
    env |= {"NOTIFY_SECRET": "whsec_" + "ab12" * 11, "SLACK_WEBHOOK": "https://hooks.example.com/services/x"}
    files = {name: yaml.safe_dump(content)}
    for page in PAGES.values() if "type: python" in example else ():
        for stem, code in re.findall(r"python/(\w+)\.py`:\n\n```python\n(.*?)```", page, re.DOTALL):
            files[f"python/{stem}.py"] = code
    for page in PAGES.values() if "{schema: " in example else ():
        for file, schema in re.findall(r"`configs/(\S+\.schema\.json)`:\n\n```json\n(.*?)```", page, re.DOTALL):
            files[file] = schema
    for page in PAGES.values() if "type: subgraph" in example or "agents: [summary]" in example else ():
        for stem, graph in re.findall(r"`(?:configs/)?graphs/([\w-]+)\.yaml`:\n\n```yaml\n(.*?)```", page, re.DOTALL):
            files.setdefault(f"graphs/{stem}.yaml", graph)
    for graph, start in (("mail", "compose"), ("tone", "know"), ("lines", "which")):
        if f"graph: {graph}" in example:
            files["graphs/assistant.yaml"] = (CONFIGS / "graphs" / "assistant.yaml").read_text()
            [files[f"graphs/{graph}.yaml"]] = re.findall(
                rf"```yaml\n([^`]*start: {start}\n[^`]*)```",
                PAGES["docs/guide/graphs.md"] + PAGES["docs/guide/parallel.md"],
            )
    load(write_configs(tmp_path, files), env, with_cases=True)


def test_the_mistake_that_is_shown_is_printed_so(tmp_path: Path) -> None:
    shutil.copytree(CONFIGS, tmp_path / "configs")
    graph = tmp_path / "configs" / "graphs" / "assistant.yaml"
    lines = [line for line in graph.read_text().splitlines(True) if not line.startswith("#")]
    graph.write_text("".join(lines).replace("size(tool_calls)", "size(tool_cals)"))
    command = [Path(sys.executable).with_name("interlock"), "check", tmp_path / "configs"]
    checked = subprocess.run(
        command, env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert checked.returncode == 1
    assert f"```\n{checked.stdout}```" in PAGES["docs/guide/graphs.md"]


def test_the_change_that_is_shown_is_printed_so(tmp_path: Path) -> None:
    sides = [tmp_path / name for name in ("old", "new")]
    for folder in sides:
        shutil.copytree(CONFIGS, folder)
        for name in ("support.yaml", "support.test.yaml"):
            shutil.copy(CONFIGS / "shelf" / name, folder / "graphs")
    for name, old, new in (
        ("graphs/support.yaml", "What does the last message ask about?", "What is the last message about?"),
        ("graphs/support.yaml", "    into: kind\n", "    into: kind\n    on_error: other\n"),
        ("access.yaml", "      - {tool: filesystem/write_file, approver: admin, expires: 15m}\n", ""),
        ("access.yaml", "    ask:\nkeys", "keys"),
        ("access.yaml", "      - monitoring/*\n", "      - monitoring/*\n      - filesystem/write_file\n"),
    ):
        path = sides[1] / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    command = [Path(sys.executable).with_name("interlock"), "diff", *sides]
    printed = subprocess.run(command, env=plain_environment(), stdout=subprocess.PIPE, text=True, check=True).stdout
    assert f"```\n{printed}```" in PAGES["docs/guide/reviewing.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_named_targets_and_files_exist(page: str) -> None:
    for target in re.findall(r"`make ([\w-]+)[`\s]", PAGES[page]):
        env = {**os.environ, **dict.fromkeys(MAKE, "")}
        subprocess.run(["make", "-n", target], cwd=ROOT, env=env, capture_output=True, check=True)
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", PAGES[page]):
        target = ((ROOT / page).parent / link).resolve() if link else ROOT / page
        assert target.is_file(), link
        assert not anchor or anchor in read_anchors(target.read_text()), f"{link}#{anchor}"
        assert target.suffix != ".png" or target.stat().st_size < LARGEST_PICTURE, link


def read_anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    titles: list[Any] = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?s)```.*?```", "", text))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_guide_and_reference_is_named_in_the_readme() -> None:
    pages = [page for page in PAGES if page.startswith(("docs/guide/", "docs/reference/"))]
    assert [page for page in pages if f"({page})" not in PAGES["README.md"]] == []
