"""Memories: kept by owner and graph, found by key and by words, bounded, and gone after their time."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from graphs.store.memories import (
    LONGEST_KEY,
    MOST_BYTES,
    MOST_ENTRIES,
    MOST_FOUND,
    MemoryLimit,
    MemoryPlace,
    MemoryVectors,
)
from graphs.store.memory_search import MOST_WORDS, list_words
from graphs.store.store import Store
from graphs.store.tables import memories

PLACE = MemoryPlace(graph="assistant", scope="user", owner="user:webui:ada@example.com")
DAY = 86_400.0


async def values(store: Store, place: MemoryPlace = PLACE, ttl: float = DAY) -> dict[str, Any]:
    return {entry.key: entry.value for entry in await store.memories.list(place, ttl)}


async def find(store: Store, text: str, place: MemoryPlace = PLACE) -> list[str]:
    return [entry.key for entry in await store.memories.search(place, text, DAY)]


@pytest.mark.parametrize("value", ["plain", "Zoë \U0001f600 '\"\n", 3, 2.5, True, None, [1, [2]], {"a": {"b": ["c"]}}])
async def test_a_value_comes_back_as_it_was_kept(store: Store, value: Any) -> None:
    await store.memories.remember(PLACE, {"tone": value}, DAY)
    found = await store.memories.recall(PLACE, "tone", DAY)
    assert found is not None
    assert (found.key, found.value) == ("tone", value)
    assert abs(found.written - time.time()) < 5


async def test_a_key_has_one_value_however_often_it_is_written(store: Store) -> None:
    for _ in range(3):
        await store.memories.remember(PLACE, {"tone": "plain", "name": "Ada"}, DAY)
    await store.memories.remember(PLACE, {"tone": "warm"}, DAY)
    assert await values(store) == {"name": "Ada", "tone": "warm"}


async def test_nothing_crosses_owners_graphs_and_scopes(store: Store) -> None:
    others = [
        replace(PLACE, owner="user:webui:max@example.com"),
        replace(PLACE, owner=""),
        replace(PLACE, graph="other"),
        replace(PLACE, scope="chat"),
        replace(PLACE, scope="graph"),
    ]
    await store.memories.remember(PLACE, {"tone": "plain tea"}, DAY)
    for other in others:
        assert await store.memories.recall(other, "tone", DAY) is None
        assert await find(store, "plain tea", other) == []
        await store.memories.forget(other, ["tone"])
        await store.memories.forget_all(other)
        await store.memories.remember(other, {"tone": "theirs"}, DAY)
    assert await values(store) == {"tone": "plain tea"}


async def test_what_is_forgotten_is_gone(store: Store) -> None:
    await store.memories.remember(PLACE, {"a": 1, "b": 2, "c": 3}, DAY)
    await store.memories.forget(PLACE, ["a", "nothing"])
    await store.memories.forget(PLACE, ["a"])
    assert await values(store) == {"b": 2, "c": 3}
    await store.memories.forget_all(PLACE)
    assert await values(store) == {}


async def test_a_search_gives_what_has_the_rarest_words_first(store: Store) -> None:
    entries = {
        "drink": "I like green tea best",
        "work": "What I do at work: I do what I like",
        "pet": {"kind": "dog", "name": "Café Noir"},
        "size": 42,
    }
    await store.memories.remember(PLACE, entries, DAY)
    assert await find(store, "Which tea is best?") == ["drink"]
    assert await find(store, "What do I like?") == ["work", "drink"]
    assert await find(store, "TEA, please") == ["drink"]
    assert await find(store, "Is cafe noir a dog?") == ["pet"]
    assert await find(store, "42") == ["size"]
    assert await find(store, "pet") == ["pet"]
    assert await find(store, "nothing of it") == []
    assert await find(store, "?! _") == []


async def test_a_common_word_says_less_than_a_rare_one(store: Store) -> None:
    common = {f"note {number}": "a meeting about a thing in a room" for number in range(20)}
    await store.memories.remember(PLACE, {**common, "rare": "a kettle"}, DAY)
    found = await find(store, "a kettle in a room")
    assert found[0] == "rare"
    assert len(found) == MOST_FOUND


def test_words_are_compared_without_accents_and_case() -> None:
    assert list_words("Ärger_mit CAFÉ's 3.5") == ["arger", "mit", "cafe", "s", "3", "5"]
    assert list_words("東京 tower") == ["東", "京", "tower"]
    assert list_words({"a": ["x", {"b": "y"}], "c": True}) == ["x", "y"]
    assert len(list_words("word " * 2 * MOST_WORDS)) == MOST_WORDS


async def test_there_is_room_for_so_many_entries_of_one_owner(store: Store) -> None:
    await store.memories.remember(PLACE, {str(number): number for number in range(MOST_ENTRIES - 1)}, DAY)
    added = await asyncio.gather(
        *(store.memories.remember(PLACE, {f"more {number}": 1}, DAY) for number in range(3)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in added) == ["MemoryLimit", "MemoryLimit", "NoneType"]
    await store.memories.remember(PLACE, {"0": "instead"}, DAY)
    await store.memories.remember(replace(PLACE, owner="max"), {"a": 1}, DAY)
    with pytest.raises(MemoryLimit, match="1,000 entries are remembered here, and there is no room for more"):
        await store.memories.remember(PLACE, {"0": "not kept", "another": 1}, DAY)
    assert (await values(store))["0"] == "instead"
    await store.memories.forget(PLACE, ["1"])
    await store.memories.remember(PLACE, {"another": 1}, DAY)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"a": "x" * MOST_BYTES}, f"the value of 'a' has {MOST_BYTES + 2:,} bytes, and at most 16,384 are remembered"),
        ({"": 1}, "a key has 1 to 200 characters, and this one has 0"),
        ({"k" * (LONGEST_KEY + 1): 1}, "and this one has 201"),
    ],
)
async def test_what_is_too_large_is_not_kept(store: Store, entries: Any, words: str) -> None:
    with pytest.raises(MemoryLimit, match=words):
        await store.memories.remember(PLACE, {"b": 1, **entries}, DAY)
    assert await values(store) == {}


async def test_what_is_over_is_not_found_and_is_swept(store: Store) -> None:
    await store.memories.remember(PLACE, {"brief": "tea"}, 0.05)
    await store.memories.remember(PLACE, {"long": "tea"}, DAY)
    await store.memories.remember(replace(PLACE, graph="other"), {"long": "tea"}, DAY)
    await asyncio.sleep(0.06)
    assert await store.memories.recall(PLACE, "brief", 0.05) is None
    assert await store.memories.recall(PLACE, "long", 0.05) is None, "the files say now that it is kept no longer"
    assert await values(store, ttl=0.05) == {}
    assert [entry.key for entry in await store.memories.search(PLACE, "tea", 0.05)] == []
    await store.prune(conversations=DAY, audit=DAY)
    assert await count(store) == 2
    await store.prune(conversations=DAY, audit=DAY, memories={"assistant": 0.05})
    assert await count(store) == 1
    await store.prune(conversations=DAY, audit=DAY, now=time.time() + 2 * DAY)
    assert await count(store) == 0


async def test_the_sweep_deletes_all_that_is_over_in_small_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphs.store.memories.PRUNE_BATCH", 10)
    await store.memories.remember(PLACE, {str(number): number for number in range(25)}, DAY)
    await store.memories.remember(PLACE, {"long": 1}, 3 * DAY)
    assert await store.memories.prune(time.time() + 2 * DAY, {}) == 25
    assert await store.memories.prune(time.time() + 2 * DAY, {}) == 0
    assert [*await values(store)] == ["long"]


async def count(store: Store) -> int:
    statement = select(func.count()).select_from(memories)
    return await store._database.read(lambda connection: connection.scalar(statement))  # pyright: ignore[reportPrivateUsage]


async def test_what_one_process_keeps_another_one_finds(store: Store, storage: str, tmp_path: Path) -> None:
    other = await Store.open(storage, tmp_path)
    try:
        await asyncio.gather(
            *(each.memories.remember(PLACE, {f"{name} {number}": number}, DAY)
              for name, each in (("a", store), ("b", other)) for number in range(20))
        )  # fmt: skip
        assert len(await values(other)) == 40
        assert await values(other) == await values(store)
    finally:
        await other.close()


def at(angle: float) -> tuple[float, ...]:
    """A vector of length 1, the nearer to another the nearer their angles."""
    return (math.cos(angle), math.sin(angle), 0.0)


async def find_near(store: Store, text: str, angle: float, model: str = "m", place: MemoryPlace = PLACE) -> list[str]:
    return [entry.key for entry in await store.memories.search_nearest(place, text, DAY, model, at(angle))]


def embed(model: str = "m", **angles: float) -> MemoryVectors:
    return MemoryVectors(model=model, vectors={key: at(angle) for key, angle in angles.items()})


async def test_a_search_by_vector_gives_the_nearest_first_whatever_the_words(store: Store) -> None:
    entries = {"near": "one", "far": "tea", "middle": "two", "behind": "three"}
    await store.memories.remember(PLACE, entries, DAY, embed(near=0.1, far=1.5, middle=0.9, behind=3.0))
    assert await find_near(store, "tea", 0.0) == ["near", "middle", "far", "behind"]
    assert await find_near(store, "tea", 1.4) == ["far", "middle", "near", "behind"]
    assert await find_near(store, "tea", 0.0, place=replace(PLACE, owner="")) == []
    many = {f"k{number}": number for number in range(30)}
    await store.memories.remember(PLACE, many, DAY, embed(**{key: 0.01 * number for key, number in many.items()}))
    assert await find_near(store, "", 0.0) == [f"k{number}" for number in range(MOST_FOUND)]


async def test_entries_without_a_vector_of_the_model_are_found_by_words(store: Store) -> None:
    await store.memories.remember(PLACE, {"a": "x", "b": "x"}, DAY, embed(a=0.1, b=0.2))
    await store.memories.remember(PLACE, {"plain": "green tea", "none": "coffee"}, DAY)
    await store.memories.remember(PLACE, {"other": "black tea"}, DAY, embed("another", other=0.0))
    short = MemoryVectors(model="m", vectors={"short": (1.0, 0.0)})
    await store.memories.remember(PLACE, {"short": "white tea tea"}, DAY, short)
    assert await find_near(store, "tea", 0.0) == ["a", "short", "b", "other", "plain"]
    assert [entry.key for entry in await store.memories.list_without_vector(PLACE, DAY, "m", 3, 9)] == [
        *("short", "other", "none", "plain")
    ]
    assert len(await store.memories.list_without_vector(PLACE, DAY, "m", 3, 2)) == 2


async def test_a_vector_is_added_to_the_value_that_it_was_made_of_and_to_no_other(store: Store) -> None:
    await store.memories.remember(PLACE, {"same": 1, "new": 1, "gone": 1}, DAY)
    before = await store.memories.list_without_vector(PLACE, DAY, "m", 3, 9)
    await store.memories.remember(PLACE, {"new": 2}, DAY)
    await store.memories.forget(PLACE, ["gone"])
    await store.memories.add_vectors(PLACE, "m", [(entry, at(0.0)) for entry in before])
    assert [entry.key for entry in await store.memories.list_without_vector(PLACE, DAY, "m", 3, 9)] == ["new"]
    assert await values(store) == {"new": 2, "same": 1}


async def test_a_new_value_has_no_use_for_the_vector_of_the_old_one(store: Store) -> None:
    await store.memories.remember(PLACE, {"a": "old", "b": "old"}, DAY, embed(a=0.0, b=0.0))
    await store.memories.remember(PLACE, {"a": "new"}, DAY)
    # A process of a version that knows no vectors writes the value, and its time.
    written = memories.update().where(memories.c.key == "b").values(written=time.time(), words="new")
    await store.memories._database.write(lambda connection: connection.execute(written))  # pyright: ignore
    assert [entry.key for entry in await store.memories.list_without_vector(PLACE, DAY, "m", 3, 9)] == ["b", "a"]
