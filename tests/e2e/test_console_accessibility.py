"""Everybody can use the console: axe finds nothing, Tab leads everywhere, and it fits a phone, in every view of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from support.accessibility import MOST_TABS, find_keyboard_traps, find_violations, scrolls_sideways
from support.consolepage import ConsolePage, console_page
from support.facade import ASSISTANT, write_configs
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, PinnedGateway
from support.processes import free_port
from support.scripted_model import Answer, Body, Call, ScriptedModel
from support.tool_server import Tools

ACCESS: dict[str, Any] = {
    "roles": {
        "admin": {"allow": ["*"], "ask": [{"tool": "files/write", "expires": "60m"}], "deny": ["files/pid"]},
        "developer": {"allow": ["elsewhere/*"], "graphs": ["nothing"]},
    },
    "keys": [
        {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
        {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
    ],
}
FORM: dict[str, Any] = {
    "vars": {"ticket": {"fields": {"title": "string", "system": ["shop", "app"], "copies?": "int"}}},
    "start": "form",
    "nodes": {
        "form": {"type": "question", "question": "Complete it.", "into": "ticket", "next": "say"},
        "say": {"type": "reply", "text": "{{ ticket.title }}", "next": "end"},
    },
}
WIDE = "a-name-without-a-place-to-break-" * 5


def answer(body: Body) -> Answer | str:
    """A turn with one call of each verdict."""
    if any(message["role"] == "tool" for message in body["messages"]):
        return f"All three were tried.\n\n{WIDE}"
    texts = [Call("files__echo", {"text": WIDE}), Call("files__pid")]
    return Answer("I try.", calls=[*texts, Call("files__write", {"text": f"line\n{WIDE}", WIDE: "x"})])


@pytest.fixture(scope="module")
def served(
    upstream: ScriptedModel, tools_process: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PinnedGateway]:
    """Interlock with something of everything: a server that is down, a turn that waits, a call and a question."""
    folder = tmp_path_factory.mktemp("accessibility")
    servers = {"files": {"url": tools_process.url}, "away": {"command": "no-such-program"}}
    graphs = {"assistant": ASSISTANT, "form": FORM}
    configs = write_configs(folder / "configs", upstream.url, servers, access=ACCESS, graphs=graphs)
    upstream.reset()
    upstream.respond(answer)
    gateway = PinnedGateway(configs, folder / "data", {}, free_port(), down=["away"])
    ask(gateway, "Try three tools.")
    ask(gateway, f"Fill it in, {WIDE}", "form")
    yield gateway
    gateway.stop()


def ask(served: PinnedGateway, words: str, model: str = "assistant") -> None:
    body = {"model": model, "messages": [{"role": "user", "content": words}]}
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    answer = httpx.post(f"{served.url}/chat/completions", json=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text


def show_sign_in(page: ConsolePage) -> None:
    page.go()
    page.sign_in("no key")
    expect(page.page.get_by_role("alert").filter(has_text="This cannot be a key")).to_be_visible()


def show_board(page: ConsolePage) -> None:
    page.enter(ADMIN_KEY)
    expect(page.graph("assistant").locator("g.node").first).to_be_visible()
    expect(page.approval("files/write").first).to_be_visible()
    expect(page.page.locator("#question-list > li")).to_have_count(1)


def show_everything_opened(page: ConsolePage) -> None:
    show_board(page)
    # What stands in others opens after them.
    while (closed := page.page.locator("details:not([open]) > summary:visible")).count():
        closed.first.click()


def show_nothing(page: ConsolePage) -> None:
    page.enter(DEVELOPER_KEY)
    expect(page.page.get_by_text("No turns yet.")).to_be_visible()


def show_mistakes(page: ConsolePage) -> None:
    def add_problem(route: Route) -> None:
        there = route.fetch()
        if there.status != 200:  # nothing has changed since
            route.fulfill(response=there)
            return
        problems = [f"graphs/{WIDE}.yaml:2:1: there is no node 'agnt'"]
        route.fulfill(response=there, json={**there.json(), "problems": problems})

    page.page.route("**/api/state", add_problem)
    page.enter(ADMIN_KEY)
    expect(page.page.get_by_role("heading", name="The saved files have mistakes")).to_be_visible()


def show_being_away(page: ConsolePage) -> None:
    show_board(page)
    page.page.route("**/api/state", lambda route: route.abort())
    expect(page.page.get_by_role("alert").filter(has_text="Interlock does not answer.")).to_be_visible()


def show_trial(page: ConsolePage) -> None:
    page.enter(ADMIN_KEY)
    box = page.page.locator("#trial")
    box.get_by_label("Message").fill("Try three tools.")
    box.get_by_role("button", name="Try it").click()
    expect(box.get_by_role("status")).to_contain_text("The trial has ended")


def show_audit(page: ConsolePage) -> None:
    page.enter(ADMIN_KEY)
    box = page.page.locator("#audit")
    box.get_by_role("button", name="Search", exact=True).click()
    expect(box.get_by_role("status")).to_contain_text("of everybody")
    while (closed := box.locator("details:not([open]) > summary:visible")).count():
        closed.first.click()


def show_docs(page: ConsolePage) -> None:
    page.go("/docs")
    expect(page.page.get_by_role("heading", name="Routes")).to_be_visible()


VIEWS: dict[str, Callable[[ConsolePage], None]] = {
    "sign-in": show_sign_in,
    "board": show_board,
    "opened": show_everything_opened,
    "nothing": show_nothing,
    "mistakes": show_mistakes,
    "away": show_being_away,
    "trial": show_trial,
    "audit": show_audit,
    "docs": show_docs,
}
"""Every view of the console, by the name of its picture, and what leads there. A new page is one more line."""
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_keeps_anybody_from_using_it(
    chromium: Browser, served: PinnedGateway, screenshots: Path, view: str, look: str
) -> None:
    with console_page(chromium, served.now.root, screenshots, reduced_motion="reduce", **LOOKS[look]) as page:
        VIEWS[view](page)
        page.shoot(f"{view}-{look}")
        assert find_violations(page.page) == []
        assert page.barriers() == []
        assert not scrolls_sideways(page.page)
        assert find_keyboard_traps(page.page) == []
        if view not in ("away", "mistakes"):
            assert page.complaints == []


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until it has the focus, as somebody without a mouse does."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if wanted.evaluate("each => each === document.activeElement"):
            return
    pytest.fail(f"no Tab leads to {wanted}")


def test_by_keyboard_alone_a_person_does_all_of_it_and_hears_what_changes(
    chromium: Browser, served: PinnedGateway, screenshots: Path
) -> None:
    with console_page(chromium, served.now.root, screenshots, reduced_motion="reduce") as console:
        console.go()
        page, keys = console.page, console.page.keyboard
        expect(page.get_by_label("Interlock key")).to_be_focused()
        keys.type(ADMIN_KEY)
        keys.press("Enter")
        expect(page.locator("#board")).to_be_visible()
        page.wait_for_function("document.getElementById('said').textContent.includes('waits')")

        ask(served, "Another one.")
        card = page.locator("#approval-list > li").nth(1)
        expect(card).to_be_visible()
        assert console.spoken() == "1 call waits for a decision: files/write."
        tab_to(page, card.get_by_label("Note"))
        keys.type("not now")
        keys.press("Tab")
        refusal = {"error": {"message": "not now", "type": "x", "code": "x", "param": None}}
        with console.answering("POST", "**/v1/approvals/*", 403, refusal):
            keys.press("Enter")
            expect(card.get_by_role("alert")).to_have_text("Not now.")
        expect(card.get_by_role("button", name="Reject")).to_be_focused()
        keys.press("Enter")
        expect(card.get_by_role("button", name="Dismiss")).to_be_focused()
        assert console.spoken() == "files/write: rejected by you."
        keys.press("Enter")

        ask(served, "Once more.", "form")
        form = page.locator("#question-list > li").nth(1)
        expect(form).to_be_visible()
        assert console.spoken() == "1 question waits for an answer: Complete it."
        tab_to(page, form.get_by_label("title"))
        keys.type("A title")
        keys.press("Tab")
        keys.type("app")
        keys.press("Tab")
        keys.type("two")
        keys.press("Tab")
        keys.press("Enter")
        expect(form.get_by_role("alert")).to_contain_text("expected a whole number")
        expect(form.get_by_role("button", name="Answer")).to_be_focused()
        keys.press("Shift+Tab")
        keys.type("2")
        keys.press("Enter")
        expect(page.locator("#question-list > li")).to_have_count(1)
        assert console.spoken() == "Answered: Complete it."

        turn = console.turn("Another one.").first
        tab_to(page, turn.locator("> details > summary"))
        keys.press("Enter")
        expect(turn.locator(".timeline").last).to_be_visible()
        tab_to(page, page.get_by_role("button", name="Sign out"))
        keys.press("Enter")
        expect(page.get_by_label("Interlock key")).to_be_focused()
        assert console.complaints == []
