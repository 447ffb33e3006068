"""`interlock test --from`: a turn that happened over HTTP, with a real MCP process, becomes a case that passes."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.facade import KEYS, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import SERVER
from typer.testing import CliRunner, Result

from server.cli.main import app

PASSWORD = "correct-horse-7-battery"
GRAPH: dict[str, Any] = {
    "vars": {"found": "any", "kind": ["easy", "hard"], "name": "string"},
    "start": "look",
    "nodes": {
        "look": {"type": "call", "tool": "files/add", "args": {"a": 1, "b": 2}, "into": "found", "next": "sort"},
        "sort": {"type": "model", "into": "kind", "next": "who"},
        "who": {"type": "question", "question": "Whose?", "into": "name", "next": "help"},
        "help": {"type": "agent", "prompt": "For {{ name }}", "tools": ["files/*"], "next": "end"},
    },
}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


async def run_command(folder: Path, *options: str) -> Result:
    """The command, on a thread: it has an event loop of its own."""
    command = ["test", "--configs", str(folder / "configs"), *options]
    return await asyncio.to_thread(CliRunner().invoke, app, command, env={"INTERLOCK_DATA": str(folder / "data")})


def find_last_turn(folder: Path) -> str:
    with sqlite3.connect(folder / "data" / "interlock.db") as database:
        return database.execute("SELECT id FROM turns ORDER BY created DESC LIMIT 1").fetchone()[0]


def write_folder(folder: Path, url: str, graph: dict[str, Any]) -> Path:
    server = {"command": sys.executable, "args": [str(SERVER), "stdio"]}
    access = {
        "roles": {"admin": {"allow": ["*"], "ask": ["files/write"], "deny": ["files/fails"]}},
        "keys": [{"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"}],
    }
    return write_configs(folder / "configs", url, {"files": server}, access=access, graphs={"assistant": graph})


async def test_a_turn_becomes_a_case_that_passes_once_what_no_record_has_is_added(tmp_path: Path) -> None:
    async with ScriptedModel() as model:
        model.script(
            '"hard"',
            Answer(
                calls=[
                    Call("files__echo", {"text": f'{{"password": "{PASSWORD}"}}'}),
                    Call("files__write", {"text": PASSWORD}),
                    Call("files__fails", {}),
                ]
            ),
            f"It is written: {PASSWORD}.",
        )
        configs = write_folder(tmp_path, model.url, GRAPH)
        async with serving(configs, tmp_path / "data") as facade:
            messages: list[Any] = ["Write it down"]
            for reply in ("Ada", "approve ID"):
                answer = await facade.say(*messages)
                asked = re.search(r"approve ([\w-]+)", answer)
                messages += [said(answer), reply.replace("ID", asked[1] if asked else "")]
            assert "It is written" in await facade.say(*messages)

    made = await run_command(tmp_path, "--from", find_last_turn(tmp_path))
    assert made.exit_code == 0, made.output
    assert PASSWORD not in made.stdout
    (case,) = yaml.safe_load(made.stdout)["cases"].values()
    assert case["as"]["role"] == "admin"
    assert case["say"] == "Write it down"
    assert case["answers"] == {"who": ["Ada"]}
    assert case["approvals"] == {"files/write": "approve"}
    assert case["tools"]["files/add"] == [{"args": {"a": 1, "b": 2}, "result": {"sum": 3}}]
    assert case["expect"] == {
        "route": ["look", "sort", "who", "help", "end"],
        "calls": ["files/add", "files/echo", "files/write"],
        "verdicts": {
            "files/add": ["allow"],
            "files/echo": ["allow"],
            "files/write": ["ask"],
            "files/fails": ["deny"],
        },
    }
    comments = [line.strip(" #") for line in made.stdout.splitlines() if line.startswith("    #")]
    assert comments[0].startswith("Made of a turn of 20")
    assert "- the variables at its end" in comments
    assert "- what node 'sort' was answered: add it under 'model: sort', as often as it asked" in comments

    file = configs / "graphs" / "life.test.yaml"
    written = await run_command(tmp_path, "--from", find_last_turn(tmp_path), "-o", str(file))
    assert (written.exit_code, written.stdout) == (0, f"{file}\n")
    assert file.read_text() == made.stdout
    file.write_text(made.stdout.replace("    model:\n", "    model:\n      sort: [hard]\n"))
    passed = await run_command(tmp_path)
    assert passed.exit_code == 0, passed.output


async def test_a_turn_without_calls_does_not_say_who_asked(tmp_path: Path) -> None:
    graph = {"start": "agent", "nodes": {"agent": {"type": "model", "next": "end"}}}
    async with ScriptedModel() as model:
        model.script("Hello, ${USER}.", "Again.")
        configs = write_folder(tmp_path, model.url, graph)
        async with serving(configs, tmp_path / "data") as facade:
            first = await facade.say("Hi " + "x" * 500)
            await facade.say("Hi " + "x" * 500, said(first), "And now?")
    with sqlite3.connect(tmp_path / "data" / "interlock.db") as database:
        ids = [id for (id,) in database.execute("SELECT id FROM turns ORDER BY created")]
    made = await run_command(tmp_path, "--from", ids[0])
    assert "# - who asked, and by which role, since nothing was decided: add 'as: {role: ROLE}'" in made.stdout
    assert "# - the end of what was said: only its first 400 characters are recorded" in made.stdout
    assert "- Hello, $${USER}.\n" in made.stdout
    file = configs / "graphs" / "life.test.yaml"
    file.write_text("as: {role: admin}\n" + made.stdout)
    assert (await run_command(tmp_path)).exit_code == 0
    assert "# - the conversation before it" in (await run_command(tmp_path, "--from", ids[1])).stdout


async def test_input_that_was_asked_for_is_given_in_the_case(tmp_path: Path, model: ScriptedModel) -> None:
    say = {"type": "reply", "text": "{{ pull }} {{ style }}", "next": "end"}
    graph = {"input": {"pull": "int", "style": ["short", "long"]}, "start": "say", "nodes": {"say": say}}
    configs = write_folder(tmp_path, model.url, graph)
    async with serving(configs, tmp_path / "data") as facade:
        messages: list[Any] = ["Review it"]
        for reply in ("7", "long"):
            messages += [said(await facade.say(*messages)), reply]
        assert await facade.say(*messages) == "7 long"
    file = configs / "graphs" / "life.test.yaml"
    made = await run_command(tmp_path, "--from", find_last_turn(tmp_path), "-o", str(file))
    assert made.exit_code == 0, made.output
    (case,) = yaml.safe_load(file.read_text())["cases"].values()
    assert case["answers"] == {"(input)": [{"pull": 7, "style": "long"}]}
    assert case["expect"]["route"] == ["say", "end"]
    file.write_text("as: {role: admin}\n" + file.read_text())
    passed = await run_command(tmp_path)
    assert passed.exit_code == 0, passed.output


async def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, "http://127.0.0.1:9/v1", GRAPH)
    none = await run_command(tmp_path, "--from", "nothing")
    assert none.exit_code == 2
    assert none.stderr == f"there is no database {tmp_path}/data/interlock.db; nothing has been recorded there\n"
    both = await run_command(tmp_path, "--from", "nothing", "--record")
    assert (both.exit_code, both.stderr) == (
        2,
        "--from makes a case and runs none; besides it there is --output alone\n",
    )
    alone = await run_command(tmp_path, "-o", "x.yaml")
    assert (alone.exit_code, alone.stderr) == (
        2,
        "--output is for the case that --from makes; results go to a file with --junit\n",
    )


async def test_a_turn_that_is_not_there_and_a_file_that_is(tmp_path: Path) -> None:
    graph = {"start": "agent", "nodes": {"agent": {"type": "model", "next": "end"}}}
    async with ScriptedModel() as model:
        model.script("Hello.")
        configs = write_folder(tmp_path, model.url, graph)
        async with serving(configs, tmp_path / "data") as facade:
            await facade.say("Hi")
    missing = await run_command(tmp_path, "--from", "nothing")
    assert (missing.exit_code, missing.stderr) == (
        2,
        "there is no turn 'nothing' in this database; `interlock audit show --format json` and GET /console/api/turns "
        "have their ids\n",
    )
    file = configs / "graphs" / "assistant.yaml"
    before = file.read_text()
    there = await run_command(tmp_path, "--from", find_last_turn(tmp_path), "-o", str(file))
    assert (there.exit_code, there.stdout) == (2, "")
    assert there.stderr.startswith(f"{file} is there already")
    assert file.read_text() == before


async def test_a_result_of_the_cache_is_named_since_a_case_begins_without_one(tmp_path: Path) -> None:
    look = {
        "type": "call",
        "tool": "files/add",
        "args": {"a": 1, "b": 2},
        "into": "found",
        "cache": "10m",
        "next": "say",
    }
    nodes = {"look": look, "say": {"type": "reply", "text": "{{ found }}", "next": "end"}}
    configs = write_folder(
        tmp_path, "http://127.0.0.1:9/v1", {"vars": {"found": "any"}, "start": "look", "nodes": nodes}
    )
    async with serving(configs, tmp_path / "data") as facade:
        assert [await facade.say("a"), await facade.say("b")] == ['{"sum":3}'] * 2
    made = await run_command(tmp_path, "--from", find_last_turn(tmp_path))
    assert made.exit_code == 0, made.output
    comments = [line.strip(" #") for line in made.stdout.splitlines() if line.startswith("    #")]
    assert (
        "- what files/add gave, since that was in the cache: add it under 'tools', and the call under 'calls'"
        in comments
    )
