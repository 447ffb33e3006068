"""`include` and `exclude` of a server: what they leave out is as if the server had none of that name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.facade import KEYS, Facade, serving, write_configs
from support.mcp_web import Asked, Reply, WebServer, result
from support.scripted_model import Answer, Call, ScriptedModel

from graphs.config.loader import load
from graphs.diagnostics.access_matrix import build_access_matrix
from graphs.diagnostics.doctor import check_servers, examine_servers
from graphs.diagnostics.explain import Question, explain
from graphs.diagnostics.tool_catalog import UnknownName

NAMES = ("read_file", "read_all", "write_file", "delete_file", "pods/list", "pods/delete")
BROKEN = {"name": "delete_all", "inputSchema": "none"}
ACCESS = {
    "roles": {"admin": {"allow": ["*"]}},
    "keys": [{"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"}],
}


def list_tools(asked: Asked) -> Reply | None:
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]
    return result(asked, {"tools": [*tools, BROKEN]}) if asked.method == "tools/list" else None


@asynccontextmanager
async def web_server() -> AsyncGenerator[WebServer]:
    async with WebServer() as web:
        web.reply = list_tools
        yield web


async def wait_until_up(facade: Facade, *, tools: list[str]) -> None:
    async def is_up() -> bool:
        return (await facade.ready()).json()["servers"]["web"]["tools"] == tools

    async with asyncio.timeout(10):
        while not await is_up():
            await asyncio.sleep(0.02)


async def ask_for(facade: Facade, model: ScriptedModel, *tools: str) -> list[str]:
    """What the model is told of calls of these tools."""
    model.script(Answer(calls=[Call(f"web__{tool}", {}) for tool in tools]), "Done.")
    assert await facade.say("go") == "Done."
    return [str(one) for one in model.requests[-1].tool_results]


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ({"include": ["read_*", "write_file"]}, ["read_all", "read_file", "write_file"]),
        ({"exclude": ["*delete*", "pods/*"]}, ["read_all", "read_file", "write_file"]),
        ({"include": "*_file", "exclude": "delete_*"}, ["read_file", "write_file"]),
        ({"include": ["pods?list"]}, ["pods/list"]),
        ({"exclude": ["*"]}, []),
        ({"includeTools": ["read_file", "delete_file"], "disabledTools": ["delete_file"]}, ["read_file"]),
        ({"tools": ["*"], "excludeTools": ["delete_file", "delete_all"]},
         ["pods/delete", "pods/list", "read_all", "read_file", "write_file"]),
    ],
)  # fmt: skip
async def test_a_tool_that_is_left_out_is_neither_offered_nor_called(
    entry: Mapping[str, Any], left: list[str], tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    async with web_server() as web:
        configs = write_configs(tmp_path / "c", model.url, {"web": {"url": web.url, **entry}}, access=ACCESS)
        async with serving(configs, tmp_path / "data") as facade:
            await wait_until_up(facade, tools=left)
            told = await ask_for(facade, model, "delete_file", *left[-1:])
            assert len(model.requests[-1].tools) == len(left)
        assert "web__delete_file" in told[0]
        assert not web.ran("delete_file")
        assert all(web.ran(name) for name in left[-1:] if "/" not in name)
        state = (await examine_servers(load(configs, KEYS), 10))[0]
        gone = len(NAMES) + 1 - len(left)
        assert state.message.startswith(f"{len(left)} tool")
        assert f"without {gone} more, by its entry" in state.message


async def test_a_call_of_what_is_left_out_reads_as_one_of_what_there_never_was(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    async with web_server() as web:
        entry = {"url": web.url, "exclude": ["delete_file"]}
        configs = write_configs(tmp_path / "c", model.url, {"web": entry}, access=ACCESS)
        async with serving(configs, tmp_path / "data") as facade:
            left_out, unknown = await ask_for(facade, model, "delete_file", "delete_life")
        assert left_out == unknown.replace("delete_life", "delete_file")


async def test_a_reload_that_leaves_a_tool_out_takes_it_away(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    async with web_server() as web:
        configs = write_configs(tmp_path / "c", model.url, {"web": {"url": web.url}}, access=ACCESS)
        async with serving(configs, tmp_path / "data") as facade:
            assert (await ask_for(facade, model, "delete_file")) == ["delete_file done"]
            entry = {"url": web.url, "include": ["read_file"]}
            (configs / "servers.yaml").write_text(json.dumps({"mcpServers": {"web": entry}}))
            await wait_until_up(facade, tools=["read_file"])
            assert "done" not in (await ask_for(facade, model, "delete_file"))[0]
            assert model.requests[-1].tools == ["web__read_file"]
        assert web.ran("delete_file") == 1


async def test_a_user_with_a_connection_of_their_own_has_no_more(
    tmp_path: Path, model: ScriptedModel, keys: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with web_server() as web:
        entry = {"url": web.url, "per_user": True, "include": ["read_file", "raed_all"]}
        configs = write_configs(tmp_path / "c", model.url, {"web": entry}, access=ACCESS)
        async with serving(configs, tmp_path / "data") as facade:
            done, refused = await ask_for(facade, model, "read_file", "read_all")
            assert model.requests[-1].tools == ["web__read_file"]
        assert done == "read_file done"
        assert "done" not in refused
    assert "no tool matches 'raed_all' (include, exclude)" in caplog.text


async def test_what_is_said_of_no_tool_and_what_is_left_out_is_told_with_its_place(
    tmp_path: Path, model: ScriptedModel
) -> None:
    async with web_server() as web:
        entry = {"url": web.url, "include": ["*_file", "raed_all"], "disabledTools": ["delete_file", "tickets/list"]}
        access = {**ACCESS, "roles": {"admin": {"allow": ["web/read_file"], "deny": ["web/delete_file"]}}}
        folder = write_configs(tmp_path, model.url, {"web": entry}, access=access)
        snapshot = load(folder, KEYS)
        problems, notes = await check_servers(snapshot, 10)
        findings = await examine_servers(snapshot, 10)
        matrix = await build_access_matrix(snapshot, patience=10)
    listed = "; there is delete_all, delete_file, pods/delete, pods/list, read_all, read_file, write_file"
    assert [f"{one.position}: {one.message}" for one in problems] == [
        "access.yaml:6:7: no tool of any server matches 'web/delete_file': web/delete_file is left out by 'include' or "
        "'exclude' of its server in servers.yaml",
        "servers.yaml:6:7: no tool of web matches 'raed_all'. Did you mean 'read_all'?",
        f"servers.yaml:9:7: no tool of web matches 'tickets/list'{listed}. Here stand names without their server",
    ]
    assert {one.message for one in findings if not one.sound} == {one.message for one in problems}
    assert notes[0].startswith("web: 2 tools after ")
    assert notes[0].endswith("; without 5 more, by its entry in servers.yaml")
    assert [cell.tool for cell in matrix.cells] == ["web/read_file", "web/write_file"]


async def test_rules_alone_make_no_tool_of_what_is_left_out(tmp_path: Path) -> None:
    access = {**ACCESS, "roles": {"admin": {"allow": ["web/read_file", "web/delete_file"]}}}
    entry = {"url": "http://127.0.0.1:9/mcp", "exclude": ["delete_*"]}
    snapshot = load(write_configs(tmp_path, "", {"web": entry}, access=access), KEYS)
    matrix = await build_access_matrix(snapshot, patience=None)
    assert [cell.tool for cell in matrix.cells] == ["web/read_file"]
    with pytest.raises(UnknownName, match=r"'include' or 'exclude' of web .* leaves it out"):
        await explain(
            snapshot, Question(key="admin", tool="web/delete_file", args={}, now=datetime.now(UTC)), patience=None
        )
