"""Two people behind one key of Open WebUI's: each has their own rights, and no header that they send changes that."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import pytest
from support.chatmodel import ChatModel
from support.chatpage import ChatPage, Chromium
from support.gateway import PinnedGateway
from support.openwebui import ADA, JWT_SECRET, KEY, OpenWebUI
from support.scripted_model import Answer, Call
from support.tool_server import Tools

ADDING = Answer(calls=[Call("files__add", {"a": 1, "b": 2})])


def token(secret: str = JWT_SECRET, *, alg: str = "HS256", **claims: Any) -> str:
    """A user token as Open WebUI makes it, or not quite."""
    now = int(time.time())
    whole = {"sub": "1", "email": ADA.email, "name": ADA.name, "role": ADA.role, "iss": "open-webui"}
    parts = [{"alg": alg, "typ": "JWT"}, {**whole, "iat": now, "exp": now + 300, **claims}]
    signed = ".".join(coded(json.dumps(part).encode()) for part in parts)
    proof = coded(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)) if alg == "HS256" else ""
    return f"{signed}.{proof}"


def coded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


FORGED = {
    "X-OpenWebUI-User-Name": ADA.name,
    "X-OpenWebUI-User-Id": "1",
    "X-OpenWebUI-User-Email": ADA.email,
    "X-OpenWebUI-User-Role": "admin",
}


def asked_with(interlock: PinnedGateway, headers: dict[str, str]) -> httpx.Response:
    """A request with Open WebUI's key, past Open WebUI."""
    return httpx.post(
        f"{interlock.url}/chat/completions",
        json={"model": "assistant", "messages": [{"role": "user", "content": "Add them."}]},
        headers={"authorization": f"Bearer {KEY}", **headers},
        trust_env=False,
        timeout=30,
    )


def opened(browser: Chromium) -> ChatPage:
    page = browser.open()
    page.choose("assistant")
    return page


def test_each_has_their_own_rights_behind_one_key(ada: Chromium, ben: Chromium, model: ChatModel, tools: Tools) -> None:
    offered: dict[str, set[str]] = {}
    states: dict[str, str] = {}
    for browser in (ada, ben):
        name = browser.person.role
        model.script(ADDING, "Done.")
        page = opened(browser)
        page.ask("Add them.")
        [card] = page.cards()
        page.shoot(f"rights-{name}")
        offered[name] = set(model.chats[-1].tools)
        states[name] = card.state

    own = {f"files__{tool}" for tool in ("echo", "add", "fails", "hang", "write")}
    assert offered["admin"] == {*own, "filesystem__read_file", "filesystem__write_file"}
    assert offered["user"] == {"files__echo"}
    assert states == {"admin": "done", "user": "failed"}
    assert tools.ran() == ["add"]


def test_headers_forged_in_the_browser_change_nothing(ben: Chromium, model: ChatModel, tools: Tools) -> None:
    ben.headers = {**FORGED, "X-OpenWebUI-User-Jwt": token("a guess")}
    model.script(ADDING, "I may not.")
    page = opened(ben)
    page.ask("Add them.")
    [card] = page.cards()
    page.shoot("forged")
    ben.headers = {}

    assert card.state == "failed"
    assert "access.yaml:" in card.output
    assert set(model.chats[-1].tools) == {"files__echo"}
    assert tools.ran() == []


@pytest.mark.parametrize(
    "jwt",
    [token("a guess"), token(alg="none"), token(exp=1), token(iss="somebody"), "nonsense"],
    ids=["another secret", "unsigned", "expired", "another issuer", "nonsense"],
)
def test_a_signature_that_does_not_hold_is_refused_even_with_the_key(
    webui: OpenWebUI, interlock: PinnedGateway, model: ChatModel, tools: Tools, jwt: str
) -> None:
    model.script(ADDING, "Done.")

    assert asked_with(interlock, {"X-OpenWebUI-User-Jwt": jwt}).status_code == 401
    assert model.chats == []
    assert tools.ran() == []


@pytest.mark.parametrize("headers", [FORGED, {**FORGED, "X-OpenWebUI-User-Jwt": ""}], ids=["plain", "empty"])
def test_unsigned_headers_give_what_no_headers_give(
    webui: OpenWebUI, interlock: PinnedGateway, model: ChatModel, headers: dict[str, str]
) -> None:
    seen: list[Any] = []
    for given in ({}, headers):
        before = len(model.chats)
        model.script("Done.")
        status = asked_with(interlock, given).status_code
        seen.append((status, [request.body for request in model.chats[before:]]))

    assert seen[0] == seen[1]


def test_the_other_one_cannot_answer_what_was_asked_of_the_first(
    ada: Chromium, model: ChatModel, tools: Tools, interlock: PinnedGateway
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "mine"})]), "Said no.")
    page = opened(ada)
    page.send("Write mine.")
    page.question()
    approvals = f"{interlock.url}/approvals"
    mine, theirs = (
        {"authorization": f"Bearer {KEY}", "X-OpenWebUI-User-Jwt": token(**claims)}
        for claims in ({"sub": "unknown"}, {"sub": "2", "email": "ben@example.org", "name": "Ben", "role": "user"})
    )
    for headers in (mine, theirs):
        listed = httpx.get(approvals, headers=headers, trust_env=False).json()
        assert not [entry for entry in listed["data"] if entry["args"] == {"text": "mine"}]
    page.decide("Reject")
    page.answer()

    assert tools.ran() == []
