"""The way that a turn took, over real HTTP with real MCP servers: in `interlock turn` and on the console."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.facade import ADMIN, Facade, said, serving, write_configs
from support.metrics_page import scraped
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from typer.testing import CliRunner, Result

from server.cli.main import app

SECRET = "correct-horse-7-battery"
FAILS = {"type": "call", "tool": "files/fails"}
GRAPH: dict[str, Any] = {
    "vars": {"kind": ["easy", "hard"], "notes": "string[]", "name": "string"},
    "start": "sort",
    "nodes": {
        "sort": {"type": "model", "prompt": f"Sort {SECRET}.", "into": "kind", "next": {"easy": "end", "hard": "look"}},
        "look": {**FAILS, "retry": {"times": 2, "wait": "1ms"}, "on_error": "read", "next": "end"},
        "read": {
            "type": "map",
            "over": "['a', 'b', 'c']",
            "do": {"type": "model", "prompt": "Read.", "input": "{{ item }}"},
            "into": "notes",
            "drop_errors": True,
            "next": [{"when": "size(notes) == 0", "to": "end"}, {"to": "who"}],
        },
        "who": {"type": "question", "question": "Whose?", "into": "name", "next": "help"},
        "help": {"type": "agent", "prompt": "For {{ name }}", "tools": ["files/*"], "next": "end"},
    },
}


async def get_turns(facade: Facade) -> list[dict[str, Any]]:
    root = facade.url.removesuffix("/v1")
    answer = await facade.http.get(f"{root}/console/api/turns", headers={"authorization": f"Bearer {ADMIN}"})
    assert answer.status_code == 200, answer.text
    return answer.json()["turns"]


async def run_command(folder: Path, *options: str) -> Result:
    """The command, on a thread: it has an event loop of its own."""
    command = ["turn", "--configs", str(folder / "c"), *options]
    return await asyncio.to_thread(CliRunner().invoke, app, command, env={"INTERLOCK_DATA": str(folder / "data")})


def answer_items(body: dict[str, Any]) -> Answer | str:
    """What the model says: it refuses to read one of the items."""
    said = json.dumps(body["messages"])
    if "Sort" in said:
        return Answer('{"value": "hard"}', usage=(100, 5))
    if "Read." in said:
        return Answer(status=400) if body["messages"][-1]["content"] == "b" else Answer("read", usage=(10, 1))
    if body["messages"][-1]["role"] == "tool":
        return Answer("Done.", usage=(30, 4))
    return Answer(calls=[Call("files__echo", {"text": SECRET})], usage=(20, 2))


@pytest.mark.usefixtures("keys")
class TestWays:
    async def test_a_turn_shows_its_nodes_ways_tasks_and_model_calls_over_a_pause(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.respond(answer_items)
        folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs={"assistant": GRAPH})
        async with serving(folder, tmp_path / "data") as facade:
            asked = await facade.say("go")
            (waiting,) = await get_turns(facade)
            assert waiting["path"]["steps"][-1]["node"] == "who"
            assert waiting["path"]["steps"][-1]["paused"]
            await asyncio.sleep(0.3)
            assert await facade.say("go", said(asked), f"Ada {SECRET}") == "Done."
            (turn,) = await get_turns(facade)
            shown = await run_command(tmp_path)
            as_json = await run_command(tmp_path, turn["id"], "--format", "json")
            seen = await scraped(facade.http, facade.url)

        path = turn["path"]
        assert SECRET not in json.dumps(path)
        assert [(step["node"], step["type"]) for step in path["steps"]] == [
            ("sort", "model"),
            ("look", "call"),
            ("read", "map"),
            ("who", "question"),
            ("help", "agent"),
        ]
        sort, look, read, who, help = path["steps"]
        assert sort["way"] == {"at": 1, "to": "look", "of": 2, "value": "hard"}
        (call,) = sort["models"]
        assert (call["model"], call["prompt"], call["completion"], call["outcome"]) == ("scripted", 100, 5, "ok")
        assert 0 < call["seconds"] <= sort["seconds"] < turn["ended"] - turn["began"]
        assert look["way"] == {"at": -1, "to": "read", "of": 1}
        assert look["error"] == "tool"
        assert (read["tasks"], read["failed"], len(read["models"])) == (3, 1, 3)
        assert sorted(call["outcome"] for call in read["models"]) == ["invalid_request", "ok", "ok"]
        assert read["way"] == {"at": 1, "to": "who", "of": 2}
        assert "error" not in read
        assert who["waited"] >= 0.3
        assert who["seconds"] < 0.3
        assert "paused" not in who
        assert [(call["prompt"], call["completion"]) for call in help["models"]] == [(20, 2), (30, 4)]
        assert (path["more"], path["prompt"], path["completion"]) == (0, 170, 13)
        began = [step["began"] for step in path["steps"]]
        assert began == sorted(began)

        assert shown.exit_code == 0, shown.output
        lines = shown.output.splitlines()
        assert lines[0].startswith(f"turn {turn['id']}  assistant  finished  ")
        for words in ("hard → look", "failed (tool); on_error → read", "3 tasks, 1 failed; way 2 of 2 → who"):
            assert sum(line.endswith(words) for line in lines) == 1, words
        assert sum(line.strip().startswith("scripted  ") for line in lines) == 6
        assert lines[-1] == "170 tokens in, 13 out"
        assert json.loads(as_json.output)["path"] == path
        assert SECRET not in shown.output + as_json.output

        assert seen("interlock_error_ways_total", graph="assistant", node="look", kind="tool") == 1
        assert seen("interlock_group_tasks_count", graph="assistant", node="read") == 1
        assert seen("interlock_group_tasks_sum", graph="assistant", node="read") == 3

    async def test_an_attempt_after_a_failure_is_one_step_and_counted(
        self, tmp_path: Path, model: ScriptedModel, tools: Tools
    ) -> None:
        model.script(Answer(status=503), "Hello.")
        graph = {"start": "greet", "nodes": {"greet": {"type": "model", "retry": {"times": 3, "wait": "1ms"}}}}
        graph["nodes"]["greet"]["next"] = "end"
        folder = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": graph})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("hi") == "Hello."
            (turn,) = await get_turns(facade)
            seen = await scraped(facade.http, facade.url)
        (step,) = turn["path"]["steps"]
        assert step["retries"] == 1
        assert [call["outcome"] for call in step["models"]] == ["unavailable", "ok"]
        assert "error" not in step
        assert seen("interlock_retries_total", graph="assistant", node="greet", kind="model") == 1

    async def test_a_turn_that_goes_round_keeps_its_beginning_and_a_count(
        self, tmp_path: Path, model: ScriptedModel
    ) -> None:
        graph: dict[str, Any] = {
            "vars": {"n": {"type": "int", "default": 0}},
            "start": "add",
            "nodes": {
                "add": {
                    "type": "set",
                    "set": {"n": "n + 1"},
                    "next": [{"when": "visits < 250", "to": "add"}, {"to": "say"}],
                },
                "say": {"type": "reply", "text": "{{ n }}", "next": "end"},
            },
        }
        folder = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": graph})
        async with serving(folder, tmp_path / "data") as facade:
            assert await facade.say("hi") == "250"
            (turn,) = await get_turns(facade)
            shown = await run_command(tmp_path)
        assert (len(turn["path"]["steps"]), turn["path"]["more"]) == (200, 51)
        assert "  and 51 more" in shown.output

    async def test_a_turn_that_is_not_there_is_said(self, tmp_path: Path, model: ScriptedModel) -> None:
        folder = write_configs(tmp_path / "c", model.url, {})
        async with serving(folder, tmp_path / "data"):
            nothing, unknown = await run_command(tmp_path), await run_command(tmp_path, "abc")
        assert (nothing.exit_code, nothing.output) == (1, "there are no turns in this database yet\n")
        assert unknown.exit_code == 1
        assert "there is no turn 'abc' in this database" in unknown.output
