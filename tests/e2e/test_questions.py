"""Graphs that ask: the page's own panel for a choice, the chat for a text, and a call that waits for approval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.chatmodel import ChatModel
from support.chatpage import ChatPage, Chromium


@pytest.fixture
def workspace(parts_folder: Path) -> Path:
    """The folder in which the graphs write their files."""
    return parts_folder / "files" / "workspace"


def choose(browser: Chromium, graph: str) -> ChatPage:
    page = browser.open()
    page.choose(graph)
    return page


def test_a_draft_is_shown_changed_and_kept_once_its_person_and_the_rules_agree(
    ada: Chromium, model: ChatModel, workspace: Path
) -> None:
    page = choose(ada, "reviewed-writer")
    model.script("Thanks.", "Dear Grace, thank you for your talk!")
    page.send("Thank Grace for her talk.")
    page.wait_for_question("Shall I keep it?")
    assert "Thanks." in page.text()
    assert page.options() == ["keep", "change", "stop"]
    page.shoot("question-choice")
    page.decide("change")
    page.wait_for_text("What should change?")
    page.shoot("question-text")
    page.send("More warmth")
    page.wait_for_question("Shall I keep it?")
    assert "Dear Grace" in page.text()
    page.decide("keep")
    page.wait_for_question("filesystem/write_file")
    assert page.options() == ["Reject", "Approve"]
    page.shoot("question-then-approval")
    page.decide("Approve")
    page.wait_for_text("It is in")  # until the click is under way, the answer before it looks finished
    answer = page.answer()
    page.shoot("question-kept")
    assert "It is in /workspace/draft-" in answer
    assert len(model.chats) == 2
    assert "More warmth" in str(model.chats[1].messages[0]["content"])
    [file] = workspace.glob("draft-*.md")
    assert file.read_text() == "Dear Grace, thank you for your talk!"


def test_a_ticket_is_completed_with_a_form_and_filed(ada: Chromium, model: ChatModel, workspace: Path) -> None:
    page = choose(ada, "ticket-intake")
    model.script(json.dumps({"title": "No pictures", "system": None, "urgency": None}))
    page.send("There are no pictures any more.")
    page.wait_for_text("title (1 of 3)")
    page.shoot("form-text")
    page.send("No pictures in the app")
    page.wait_for_question("(system)")
    page.shoot("form-choices")
    page.decide("app")
    page.wait_for_question("(urgency)")
    page.decide("high")
    page.wait_for_question("filesystem/write_file")
    page.decide("Approve")
    page.wait_for_text("Filed as")
    answer = page.answer()
    page.shoot("form-filed")
    assert "No pictures in the app (app, high)" in answer
    [file] = workspace.glob("ticket-app-*.json")
    assert json.loads(file.read_text()) == {"title": "No pictures in the app", "system": "app", "urgency": "high"}


@pytest.fixture
def asked(page: ChatPage) -> ChatPage:
    """The page as it asks for the first fields."""
    page.page.keyboard.press("Escape")
    page.choose("ticket")
    page.send("The till is broken.")
    assert "Please complete the ticket. (urgent)" in page.question()
    return page


def test_choices_are_clicked_and_texts_are_typed(asked: ChatPage, model: ChatModel) -> None:
    model.script("It is filed.")
    assert asked.options() == ["No", "Yes"]
    asked.shoot("question")
    asked.decide("Yes")
    asked.wait_for_question("(system)")
    assert asked.options() == ["shop", "app"]
    asked.decide("app")
    asked.wait_for_text("title")
    asked.shoot("question-for-text")
    asked.send("Till broken")
    asked.wait_for_question("File “Till broken”?")
    asked.decide("file")
    asked.wait_for_text("It is filed.")
    assert asked.answer() == "It is filed."
    asked.shoot("question-answered")
    [request] = model.chats
    told = [(message["role"], message["content"]) for message in request.messages]
    assert told[1:] == [
        ("user", "The till is broken."),
        ("assistant", "Please complete the ticket."),
        ("user", '{"urgent": true, "system": "app", "title": "Till broken"}'),
        ("assistant", "File “Till broken”?"),
        ("user", "file"),
    ]


def test_cancel_answers_nothing(asked: ChatPage, model: ChatModel) -> None:
    asked.cancel()
    asked.wait_for_text("Nothing was filed.")
    assert model.chats == []
