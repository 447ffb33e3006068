"""Questions: asked once a visit, answered once, by one of many that try."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphs.events import QuestionField
from graphs.nodes.question import take_value
from graphs.store.questions import AlreadyAnswered, NodeQuestion, QuestionExpired, QuestionNotFound
from graphs.store.store import Store

CHOICE = QuestionField(kind="enum", values=("a", "b"))


def question(id: str = "abcdefgh", place: str = "thread/which:1", **fields: Any) -> NodeQuestion:
    now = float(int(time.time()))
    asked = NodeQuestion(
        id=id,
        place=place,
        turn="turn",
        thread="thread",
        graph="assistant",
        snapshot="s1",
        node="which",
        text="Which? Zoë \U0001f600",
        fields=(CHOICE,),
        caller_owner="ada",
        caller="Ada",
        created=now,
        expires=now + 900,
        given={},
    )
    return replace(asked, **fields)


def choose(value: str, by: str = "ada") -> Any:
    return lambda before: take_value(before, value, by=by, channel="chat")


async def test_a_question_comes_back_as_it_was_asked(store: Store) -> None:
    asked = question(role="admin", fields=(CHOICE, QuestionField(kind="int", name="n", is_optional=True)))
    assert await store.questions.ask(asked) == asked
    assert await store.questions.get("abcdefgh") == asked
    assert await store.questions.find_by_place("thread/which:1") == asked
    assert await store.questions.get("nothing2") is None
    assert await store.questions.find_by_place("elsewhere") is None


async def test_a_visit_that_asks_again_keeps_its_first_question(store: Store) -> None:
    await store.questions.ask(question())
    await store.questions.answer("abcdefgh", choose("b"))
    again = await store.questions.ask(question("hgfedcba"))
    assert (again.id, again.status, again.value) == ("abcdefgh", "answered", "b")
    other = await store.questions.ask(question("abcdefgh", "thread/which:2"))
    assert other.id != "abcdefgh", "an id that is taken is replaced"
    assert other.status == "pending"


async def test_an_answer_is_taken_once(store: Store) -> None:
    await store.questions.ask(question())
    answered = await store.questions.answer("abcdefgh", choose("b"))
    assert (answered.value, answered.answered_by, answered.channel) == ("b", "ada", "chat")
    with pytest.raises(AlreadyAnswered, match="already answered by ada"):
        await store.questions.answer("abcdefgh", choose("a"))
    with pytest.raises(QuestionNotFound, match="no question 'nothing2'"):
        await store.questions.answer("nothing2", choose("a"))


async def test_nobody_answers_after_the_time_is_over(store: Store) -> None:
    await store.questions.ask(question(expires=time.time() - 1))
    with pytest.raises(QuestionExpired):
        await store.questions.answer("abcdefgh", choose("a"))
    assert await store.questions.list("pending", "ada") == ()
    (late,) = await store.questions.list("expired", "ada")
    assert late.status == "expired"


async def test_the_list_is_newest_first_and_of_one_caller_or_role(store: Store) -> None:
    await store.questions.ask(question("aaaaaaaa", "1", created=1.0))
    await store.questions.ask(question("bbbbbbbb", "2", created=3.0))
    await store.questions.ask(question("cccccccc", "3", created=2.0, caller_owner="bob", role="admin"))
    assert [each.id for each in await store.questions.list(None, "ada")] == ["bbbbbbbb", "aaaaaaaa"]
    assert [each.id for each in await store.questions.list("pending", "ada", role="admin")] == [
        "bbbbbbbb",
        "cccccccc",
        "aaaaaaaa",
    ]
    assert [each.id for each in await store.questions.list(None, "ada", limit=1)] == ["bbbbbbbb"]
    assert await store.questions.list("answered", "ada") == ()


async def test_a_thread_that_nobody_goes_on_with_closes_what_is_pending(store: Store) -> None:
    await store.questions.ask(question("aaaaaaaa", "1"))
    await store.questions.ask(question("bbbbbbbb", "2"))
    await store.questions.ask(question("cccccccc", "3", thread="other"))
    await store.questions.answer("bbbbbbbb", choose("a"))
    await store.questions.close_threads(["thread"])
    found = {each.id: each.status for each in await store.questions.list(None, "ada")}
    assert found == {"aaaaaaaa": "closed", "bbbbbbbb": "answered", "cccccccc": "pending"}
    with pytest.raises(AlreadyAnswered, match="already closed"):
        await store.questions.answer("aaaaaaaa", choose("a"))


async def test_what_is_old_is_pruned(store: Store) -> None:
    await store.questions.ask(question("aaaaaaaa", "1", created=1.0))
    await store.questions.ask(question("bbbbbbbb", "2"))
    assert await store.questions.prune(time.time() - 60) == 1
    assert await store.questions.get("aaaaaaaa") is None


async def test_of_ten_at_once_one_answers(store: Store, storage: str, tmp_path: Path) -> None:
    await store.questions.ask(question())
    others = [await Store.open(storage, tmp_path) for _ in range(3)]
    stores = [store, *others]
    answered = await asyncio.gather(
        *(stores[n % 4].questions.answer("abcdefgh", choose("ab"[n % 2], f"p{n}")) for n in range(10)),
        return_exceptions=True,
    )
    (taken,) = [item for item in answered if isinstance(item, NodeQuestion)]
    assert sum(isinstance(item, AlreadyAnswered) for item in answered) == 9
    assert await store.questions.get("abcdefgh") == taken
    for other in others:
        await other.close()
