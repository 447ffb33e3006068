"""Tool calls as the page shows them: in order between the texts, with arguments and result, and how each ended."""

from __future__ import annotations

from support.chatmodel import ChatModel
from support.chatpage import Card, ChatPage
from support.scripted_model import Answer, Call
from support.tool_replies import what_the_tools_said
from support.tool_server import Tools


def test_two_calls_are_two_cards_with_results_and_the_answer_is_right(
    page: ChatPage, model: ChatModel, tools: Tools
) -> None:
    model.script(
        Answer("First the number. ", calls=[Call("files__add", {"a": 40, "b": 2})]),
        Answer("Now the name. ", calls=[Call("files__echo", {"text": "herring"})]),
        what_the_tools_said,
    )
    answer = page.ask("How many fish, and which?")
    cards = page.cards()
    page.shoot("cards")

    assert cards == [
        Card("files/add", "done", {"a": "40", "b": "2"}, '{\n  "sum": 42\n}'),
        Card("files/echo", "done", {"text": "herring"}, "herring"),
    ]
    assert answer.startswith("First the number.")
    assert answer.index("Now the name.") < answer.index("I found")
    assert "herring" in answer
    assert "42" in answer
    assert tools.ran() == ["add", "echo herring"]


def test_a_running_call_is_shown_as_running(page: ChatPage, model: ChatModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__hang", {"mark": "buoy"})]))
    page.send("Hang on to the buoy.")
    tools.wait_for("hang buoy")
    page.wait_for_card("files/hang")
    page.shoot("card-running")

    [card] = page.cards()
    assert (card.name, card.state, card.input) == ("files/hang", "running", {"mark": "buoy"})
    page.stop()
    tools.wait_for("cancelled buoy")


def test_thoughts_before_a_call_stay_beside_its_card(page: ChatPage, model: ChatModel) -> None:
    model.script(
        Answer(reasoning="Adding will do.", calls=[Call("files__add", {"a": 1, "b": 2})]),
        Answer("Three.", reasoning="That is all."),
    )
    answer = page.ask("How many boats?")
    cards = page.cards()
    page.shoot("thoughts")

    assert [(card.name, card.state, card.input) for card in cards] == [("files/add", "done", {"a": "1", "b": "2"})]
    assert page.thoughts() == 2
    assert answer == "Three."


def test_calls_of_one_round_have_each_their_own_result(page: ChatPage, model: ChatModel) -> None:
    calls = [Call("files__echo", {"text": "port"}), Call("files__fails"), Call("files__echo", {"text": "starboard"})]
    model.script(Answer("All at once. ", calls=calls), "Done.")
    page.ask("Port and starboard?")
    cards = page.cards()
    page.shoot("cards-of-one-round")

    assert [(card.name, card.state, card.input) for card in cards] == [
        ("files/echo", "done", {"text": "port"}),
        ("files/fails", "failed", {}),
        ("files/echo", "done", {"text": "starboard"}),
    ]
    assert [cards[0].output, cards[2].output] == ["port", "starboard"]


def test_a_failed_call_is_shown_as_failed(page: ChatPage, model: ChatModel) -> None:
    model.script(Answer(calls=[Call("files__fails")]), "It failed.")
    page.ask("Count the customers.")
    [card] = page.cards()
    page.shoot("card-failed")

    assert card.state == "failed"
    assert "no such table: customers" in card.output


def test_a_refused_call_is_shown_as_failed_with_the_reason(page: ChatPage, model: ChatModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__die")]), "I may not.")
    page.ask("Sink the boat.")
    [card] = page.cards()
    page.shoot("card-refused")

    assert card.state == "failed"
    assert "access.yaml:" in card.output
    assert tools.ran() == []
