"""What servers over HTTP answer to single requests, over real HTTP: errors, lost sessions, redirects, odd forms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest
from support.mcp_toolbox import QUICK, ask, opened, spec, until
from support.mcp_web import Asked, HangUp, Reply, WebServer, error, result

from graphs.config.spec.servers import ServerSpec

PATIENT = replace(QUICK, check=1000, first_delay=0.01)
"""Looks at nothing by itself, so that what happens is the call's doing."""
CHALLENGE = {"www-authenticate": 'Bearer error="invalid_token", error_description="the token expired"'}
PAGE = "<!DOCTYPE html><html><head><title>Sign in &amp; go on</title></head><body>…</body></html>"


@pytest.fixture
async def server() -> AsyncGenerator[WebServer]:
    async with WebServer() as started:
        yield started


def web(server: WebServer, **values: Any) -> dict[str, ServerSpec]:
    return {"web": spec(url=server.url, **{"timeout": 5, **values})}


def on_call(tool: str, answer: Callable[[Asked], Any]) -> Callable[[Asked], Any]:
    return lambda asked: answer(asked) if asked.tool == tool else None


# One request


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: Reply(400, "no such  table"), "was refused by its server (400 Bad Request): no such table"),
        (lambda asked: error(asked, -1, "not today", 400), "was refused by its server (400 Bad Request): not today"),
        (lambda _: Reply(400, {"error": {"code": -1, "message": "no id"}}), "(400 Bad Request): no id"),
        (lambda _: Reply(422, {"detail": "too much"}), "was refused by its server (422 Unprocessable"),
        (lambda _: Reply(403, {"error": "forbidden", "error_description": "scope x"}), "(403 Forbidden): scope x"),
        (lambda _: Reply(401, headers=CHALLENGE), "(401 Unauthorized): the token expired"),
        (lambda _: Reply(429, "slow down", "text/plain"), "(429 Too Many Requests): slow down"),
        (lambda _: Reply(404, PAGE, "text/html"), "was refused by its server (404 Not Found): a web page, 'Sign in &"),
        (lambda _: Reply(500, "boom"), "failed at its server (500 Internal Server Error): boom\nOutcome unknown"),
        (lambda asked: error(asked, -32603, "full", 500), "failed at its server (500 Internal Server Error): full"),
        (lambda _: Reply(503, PAGE, "text/html"), "failed at its server (503 Service Unavailable): a web page"),
        (lambda _: Reply(599, b"\xff\xfe"), "failed at its server (HTTP status 599)"),
        (lambda _: Reply(302, headers={"location": "/login?next=secret"}), "redirects to http://127.0.0.1:"),
        (lambda _: Reply(200, PAGE, "text/html"), "answered with text/html: a web page, 'Sign in & go on'"),
        (lambda _: Reply(204), "gave an empty answer"),
    ],
)  # fmt: skip
async def test_an_error_ends_its_own_request_in_the_servers_words(
    server: WebServer, answer: Callable[[Asked], Reply], words: str
) -> None:
    go = asyncio.Event()

    async def wait(_: Asked) -> None:
        await go.wait()

    # Without a name of a session, so that 404 is one of the call alone.
    def reply(asked: Asked) -> Any:
        if asked.method == "initialize":
            return replace(server.answer(asked), headers={})
        return {"write": answer, "wait": wait}.get(asked.tool, lambda _: None)(asked)

    server.reply = reply
    async with opened(web(server), PATIENT) as toolbox:
        version = toolbox.version
        other = asyncio.create_task(ask(toolbox, "web/wait"))
        await until(lambda: server.ran("wait"))
        message = await ask(toolbox, "web/write")
        assert message.status == "error"
        assert words in str(message.content)
        assert "secret" not in str(message.content)
        go.set()
        assert (await other).content == "wait done"
        assert (await ask(toolbox, "web/look")).content == "look done"
        assert toolbox.version == version
    assert server.ran("write") == 1
    assert server.sessions == 1


@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/cancelled"])
async def test_a_notification_that_is_refused_costs_nothing(server: WebServer, method: str) -> None:
    async def reply(asked: Asked) -> Reply | None:
        if asked.tool == "wait":
            await asyncio.sleep(60)
        return Reply(400, "Bad Request") if asked.method == method else None

    server.reply = reply
    async with opened(web(server, timeout=0.3), PATIENT) as toolbox:
        assert "no answer within 0.3 s" in str((await ask(toolbox, "web/wait")).content)
        await until(lambda: server.asked(method))
        assert (await ask(toolbox, "web/look")).content == "look done"
    assert server.sessions == 1


@pytest.mark.parametrize("in_answer", [False, True])
async def test_a_connection_that_breaks_costs_the_call_on_it_alone(server: WebServer, in_answer: bool) -> None:
    go = asyncio.Event()

    async def reply(asked: Asked) -> Any:
        if asked.tool == "wait":
            await go.wait()
        return HangUp(in_answer) if asked.tool == "write" else None

    server.reply = reply
    async with opened(web(server), PATIENT) as toolbox:
        other = asyncio.create_task(ask(toolbox, "web/wait"))
        await until(lambda: server.ran("wait"))
        message = await ask(toolbox, "web/write")
        assert str(message.content).startswith("Outcome unknown: the server of web/write broke the connection")
        go.set()
        assert (await other).content == "wait done"
    assert server.ran("write") == 1
    assert server.sessions == 1


# A session that is gone


def forget(how: Callable[[Asked], Reply]) -> Callable[[WebServer], None]:
    """Have a server refuse everything of the sessions before, as one that was started again."""

    def restart(server: WebServer) -> None:
        first = server.sessions

        def reply(asked: Asked) -> Reply | None:
            known = asked.headers.get("mcp-session-id", "s0") not in [f"s{at}" for at in range(first + 1)]
            return None if known or asked.verb != "POST" or asked.method == "initialize" else how(asked)

        server.reply = reply

    return restart


LOST = {
    "404": lambda asked: error(asked, -32001, "Session not found", 404),
    "404 without a word": lambda asked: Reply(404),
    "400": lambda asked: error(asked, -32000, "Bad Request: No valid session ID provided", 400),
    "400 as text": lambda asked: Reply(400, "Bad Request: Missing session ID", "text/plain"),
    "401": lambda asked: Reply(401, {"error": "invalid_token"}),
    "403": lambda asked: Reply(403),
    "200": lambda asked: error(asked, -32000, "Bad Request: Server not initialized"),
    "200, naming the method": lambda asked: error(asked, -32002, f"{asked.method} before initialization"),
    "500 in JSON": lambda asked: error(asked, -32603, f"no session for {asked.method}", 500),
}  # fmt: skip


@pytest.mark.parametrize("how", LOST)
async def test_a_lost_session_is_opened_anew_and_the_refused_call_is_made_again(server: WebServer, how: str) -> None:
    async with opened(web(server), PATIENT) as toolbox:
        assert (await ask(toolbox, "web/write")).content == "write done"
        server.requests.clear()
        forget(LOST[how])(server)
        assert (await ask(toolbox, "web/write")).content == "write done"
        assert server.sessions == 2
        assert server.ran("write") == 2  # the first was refused


@pytest.mark.parametrize("how", ["404", "400", "200"])
async def test_calls_that_are_refused_together_are_each_made_again(server: WebServer, how: str) -> None:
    async with opened(web(server), PATIENT) as toolbox:
        forget(LOST[how])(server)
        answers = await asyncio.gather(*(ask(toolbox, "web/write") for _ in range(20)))
        assert {str(one.content) for one in answers} == {"write done"}
        assert server.sessions == 2
        assert server.ran("write") - 20 <= 20


@pytest.mark.parametrize("how", LOST)
async def test_a_lost_session_is_noticed_without_a_call(server: WebServer, how: str) -> None:
    async with opened(web(server), replace(QUICK, check=0.05)) as toolbox:
        forget(LOST[how])(server)
        await until(lambda: server.sessions == 2)
        await until(lambda: toolbox.tools)


@pytest.mark.parametrize(
    "refuse",
    [
        lambda asked: Reply(500, "boom"),
        lambda asked: Reply(503),
        lambda asked: error(asked, -32603, "Internal error"),
        lambda asked: error(asked, -32603, "Internal error", 500),
        lambda asked: Reply(408),
    ],
)
async def test_a_write_that_may_have_run_is_not_made_again(server: WebServer, refuse: Callable[[Asked], Reply]) -> None:
    async with opened(web(server), PATIENT) as toolbox:
        forget(refuse)(server)
        message = await ask(toolbox, "web/write")
        assert "Outcome unknown" in str(message.content)
        assert server.ran("write") == 1
        assert (await ask(toolbox, "web/look")).content == "look done"
        assert server.sessions == 2


async def test_calls_under_way_end_on_the_session_that_others_lost(server: WebServer) -> None:
    go = asyncio.Event()
    async with opened(web(server), PATIENT) as toolbox:

        async def wait(_: Asked) -> None:
            await go.wait()

        server.reply = on_call("wait", wait)
        other = asyncio.create_task(ask(toolbox, "web/wait"))
        await until(lambda: server.ran("wait"))
        forget(LOST["404"])(server)
        assert (await ask(toolbox, "web/write")).content == "write done"
        assert server.sessions == 2
        go.set()
        assert (await other).content == "wait done"


async def test_a_refusal_that_stays_is_told_after_one_new_session(server: WebServer) -> None:
    async with opened(web(server), PATIENT) as toolbox:
        server.reply = on_call("write", lambda asked: error(asked, -32001, "Session not found", 404))
        message = await ask(toolbox, "web/write")
        assert "Session not found" in str(message.content)
        assert server.ran("write") == 2
        assert server.sessions == 2


async def test_a_server_that_takes_no_new_session_is_down_with_its_words(server: WebServer) -> None:
    async with opened(web(server), PATIENT) as toolbox:
        server.reply = lambda asked: Reply(401, "the token expired") if asked.verb == "POST" else None
        message = await ask(toolbox, "web/write")
        assert str(message.content).startswith("web/write was not run: its server is not available: answered 401")
        assert toolbox.get_status()["web"].reason == (
            f"answered 401 Unauthorized at {server.url}: the token expired. Check 'headers' in servers.yaml."
        )


# HTTP+SSE


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda asked: error(asked, -1, "not today", 400), "was refused by its server (400 Bad Request): not today"),
        (lambda _: Reply(500, "boom"), "failed at its server (500 Internal Server Error): boom\nOutcome unknown"),
        (lambda _: HangUp(in_answer=False), "Outcome unknown: the server of web/write broke the connection"),
        (lambda _: Reply(404, "not here"), "was refused by its server (404 Not Found): not here"),
    ],
)
async def test_an_error_to_a_post_ends_its_own_call_where_answers_come_in_a_stream(
    answer: Callable[[Asked], Any], words: str
) -> None:
    async with WebServer(path="/sse", is_sse=True) as server:
        server.reply = on_call("write", answer)
        async with opened(web(server, type="sse"), PATIENT) as toolbox:
            assert words in str((await ask(toolbox, "web/write")).content)
            assert (await ask(toolbox, "web/look")).content == "look done"
        assert server.ran("write") == 1
        assert server.sessions == 1


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_lost_session_of_the_older_transport_is_opened_anew(status: int) -> None:
    async with WebServer(path="/sse", is_sse=True) as server:
        async with opened(web(server, type="sse"), PATIENT) as toolbox:
            server.reply = lambda asked: Reply(status, "Could not find session") if "=s1" in asked.url else None
            assert (await ask(toolbox, "web/write")).content == "write done"
        assert server.ran("write") == 2
        assert server.sessions == 2


# A server that is back


async def test_a_server_that_is_back_is_used_at_the_next_call(server: WebServer) -> None:
    away = replace(QUICK, check=0.05, first_delay=0.01, longest_delay=1000, longest_delay_http=1000)
    async with opened(web(server), away) as toolbox:
        look = toolbox.find_by_people_name("web/look")
        assert look is not None
        server.reply = lambda asked: Reply(503, "maintenance") if asked.verb == "POST" else None
        connection = toolbox._connections["web"]  # pyright: ignore[reportPrivateUsage]
        await until(lambda: connection.state == "down")
        # The pauses double: after so many attempts, the next one is some while away.
        await until(lambda: len(server.asked("initialize")) > 6)
        call = {"type": "tool_call", "id": "1", "name": "web__look", "args": {}}
        await until(lambda: connection.state == "down")
        assert "maintenance" in str((await look.tool.ainvoke(call)).content)
        server.reply = lambda _: None
        await asyncio.sleep(0.02)
        assert (await look.tool.ainvoke(call)).content == "look done"


async def test_a_server_that_is_still_away_is_tried_once_for_calls_that_come_together(server: WebServer) -> None:
    away = replace(PATIENT, longest_delay=1000, longest_delay_http=1000, first_delay=0.2)
    server.reply = lambda asked: Reply(503) if asked.method == "tools/list" and server.sessions > 1 else None
    async with opened(web(server), away) as toolbox:
        look = toolbox.find_by_people_name("web/look")
        assert look is not None
        server.reply = lambda asked: Reply(503) if asked.verb == "POST" else None
        call = {"type": "tool_call", "id": "1", "name": "web__look", "args": {}}
        await look.tool.ainvoke(call)
        await until(lambda: toolbox.get_status()["web"].status == "down")
        await asyncio.sleep(0.3)
        before = len(server.asked("initialize"))
        answers = await asyncio.gather(*(look.tool.ainvoke(call) for _ in range(5)))
        assert all("is not available: answered 503" in str(one.content) for one in answers)
        assert len(server.asked("initialize")) - before <= 2


# Redirects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(("written", "real"), [("/mcp", "/mcp/"), ("/mcp/", "/mcp")])
async def test_an_address_with_or_without_its_slash_can_be_used(status: int, written: str, real: str) -> None:
    async with WebServer(path=written) as server:
        moved = Reply(status, headers={"location": f"http://127.0.0.1:{server.port}{real}"})
        server.reply = lambda asked: moved if asked.path == written else None
        async with opened(web(server, headers={"X-Key": "k"}), PATIENT) as toolbox:
            assert (await ask(toolbox, "web/write")).content == "write done"
        calls = server.asked("tools/call")
        assert [one.path for one in calls] == [real], "the way there is gone once"
        assert calls[0].headers["X-Key"] == "k"


@pytest.mark.parametrize("path", ["/v2/mcp", "/mcp?tenant=a"])
@pytest.mark.parametrize("status", [307, 308])
async def test_another_path_of_the_same_origin_is_followed_where_the_method_stays(
    server: WebServer, path: str, status: int
) -> None:
    def reply(asked: Asked) -> Reply | None:
        return None if asked.url == path or asked.verb != "POST" else Reply(status, headers={"location": path})

    server.reply = reply
    async with opened(web(server), PATIENT) as toolbox:
        assert (await ask(toolbox, "web/write")).content == "write done"


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_another_origin_is_named_and_gets_nothing(server: WebServer, kind: str) -> None:
    async with WebServer() as thief:
        there = f"http://me:sesame@localhost:{thief.port}/mcp?token=sesame"
        server.reply = lambda _: Reply(307, headers={"location": there})
        async with opened(web(server, headers={"X-Key": "sesame"}, type=kind), PATIENT) as toolbox:
            reason = str(toolbox.get_status()["web"].reason)
        assert reason == (
            f"redirects from {server.url} to http://localhost:{thief.port}/mcp (307 Temporary Redirect), which is not "
            "followed: what is sent was meant for that address alone. Write the new one as 'url' in servers.yaml if it "
            "is the server's."
        )
        assert not thief.requests


@pytest.mark.parametrize("status", [301, 307])
async def test_redirects_that_go_round_end(server: WebServer, status: int) -> None:
    server.reply = lambda asked: Reply(status, headers={"location": "/mcp" if asked.path == "/mcp/" else "/mcp/"})
    async with opened(web(server), PATIENT) as toolbox:
        assert "redirects from" in str(toolbox.get_status()["web"].reason)
    assert len(server.requests) < 20


# Reasons


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (lambda _: Reply(200, PAGE, "text/html"), "answered with text/html: a web page, 'Sign in & go on'"),
        (lambda _: Reply(302, headers={"location": "/login"}), "/login (302 Found), which is not followed"),
        (lambda _: Reply(421, "Invalid Host header"), "Invalid Host header. It takes requests only under"),
        (lambda _: Reply(400, {"message": "host not allowed"}), "host not allowed. It takes requests only under"),
        (lambda _: Reply(202), "sent no answer with it"),
        (lambda _: Reply(204), "gave an empty answer"),
        (lambda _: Reply(200, "hello", "text/plain"), "answered with text/plain, which MCP does not know"),
        (lambda _: Reply(502, PAGE, "text/html"), "answered 502 Bad Gateway at "),
        (lambda asked: result(asked, {}), "no greeting of MCP: it names no 'protocolVersion'"),
        (lambda asked: result(asked, {"protocolVersion": "1999-01-01"}), "speaks version '1999-01-01' of MCP"),
        (lambda asked: error(asked, -32600, "go away"), "answered with an error: go away"),
        (lambda asked: error(asked, -32600, "go away", 400), "answered 400 Bad Request at "),
    ],
)  # fmt: skip
async def test_what_is_no_mcp_server_says_what_it_is(
    server: WebServer, reply: Callable[[Asked], Reply], words: str
) -> None:
    server.reply = reply
    async with opened(web(server), PATIENT) as toolbox:
        assert words in str(toolbox.get_status()["web"].reason)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (lambda _: Reply(200, PAGE, "text/html"), "answered with text/html: a web page"),
        (lambda _: Reply(401, "who are you?"), "401 Unauthorized at "),
        (lambda _: Reply(421, "Invalid Host header"), "It takes requests only under"),
    ],
)
async def test_an_sse_address_says_what_it_is(
    server: WebServer, reply: Callable[[Asked], Reply], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply = reply
    async with opened(web(server, type="sse"), PATIENT) as toolbox:
        assert words in str(toolbox.get_status()["web"].reason)
    assert "Traceback" not in caplog.text


# Forms


LOG = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}


def _text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def _answer(asked: Asked, words: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": asked.message["id"], "result": _text(words)}


def _events(value: Any, before: bytes = b"") -> Reply:
    return Reply(200, before + b"data: " + json.dumps(value).encode() + b"\n\n", "text/event-stream")


def _file(asked: Asked, kind: str, blob: str) -> Reply:
    block = {"type": "resource", "resource": {"uri": "a:b", "mimeType": kind, "blob": blob}}
    return result(asked, {"content": [block]})


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (lambda asked: result(asked, {"content": None}), "The tool gave an empty answer."),
        (lambda asked: result(asked, {"content": None, "structuredContent": {"a": 1}}), '{"a": 1}'),
        (lambda asked: result(asked, {**_text("x"), "isError": None}), "x"),
        (lambda asked: result(asked, {"content": "a text"}), "a text"),
        (lambda asked: result(asked, {"content": ["one", {"type": "text", "text": "two"}]}), "one\ntwo"),
        (lambda asked: result(asked, {"content": {"type": "text", "text": "alone"}}), "alone"),
        (lambda asked: result(asked, {"content": [{"text": "no type"}]}), "no type"),
        (lambda asked: result(asked, {"content": [{"text": "no type", "annotations": None}]}), "no type"),
        (lambda asked: result(asked, {"content": [{"resource": {"uri": "a:b", "text": "inside"}}]}), "inside"),
        (lambda asked: _file(asked, "text/plain", "aMOpbGxv"), "héllo"),
        (lambda asked: _file(asked, "text/csv; charset=utf-8", "YSxi"), "a,b"),
        (lambda asked: _file(asked, "application/json", "e30="), "{}"),
        (lambda asked: _file(asked, "text/plain", "/w"), "[text/plain of 1 bytes at a:b, which cannot be shown here]"),
        (lambda asked: Reply(body=[_answer(asked, "batched")]), "batched"),
        (lambda asked: Reply(body=[LOG, _answer(asked, "batched")]), "batched"),
        (lambda asked: Reply(body="\ufeff" + json.dumps(_answer(asked, "bom"))), "bom"),
        (lambda asked: _events([_answer(asked, "events")]), "events"),
        (lambda asked: _events([LOG, _answer(asked, "events")]), "events"),
        (lambda asked: _events(_answer(asked, "bom"), b"\xef\xbb\xbf"), "bom"),
    ],
)  # fmt: skip
async def test_an_answer_whose_meaning_is_certain_is_taken(
    server: WebServer, answer: Callable[[Asked], Reply], content: str
) -> None:
    server.reply = on_call("look", answer)
    async with opened(web(server), PATIENT) as toolbox:
        message = await ask(toolbox, "web/look")
    assert (message.content, message.status) == (content, "success")


@pytest.mark.parametrize("greeting", [{}, {"capabilities": None}, {"capabilities": {"tools": None}}])
async def test_a_server_that_says_nothing_of_tools_is_up_and_it_is_told(
    server: WebServer, greeting: dict[str, Any]
) -> None:
    def reply(asked: Asked) -> Reply | None:
        version = {"protocolVersion": "2025-06-18", **greeting}
        return result(asked, version) if asked.method == "initialize" else None

    server.reply = reply
    async with opened(web(server), PATIENT) as toolbox:
        status = toolbox.get_status()["web"]
        assert (status.status, status.reason, status.tools, status.left_out) == ("up", None, (), ())
        assert "there is no 'tools' among the 'capabilities'" in status.remarks[0]


async def test_tools_are_listed_as_far_as_they_can_be_called(server: WebServer) -> None:
    listed = [
        {"name": "bare"},
        {"name": "null", "inputSchema": None, "description": None, "annotations": None, "execution": None},
        {"name": "task", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}},
        {"name": "either", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}},
    ]
    server.reply = lambda asked: result(asked, {"tools": listed}) if asked.method == "tools/list" else None
    async with opened(web(server), PATIENT) as toolbox:
        status = toolbox.get_status()["web"]
        assert status.tools == ("bare", "either", "null")
        assert status.left_out == ()
        assert status.remarks == (
            "'task': not offered, since it says that it can only be run as a task (taskSupport: required)",
        )
        assert (await ask(toolbox, "web/bare", x=1)).content == "bare done"


async def test_a_list_of_nothing_is_empty(server: WebServer) -> None:
    server.reply = lambda asked: result(asked, {"tools": None}) if asked.method == "tools/list" else None
    async with opened(web(server), PATIENT) as toolbox:
        assert toolbox.get_status()["web"].status == "up"
        assert toolbox.get_status()["web"].tools == ()
