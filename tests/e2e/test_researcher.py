"""A graph that looks into several questions at once: the page counts those that are done, then shows the brief."""

from __future__ import annotations

import json

import pytest
from support.chatmodel import ChatModel
from support.chatpage import ChatPage, Chromium
from support.scripted_model import Answer, Body, Call, text_of

QUESTIONS = {
    "When do we meet?": ("agenda.md", "On Monday (/workspace/agenda.md)."),
    "What is in stock?": ("inventory.csv", "Nine nets (/workspace/inventory.csv)."),
    "What is new?": ("welcome.md", "A greeting (/workspace/welcome.md)."),
}
SLOWEST = "What is new?"


@pytest.fixture
def page(ada: Chromium) -> ChatPage:
    page = ada.open()
    page.choose("researcher")
    return page


def read_own_file(body: Body) -> Answer:
    """Read the file that the agent's question is about, then answer from it; the slowest waits to be released."""
    question = next(text_of(each["content"]) for each in body["messages"] if each["role"] == "user")
    file, note = QUESTIONS[question]
    if body["messages"][-1]["role"] != "tool":
        return Answer(calls=[Call("filesystem__read_file", {"path": f"/workspace/{file}"})])
    return Answer(note, stall_after=0 if question == SLOWEST else None)


def test_the_page_counts_what_is_done_and_shows_the_brief(page: ChatPage, model: ChatModel) -> None:
    model.script(json.dumps({"value": [*QUESTIONS]}), *[read_own_file] * 6, "We meet on Monday and have nine nets.")
    page.send("A brief on next week, please.")
    page.wait_for_text("Looking into 3 questions (2 of 3)")
    page.shoot("researcher-two-of-three")
    assert page.text() == ""
    model.release()
    answer = page.answer()
    page.shoot("researcher-brief")
    assert answer == "We meet on Monday and have nine nets."
    seen = text_of(model.chats[-1].messages[-1]["content"])
    assert seen.endswith("\n".join(note for _, note in QUESTIONS.values()))


def test_what_could_not_be_looked_into_is_said_below_the_brief(page: ChatPage, model: ChatModel) -> None:
    def answer_all_but_the_slowest(body: Body) -> Answer:
        failed = text_of(body["messages"][-1]["content"]) == SLOWEST
        return Answer(status=400, error="that is too much") if failed else Answer("On Monday.")

    model.script(json.dumps({"value": [*QUESTIONS]}), *[answer_all_but_the_slowest] * 3, "We meet on Monday.")
    answer = page.ask("A brief on next week, please.")
    page.shoot("researcher-gap")
    assert answer.startswith("We meet on Monday.")
    assert answer.endswith("Of 3 questions, 1 could not be looked into.")


def test_where_nothing_could_be_read_no_brief_is_made_up(page: ChatPage, model: ChatModel) -> None:
    model.script(json.dumps({"value": [*QUESTIONS]}), *[Answer(status=400, error="that is too much")] * 3)
    answer = page.ask("A brief on next week, please.")
    page.shoot("researcher-nothing")
    assert answer == "I could not look into any of it: no source could be read."
