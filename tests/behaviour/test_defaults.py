"""`defaults`: the attempts and the time of every node that does not say its own, over real HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from support.facade import serving, write_configs
from support.scripted_model import Answer, ScriptedModel

STEPS = Path(__file__).parents[1] / "support" / "mcp_steps.py"
BUSY = Answer(status=503, error="busy")
FAILED = {"type": "reply", "text": "{{ error.node }}: {{ error.kind }}", "next": "end"}

pytestmark = pytest.mark.usefixtures("keys")


async def talk(folder: Path, model: ScriptedModel, graph: dict[str, Any], *texts: str) -> str:
    """The answer to these messages."""
    servers = {"steps": {"command": sys.executable, "args": [str(STEPS), str(folder / "log")]}}
    configs = write_configs(folder / "configs", model.url, servers, graphs={"assistant": graph})
    async with serving(configs, folder / "data") as facade:
        return await facade.say(*(texts or ("hello",)))


def ask(kind: str, **node: Any) -> dict[str, Any]:
    """A graph that asks a model."""
    return {
        "defaults": {"retry": {"times": 2, "wait": "1ms"}},
        "start": "a",
        "nodes": {"a": {"type": kind, "on_error": "failed", "next": "end", **node}, "failed": FAILED},
    }


@pytest.mark.parametrize("kind", ["model", "agent"])
@pytest.mark.parametrize(
    ("node", "requests"), [({}, 2), ({"retry": 1}, 1), ({"retry": {"times": 3, "wait": "1ms"}}, 3)]
)
async def test_a_model_has_as_many_attempts_unless_it_says_its_own(
    tmp_path: Path, model: ScriptedModel, kind: str, node: dict[str, Any], requests: int
) -> None:
    model.respond(lambda _: BUSY)
    assert await talk(tmp_path, model, ask(kind, **node)) == "a: model"
    assert len(model.requests) == requests


async def test_an_attempt_takes_no_longer_unless_its_node_allows_it(tmp_path: Path, model: ScriptedModel) -> None:
    graph: dict[str, Any] = {
        "defaults": {"timeout": "300ms"},
        "start": "slow",
        "nodes": {
            "slow": {"type": "model", "timeout": "20s", "next": "fast"},
            "fast": {"type": "model", "on_error": "failed", "next": "end"},
            "failed": FAILED,
        },
    }
    model.script(Answer("Slow.", first=0.6), Answer("x", stall_after=0))
    assert await talk(tmp_path, model, graph) == "Slow.\n\nfast: timeout"


CALL: dict[str, Any] = {"vars": {"found": "any"}, "defaults": {"retry": {"times": 3, "wait": "1ms"}}, "start": "look"}
SAY = {"type": "reply", "text": "{{ found }}", "next": "end"}


async def test_a_tool_is_called_again_only_where_it_may_be(tmp_path: Path, model: ScriptedModel) -> None:
    stumble = {"type": "call", "tool": "steps/stumble", "args": {"times": 2}, "into": "found", "next": "break"}
    breaking = {"type": "call", "tool": "steps/break_something", "args": {"what": "it"}, "next": "say"}
    nodes = {"look": stumble, "break": {**breaking, "on_error": "failed"}, "say": SAY, "failed": FAILED}
    assert await talk(tmp_path, model, {**CALL, "nodes": nodes}) == "break: tool"
    assert (tmp_path / "log").read_text().splitlines() == ["stumble", "stumble", "stumble", "break it"]


async def test_a_call_takes_no_longer_either(tmp_path: Path, model: ScriptedModel) -> None:
    sleep = {"type": "call", "tool": "steps/sleep", "args": {"seconds": 30}, "on_error": "failed", "next": "end"}
    graph = {"defaults": {"timeout": "100ms"}, "start": "look", "nodes": {"look": sleep, "failed": FAILED}}
    assert await talk(tmp_path, model, graph) == "look: timeout"


async def test_a_question_waits_as_long_as_ever(tmp_path: Path, model: ScriptedModel) -> None:
    """Its time is `expires`; and it is not asked twice because an attempt failed."""
    graph: dict[str, Any] = {
        "vars": {"name": "string"},
        "defaults": {"timeout": "1ms", "retry": 5},
        "start": "who",
        "nodes": {
            "who": {"type": "question", "question": "Who?", "into": "name", "next": "say"},
            "say": {"type": "reply", "text": "Hello {{ name }}.", "next": "end"},
            "never": {"type": "model", "next": "end"},
        },
    }
    graph["nodes"]["say"]["next"] = [{"when": "name == 'x'", "to": "never"}, {"to": "end"}]
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph})
    async with serving(configs, tmp_path / "data") as facade:
        asked = await facade.say("hello")
        assert asked.startswith("Who?")
        assert await facade.say("hello", {"role": "assistant", "content": asked}, "Ada") == "Hello Ada."
