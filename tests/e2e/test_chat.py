"""A chat in the browser: the model list, an answer that needs tools, Stop, the title."""

from __future__ import annotations

from support.chatmodel import ChatModel
from support.chatpage import ChatPage
from support.scripted_model import Answer, Call
from support.tool_replies import what_the_tools_said
from support.tool_server import Tools


def test_the_page_lists_the_graphs_and_the_models_behind_them(page: ChatPage) -> None:
    assert page.models() == ["assistant", "researcher", "reviewed-writer", "ticket-intake", "ticket", "scripted"]
    page.shoot("models")


def test_a_question_that_needs_two_tools_gets_the_answer_and_each_ran_once(
    page: ChatPage, model: ChatModel, tools: Tools
) -> None:
    model.script(
        Answer(calls=[Call("files__add", {"a": 40, "b": 2})]),
        Answer(calls=[Call("files__echo", {"text": "herring"})]),
        what_the_tools_said,
    )
    answer = page.ask("How many fish, and which?")
    page.shoot("two-tools")

    assert '{"sum":42}' in answer.replace(" ", "").replace("\n", "")
    assert "herring" in answer
    assert tools.ran() == ["add", "echo herring"]
    assert len(model.chats) == 3


def test_stop_ends_the_models_stream_within_a_second(page: ChatPage, model: ChatModel) -> None:
    model.script(Answer("one two three four", stall_after=3))
    page.send("Count.")
    page.wait_for_text("three")
    [asked] = model.chats
    page.stop()

    assert asked.outcome.result(timeout=1) == "cut"
    assert page.text() == "one two three"
    page.shoot("stopped")


def test_stop_ends_a_tool_under_way(page: ChatPage, model: ChatModel, tools: Tools) -> None:
    """As soon as `leave_grace` is over, within which a call that has begun may end."""
    model.script(Answer("Wait. ", calls=[Call("files__hang", {"mark": "mast"})]))
    page.send("Hang on.")
    page.wait_for_text("Wait.")
    tools.wait_for("hang mast")
    page.stop()
    tools.wait_for("cancelled mast")
    page.shoot("stopped-tool")

    assert len(model.chats) == 1


def test_the_title_appears_on_the_page_and_in_the_sidebar(page: ChatPage, model: ChatModel) -> None:
    model.title = "Herring and harbour"
    model.script("Good morning.")
    assert page.ask("A word about herring, please.") == "Good morning."
    page.wait_for_title("Herring and harbour")
    assert page.titles()[0] == "Herring and harbour"
    page.shoot("title")


def test_no_tool_is_offered_to_the_task_that_makes_the_title(page: ChatPage, model: ChatModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "ahoy"})]), "Said it.")
    page.ask("Say ahoy to the boatswain.")
    # The last of them; the title comes first, the follow-ups in between.
    tags = model.wait_for_task('"tags"')
    title, follow_ups = model.wait_for_task('"title"'), model.wait_for_task('"follow_ups"')

    for task in (title, follow_ups, tags):
        assert [message["role"] for message in task.messages] == ["user"]
        assert "tools" not in task.body
    assert tools.ran() == ["echo ahoy"]
    assert len(model.chats) == 2
