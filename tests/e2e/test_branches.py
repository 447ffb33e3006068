"""Regenerate, edit, stop: what the model is asked next, whole, and that no tool runs twice for it."""

from __future__ import annotations

from typing import Any

import pytest
from support.chatmodel import ChatModel
from support.chatpage import ChatPage
from support.scripted_model import Answer, Call
from support.tool_replies import stable
from support.tool_server import Tools

SYSTEM = {"role": "system", "content": "You help."}
FIRST: list[dict[str, Any]] = [
    SYSTEM,
    {"role": "user", "content": "How many fish?"},
    {
        "role": "assistant",
        "content": "Let me count. ",
        "tool_calls": [
            {"type": "function", "id": "call-1", "function": {"name": "files__add", "arguments": '{"a": 40, "b": 2}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call-1", "content": '{\n  "sum": 42\n}'},
    {"role": "assistant", "content": "Forty-two."},
]
"""A finished first exchange, as the model must see it ever after."""


@pytest.fixture
def two_turns(page: ChatPage, model: ChatModel, tools: Tools) -> ChatPage:
    """A question that needed a tool, and one that did not."""
    model.script(Answer("Let me count. ", calls=[Call("files__add", {"a": 40, "b": 2})]), "Forty-two.", "Herring.")
    page.ask("How many fish?")
    assert page.ask("Which?") == "Herring."
    return page


def test_the_next_question_finds_the_tool_results_in_their_place(two_turns: ChatPage, model: ChatModel) -> None:
    assert stable(model.chats[-1].messages) == [*FIRST, {"role": "user", "content": "Which?"}]


def test_regenerate_asks_the_same_again_and_repeats_no_tool(
    two_turns: ChatPage, model: ChatModel, tools: Tools
) -> None:
    model.script("Cod.")
    two_turns.regenerate()
    assert two_turns.answer() == "Cod."
    two_turns.shoot("regenerated")
    before, again = model.chats[-2:]

    assert again.body == before.body
    assert stable(again.messages) == [*FIRST, {"role": "user", "content": "Which?"}]
    assert tools.ran() == ["add"]


def test_edit_asks_the_new_words_after_the_same_history_and_repeats_no_tool(
    two_turns: ChatPage, model: ChatModel, tools: Tools
) -> None:
    model.script("Sprat.")
    two_turns.edit("Which exactly?")
    assert two_turns.answer() == "Sprat."
    two_turns.shoot("edited")
    before, again = model.chats[-2:]

    assert again.body == before.body | {
        "messages": [*before.messages[:-1], {"role": "user", "content": "Which exactly?"}]
    }
    assert stable(again.messages) == [*FIRST, {"role": "user", "content": "Which exactly?"}]
    assert tools.ran() == ["add"]


def test_after_a_regenerated_answer_the_talk_goes_on_from_it(
    two_turns: ChatPage, model: ChatModel, tools: Tools
) -> None:
    model.script("Cod.", "Salted.")
    two_turns.regenerate()
    two_turns.answer()
    assert two_turns.ask("How?") == "Salted."

    talk = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "Cod."}]
    assert stable(model.chats[-1].messages) == [*FIRST, *talk, {"role": "user", "content": "How?"}]
    assert tools.ran() == ["add"]


def test_an_answer_with_a_tool_made_again_forgets_the_first_one(page: ChatPage, model: ChatModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "one"})]), "One.")
    page.ask("Say something.")
    model.script(Answer(calls=[Call("files__echo", {"text": "two"})]), "Two.", "Yes.")
    page.regenerate()
    assert page.answer() == "Two."
    page.ask("Really?")

    called = {"type": "function", "id": "call-1", "function": {"name": "files__echo", "arguments": '{"text": "two"}'}}
    assert stable(model.chats[-1].messages) == [
        SYSTEM,
        {"role": "user", "content": "Say something."},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call-1", "content": "two"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Really?"},
    ]
    assert tools.ran() == ["echo one", "echo two"]


def test_after_stop_the_next_question_follows_the_part_that_was_shown(page: ChatPage, model: ChatModel) -> None:
    model.script(Answer("one two three four", stall_after=3), "four")
    page.send("Count.")
    page.wait_for_text("three")
    page.stop()
    page.answer()
    assert page.ask("Go on.") == "four"

    assert [(message["role"], message["content"].strip()) for message in model.chats[-1].messages] == [
        ("system", "You help."),
        ("user", "Count."),
        ("assistant", "one two three"),
        ("user", "Go on."),
    ]


def test_after_an_error_the_next_question_is_answered(page: ChatPage, model: ChatModel) -> None:
    model.script(Answer(status=400, error="the harbour is closed"))
    page.send("Anybody?")
    page.wait_for_text("the harbour is closed")
    page.shoot("error")
    model.script("Here.")

    assert page.ask("And now?") == "Here."
    assert [message["content"] for message in model.chats[-1].messages] == ["You help.", "Anybody?", "And now?"]
