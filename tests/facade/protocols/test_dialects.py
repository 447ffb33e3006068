"""A dialect of one's own is an encoder, a collector and a route: this one speaks in lines of JSON, and nothing else of
the server knows it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request, Response
from starlette.routing import Route
from support.facade import ADMIN, Facade, serving
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.events import Event, Finished, TextDelta, ToolFinished, ToolStarted
from server.protocols.errors import HttpError
from server.protocols.openwebui import Client
from server.routes.dependencies import build_facade, identify_caller, read_bytes
from server.routes.respond import TurnInput, collect_turn, start_turn, stream_turn


class LineEncoder:
    """One JSON object a line."""

    content_type = "application/x-ndjson"

    def __init__(self) -> None:
        self.done = False

    def encode(self, events: Sequence[Event]) -> bytes:
        lines: list[dict[str, Any]] = []
        for event in events:
            match event:
                case TextDelta(text):
                    lines.append({"text": text})
                case ToolStarted(tool=tool):
                    lines.append({"runs": tool})
                case ToolFinished(text=text):
                    lines.append({"result": text})
                case Finished(reason):
                    lines.append({"end": reason})
                    self.done = True
                case _:
                    pass
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    def encode_heartbeat(self) -> bytes:
        return b"\n"

    def encode_error(self, error: HttpError) -> bytes:
        self.done = True
        return json.dumps({"failed": error.message}).encode() + b"\n"


class LineCollector:
    """The text alone."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, events: Sequence[Event]) -> bool:
        self.text += "".join(event.text for event in events if isinstance(event, TextDelta))
        return any(isinstance(event, Finished) for event in events)

    def build_body(self) -> dict[str, Any]:
        return {"text": self.text}


async def answer_lines(request: Request) -> Response:
    request.scope["route"] = ROUTE
    parts = await build_facade(request)
    identity = await identify_caller(request, parts)
    with parts.revision.in_flight.hold():
        body = json.loads(await read_bytes(request, 65_536))
        messages = [{"role": "user", "content": body["question"]}]
        asked = TurnInput(model="assistant", messages=messages, params={}, client=Client())
        turn = await start_turn(request, parts, identity, asked)
        if body.get("whole"):
            return await collect_turn(request, turn, LineCollector(), parts.settings)
        return await stream_turn(request, turn, LineEncoder(), parts.settings)


ROUTE = Route("/v1/lines", answer_lines, methods=["POST"])


@pytest.fixture
async def facade(configs: Path, tmp_path: Path, keys: None) -> AsyncIterator[Facade]:
    async with serving(configs, tmp_path / "data", routes=[ROUTE], heartbeat=0.2) as running:
        yield running


async def ask(facade: Facade, question: str, key: str = ADMIN, **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return await facade.http.post(f"{facade.url}/lines", json={"question": question, **more}, headers=headers)


def parse_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line]


async def test_a_turn_with_a_tool_call_is_streamed_and_its_delivery_noted(
    facade: Facade, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "4711"})]), Answer("It is 4711."))
    response = await ask(facade, "look it up")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    assert response.headers["cache-control"] == "no-cache"
    *rest, end = parse_lines(response.text)
    assert rest[:2] == [{"runs": "files/echo"}, {"result": "4711"}]
    assert "".join(line["text"] for line in rest[2:]) == "It is 4711."
    assert end == {"end": "stop"}
    assert tools.ran() == ["echo 4711"]
    with closing(sqlite3.connect(tmp_path / "data" / "interlock.db")) as database:
        async with asyncio.timeout(10):
            while database.execute("SELECT delivered FROM turns").fetchall() != [(1,)]:
                await asyncio.sleep(0.01)


async def test_the_same_turn_as_a_whole(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "4711"})]), "It is 4711.")
    assert (await ask(facade, "look it up", whole=True)).json() == {"text": "It is 4711."}
    assert tools.ran() == ["echo 4711"]


@pytest.mark.usefixtures("brief_pauses")
async def test_an_error_before_the_first_byte_keeps_its_status(facade: Facade, model: ScriptedModel) -> None:
    model.respond(lambda _: Answer(status=429, headers={"retry-after": "7"}))
    for more in ({}, {"whole": True}):
        response = await ask(facade, "hello", **more)
        assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert (await ask(facade, "hello", key="ilk_none")).status_code == 401


async def test_an_error_after_the_first_byte_is_the_last_line(facade: Facade, model: ScriptedModel) -> None:
    model.script(Answer("one two three", cut_after=2))
    response = await ask(facade, "count")
    first, *_, last = parse_lines(response.text)
    assert response.status_code == 200
    assert "text" in first
    assert last.keys() == {"failed"}


async def test_a_client_that_leaves_stops_the_turn_and_silence_is_broken_before(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(Answer("one two three", stall_after=1))
    request = {"json": {"question": "count"}, "headers": {"authorization": f"Bearer {ADMIN}"}}
    async with facade.http.stream("POST", f"{facade.url}/lines", **request) as response:
        lines = response.aiter_lines()
        assert "text" in json.loads(await anext(lines))
        assert await anext(lines) == ""
    assert await model.requests[0].ended() == "cut"
