"""What a turn costs, counted: writes, reads, serialisations, tasks, graph steps and bytes. Whoever adds to one of these
numbers should know it; processor time is for `make bench`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from langchain_core.utils import function_calling
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.pregel._loop import AsyncPregelLoop  # the steps of a graph have no public sign
from support.facade import Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.store.backends.sqlite import SqliteDatabase
from graphs.store.backends.sqlite_connection import SqliteConnection
from graphs.store.store import PruneResult, Store

LONG = "word " * 2000


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts by name, from now on."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(Store, "prune", forgotten_nothing)  # it runs beside the first turns, and would be counted

    def count(owner: type, method: str, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, method)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, method, counting)

    count(SqliteDatabase, "write", "writes")
    count(SqliteDatabase, "read", "reads")
    count(SqliteConnection, "transact", "transactions")
    count(SqliteDatabase, "_call", "hops")  # to a thread, which fights with the event loop for the interpreter
    count(JsonPlusSerializer, "dumps_typed", "serialised")
    count(AsyncPregelLoop, "tick", "steps")
    monkeypatch.setattr(function_calling, "convert_to_openai_tool", lambda *_: counts.update(["schemas"]))
    return counts


async def forgotten_nothing(*_: object, **__: object) -> PruneResult:
    return PruneResult(turns=0, calls=0, approvals=0, records=0)


def tasks_of(counts: Counter[str]) -> None:
    """Counts the tasks that this loop makes."""

    def made(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:
        counts["tasks"] += 1
        return asyncio.Task(work, loop=loop, **kwargs)

    asyncio.get_running_loop().set_task_factory(made)


async def test_an_answer_without_tools_is_one_write(
    counted: Counter[str], facade: Facade, model: ScriptedModel
) -> None:
    model.script("Yes.", "Yes.")
    await facade.say("Is it?")
    counted.clear()
    await facade.say("Is it so?")

    assert counted == {"writes": 1, "transactions": 1, "steps": 3}


async def test_an_answer_that_follows_another_reads_once_more(
    counted: Counter[str], facade: Facade, model: ScriptedModel
) -> None:
    model.script("Yes.", "Yes, so it is.")
    await facade.say("Is it?")
    counted.clear()
    await facade.say("Is it?", said("Yes."), "Is it so?")

    assert counted == {"writes": 1, "reads": 1, "transactions": 2, "steps": 3}


@pytest.mark.parametrize("calls", [1, 8])
async def test_a_round_of_tools_is_claimed_with_its_checkpoint_in_one_write_and_results_take_one_each_at_most(
    counted: Counter[str], facade: Facade, model: ScriptedModel, calls: int
) -> None:
    round_of = [Call("files__echo", {"text": str(number)}) for number in range(calls)]
    model.script("Warm.", Answer(calls=round_of), "Done.")
    await facade.say("Is it?")
    counted.clear()
    await facade.say("Go.")

    most = 1 + calls + 1  # the claim, each result that comes alone, the end
    assert counted.pop("serialised") <= 16, "one checkpoint, not one for each step"
    assert 3 <= (written := counted["writes"]) <= most
    assert counted == {"writes": written, "transactions": written, "steps": 6}


async def test_calls_of_a_map_are_claimed_together(
    counted: Counter[str], tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    echo = {"type": "call", "tool": "files/echo", "args": {"text": "{{ item }}"}}
    look = {"type": "map", "over": "['1', '2', '3', '4', '5', '6', '7', '8']", "do": echo, "at_once": 8, "next": "say"}
    say = {"type": "reply", "text": "Done.", "next": "end"}
    graphs = {
        "assistant": {"start": "look", "nodes": {"look": look, "say": say}},
        "warm": {"start": "say", "nodes": {"say": say}},
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, graphs=graphs)
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("Go.", model="warm")
        counted.clear()
        assert await facade.say("Go.") == "Done."

        assert len(tools.ran()) == 8
        assert counted["writes"] <= 1 + 8 + 1, "one claim, each result that comes alone, the end"
        assert counted["hops"] == 0


async def test_what_is_long_is_stored_off_the_event_loop(
    counted: Counter[str], facade: Facade, model: ScriptedModel
) -> None:
    long = [Call("files__echo", {"text": str(number) * 60_000}) for number in range(2)]
    model.script("Warm.", Answer(calls=long), Answer(calls=[Call("files__echo", {"text": "x"})]), "Done.", "Yes.")
    await facade.say("Is it?")
    counted.clear()
    await facade.say("Go.")

    # All but the short result: two claims, two long results, the end.
    assert (counted["writes"], counted["hops"]) == (6, 5)
    counted.clear()
    await facade.say("Is it?", said("word " * 50_000), "Go on.")
    assert (counted["reads"], counted["hops"]) == (1, 1)


async def test_tasks_do_not_grow_with_the_length_of_an_answer(
    counted: Counter[str], facade: Facade, model: ScriptedModel
) -> None:
    tasks_of(counted)
    model.script("Warm.", "Short.", LONG)
    await facade.say("Is it?")
    made: list[int] = []
    for _ in range(2):
        counted.clear()
        await facade.stream("Tell me.")
        made.append(counted["tasks"])

    assert abs(made[1] - made[0]) <= 2
    assert made[0] <= 40, "both sides of the HTTP connections are in it"


async def test_a_request_to_the_model_holds_the_conversation_once(facade: Facade, model: ScriptedModel) -> None:
    model.script(LONG, Answer(calls=[Call("files__echo", {"text": "x"})]), "Done.")
    await facade.say("Tell me.")
    await facade.say("Tell me.", said(LONG), "Go on.")

    sizes = [len(str(request.body["messages"])) for request in model.requests]
    assert len(LONG) < sizes[1] < len(LONG) + 1_000
    assert len(LONG) < sizes[2] < len(LONG) + 1_500
