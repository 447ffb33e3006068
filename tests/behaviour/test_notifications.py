"""Notifications over HTTP: who decides hears of approvals and questions, once, and a message decides nothing."""

from __future__ import annotations

import asyncio
import base64
import logging
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, add_to_gateway, said, serving, write_configs
from support.gateway import ADMIN_KEY, PinnedGateway
from support.notice_receivers import Receiver, smtp_server, verify_webhook, wait_until
from support.processes import free_port
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.notifications import worker

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
CONSOLE = "https://interlock.example.com/console"
ROLES: dict[str, Any] = {
    "admin": {"allow": ["*"]},
    "developer": {
        "allow": ["files/echo"],
        "ask": [
            {
                "tool": ["files/write", "files/fails", "files/order"],
                "approver": "admin",
                "expires": "15m",
                "reason": "Two people decide.",
            }
        ],
    },
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number of attempts, in a moment."""
    monkeypatch.setattr(worker, "POLL", 0.05)
    monkeypatch.setattr(worker, "WAITS", (0.1,) * len(worker.WAITS))


def webhook(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {"webhook": {"url": f"{receiver.url}/interlock", "secret": SECRET}, **more}


def write_folder(
    folder: Path,
    model: ScriptedModel,
    tools: Tools,
    destinations: Mapping[str, Any],
    *,
    roles: Mapping[str, Any] = ROLES,
    graphs: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    servers = {"files": {"url": tools.url}}
    access = {**ACCESS, "roles": roles}
    written = write_configs(folder, model.url, servers, access=access, graphs=graphs)
    notifications = {"console": CONSOLE, "destinations": dict(destinations), **more}
    return add_to_gateway(written, notifications=notifications)


async def decide(facade: Facade, approval: str, decision: str, key: str = ADMIN) -> None:
    headers = {"authorization": f"Bearer {key}"}
    response = await facade.http.post(
        f"{facade.url}/approvals/{approval}", json={"decision": decision}, headers=headers
    )
    assert response.status_code == 200, response.text


async def find_counts(facade: Facade) -> dict[str, int]:
    """Attempts by outcome, over all destinations."""
    page = (await facade.http.get(f"{facade.url.removesuffix('/v1')}/metrics")).text
    found: dict[str, int] = {}
    for line in page.splitlines():
        if line.startswith("interlock_notifications_total{"):
            outcome = line.split('outcome="')[1].split('"')[0]
            found[outcome] = found.get(outcome, 0) + int(float(line.rsplit(" ", 1)[1]))
    return found


async def test_the_approver_hears_who_asks_for_what_by_which_rule_and_until_when(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver
) -> None:
    args = {"text": f"with sk-of-the-tests and {SECRET} in it", "password": "hunter2hunter2"}
    model.script(Answer(calls=[Call("files__write", args)]))
    folder = write_folder(tmp_path / "c", model, tools, {"on-call": webhook(receiver)})
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("write x", key=DEVELOPER)
        (got,) = await receiver.wait_for(1)
        listed = await facade.http.get(f"{facade.url}/approvals", headers={"authorization": f"Bearer {ADMIN}"})
        (entry,) = listed.json()["data"]
        await wait_until(lambda: len(receiver.requests) == 1)
        await asyncio.sleep(0.3)  # a second one would come
        assert await find_counts(facade) == {"sent": 1}
    assert len(receiver.requests) == 1
    assert (got.method, got.path) == ("POST", "/interlock")
    assert verify_webhook(SECRET, got.headers, got.body)
    assert not verify_webhook(SECRET, got.headers, got.body + b" ")
    assert got.json["type"] == "approval.pending"
    data = got.json["data"]
    assert {name: data[name] for name in ("approval", "tool", "caller", "caller_key", "caller_role", "approver")} == {
        "approval": entry["id"],
        "tool": "files/write",
        "caller": "developer",
        "caller_key": "developer",
        "caller_role": "developer",
        "approver": "admin",
    }
    assert data["rule"] == entry["rule"]
    assert "(access.yaml:" in data["rule"]
    assert data["rule"].endswith(": Two people decide.")
    assert data["expires"] == entry["expires"]
    assert data["console"] == CONSOLE
    assert data["args"].keys() == {"text", "password"}
    assert b"hunter2" not in got.body
    assert b"sk-of-the-tests" not in got.body
    assert SECRET.removeprefix("whsec_").encode() not in got.body
    assert data["args"]["text"].startswith("with ")


async def test_people_hear_of_it_by_mail_and_in_their_chats(
    tmp_path: Path,
    model: ScriptedModel,
    tools: Tools,
    keys: None,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    monkeypatch.setenv("SMTP_PASSWORD", "hush-hush-hush")
    hostile = "<!channel> [Approve](https://evil.example)\nRule: none"
    model.script(Answer(calls=[Call("files__write", {"text": hostile})]))
    async with smtp_server(tmp_path, user="interlock", password="hush-hush-hush") as server:
        mail = {
            "host": "localhost",
            "port": server.port,
            "user": "interlock",
            "password": "${SMTP_PASSWORD}",
            "sender": "interlock@example.com",
            "to": ["ada@example.com", "bob@example.com"],
        }
        destinations = {
            "mail": {"mail": mail},
            "slack": {"slack": {"url": f"{receiver.url}/services/x"}},
            "mattermost": {"mattermost": {"url": f"{receiver.url}/hooks/x"}},
        }
        folder = write_folder(tmp_path / "c", model, tools, destinations)
        async with serving(folder, tmp_path / "data") as facade:
            await facade.say("write x", key=DEVELOPER)
            requests = await receiver.wait_for(2)
            (got,) = await wait_until(lambda: server.mails)
    assert server.encrypted == [True]
    assert got["to"] == "ada@example.com, bob@example.com"
    assert got["subject"] == "[Interlock] Approval needed: files/write"
    by_path = {request.path: request.json for request in requests}
    slack = "\n".join(block["text"]["text"] for block in by_path["/services/x"]["blocks"])
    for text in (got.get_content().replace("\r\n", "\n"), slack, by_path["/hooks/x"]["text"]):
        assert "Asked by: developer (key developer, role developer)" in text
        assert r'"text": "<!channel> [Approve](https://evil.example)\nRule: none"' in text
        assert "): Two people decide." in text
        assert "Decided by: the role admin" in text
        assert "UTC, in 15 minutes" in text
        assert f"Open the console, which asks for your key: {CONSOLE}" in text
        assert "This message decides nothing." in text


async def test_what_is_about_to_expire_is_told_once_more(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver
) -> None:
    ask = {"tool": "files/write", "approver": "admin", "expires": "3s"}
    roles = {"admin": {"allow": ["*"]}, "developer": {"ask": [ask]}}
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]))
    destinations = {"on-call": webhook(receiver)}
    folder = write_folder(tmp_path / "c", model, tools, destinations, roles=roles, before_expiry="2s")
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("write x", key=DEVELOPER)
        first, second = await receiver.wait_for(2)
        await asyncio.sleep(2.5)  # it expires meanwhile, of which nobody is told
    assert receiver.events() == ["approval.pending", "approval.expiring"]
    expires = first.json["data"]["expires"]
    assert 0 < expires - second.at < 2.1
    assert first.id != second.id


async def test_what_is_decided_in_time_is_not_told_again(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver
) -> None:
    ask = {"tool": "files/write", "approver": "admin", "expires": "2s"}
    roles = {"admin": {"allow": ["*"]}, "developer": {"ask": [ask]}}
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]), "Written.")
    destinations = {"on-call": webhook(receiver)}
    folder = write_folder(tmp_path / "c", model, tools, destinations, roles=roles, before_expiry="1s")
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("write x", key=DEVELOPER)
        (got,) = await receiver.wait_for(1)
        await decide(facade, got.json["data"]["approval"], "approve")
        assert await facade.say("write x", said(asked), "and?", key=DEVELOPER) == "Written."
        counts = await wait_for_outcome(facade, "dropped")
        assert counts == {"sent": 1, "dropped": 1}
    assert receiver.events() == ["approval.pending"]


async def wait_for_outcome(facade: Facade, outcome: str) -> dict[str, int]:
    deadline = time.monotonic() + 15
    while outcome not in (counts := await find_counts(facade)):
        assert time.monotonic() < deadline, counts
        await asyncio.sleep(0.05)
    return counts


async def test_an_approved_call_that_fails_is_told(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver
) -> None:
    model.script(Answer(calls=[Call("files__fails", {})]), "It failed.")
    folder = write_folder(tmp_path / "c", model, tools, {"on-call": webhook(receiver)})
    async with serving(folder, tmp_path / "data") as facade:
        asked = await facade.say("do it", key=DEVELOPER)
        (got,) = await receiver.wait_for(1)
        await decide(facade, got.json["data"]["approval"], "approve")
        assert await facade.say("do it", said(asked), "and?", key=DEVELOPER) == "It failed."
        _, second = await receiver.wait_for(2)
    assert second.json["type"] == "approval.failed"
    assert second.json["data"]["outcome"] == "failed"
    assert second.json["data"]["decided_by"] == "admin"
    assert second.json["data"]["approval"] == got.json["data"]["approval"]
    assert b"customers" not in second.body, "what a tool said is for the conversation alone"


async def test_destinations_choose_events_and_roles_and_whoever_asks_for_themselves_is_not_told_on(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver
) -> None:
    roles = {
        "admin": {"allow": ["*"], "ask": ["files/write"]},
        "operator": {},
        "developer": {"ask": [{"tool": "files/write", "approver": "operator", "expires": "15m"}]},
    }
    with Receiver() as of_admins, Receiver() as of_failures, Receiver() as of_all:
        destinations = {
            "operators": webhook(receiver, roles=["operator"]),
            "admins": webhook(of_admins, roles=["admin"]),
            "failures": webhook(of_failures, events=["approval.failed"]),
            "all": webhook(of_all, own=True),
        }
        folder = write_folder(tmp_path / "c", model, tools, destinations, roles=roles)
        async with serving(folder, tmp_path / "data") as facade:
            model.script(Answer(calls=[Call("files__write", {"text": "x"})]))
            await facade.say("write x", key=DEVELOPER)
            model.script(Answer(calls=[Call("files__write", {"text": "y"})]))
            await facade.say("write y")
            await of_all.wait_for(2)
            await receiver.wait_for(1)
            await asyncio.sleep(0.3)  # what is not to come would
        assert len(of_all.requests) == 2
        assert {request.json["data"]["approver"] for request in of_all.requests} == {"operator", None}
        assert [request.json["data"]["approver"] for request in receiver.requests] == ["operator"]
        assert of_admins.requests == of_failures.requests == []


async def test_a_question_for_a_role_is_told_and_one_for_whoever_chats_is_not(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver
) -> None:
    def ask(**more: Any) -> dict[str, Any]:
        question = {"type": "question", "question": "Go with sk-of-the-tests?", "into": "go", "next": "end", **more}
        return {"vars": {"go": "bool"}, "start": "sure", "nodes": {"sure": question}}

    graphs = {"assistant": ask(by="admin", expires="1h"), "own": ask()}
    folder = write_folder(tmp_path / "c", model, tools, {"on-call": webhook(receiver)}, graphs=graphs)
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("go", key=DEVELOPER, model="own")
        await facade.say("go", key=DEVELOPER)
        (got,) = await receiver.wait_for(1)
        await asyncio.sleep(0.3)
    assert len(receiver.requests) == 1
    assert got.json["type"] == "question.pending"
    data = got.json["data"]
    assert (data["graph"], data["node"], data["role"], data["caller"]) == ("assistant", "sure", "admin", "developer")
    assert data["text"].startswith("Go with ")
    assert b"sk-of-the-tests" not in got.body


async def test_a_restart_between_loses_nothing_and_repeats_nothing(
    tmp_path: Path,
    model: ScriptedModel,
    tools: Tools,
    keys: None,
    receiver: Receiver,
    storage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "WAITS", (1.0,) * 7)
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]))
    folder = write_folder(tmp_path / "c", model, tools, {"on-call": webhook(receiver)})
    receiver.statuses = [503]
    async with serving(folder, tmp_path / "data", storage=storage) as facade:
        await facade.say("write x", key=DEVELOPER)
        await receiver.wait_for(1)
        assert await wait_for_outcome(facade, "retried") == {"retried": 1}
    async with serving(folder, tmp_path / "data", storage=storage) as facade:
        first, second = await receiver.wait_for(2)
        assert await wait_for_outcome(facade, "sent") == {"sent": 1}
    async with serving(folder, tmp_path / "data", storage=storage):
        await asyncio.sleep(0.5)
    assert len(receiver.requests) == 2
    assert first.id == second.id
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) >= int(first.headers["webhook-timestamp"])
    assert verify_webhook(SECRET, second.headers, second.body)


async def test_two_replicas_send_each_notification_once(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver, storage: str
) -> None:
    folder = write_folder(tmp_path / "c", model, tools, {"on-call": webhook(receiver)})
    model.respond(lambda body: Answer(calls=[Call("files__write", {"text": str(body["messages"][-1]["content"])})]))
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(serving(folder, tmp_path / name, storage=storage)) for name in ("a", "b")
        ]
        await asyncio.gather(*(replicas[n % 2].say(f"write {n}", key=DEVELOPER) for n in range(24)))
        await receiver.wait_for(24)
        await asyncio.sleep(0.5)
        sent = [(await find_counts(replica)).get("sent", 0) for replica in replicas]
    assert len(receiver.requests) == 24
    assert len({request.id for request in receiver.requests}) == 24
    assert sum(sent) == 24


async def test_a_receiver_that_never_answers_holds_up_no_turn_and_no_other_receiver(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        destinations = {"silent": {"webhook": {"url": url, "secret": SECRET}}, "on-call": webhook(receiver)}
        folder = write_folder(tmp_path / "c", model, tools, destinations)
        model.respond(lambda body: Answer(calls=[Call("files__write", {"text": str(body["messages"][-1]["content"])})]))
        async with serving(folder, tmp_path / "data") as facade:
            began = time.monotonic()
            for number in range(6):
                await facade.say(f"write {number}", key=DEVELOPER)
            await receiver.wait_for(6)
            assert time.monotonic() - began < 10


async def test_attempts_end_with_a_line_in_the_log_that_holds_no_secret(
    tmp_path: Path,
    model: ScriptedModel,
    tools: Tools,
    keys: None,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    token = "T0KENOFTHECHATTHATNOBODYSEES"
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]))
    destinations = {"chat": {"slack": {"url": f"{receiver.url}/services/{token}"}}, "on-call": webhook(receiver)}
    folder = write_folder(tmp_path / "c", model, tools, destinations)
    receiver.statuses = [500] * 15 + [302]
    with caplog.at_level(logging.INFO):
        async with serving(folder, tmp_path / "data") as facade:
            await facade.say("write x", key=DEVELOPER)
            await receiver.wait_for(16, seconds=30)
            await asyncio.sleep(0.5)
            assert await find_counts(facade) == {"retried": 14, "failed": 2}
            ready = (await facade.ready()).text
    assert len(receiver.requests) == 16
    given_up = [record for record in caplog.records if "is given up after 8 attempts" in record.getMessage()]
    assert {record.levelname for record in given_up} == {"ERROR"}
    assert len(given_up) == 2
    for text in (caplog.text, ready):
        assert token not in text
        assert SECRET.removeprefix("whsec_") not in text


async def test_a_receiver_that_is_gone_is_not_asked_again(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, receiver: Receiver
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]))
    folder = write_folder(tmp_path / "c", model, tools, {"on-call": webhook(receiver)})
    receiver.statuses = [410]
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("write x", key=DEVELOPER)
        assert await wait_for_outcome(facade, "failed") == {"failed": 1}
        await asyncio.sleep(0.3)
    assert len(receiver.requests) == 1


@pytest.mark.timeout(120)  # a whole program is killed and started again
async def test_an_approved_call_whose_process_was_killed_is_told_as_unknown(
    tmp_path: Path, model: ScriptedModel, tools: Tools, receiver: Receiver
) -> None:
    hold = tmp_path / "hold"
    model.script(Answer(calls=[Call("files__order", {"item": "a", "hold": str(hold)})]))
    folder = write_folder(tmp_path / "c", model, tools, {"on-call": webhook(receiver)})
    gateway = await asyncio.to_thread(PinnedGateway, folder, tmp_path / "data", {}, free_port())
    try:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx.AsyncClient(timeout=60, trust_env=False))
            facade = Facade(gateway.url, http)
            asked = await facade.say("order a", key=DEVELOPER)
            (got,) = await receiver.wait_for(1)
            await decide(facade, got.json["data"]["approval"], "approve", key=ADMIN_KEY)
            turn = asyncio.create_task(facade.say("order a", said(asked), "and?", key=DEVELOPER))
            await asyncio.to_thread(tools.wait_for, "order a")
            await asyncio.to_thread(gateway.now.process.stop, signal.SIGKILL)
            await asyncio.gather(turn, return_exceptions=True)
        await asyncio.to_thread(gateway.restart)
        _, second = await receiver.wait_for(2, seconds=30)
    finally:
        hold.touch()
        await asyncio.to_thread(gateway.stop)
    assert second.json["type"] == "approval.failed"
    assert second.json["data"]["outcome"] == "unknown"
