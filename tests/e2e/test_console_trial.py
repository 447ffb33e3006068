"""An admin tries a graph as a role on the console's page, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from support.chatmodel import ChatModel
from support.consolepage import ConsolePage, console_page
from support.facade import ASSISTANT, write_configs
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, PinnedGateway
from support.processes import free_port
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_replies import what_the_tools_said
from support.tool_server import Tools

ACCESS: dict[str, Any] = {
    "roles": {
        "admin": {"allow": ["*"], "ask": [{"tool": "files/write", "expires": "15m"}]},
        "developer": {
            "allow": ["files/*"],
            "deny": [{"tool": "files/pid", "reason": "Nobody needs it."}],
            "graphs": ["assistant"],
        },
    },
    "keys": [
        {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
        {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
    ],
}


@pytest.fixture(scope="module")
def served(
    upstream: ScriptedModel, tools_process: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PinnedGateway]:
    folder = tmp_path_factory.mktemp("trial")
    servers = {"files": {"url": tools_process.url}}
    graphs = {"assistant": ASSISTANT, "secret": ASSISTANT}
    configs = write_configs(folder / "configs", upstream.url, servers, access=ACCESS, graphs=graphs)
    gateway = PinnedGateway(configs, folder / "data", {}, free_port())
    yield gateway
    gateway.stop()


@pytest.fixture
def console(chromium: Browser, served: PinnedGateway, screenshots: Path) -> Iterator[ConsolePage]:
    with console_page(chromium, served.now.root, screenshots) as page:
        yield page
        assert page.complaints == []


def test_an_admin_tries_a_graph_by_keyboard_and_nothing_runs(
    console: ConsolePage, model: ChatModel, tools: Tools
) -> None:
    calls = [Call("files__echo", {"text": "a"}), Call("files__write", {"text": "b"}), Call("files__pid")]
    model.script(Answer(calls=calls), "I <b>tried</b> all three.")
    box = console.enter(ADMIN_KEY).page.locator("#trial")
    box.get_by_label("Role", exact=True).focus()
    console.page.keyboard.type("dev")
    console.page.keyboard.press("Tab")
    expect(box.get_by_label("Graph")).to_be_focused()
    expect(box.get_by_label("Graph").locator("option")).to_have_text(["assistant"])
    console.page.keyboard.press("Tab")
    console.page.keyboard.type("Try three tools.")
    console.page.keyboard.press("Tab")
    expect(box.get_by_label("Run the calls")).to_be_focused()
    console.page.keyboard.press("Tab")
    console.page.keyboard.press("Enter")
    expect(box.get_by_role("status")).to_have_text(
        "The trial has ended: 3 tool calls, 1 allowed, 1 would be asked, 1 denied."
    )
    expect(box.get_by_role("button", name="Try it")).to_be_focused()
    echo, write, pid = box.locator(".call").all()
    expect(echo.locator(".what .pill")).to_have_text(["allowed", "not run"])
    expect(write.locator(".by-role .pill")).to_have_text(["allowed", "would be asked"])
    expect(write).to_contain_text("role admin, ask 'files/write' (access.yaml:")
    expect(pid.locator(".by-role .pill")).to_have_text(["denied", "allowed"])
    expect(pid).to_contain_text("role developer, deny 'files/pid' (access.yaml:")
    expect(pid).to_contain_text("Nobody needs it.")
    expect(box.locator("blockquote")).to_have_text("I <b>tried</b> all three.")
    assert tools.ran() == []
    expect(console.page.get_by_text("No call waits for a decision.")).to_be_visible()
    console.shoot("trial")
    turn = console.opened("Try three tools.")
    expect(turn.locator("summary").first).to_contain_text("tried as developer")
    expect(turn.locator(".timeline .call .pill")).to_have_text(
        ["allowed", "not run: a trial", "asked", "not run: a trial", "denied", "not run"]
    )


def test_ticked_calls_run_and_what_is_asked_waits_above(console: ConsolePage, model: ChatModel, tools: Tools) -> None:
    model.script(
        Answer(calls=[Call("files__echo", {"text": "a"})]),
        Answer(calls=[Call("files__write", {"text": "b"})]),
        what_the_tools_said,
    )
    box = console.enter(ADMIN_KEY).page.locator("#trial")
    box.get_by_label("Role", exact=True).select_option("developer")
    box.get_by_label("Message").fill("Write.")
    box.get_by_label("Run the calls").check()
    box.get_by_role("button", name="Try it").click()
    expect(box.get_by_role("status")).to_contain_text("The trial waits until 1 call is decided")
    expect(box.get_by_role("button", name="Stop")).to_be_visible()
    card = console.approval("files/write")
    console.decide(card, "Approve")
    expect(box.get_by_role("status")).to_contain_text("The trial has ended: 2 tool calls")
    expect(box.locator(".call .what .pill")).to_have_text(["allowed", "done", "asked", "done"])
    expect(box.locator("blockquote")).to_contain_text("I found a and written")
    assert tools.ran() == ["echo a", "write b"]
    console.shoot("trial-run")


def test_stopping_a_trial_takes_back_what_it_asked(console: ConsolePage, model: ChatModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "b"})]))
    box = console.enter(ADMIN_KEY).page.locator("#trial")
    box.get_by_label("Message").fill("Stop here.")
    box.get_by_label("Run the calls").check()
    box.get_by_role("button", name="Try it").click()
    card = console.approval("files/write")
    expect(card).to_be_visible()
    box.get_by_role("button", name="Stop").click()
    expect(box.get_by_role("status")).to_have_text("Stopped.")
    expect(card.locator(".pill")).to_have_text("superseded")
    expect(console.turn("Stop here.").first.locator("summary > .pill")).to_have_text("stopped")
    assert tools.ran() == []


def test_others_have_no_such_box(console: ConsolePage) -> None:
    console.enter(DEVELOPER_KEY)
    expect(console.page.locator("#trial")).to_be_hidden()
    expect(console.page.get_by_role("link", name="Try")).to_have_count(0)
