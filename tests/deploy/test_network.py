"""The composed system in network namespaces: who reaches what, and a chat that goes through all of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from support.chatmodel import ChatModel
from support.chatpage import PATIENCE, ChatPage, Chromium
from support.composed_system import Team
from support.containers import HOST
from support.environments import program
from support.openwebui import ADA, make_accounts
from support.scripted_model import Answer, Body, Call, text_of

CHAT_PAGE, INTERLOCK, PROXY = 3000, 8080, 8585
REACHES = {
    # The whole table: who takes a connection from whom, at which port. What does not stand here must not be.
    ("open-webui", "interlock", 8080),
    ("interlock", "open-webui", 8080),
    ("interlock", "litellm", 4000),
    ("interlock", "mcp-proxy", PROXY),
    ("interlock", "postgres", 5432),
    ("interlock", "prometheus", 9090),
    ("mcp-proxy", "postgres", 5432),
    ("mcp-proxy", "prometheus", 9090),
    ("prometheus", "interlock", 8080),
    ("prometheus", "postgres", 5432),
    ("postgres", "prometheus", 9090),
    # Interlock listens on every network it is on, and asks each of them for a key.
    ("litellm", "interlock", 8080),
    ("mcp-proxy", "interlock", 8080),
    ("postgres", "interlock", 8080),
    # It copies the database, on the network of the store alone, where Interlock is too.
    ("backup", "postgres", 5432),
    ("backup", "interlock", 8080),
}


def every_listener(team: Team) -> set[tuple[str, str, int]]:
    """Service, address and port of all that listens for others, by what each machine says of itself."""
    return {
        (name, address, port)
        for name, container in team.composed.containers.items()
        for port, heard in container.machine.listening().items()
        for address in container.addresses.values()
        if heard - {"127.0.0.1", "::1"}
    }


def test_a_person_reaches_the_chat_page_and_interlock_and_nothing_else(team: Team) -> None:
    person = team.composed.person
    inner = every_listener(team)
    ports = {port for _, _, port in inner} | {PROXY, 22, 80, 443}
    assert {8080, 4000, PROXY, 5432, 9090} <= ports

    assert team.composed.host.listening().keys() == {CHAT_PAGE, INTERLOCK}
    everything = {(HOST, port) for port in ports | {CHAT_PAGE}} | {(address, port) for _, address, port in inner}
    everything |= {(address, PROXY) for _, address, _ in inner}
    assert person.answering(everything) == {(HOST, CHAT_PAGE), (HOST, INTERLOCK)}


def test_between_the_services_only_those_reach_each_other_that_must(team: Team) -> None:
    listening = every_listener(team)
    found: set[tuple[str, str, int]] = set()
    for asking, container in team.composed.containers.items():
        if container.process is None or not container.service.networks:
            continue
        targets = {(address, port): name for name, address, port in listening if name != asking}
        reached = container.machine.answering(targets)
        found |= {(asking, targets[target], target[1]) for target in reached}
    assert found == REACHES


def test_only_litellm_has_a_way_out(team: Team) -> None:
    outside = (f"{team.composed.subnets['egress']}.250", 8000)
    out = {name for name, container in team.composed.containers.items() if container.machine.answering([outside])}
    assert out == {"litellm"}


def test_the_proxy_answers_interlock(team: Team) -> None:
    said = team.composed.containers["interlock"].inside(
        ["python3", "-c", "from urllib.request import urlopen; print(urlopen('http://mcp-proxy:8585/status').status)"]
    )
    assert said.stdout == "200\n", said.stderr


def test_interlock_is_ready_with_all_three_servers(team: Team, folder: Path) -> None:
    headers = {"authorization": f"Bearer {(folder / 'secrets' / 'admin_key').read_text()}"}
    address = f"http://{HOST}:{INTERLOCK}/ready"
    ready = team.composed.person.do(lambda: httpx.get(address, headers=headers, trust_env=False).json())
    assert ready["status"] == "ok", ready
    assert {name: server["status"] for name, server in ready["servers"].items()} == {
        "filesystem": "up",
        "postgres": "up",
        "monitoring": "up",
    }


def test_the_operators_key_from_the_secrets_opens_the_api_and_no_other_does(team: Team, folder: Path) -> None:
    key = (folder / "secrets" / "admin_key").read_text()

    def models(key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.get(f"http://{HOST}:{INTERLOCK}/v1/models", headers=headers, trust_env=False)

    known = team.composed.person.do(lambda: models(key))
    assert {model["id"] for model in known.json()["data"]} == {"assistant", "gpt-4o", "gpt-4o-mini"}
    assert team.composed.person.do(lambda: models(key[:-1])).status_code == 401


@pytest.fixture(scope="module")
def window(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatPage]:
    """Ada, signed in, in a Chromium that runs on the person's machine."""
    url = f"http://{HOST}:{CHAT_PAGE}"
    team.composed.person.do(lambda: make_accounts(url))
    folder = tmp_path_factory.mktemp("person")
    there = folder / "chromium-of-the-person"
    chromium = program("chromium", "install Debian's package chromium")
    there.write_text(f'#!/bin/sh\nexec {" ".join(team.composed.person.enter)} {chromium} "$@"\n')
    there.chmod(0o755)
    shots = Path(os.environ.get("INTERLOCK_SCREENSHOTS") or folder / "screenshots")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as driver:
        browser = Chromium(driver, there, url, ADA, shots)
        yield browser.open()
        browser.shoot("deploy-end")
        browser.close()


@pytest.fixture
def page(window: ChatPage) -> ChatPage:
    """A new chat with `assistant`."""
    window.go("/")
    window.ready()
    window.choose("assistant")
    return window


def test_a_chat_in_open_webui_reaches_all_three_servers(team: Team, page: ChatPage, folder: Path) -> None:
    started = "process_start_time_seconds{job='prometheus'}"
    model = ChatModel(team.model)
    model.script(
        Answer("I look. ", calls=[Call("filesystem__read_text_file", {"path": "/workspace/welcome.md"})]),
        Answer(calls=[Call("postgres__execute_sql", {"sql": "SELECT sum(cargo_tonnes) AS tonnes FROM calls"})]),
        Answer(calls=[Call("monitoring__execute_query", {"query": started})]),
        what_the_tools_said,
    )
    answer = page.ask("Which channel, how much cargo, and since when are we watching?")

    assert "4711" in answer
    tonnes = sum(n * 7919 % 4093 for n in range(1, 501))
    assert f'"tonnes": "{tonnes}"' in answer or str(tonnes) in answer
    assert since(team) in answer
    assert [(card.name, card.state) for card in page.cards()] == [
        ("filesystem/read_text_file", "done"),
        ("postgres/execute_sql", "done"),
        ("monitoring/execute_query", "done"),
    ]
    page.shoot("deploy-three-servers")
    chat = model.chats[-1]
    assert chat.headers["authorization"] != f"Bearer {(folder / 'secrets' / 'litellm_key').read_text()}"


def test_the_second_interlock_goes_on_where_the_first_was_killed(team: Team, page: ChatPage, folder: Path) -> None:
    composed = team.composed
    written = folder / "workspace" / "log.md"
    entry = Call("filesystem__write_file", {"path": "/workspace/log.md", "content": "Berthed."})
    ChatModel(team.model).script(Answer(calls=[entry]), "It is written.")
    page.send("Write the log.")
    assert "filesystem/write_file" in page.question()

    composed.wait_until_well(composed.start_when_needed("interlock-2", 60), 60)
    composed.stop("interlock")
    try:
        # What waits, and for which call, only the first knew: the second has it from PostgreSQL.
        assert not written.exists()
        page.decide("Approve")
        page.wait_for_text("It is written.")
        assert written.read_text() == "Berthed."
        page.shoot("deploy-second-interlock")
    finally:
        composed.wait_until_well(composed.start_when_needed("interlock", 60), 60)
        composed.stop("interlock-2")


def test_a_database_user_enters_no_other_database_and_the_reader_writes_nothing(team: Team, folder: Path) -> None:
    postgres = team.composed.containers["postgres"]

    def tried(user: str, secret: str, database: str, sql: str) -> str:
        password = (folder / "secrets" / secret).read_text()
        address = f"postgresql://{user}:{password}@127.0.0.1:5432/{database}"
        said = postgres.inside(["psql", address, "-X", "-A", "-t", "-c", sql])
        return said.stdout.strip() + said.stderr

    assert tried("sample_reader", "postgres_sample", "sample", "SELECT count(*) FROM calls") == "500"
    assert "permission denied" in tried("sample_reader", "postgres_sample", "interlock", "SELECT 1")
    assert "permission denied" in tried("interlock", "postgres_interlock", "sample", "SELECT 1")
    assert "password authentication failed" in tried("interlock", "postgres_sample", "interlock", "SELECT 1")
    for undone in ("", "SET default_transaction_read_only = off; "):
        said = tried("sample_reader", "postgres_sample", "sample", f"{undone}DELETE FROM calls")
        assert re.search("read-only|permission denied", said), said


def what_the_tools_said(body: Body) -> str:
    """The model's last word: the tool results, which it could not have known."""
    return "I found: " + " | ".join(text_of(one["content"]) for one in body["messages"] if one["role"] == "tool")


def since(team: Team) -> str:
    """What Prometheus itself says, asked on its own machine."""
    prometheus = team.composed.containers["prometheus"]
    query = "process_start_time_seconds{job='prometheus'}"
    said = prometheus.inside(["promtool", "query", "instant", "--format=json", "http://127.0.0.1:9090", query])
    return json.loads(said.stdout)[0]["value"][1]
