"""LITELLM_BASE_URL as people write it: the address of the program, without `/v1`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.facade import ADMIN, Facade, serving, write_configs
from support.processes import free_port
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.config.loader import load
from graphs.diagnostics.doctor import examine_models

HINT = "does not answer as an API"


def hints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if HINT in record.getMessage()]


async def listed(facade: Facade) -> list[str]:
    answer = await facade.http.get(f"{facade.url}/models", headers={"authorization": f"Bearer {ADMIN}"})
    return [model["id"] for model in answer.json()["data"]]


async def test_v1_is_added_where_only_that_answers_and_the_log_says_so_once(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, caplog: pytest.LogCaptureFixture
) -> None:
    plain = model.url.removesuffix("/v1")
    folder = write_configs(tmp_path / "c", plain, {"files": {"url": tools.url}})
    model.script(Answer(calls=[Call("files__echo", {"text": "a"})]), "Done.", "Again.")
    async with serving(folder, tmp_path / "data") as facade:
        assert "Done." in await facade.say("Echo a.")
        assert "Again." in await facade.say("Once more.")
        assert await listed(facade) == ["assistant", "scripted"]
    assert hints(caplog) == [
        f"{plain} {HINT}, and {model.url} does: that is used. Write it so in LITELLM_BASE_URL.",
    ]
    snapshot = load(folder, {"INTERLOCK_ADMIN_KEY": "x", "INTERLOCK_DEVELOPER_KEY": "y"})
    [finding] = [each for each in await examine_models(snapshot) if each.subject == "models"]
    assert finding.sound
    assert finding.message.startswith(f"{plain} {HINT}, but {model.url} has 1")


async def test_an_endpoint_that_starts_later_is_found_by_the_first_turn(
    tmp_path: Path, tools: Tools, keys: None, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "scripted"}]})
        if request.path != "/v1/chat/completions":
            return web.Response(text="<html>Welcome</html>", content_type="text/html")
        message: dict[str, Any] = {"role": "assistant", "content": "Here."}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    port = free_port()
    folder = write_configs(tmp_path / "c", f"http://127.0.0.1:{port}", {"files": {"url": tools.url}})
    async with serving(folder, tmp_path / "data") as facade:
        assert hints(caplog) == []
        async with TestServer(app, port=port):
            assert "Here." in await facade.say("Are you there?")
    assert len(hints(caplog)) == 1
    assert asked[:2] == ["/models", "/v1/models"]


async def test_an_address_that_answers_as_it_is_stays(
    tmp_path: Path, tools: Tools, keys: None, caplog: pytest.LogCaptureFixture
) -> None:
    """LiteLLM answers with and without `/v1`; here without it alone, and with a key that is refused."""
    asked: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"error": {"message": "no"}}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    async with TestServer(app) as server:
        folder = write_configs(tmp_path / "c", str(server.make_url("")).rstrip("/"), {"files": {"url": tools.url}})
        async with serving(folder, tmp_path / "data") as facade:
            await listed(facade)
    assert hints(caplog) == []
    assert not [path for path in asked if path.startswith("/v1")]
