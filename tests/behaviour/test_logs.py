"""The log: one access line a request, the same id on each of its lines and on its answer, and no text of anybody's."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from support.facade import ADMIN, DEVELOPER, Facade
from support.scripted_model import Answer, Call, ScriptedModel

from graphs.errors import StorageError
from server.observability import logging as logs
from server.observability.logging import JSONFormatter, TextFormatter

PRIVATE = "what a person wrote"


class Log:
    """What the process logs while the test runs."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    async def accesses(self, number: int) -> list[dict[str, Any]]:
        """The access lines once there are that many: they are written after the answer has been sent."""
        async with asyncio.timeout(10):
            while (
                len(found := [line for line in self.lines if line["logger"] == "server.observability.request_log"])
                < number
            ):
                await asyncio.sleep(0.01)
        assert len(found) == number
        return found


@pytest.fixture
def log() -> Iterator[Log]:
    written = Log()
    handler = logging.StreamHandler(written.stream)
    handler.setFormatter(JSONFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield written
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


async def test_a_turn_is_one_line_with_what_came_of_it(facade: Facade, model: ScriptedModel, log: Log) -> None:
    model.script(
        Answer(calls=[Call("files__echo", {"text": "hello"}), Call("files__echo", {"text": "secret"})]), "Done."
    )
    response = await facade.ask("say hello", key=DEVELOPER)
    [line] = await log.accesses(1)
    assert line.pop("seconds") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert re.fullmatch(r"[0-9a-f]{32}", line.pop("turn"))
    assert re.fullmatch(r"[0-9a-f]{32}", line["request_id"])
    assert line.pop("request_id") == response.headers["x-request-id"]
    assert line.pop("pid")
    assert line == {
        "level": "INFO",
        "logger": "server.observability.request_log",
        "message": "POST /v1/chat/completions 200",
        "key": "developer",
        "graph": "assistant",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "turn_status": "finished",
        "tools": ["files/echo"],
    }


async def test_the_callers_own_id_is_kept_if_it_is_sane_on_answers_of_every_kind(
    facade: Facade, model: ScriptedModel, log: Log
) -> None:
    root = facade.url.removesuffix("/v1")
    model.script("Hello.", Answer("one two", stall_after=1), Answer(status=400))
    answers = [
        await facade.ask("hi", headers={"x-request-id": "trace:me-1.2_3"}),
        await facade.ask("hi", key="wrong", headers={"x-request-id": "unauthorized"}),
        await facade.http.get(f"{root}/nowhere", headers={"x-request-id": "not-found"}),
        await facade.http.delete(f"{facade.url}/models", headers={"x-request-id": "not-allowed"}),
    ]
    body = {"model": "assistant", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {ADMIN}", "x-request-id": "stream"}
    async with facade.http.stream("POST", f"{facade.url}/chat/completions", json=body, headers=headers) as answer:
        answers.append(answer)
    answers.append(await facade.ask("fail", headers={"x-request-id": "failed"}))
    given = ["trace:me-1.2_3", "unauthorized", "not-found", "not-allowed", "stream", "failed"]
    assert [answer.headers["x-request-id"] for answer in answers] == given
    lines = await log.accesses(6)
    assert sorted(line["request_id"] for line in lines) == sorted(given)
    by_id = {line["request_id"]: line for line in lines}
    assert [by_id[name]["status"] for name in given] == [200, 401, 404, 405, 200, 400]
    assert by_id["stream"]["cut"] is True
    assert by_id["not-found"]["path"] == "/nowhere"
    assert by_id["failed"]["turn_status"] == "failed"
    assert all("cut" not in by_id[name] for name in given if name != "stream")


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "a\tb", "café", '"quoted"'])
async def test_an_id_that_could_not_stand_in_a_log_is_replaced(facade: Facade, given: str) -> None:
    root = facade.url.removesuffix("/v1")
    answer = await facade.http.get(f"{root}/health", headers={"x-request-id": given.encode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_what_went_wrong_inside_is_found_by_the_id_that_the_answer_names(
    facade: Facade, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError(f"no such thing\nand its second line: {PRIVATE}")

    monkeypatch.setattr("graphs.runtime.revision.Revision.list_models", broken)
    answer = await facade.http.get(f"{facade.url}/models", headers={"authorization": f"Bearer {ADMIN}"})
    assert answer.status_code == 500
    request_id = answer.headers["x-request-id"]
    assert f"request_id {request_id}" in answer.json()["error"]["message"]
    [access] = await log.accesses(1)
    assert (access["status"], access["request_id"], access["key"]) == (500, request_id, "admin")
    [failure] = [line for line in log.lines if "exception" in line]
    assert failure["request_id"] == request_id
    assert "in broken" in failure["exception"]
    assert failure["exception"].endswith("builtins.RuntimeError: no such thing")
    assert PRIVATE not in log.stream.getvalue()


async def test_lines_from_inside_a_turn_bear_the_ids_of_the_request_and_of_the_turn(
    facade: Facade, model: ScriptedModel, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full")

    store = "graphs.store.tool_journal.ToolJournal.finish"
    monkeypatch.setattr(store, full)
    model.script(Answer(calls=[Call("files__echo", {"text": "x"})]), "Done.")
    await facade.ask("go", headers={"x-request-id": "mine"})
    [access] = await log.accesses(1)
    [inner] = [line for line in log.lines if line["logger"] == "graphs.nodes.tools"]
    assert (inner["request_id"], inner["turn"], inner["graph"]) == ("mine", access["turn"], "assistant")
    assert inner["exception"].endswith("StorageError: the disk is full")


async def test_probes_that_are_well_are_not_worth_a_line(facade: Facade, log: Log) -> None:
    root = facade.url.removesuffix("/v1")
    for path in ("health", "ready", "metrics", "nowhere"):
        await facade.http.get(f"{root}/{path}")
    [line] = await log.accesses(1)
    assert line["path"] == "/nowhere"


class Body(BaseModel):
    """Something with an input to quote."""

    number: int


def record(name: str, message: str, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, logging.WARNING, "/lib/session.py", 7, message, None, info)


def test_what_libraries_quote_is_left_out() -> None:
    formatter = JSONFormatter()
    quoted = json.loads(formatter.format(record("root", "Message was: tell nobody")))
    assert "nobody" not in quoted["message"]
    assert "session:7" in quoted["message"]
    assert "nobody" not in formatter.format(record("mcp.client", "Raw result: tell nobody"))
    assert (
        json.loads(formatter.format(record("asyncio", "Task failed\ncoro='tell nobody'")))["message"] == "Task failed"
    )
    assert json.loads(formatter.format(record("graphs.x", "a\nb")))["message"] == "a\nb"


def test_of_an_exception_the_places_and_the_first_line_are_kept_and_what_led_to_it() -> None:
    def fail() -> None:
        try:
            Body.model_validate({"number": PRIVATE})
        except ValidationError as error:
            raise ExceptionGroup("several", [error]) from OSError(28, "No space left on device")

    with pytest.raises(ExceptionGroup) as caught:
        fail()
    text = json.loads(JSONFormatter().format(record("graphs.x", "oh", caught.value)))["exception"]
    assert PRIVATE not in text
    assert "1 validation error for Body" in text
    assert "in fail" in text
    assert text.endswith("builtins.OSError: [Errno 28] No space left on device")


def test_what_libraries_quote_of_addresses_and_headers_is_blotted_out() -> None:
    error = OSError("cannot reach http://me:hunter2-hunter2@host/ with Authorization: Bearer abcdef123456")
    shown = logs.format_exception(error)
    assert shown.endswith("OSError: cannot reach http://me:[redacted]@host/ with Authorization: [redacted]")
    record = logging.LogRecord("httpx", logging.WARNING, "x.py", 1, "%s", (error,), None)
    assert "hunter2" not in logs.format_message(record)


def test_for_the_eye_the_words_come_first() -> None:
    access = record("server.observability.request_log", "GET /v1/models 200")
    access.__dict__["fields"] = {"method": "GET", "status": 200, "seconds": 0.5, "tools": ["a/b", "c/d"], "cut": True}
    line = TextFormatter().format(access)
    assert line.endswith(
        "WARNING server.observability.request_log: GET /v1/models 200 seconds=0.5 tools=a/b,c/d cut=True"
    )


def test_a_flood_from_one_place_in_a_library_is_counted_not_written() -> None:
    def record(second: int, name: str = "mcp.client") -> logging.LogRecord:
        made = logging.LogRecord(name, logging.WARNING, "/lib/client.py", 7, "a line", (), None)
        made.created = float(second)
        return made

    flood = logs.Flood()
    assert sum(flood.filter(record(1)) for _ in range(5_010)) == 10
    first = record(2)
    assert flood.filter(first)
    assert "and 5,000 more such lines before" in TextFormatter().format(first)
    assert "and 5,000 more such lines before" in JSONFormatter().format(first)
    assert all(flood.filter(record(2, "graphs.runtime.runner")) for _ in range(100))


def test_what_does_not_show_is_written_out() -> None:
    record = logging.LogRecord("graphs.x", logging.INFO, "x.py", 1, "%s says", ("\x1b[2Jme\r\u202e",), None)
    assert "\\x1b[2Jme\\r\\u{202e} says" in TextFormatter().format(record)
    assert json.loads(JSONFormatter().format(record))["message"] == "\\x1b[2Jme\\r\\u{202e} says"
