"""A call that must be asked: the page's own panel, one click, and the call runs exactly once or not at all."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Route, expect
from support.chatmodel import ChatModel
from support.chatpage import ChatPage, Chromium
from support.gateway import PinnedGateway
from support.scripted_model import Answer, Call
from support.tool_replies import stable, what_the_tools_said
from support.tool_server import Tools

TEXT = 'Ahoi, Zoë <b>&</b> "friends"…'
WRITE = Call("files__write", {"text": TEXT})


@pytest.fixture
def asked(page: ChatPage, model: ChatModel, tools: Tools) -> ChatPage:
    """The page as it asks; nothing has run."""
    model.script(Answer("I will write. ", calls=[WRITE]), what_the_tools_said)
    page.send("Write the greeting.")
    words = page.question()
    assert "files/write" in words
    assert "Ahoi, Zoë" in words
    assert "access.yaml" in words
    page.wait_for_status("Waits for your decision: files/write")
    assert tools.ran() == []
    return page


def test_a_write_asks_and_reject_runs_nothing(asked: ChatPage, model: ChatModel, tools: Tools) -> None:
    assert asked.options() == ["Reject", "Approve"]
    asked.shoot("asked")
    asked.decide("Reject")
    answer = asked.answer()
    [card] = [card for card in asked.cards() if card.name != "ask_user"]
    asked.shoot("rejected")

    assert answer.startswith("I will write.")
    assert "rejected" in answer.lower()
    assert (card.state, card.output) == ("failed", "You rejected files/write.")
    assert asked.status() == ""
    assert tools.ran() == []
    assert len(model.chats) == 2


def test_approve_runs_the_call_exactly_once(asked: ChatPage, model: ChatModel, tools: Tools) -> None:
    asked.decide("Approve")
    answer = asked.answer()
    # The page shows its own panel as a call too.
    [card] = [card for card in asked.cards() if card.name != "ask_user"]
    asked.shoot("approved")

    assert answer == "I will write.\nI found written"
    assert asked.status() == ""
    assert (card.name, card.state, card.input, card.output) == ("files/write", "done", {"text": TEXT}, "written")
    assert tools.ran() == [f"write {TEXT}"]
    assert len(model.chats) == 2


def test_approve_after_the_browser_was_closed_and_opened_again_runs_it_once(
    asked: ChatPage, ada: Chromium, model: ChatModel, tools: Tools
) -> None:
    address = asked.address
    ada.close()
    page = ada.open(address)
    assert page.options() == ["Reject", "Approve"]
    page.shoot("reopened")
    page.decide("Approve")

    assert page.answer() == "I will write.\nI found written"
    assert tools.ran() == [f"write {TEXT}"]

    ada.close()
    page = ada.open(address)
    assert page.answer() == "I will write.\nI found written"
    page.shoot("reopened-after")
    assert not page.asks()
    assert tools.ran() == [f"write {TEXT}"]
    assert len(model.chats) == 2


@pytest.mark.parametrize("look", ["light", "dark"])
def test_while_it_waits_the_answer_says_so_on_any_screen(asked: ChatPage, look: Literal["light", "dark"]) -> None:
    asked.page.emulate_media(color_scheme=look)
    for width in (1280, 390):
        asked.page.set_viewport_size({"width": width, "height": 800})
        asked.wait_for_status("Waits for your decision: files/write")
        assert asked.options() == ["Reject", "Approve"]
        asked.shoot(f"waits-{look}-{width}")
    asked.decide("Reject")
    asked.answer()
    asked.cards()
    asked.shoot(f"rejected-{look}-390")
    assert asked.status() == ""


def test_a_late_answer_to_the_click_leaves_open_webuis_stop_button_until_the_page_is_loaded_again(
    asked: ChatPage, ada: Chromium
) -> None:
    """Open WebUI's, and said in docs/guide/openwebui.md: it takes up the task of a click after that task has ended."""
    address = asked.address
    with asked.page.expect_response(re.compile("/resolve$")):
        asked.page.route(re.compile("/resolve$"), answer_late)
        asked.decide("Approve")
    assert asked.answer() == "I will write.\nI found written"
    expect(asked.page.get_by_label("Stop", exact=True)).to_be_visible()
    asked.shoot("stop-stays")
    ada.close()
    page = ada.open(address)
    assert page.answer() == "I will write.\nI found written"
    assert not page.can_stop()


def answer_late(route: Route) -> None:
    """Let the browser have the answer to its click after the chat has ended."""
    answer = route.fetch()
    time.sleep(2)
    route.fulfill(response=answer)


def test_approve_after_interlock_was_restarted_runs_it_once(
    asked: ChatPage, interlock: PinnedGateway, tools: Tools
) -> None:
    interlock.restart()
    asked.decide("Approve")

    assert asked.answer() == "I will write.\nI found written"
    assert tools.ran() == [f"write {TEXT}"]


def test_the_next_question_finds_the_approved_call_and_nothing_of_the_panel(asked: ChatPage, model: ChatModel) -> None:
    asked.decide("Approve")
    asked.answer()
    model.script("Yes.")
    asked.ask("Is it there?")

    called = {"name": "files__write", "arguments": json.dumps({"text": TEXT}, ensure_ascii=False)}
    assert stable(model.chats[-1].messages) == [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "Write the greeting."},
        {
            "role": "assistant",
            "content": "I will write. ",
            "tool_calls": [{"type": "function", "id": "call-1", "function": called}],
        },
        {"role": "tool", "tool_call_id": "call-1", "content": "written"},
        {"role": "assistant", "content": "I found written"},
        {"role": "user", "content": "Is it there?"},
    ]


def test_cancel_runs_nothing(asked: ChatPage, tools: Tools) -> None:
    asked.cancel()
    asked.answer()
    asked.shoot("cancelled")

    assert tools.ran() == []


def test_two_calls_of_one_round_are_asked_together_and_decided_each(
    page: ChatPage, model: ChatModel, tools: Tools
) -> None:
    calls = [Call("files__write", {"text": "port"}), Call("files__write", {"text": "starboard"})]
    model.script(Answer(calls=calls), what_the_tools_said)
    page.send("Write both.")
    assert "port" in page.question()
    page.shoot("asked-both-1")
    page.decide("Approve")
    page.wait_for_question("starboard")
    page.shoot("asked-both-2")
    page.decide("Reject")
    answer = page.answer()
    page.cards()
    page.shoot("decided-both")

    assert "written" in answer
    assert tools.ran() == ["write port"]


@pytest.mark.parametrize(
    "again", [ChatPage.regenerate, lambda page: page.edit("Write it now.")], ids=["regenerate", "edit"]
)
def test_what_was_approved_once_is_asked_again_when_the_answer_is_made_again(
    asked: ChatPage, model: ChatModel, tools: Tools, again: Callable[[ChatPage], None]
) -> None:
    asked.decide("Approve")
    asked.answer()
    model.script(Answer(calls=[WRITE]), what_the_tools_said)
    again(asked)
    asked.question()

    assert tools.ran() == [f"write {TEXT}"]
    asked.decide("Reject")
    asked.answer()
    assert tools.ran() == [f"write {TEXT}"]
