"""What limits a role: requests a minute, tool calls a turn and tokens a day, as clients see them over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from support.facade import ACCESS, Facade, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tools import Tools

Served = Callable[..., AbstractAsyncContextManager[Facade]]


def limited(admin: Mapping[str, Any], **roles: Any) -> dict[str, Any]:
    """The tests' access.yaml with more in the role `admin`, and more roles."""
    return {**ACCESS, "roles": {**ACCESS["roles"], "admin": {**ACCESS["roles"]["admin"], **admin}, **roles}}


@pytest.fixture
def served(tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None) -> Served:
    """The facade with this access.yaml, on one and the same store."""

    def serve(access: Mapping[str, Any], **settings: Any) -> AbstractAsyncContextManager[Facade]:
        configs = write_configs(tmp_path / "configs", model.url, {"files": {"url": tools.url}}, access=access)
        return serving(configs, tmp_path / "data", **settings)

    return serve


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


# --- tool calls a turn ---


async def test_calls_beyond_the_limit_of_the_role_are_refused_and_end_the_turn(
    served: Served, model: ScriptedModel, tools: Tools
) -> None:
    access = limited({"include": "careful", "limits": {"tool_calls": 9}}, careful={"limits": {"tool_calls": 2}})
    model.script(Answer(calls=[echo("one"), echo("two"), echo("three")]), "That is all I have.")
    async with served(access) as facade:
        answer = await facade.say("go")

    assert sorted(tools.ran()) == ["echo one", "echo two"]
    refused = next(text for text in model.requests[1].tool_results if "limit" in text)
    assert "the turn's limit of 2 tool calls (role careful, access.yaml:17)" in refused
    assert "limit of 2 tool calls in one turn (role careful, access.yaml:17) is reached" in answer
    assert model.requests[1].tools == []


async def test_a_graph_that_allows_fewer_calls_than_the_role_is_obeyed(
    served: Served, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[echo(str(number)) for number in range(41)]), "Enough.")
    async with served(limited({"limits": {"tool_calls": 50}})) as facade:
        answer = await facade.say("go")
    assert len(tools.ran()) == 40
    assert "the limit of 40 tool calls in one turn is reached" in answer
