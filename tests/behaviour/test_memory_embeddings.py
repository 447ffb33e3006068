"""Memory that is searched by meaning, over real HTTP: a model endpoint embeds, and words do where it does not."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.facade import Facade, serving, write_configs
from support.metrics_page import scraped
from support.scripted_model import Answer, ScriptedModel

MEANINGS: dict[str, tuple[float, ...]] = {"drink": (1.0, 0.1, 0.0), "beast": (0.0, 2.0, 0.1), "work": (0.1, 0.0, 3.0)}
WORDS = {
    "drink": ("tea", "coffee", "thirsty", "beverage"),
    "beast": ("dog", "pet", "cat"),
    "work": ("office", "job"),
}
GRAPH: dict[str, Any] = {
    "memory": {"embed": "small-embedder"},
    "vars": {"found": "any[]"},
    "start": "begin",
    "nodes": {
        "begin": {
            "type": "set",
            "set": {"found": "[]"},
            "next": [{"when": 'message.contains(": ")', "to": "keep"}, {"to": "search"}],
        },
        "keep": {
            "type": "memory",
            "remember": {'{{ message.split(": ")[0] }}': 'message.split(": ")[1]'},
            "next": "kept",
        },
        "kept": {"type": "reply", "text": "Kept.", "next": "end"},
        "search": {"type": "memory", "recall": "{{ message }}", "into": "found", "next": "list"},
        "list": {"type": "reply", "text": '{{ found.map(x, x.key).join(", ") }}.', "next": "end"},
    },
}


def find_meaning(text: str) -> tuple[float, ...]:
    found = (MEANINGS[name] for name, words in WORDS.items() if any(word in text for word in words))
    return next(found, (1.0, 1.0, 1.0))


@pytest.fixture
async def notebook(model: ScriptedModel, keys: None, storage: str, tmp_path: Path) -> AsyncIterator[Facade]:
    plain = {**GRAPH, "memory": {"scope": "user"}}
    folder = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": GRAPH, "plain": plain})
    async with serving(folder, tmp_path / "data", storage=storage) as facade:
        yield facade


async def remember_all(notebook: Facade) -> None:
    for note in ("breakfast: green tea", "friend: a dog", "mondays: the office"):
        assert await notebook.say(note) == "Kept."


async def test_a_search_finds_what_is_near_in_meaning(notebook: Facade, model: ScriptedModel) -> None:
    model.embed(find_meaning)
    await remember_all(notebook)
    assert (await notebook.say("What beverage do I like?")).startswith("breakfast, ")
    assert (await notebook.say("Have I a pet?")).startswith("friend, ")
    assert (await notebook.say("Where is my job?")) == "mondays, friend, breakfast."
    assert [request.body for request in model.embeddings[:1]] == [
        {"model": "small-embedder", "input": ["breakfast: green tea"]}
    ]
    assert len(model.embeddings) == 6, "one for each entry, one for each search"
    assert model.embeddings[0].headers["x-interlock-hop"] == "1"


async def test_what_it_took_is_counted(notebook: Facade, model: ScriptedModel) -> None:
    model.embed(find_meaning)
    await remember_all(notebook)
    seen = await scraped(notebook.http, notebook.url)
    characters = len("breakfast: green tea" + "friend: a dog" + "mondays: the office")
    assert seen("interlock_tokens_total", graph="assistant", model="small-embedder", kind="prompt") == characters
    assert seen("interlock_model_requests_total", model="small-embedder", outcome="ok") == 3


async def test_nothing_is_lost_while_the_endpoint_fails(
    notebook: Facade, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    model.embed(lambda _: Answer(status=503, error="overloaded by tea"))
    with caplog.at_level(logging.WARNING):
        await remember_all(notebook)
        assert await notebook.say("Do I like tea?") == "breakfast."
    lines = [record.getMessage() for record in caplog.records if "small-embedder" in record.getMessage()]
    assert lines[0].endswith("unavailable (status 503); the entries are kept without vectors")
    assert lines[-1].endswith("unavailable (status 503); the memory is searched by words")
    assert "tea" not in "".join(lines)
    model.embed(find_meaning)
    assert (await notebook.say("What beverage?")).startswith("breakfast, "), "they got their vectors at this search"
    assert [len(request.body["input"]) for request in model.embeddings[-2:]] == [1, 3]
    await notebook.say("Which pet?")
    assert len(model.embeddings[-1].body["input"]) == 1, "and have them now"


async def test_one_entry_that_the_model_does_not_take_keeps_no_other_from_its_vector(
    notebook: Facade, model: ScriptedModel
) -> None:
    model.embed(None)
    await remember_all(notebook)
    assert await notebook.say("poison: too long") == "Kept."
    model.embed(lambda text: Answer(status=400) if "poison" in text else find_meaning(text))
    found = await notebook.say("Have I a pet?")
    assert found.startswith("friend, ")
    asked = len(model.embeddings)
    assert await notebook.say("Have I a pet?") == found
    assert len(model.embeddings) == asked + 1, "what was refused alone is not asked again"


async def test_an_answer_that_is_no_vector_is_a_failure(notebook: Facade, model: ScriptedModel) -> None:
    for wrong in ([], [0.0, 0.0], ["a"], [[1.0]], None):
        model.embed(lambda _, wrong=wrong: wrong)
        assert await notebook.say("breakfast: green tea") == "Kept."
        assert await notebook.say("tea?") == "breakfast."


async def test_another_model_behind_the_name_makes_new_vectors(notebook: Facade, model: ScriptedModel) -> None:
    model.embed(lambda text: (1.0, 0.0))
    await remember_all(notebook)
    model.embed(find_meaning)
    assert (await notebook.say("Have I a pet?")).startswith("friend, ")


async def test_a_long_text_is_cut_before_it_is_embedded(notebook: Facade, model: ScriptedModel) -> None:
    model.embed(find_meaning)
    await notebook.say(f"long: {'tea ' * 2_000}")
    await notebook.say("tea " * 2_000)
    assert [len(text) for request in model.embeddings for text in request.body["input"]] == [4_000, 4_000]


async def test_a_graph_that_does_not_say_it_embeds_nothing(notebook: Facade, model: ScriptedModel) -> None:
    assert await notebook.say("breakfast: green tea", model="plain") == "Kept."
    assert await notebook.say("tea?", model="plain") == "breakfast."
    assert model.embeddings == []


async def test_they_count_for_the_tokens_of_the_turn(
    model: ScriptedModel, keys: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search = {"type": "memory", "recall": "tea?", "into": "found", "next": "again"}
    nodes: dict[str, Any] = {
        "keep": {"type": "memory", "remember": {"drink": "'green tea'"}, "next": "search"},
        "search": search,
        "again": {**search, "next": "answer"},
        "answer": {"type": "model", "prompt": "Found: {{ json(found) }}", "next": "end"},
    }
    graph = {**GRAPH, "start": "keep", "nodes": nodes, "limits": {"tokens": 20}}
    folder = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph})
    model.embed(find_meaning)  # a token a character
    model.script("Tea it is.")
    with caplog.at_level(logging.WARNING):
        async with serving(folder, tmp_path / "data") as facade:
            answer = await facade.say("go")
    assert "the limit of 20 tokens in one turn is reached" in answer
    assert [len(request.body["input"][0]) for request in model.embeddings] == [len("drink: green tea"), len("tea?")]
    assert "node again: the tokens of the turn are used up; the memory is searched by words" in caplog.text
    assert "green tea" in str(model.requests[0].messages)
