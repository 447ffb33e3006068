"""MCP servers over HTTP as people have them, behind the whole gateway: what a model, an operator and a client read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.facade import KEYS, Facade, serving, write_configs
from support.mcp_web import TOOLS, Asked, Reply, WebServer, error, result
from support.scripted_model import Answer, Call, ScriptedModel

from graphs.config.loader import load
from graphs.diagnostics.doctor import examine_servers

USAGE = "print('Usage: server [FOLDER...]')"
TASK = {"name": "research", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}}
ACCESS = {
    "roles": {"admin": {"allow": ["*"]}},
    "keys": [{"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"}],
}


@dataclass(frozen=True)
class Served:
    """A gateway with one sound server and some odd ones."""

    facade: Facade
    model: ScriptedModel
    web: WebServer
    configs: Path

    async def call(self, *tools: str) -> list[str]:
        """What the model is told of these calls, made at once."""
        self.model.script(Answer(calls=[Call(f"web__{tool}", {}) for tool in tools]), "Done.")
        assert await self.facade.say("go") == "Done."
        return [str(one) for one in self.model.requests[-1].tool_results]


def greet(asked: Asked) -> Reply | None:
    version = {"protocolVersion": "2025-06-18", "capabilities": {}}
    return result(asked, version) if asked.method == "initialize" else None


def move(asked: Asked) -> Reply | None:
    return Reply(301, headers={"location": "/mcp/"}) if asked.path == "/mcp" else None


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Served]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ScriptedModel())
        names = ("web", "toolless", "tasks", "login", "moved")
        web = {name: await stack.enter_async_context(WebServer()) for name in names}
        web["toolless"].reply = greet
        web["tasks"].reply = lambda asked: (
            result(asked, {"tools": [*TOOLS, TASK]}) if asked.method == "tools/list" else None
        )
        web["login"].reply = lambda _: Reply(200, "<html><title>Sign in</title>", "text/html")
        web["moved"].reply = move
        servers = {name: {"url": server.url, "timeout": "5s"} for name, server in web.items()}
        program = {"command": sys.executable, "args": ["-c", USAGE]}
        configs = write_configs(tmp_path / "configs", model.url, {**servers, "usage": program}, access=ACCESS)
        facade = await stack.enter_async_context(serving(configs, tmp_path / "data"))
        served = Served(facade, model, web["web"], configs)
        async with asyncio.timeout(20):
            while any(
                one["status"] == "starting" for one in (await facade.ready()).json()["servers"].values()
            ):  # fmt: skip
                await asyncio.sleep(0.05)
        yield served


async def test_a_model_reads_what_one_server_said_and_other_calls_go_on(served: Served) -> None:
    served.web.reply = lambda asked: error(asked, -32000, "disk full", 507) if asked.tool == "write" else None
    assert await served.call("write", "look") == [
        "web/write failed at its server (507 Insufficient Storage): disk full\n"
        "Outcome unknown: it may have taken effect.",
        "look done",
    ]
    assert served.web.sessions == 1


async def test_a_server_that_was_started_again_gets_the_refused_call_once_more(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    port = served.web.port
    await served.web.__aexit__(None, None, None)
    async with WebServer(port) as again:
        words = "Bad Request: No valid session ID provided"
        again.sessions = 1
        again.reply = lambda asked: (
            error(asked, -32000, words, 400) if asked.headers.get("mcp-session-id") == "s1" else None
        )
        assert await served.call("write") == ["write done"]
        assert again.ran("write") == 2  # the first was refused
        assert again.sessions == 2
    assert "Session termination failed" not in caplog.text


async def test_a_server_that_is_back_is_used_by_the_next_call(served: Served) -> None:
    served.web.reply = lambda asked: Reply(503, "maintenance") if asked.verb == "POST" else None
    (told,) = await served.call("look")
    assert "maintenance" in told
    served.web.reply = lambda _: None
    await asyncio.sleep(0.6)  # what was just found out is not asked again
    assert await served.call("look") == ["look done"]


async def test_an_operator_reads_what_is_wrong_and_what_is_left_out(served: Served) -> None:
    states = (await served.facade.ready()).json()["servers"]
    assert {name: state["status"] for name, state in states.items()} == {
        "web": "up", "toolless": "up", "tasks": "up", "login": "down", "moved": "up", "usage": "down"
    }  # fmt: skip
    assert states["toolless"]["reason"].startswith("it says that it offers no tools")
    assert states["tasks"]["reason"].startswith(
        "'research': not offered, since it says that it can only be run as a task"
    )
    assert states["login"]["reason"] == "answered with text/html: a web page, 'Sign in', where MCP answers with JSON"
    assert states["usage"]["reason"] == "exited with status 0 before it answered a greeting"
    found = {
        one.subject: one for one in await examine_servers(load(served.configs, KEYS), 10) if one.subject != "roles"
    }
    assert {name for name, one in found.items() if not one.sound} == {"login", "usage"}
    assert "0 tools" in found["toolless"].message
    assert "it says that it offers no tools" in found["toolless"].message
    assert "'research': not offered" in found["tasks"].message
    assert found["usage"].message.endswith("it last said: Usage: server [FOLDER...]")
