"""Graphs that ask a person, over real HTTP: the next message of the chat is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.facade import DEVELOPER, Facade, content, said, serving, write_configs
from support.metrics_page import scraped
from support.scripted_model import Answer, ScriptedModel
from support.tool_server import Tools
from test_asking import ids, write


def ask(type_: Any, question: str = "Which?", **more: Any) -> dict[str, Any]:
    """A graph that asks for a value of this type, and says it."""
    return {
        "vars": {"found": type_, "why": {"type": "string", "default": ""}},
        "start": "which",
        "nodes": {
            "which": {"type": "question", "question": question, "into": "found", "next": "say", **more},
            "say": {"type": "reply", "text": "Got {{ found }}.", "next": "end"},
        },
    }


def ask_or(type_: Any, **more: Any) -> dict[str, Any]:
    """The same, with a way for where no answer comes."""
    graph = ask(type_, on_error="sorry", **more)
    sorry = {"type": "reply", "text": "{{ error.kind }}: {{ error.message }}", "next": "end"}
    return {**graph, "nodes": {**graph["nodes"], "sorry": sorry}}


class Chat:
    """A conversation, sent whole with every message, as clients do."""

    def __init__(self, facade: Facade, *, key: str | None = None, **body: Any) -> None:
        self.facade = facade
        self.messages: list[dict[str, Any]] = []
        self.more = {**body, **({} if key is None else {"key": key})}

    async def say(self, text: str) -> str:
        self.messages.append({"role": "user", "content": text})
        answer = await self.facade.say(*self.messages, **self.more)
        self.messages.append(said(answer))
        return answer


async def talk(folder: Path, model: ScriptedModel, graph: Mapping[str, Any], *texts: str) -> list[str]:
    """The answers to these messages of one conversation."""
    configs = write_configs(folder / "configs", model.url, {}, graphs={"assistant": graph})
    async with serving(configs, folder / "data") as facade:
        chat = Chat(facade)
        return [await chat.say(text) for text in texts]


@pytest.mark.parametrize(
    ("type_", "how", "answers", "value"),
    [
        ("string", "", ["web-1"], "web-1"),
        ("int", "Reply with a whole number.", ["-3"], "-3"),
        ("number", "Reply with a number.", ["2.5"], "2.5"),
        ("bool", "Reply with yes or no.", ["Yes"], "true"),
        ("bool", "Reply with yes or no.", [" no. "], "false"),
        (["restart", "stop"], "1. restart\n2. stop\n\nReply with one of these, or with its number.", ["stop"], "stop"),
        (["restart", "stop"], "1. restart\n2. stop\n\nReply with one of these, or with its number.", ["Stop"], "stop"),
        (["restart", "stop"], "1. restart\n2. stop\n\nReply with one of these, or with its number.", ["2."], "stop"),
    ],
)
async def test_the_next_message_is_the_answer(
    type_: Any, how: str, answers: Sequence[str], value: str, tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    asked, got = await talk(tmp_path, model, ask(type_), "go", *answers)
    assert asked == ("Which?\n\n" + how if how else "Which?")
    assert got == f"Got {value}."
    assert model.requests == []


async def test_an_answer_that_does_not_fit_is_asked_again_with_what_was_wrong(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    answers = await talk(tmp_path, model, ask(["restart", "stop"]), "go", "restrt", "3", "1")
    assert answers[1].startswith(
        "“restrt” does not fit; expected one of restart, stop. Did you mean 'restart'?\n\nWhich?\n\n1. restart"
    )
    assert answers[2].startswith("“3” does not fit; expected one of restart, stop.")
    assert answers[3] == "Got restart."


async def test_three_answers_that_do_not_fit_are_invalid(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    answers = await talk(tmp_path, model, ask_or("int"), "go", "a", "b", "c", "go")
    assert answers[3] == ("invalid: node 'which': 3 answers did not fit. “c” does not fit; expected a whole number.")
    assert answers[4].startswith("Which?"), "the next message begins a new turn"


async def test_without_an_error_way_the_turn_ends_in_words(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    answers = await talk(tmp_path, model, ask("int"), "go", "a", "b", "c")
    assert answers[3].startswith("The graph stopped here: node 'which': 3 answers did not fit.")


TICKET = {"fields": {"title": "string", "urgency": ["low", "high"], "steps?": "string", "again": "bool"}}


async def test_an_object_is_asked_one_field_at_a_time(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    answers = await talk(tmp_path, model, ask(TICKET, "A ticket, please."), "go", "It fails", "hi", "high", "-", "n")
    assert answers[0] == "A ticket, please.\n\n**title** (1 of 4)"
    assert answers[1] == ("**urgency** (2 of 4)\n\n1. low\n2. high\n\nReply with one of these, or with its number.")
    assert answers[2].startswith("“hi” does not fit; expected one of low, high")
    assert "**urgency** (2 of 4)" in answers[2]
    assert answers[3] == "**steps** (3 of 4): Reply `-` to leave it out."
    assert answers[4] == "**again** (4 of 4): Reply with yes or no."
    assert answers[5] == 'Got {"title":"It fails","urgency":"high","again":false}.'


LOOP: dict[str, Any] = {
    "vars": {"draft": "string", "wish": {"type": "string", "default": "none"}, "verdict": ["send", "change"]},
    "start": "write",
    "nodes": {
        "write": {"type": "model", "prompt": "Write. Wish: {{ wish }}", "into": "draft", "next": "judge"},
        "judge": {
            "type": "question",
            "question": "Send “{{ draft }}”?",
            "into": "verdict",
            "next": {"send": "say", "change": "how"},
        },
        "how": {"type": "question", "question": "What should change?", "into": "wish", "next": "write"},
        "say": {"type": "model", "prompt": "Say goodbye.", "next": "end"},
    },
}


async def test_a_loop_asks_anew_and_the_conversation_keeps_every_answer(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    model.script("Dear all", "Dear Ada", "Bye.", "You are welcome.")
    answers = await talk(tmp_path, model, LOOP, "write to Ada", "2", "use her name", "send", "thanks")
    assert answers[0].startswith("Send “Dear all”?")
    assert answers[1] == "What should change?"
    assert answers[2].startswith("Send “Dear Ada”?")
    assert answers[3] == "Bye."
    assert model.requests[1].messages[0]["content"] == "Write. Wish: use her name"
    assert [(m["role"], m["content"]) for m in model.requests[2].messages] == [
        ("system", "Say goodbye."),
        ("user", "write to Ada"),
        ("assistant", "Send “Dear all”?"),
        ("user", "change"),
        ("assistant", "What should change?"),
        ("user", "use her name"),
        ("assistant", "Send “Dear Ada”?"),
        ("user", "send"),
    ]
    # The next turn has it as the client sends it.
    assert model.requests[3].messages[1:][-1]["content"] == "thanks"


async def test_a_question_outlives_a_restart(storage: str, tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = ask("int", "{{ message }}: how many?")
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph})
    async with serving(configs, tmp_path / "data", storage=storage) as facade:
        asked = await facade.say("apples")
        again = await facade.say("apples", said(asked), "many")
    async with serving(configs, tmp_path / "data", storage=storage) as facade:
        assert await facade.say("apples", said(asked), "many", said(again), "4") == "Got 4."


async def test_a_question_that_nobody_answers_in_time_takes_the_error_way(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": ask_or("int", expires="1s")})
    async with serving(configs, tmp_path / "data") as facade:
        chat = Chat(facade)
        await chat.say("go")
        await asyncio.sleep(1.05)  # the clock is what is tested
        assert await chat.say("4") == "expired: node 'which': nobody answered its question in time"
        assert await chat.say("go") == "Which?\n\nReply with a whole number."


async def test_what_is_said_too_late_is_what_the_graph_goes_on_with(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = ask_or("int", expires="1s")
    graph["nodes"]["sorry"] = {"type": "model", "prompt": "Say why: {{ error.kind }}. {{ message }}", "next": "end"}
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": graph})
    model.script("Too late.")
    async with serving(configs, tmp_path / "data") as facade:
        chat = Chat(facade)
        await chat.say("go")
        await asyncio.sleep(1.05)
        assert await chat.say("4") == "Too late."
    assert [message["content"] for message in model.requests[0].messages] == ["Say why: expired. 4", "go", "4"]


async def test_waiting_does_not_count(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = {**ask("int"), "limits": {"seconds": 0.5}}
    graph["nodes"]["say"] = {"type": "model", "next": "end"}
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": graph})
    model.script("Fine.")
    async with serving(configs, tmp_path / "data") as facade:
        chat = Chat(facade)
        await chat.say("go")
        await asyncio.sleep(0.6)
        assert await chat.say("4") == "Fine."


async def test_the_same_answer_twice_goes_on_once(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = ask("int")
    graph["nodes"]["say"] = {"type": "model", "next": "end"}
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": graph})
    model.respond(lambda _: "Fine.")
    async with serving(configs, tmp_path / "data") as facade:
        asked = await facade.say("go")
        answers = await asyncio.gather(*(facade.say("go", said(asked), "4") for _ in range(10)))
    assert answers.count("Fine.") == 1
    assert len(model.requests) == 1


async def test_a_retried_answer_is_answered_as_before(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": ask("int")})
    again = {"x-stainless-retry-count": "1"}
    async with serving(configs, tmp_path / "data") as facade:
        asked = await facade.say("go")
        missed = await facade.say("go", said(asked), "many")
        assert await facade.say("go", said(asked), "many", headers=again) == missed
        got = await facade.say("go", said(asked), "many", said(missed), "4")
        assert await facade.say("go", said(asked), "many", said(missed), "4", headers=again) == got == "Got 4."


async def test_streams_ask_too(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": ask("bool")})
    async with serving(configs, tmp_path / "data") as facade:
        raw = await facade.stream("go")
        assert content(raw) == "Which?\n\nReply with yes or no."
        assert '"finish_reason":"stop"' in raw
        assert content(await facade.stream("go", said(content(raw)), "yes")) == "Got true."


def approve_behind(type_: Any) -> dict[str, Any]:
    """A question, then an agent whose call needs approval."""
    graph = ask(type_)
    graph["nodes"]["which"]["next"] = "agent"
    graph["nodes"]["agent"] = {"type": "agent", "tools": ["*"], "next": "say"}
    return graph


async def test_an_answer_approves_nothing_and_an_approval_answers_nothing(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    servers = {"files": {"url": tools.url}}
    configs = write_configs(tmp_path / "c", model.url, servers, graphs={"assistant": approve_behind("string")})
    model.script(Answer(calls=[write("x")]), "All right.", Answer(calls=[write("y")]), "Written.")
    async with serving(configs, tmp_path / "data") as facade:
        chat = Chat(facade)
        assert await chat.say("go") == "Which?"
        # A message that decides a call is no answer, be it of nothing or of a call elsewhere.
        elsewhere = Chat(facade)
        await elsewhere.say("go")
        other = await elsewhere.say("this")
        (call,) = ids(other)
        wrong = await chat.say("approve aaaaaaaa")
        assert wrong.startswith("Nothing that you may decide waits")
        assert "Which?" in wrong
        assert tools.ran() == []
        # And what would answer a question decides no call.
        assert await elsewhere.say("yes") == "All right.\n\nGot this."
        assert "already superseded" in await elsewhere.say(f"approve {call}")
        assert tools.ran() == []
        asked = await chat.say("that")
        assert await chat.say(f"approve {ids(asked)[0]}") == "Written.\n\nGot that."
    assert tools.ran() == ["write y"]


async def test_others_cannot_answer(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": ask("string")})
    async with serving(configs, tmp_path / "data") as facade:
        chat = Chat(facade)
        asked = await chat.say("go")
        assert await facade.say("go", said(asked), "mine", key=DEVELOPER) == "Which?", "a turn of their own"
        assert await chat.say("mine") == "Got mine."


async def test_the_node_is_measured_like_others(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": ask("int")})
    async with serving(configs, tmp_path / "data") as facade:
        chat = Chat(facade)
        await chat.say("go")
        waiting = await scraped(facade.http, facade.url)
        assert waiting("interlock_turns_total", status="waiting") == 1
        assert waiting("interlock_node_running") == 0
        await chat.say("4")
        done = await scraped(facade.http, facade.url)
    assert done("interlock_turns_total", status="finished") == 1
    assert done("interlock_node_seconds_count", node="which", type="question") == 2
    assert done("interlock_node_seconds_count", node="say", type="reply") == 1


async def test_an_answer_sent_again_while_it_runs_waits_for_its_end(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = ask("int")
    graph["nodes"]["say"] = {"type": "model", "next": "end"}
    configs = write_configs(tmp_path / "c", model.url, {}, graphs={"assistant": graph})
    model.script(Answer(["Fi", "ne."], stall_after=1))
    async with serving(configs, tmp_path / "data") as facade:
        asked = await facade.say("go")
        first = asyncio.create_task(facade.say("go", said(asked), "4"))
        await model.arrived(1)
        again = {"x-stainless-retry-count": "1"}
        second = asyncio.create_task(facade.say("go", said(asked), "4", headers=again))
        await asyncio.sleep(0.3)
        assert not second.done()
        model.release()
        assert await first == await second == "Fine."
    assert len(model.requests) == 1
