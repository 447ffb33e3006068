"""An approval is for a tool as it was shown: one whose definition changed meanwhile is not run, but asked again."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp.types import Tool
from support.facade import ACCESS, ADMIN, Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel

from graphs.tools.tool import compute_definition_digest

SERVER = (Path(__file__).parents[1] / "support") / "changing_server.py"
SEND: dict[str, Any] = {
    "name": "send",
    "description": "Send a message.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "annotations": {"readOnlyHint": False, "destructiveHint": False},
}
OTHER: dict[str, Any] = {"name": "other", "description": "Another.", "inputSchema": {"type": "object"}}
CHANGES: dict[str, Mapping[str, Any]] = {
    "description": {"description": "Send a message to everybody in the world."},
    "white space": {"description": "Send  a message."},
    "title": {"title": "Publish"},
    "schema": {"inputSchema": {"type": "object", "properties": {"text": {"type": "string", "default": "all"}}}},
    "description of an argument": {
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string", "description": "A path."}}}
    },
    "annotation": {"annotations": {"readOnlyHint": False, "destructiveHint": True}},
    "no annotations": {"annotations": None},
}
SAME: dict[str, Mapping[str, Any]] = {
    "nothing": {},
    "the order of its keys": {
        "inputSchema": {"required": ["text"], "properties": {"text": {"type": "string"}}, "type": "object"}
    },
}


@dataclass(frozen=True)
class Changing:
    """A server whose definition can be changed while it is served."""

    folder: Path
    model: ScriptedModel

    @property
    def configs(self) -> Path:
        return self.folder / "configs"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def define(self, **changes: Any) -> None:
        """Writes the tools, all at once."""
        part = self.folder / "tools.part"
        part.write_text(json.dumps([{**SEND, **changes}, OTHER]))
        part.replace(self.folder / "tools.json")

    def ran(self) -> list[str]:
        log = self.folder / "calls.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def changing(tmp_path: Path, model: ScriptedModel, keys: None) -> Changing:
    made = Changing(tmp_path, model)
    made.define()
    args = [str(SERVER), str(tmp_path / "tools.json"), str(tmp_path / "calls.log")]
    servers = {"post": {"command": sys.executable, "args": args}}
    roles = {**ACCESS["roles"], "admin": {"ask": ["post/*"]}}
    write_configs(made.configs, model.url, servers, access={**ACCESS, "roles": roles})
    return made


def approval_in(answer: str) -> str:
    (found,) = re.findall(r"`approve ([a-z2-7]{8})`", answer)
    return found


async def look(facade: Facade, model: ScriptedModel) -> str:
    """What the model is offered now."""
    await facade.say("look")
    return json.dumps(model.requests[-1].body.get("tools"))


async def wait_for_change(facade: Facade, model: ScriptedModel, before: str) -> None:
    """Returns once the model is offered something else."""
    for _ in range(500):
        if await look(facade, model) != before:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the change was not noticed")


def answering(model: ScriptedModel) -> None:
    """Asks for the call once, then once more where it was refused."""

    def respond(body: Mapping[str, Any]) -> Answer | str:
        last = body["messages"][-1]
        if last["role"] == "user" and last["content"] == "look":
            return "Looked."
        if last["role"] == "user":
            return Answer(calls=[Call("post__send", {"text": "hi"})])
        if "ask again" in str(last["content"]):
            return Answer(calls=[Call("post__send", {"text": "hi"})])
        return f"Done: {last['content']}"

    model.respond(respond)


@pytest.mark.parametrize("by_api", [False, True])
@pytest.mark.parametrize("kind", ["description", "annotation", "schema"])
async def test_a_tool_that_changes_while_its_approval_waits_is_asked_again(
    changing: Changing, caplog: pytest.LogCaptureFixture, kind: str, by_api: bool
) -> None:
    answering(changing.model)
    async with serving(changing.configs, changing.data) as facade:
        asked = await facade.say("send hi")
        before = await look(facade, changing.model)
        changing.define(**CHANGES[kind])
        if kind == "annotation":
            await asyncio.sleep(0.3)  # the model is not shown annotations
        else:
            await wait_for_change(facade, changing.model, before)
        if by_api:
            await facade.http.post(
                f"{facade.url}/approvals/{approval_in(asked)}",
                json={"decision": "approve"},
                headers={"authorization": f"Bearer {ADMIN}"},
            )
        with caplog.at_level(logging.WARNING):
            again = await facade.say("send hi", said(asked), f"approve {approval_in(asked)}")
        assert changing.ran() == []
        assert approval_in(again) != approval_in(asked)
        (warning,) = [record for record in caplog.records if record.name == "graphs.nodes.judge"]
        assert warning.levelname == "WARNING"
        assert "server post changed its tool send" in warning.getMessage()

        answer = await facade.say("send hi", said(asked), said(again), f"approve {approval_in(again)}")
        assert answer == "Done: done"
    assert changing.ran() == ['send {"text": "hi"}']


@pytest.mark.parametrize("same", SAME)
async def test_a_restart_with_the_same_definition_changes_nothing(changing: Changing, same: str) -> None:
    answering(changing.model)
    async with serving(changing.configs, changing.data) as facade:
        asked = await facade.say("send hi")
    changing.define(**SAME[same])
    async with serving(changing.configs, changing.data) as facade:
        assert await facade.say("send hi", said(asked), f"approve {approval_in(asked)}") == "Done: done"
    assert changing.ran() == ['send {"text": "hi"}']


async def test_a_change_during_a_restart_is_noticed(changing: Changing) -> None:
    answering(changing.model)
    async with serving(changing.configs, changing.data) as facade:
        asked = await facade.say("send hi")
    changing.define(**CHANGES["description"])
    async with serving(changing.configs, changing.data) as facade:
        again = await facade.say("send hi", said(asked), f"approve {approval_in(asked)}")
    assert approval_in(again) != approval_in(asked)
    assert changing.ran() == []


async def test_an_approval_from_before_definitions_were_kept_still_runs(changing: Changing) -> None:
    answering(changing.model)
    async with serving(changing.configs, changing.data) as facade:
        asked = await facade.say("send hi")
    with closing(sqlite3.connect(changing.data / "interlock.db")) as connection, connection:
        assert connection.execute("UPDATE approvals SET definition = NULL").rowcount == 1
    changing.define(**CHANGES["description"])
    async with serving(changing.configs, changing.data) as facade:
        assert await facade.say("send hi", said(asked), f"approve {approval_in(asked)}") == "Done: done"


@pytest.mark.parametrize("kind", CHANGES)
def test_every_part_of_a_definition_counts(kind: str) -> None:
    before, after = Tool.model_validate(SEND), Tool.model_validate({**SEND, **CHANGES[kind]})
    assert compute_definition_digest(before) != compute_definition_digest(after)


@pytest.mark.parametrize("same", SAME)
def test_what_means_the_same_has_one_digest(same: str) -> None:
    before, after = Tool.model_validate(SEND), Tool.model_validate({**SEND, **SAME[same]})
    assert compute_definition_digest(before) == compute_definition_digest(after)
