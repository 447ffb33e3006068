"""An answer that ended, was stored, and never got to its client is said again to the same request; no tool runs twice.

"Killed" is real in the first tests. In the others the first process only seems dead, and never notes a delivery.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import Facade, content, events, said, write_configs
from support.gateway import ADMIN_KEY, gateway
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from test_takeover import Pair, approval_in, echo, pair, ran, write  # noqa: F401  (pair is a fixture)

import graphs.runtime.retries
from graphs.store.backends.sqlite import SqliteDatabase
from graphs.store.deliveries import Deliveries
from graphs.store.store import Store
from graphs.store.turns import TurnRow

DIES = """
import os, signal, sys
from pathlib import Path

if Path(sys.argv[0]).name == "interlock":
    from graphs.events import Finished
    from server.protocols.chat_completions.collect import Collector
    from server.protocols.chat_completions.stream import ChunkEncoder

    flag, encode, body = Path(os.environ["DIES_ONCE"]), ChunkEncoder.encode, Collector.build_body

    def die():
        if flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def encode_or_die(self, events):
        if any(isinstance(event, Finished) for event in events):
            die()
        return encode(self, events)

    def body_or_die(self):
        die()
        return body(self)

    ChunkEncoder.encode, Collector.build_body = encode_or_die, body_or_die
"""
"""Makes `interlock` die between the storing of a turn and the last bytes of its answer."""

ITEMS = {"x-interlock-tools": "items"}
BRIEF = [Answer("Let me look.", calls=[echo("4711")]), Answer("It is 4711.")]
LOOK = [Answer("Let me look.", calls=[echo("4711")]), Answer("And more.", calls=[write("y")]), Answer("It is 4711.")]
ACCESS: dict[str, Any] = {
    "roles": {"admin": {"allow": ["*"]}},
    "keys": [{"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"}],
}


@pytest.fixture
def threaded_model() -> Iterator[ScriptedModel]:  # in a thread: starting a process waits
    with ScriptedModel() as scripted:
        yield scripted


@pytest.mark.timeout(120)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_process_killed_before_the_last_byte_leaves_an_answer_that_the_next_one_says(
    storage: str, tmp_path: Path, threaded_model: ScriptedModel, tools: Tools, stream: bool
) -> None:
    model = threaded_model
    configs = write_configs(tmp_path / "configs", model.url, {"files": {"url": tools.url}}, access=ACCESS)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DIES)
    flag = tmp_path / "flag"
    env = {"INTERLOCK_STORAGE": storage, "PYTHONPATH": str(tmp_path / "site"), "DIES_ONCE": str(flag)}
    body = {"model": "assistant", "stream": stream, "messages": [{"role": "user", "content": "look it up"}]}
    headers = {"authorization": f"Bearer {ADMIN_KEY}", **ITEMS}
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        model.script(*LOOK, *LOOK, *LOOK)
        with gateway(configs, tmp_path / "first", env) as first:
            whole = await http.post(f"{first.url}/chat/completions", json=body, headers=headers)
            assert tools.ran() == ["echo 4711", "write y"]
            await asyncio.sleep(0.3)  # it is noted that this answer arrived: the next request is another turn
            flag.touch()
            with pytest.raises(httpx.TransportError):
                await http.post(f"{first.url}/chat/completions", json=body, headers=headers)
            assert Counter(tools.ran()) == Counter(["echo 4711", "write y"] * 2)
        with gateway(configs, tmp_path / "second", env) as second:
            again = await http.post(f"{second.url}/chat/completions", json=body, headers=headers)
            assert Counter(tools.ran()) == Counter(["echo 4711", "write y"] * 2)
            assert shape(again.text, stream) == shape(whole.text, stream)
            await http.post(f"{second.url}/chat/completions", json=body, headers=headers)
            assert Counter(tools.ran()) == Counter(["echo 4711", "write y"] * 3)


def shape(raw: str, stream: bool) -> Any:
    """What a client makes of an answer: its text, its finish reason, its cards in their order."""
    if not stream:
        choice = httpx.Response(200, text=raw).json()["choices"][0]
        return choice["message"]["content"], choice["finish_reason"], httpx.Response(200, text=raw).json()["usage"]
    items = [event["item"] for event in events(raw) if "item" in event]
    cards = [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in items]
    reasons = [c["finish_reason"] for event in events(raw) for c in event.get("choices", ()) if c["finish_reason"]]
    return content(raw), reasons, cards


@pytest.fixture
async def undelivered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:  # noqa: F811
    """Two processes, the first of which notes no delivery."""
    note = Deliveries.note

    def note_unless_first(self: Deliveries, turn: str) -> None:
        if self is not pair.deliveries[0]:
            note(self, turn)

    monkeypatch.setattr(Deliveries, "note", note_unless_first)
    return pair


async def test_text_and_cards_come_again_in_their_order(undelivered: Pair, model: ScriptedModel, tools: Tools) -> None:
    calls = Answer("Let me look.", calls=[echo("4711"), Call("files__fails", {}), Call("files__nosuch", {"a": 1})])
    model.script(calls, Answer("And m\x00ore.", calls=[Call("files__echo", "{broken")]), "It is 4711.")
    first = await undelivered.first.stream("look it up", headers=ITEMS)
    undelivered.die()
    again = await undelivered.second.stream("look it up", headers=ITEMS)
    text, *rest = shape(first, True)
    assert shape(again, True) == (text.replace("\0", ""), *rest)
    assert len(model.requests) == 3
    assert ran(tools) == ["echo 4711"]

    model.script("Yes.")
    await undelivered.second.say("look it up", said(content(again)), "sure?")
    assert model.requests[-1].tool_results[0] == "4711"


async def test_who_asks_once_more_after_it_came_again_gets_another_turn(
    undelivered: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(*BRIEF, "Fresh.")
    first = await undelivered.first.say("look it up")
    undelivered.die()
    assert await undelivered.second.say("look it up") == first
    # The process that said it again lives, and delivers what it says.
    assert await undelivered.second.say("look it up") == "Fresh."
    assert ran(tools) == ["echo 4711"]


async def test_an_approval_that_was_asked_for_is_asked_again_and_nothing_before_it_runs_twice(
    undelivered: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("First this.", calls=[echo("4711")]), Answer("Shall I?", calls=[write("x")]), "Written.")
    question = await undelivered.first.say("write x")
    undelivered.die()
    assert await undelivered.second.say("write x") == question
    assert ran(tools) == ["echo 4711"]
    reply = f"approve {approval_in(question)}"
    assert await undelivered.second.say("write x", said(question), reply) == "Written."
    assert ran(tools) == ["echo 4711", "write x"]


async def test_the_answer_after_an_approval_comes_again(undelivered: Pair, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer("Shall I?", calls=[write("x")]), "Written.")
    question = await undelivered.first.say("write x")
    reply = f"approve {approval_in(question)}"
    first = await undelivered.first.stream("write x", said(question), reply, headers=ITEMS)
    undelivered.die()
    again = await undelivered.second.stream("write x", said(question), reply, headers=ITEMS)
    assert shape(again, True) == shape(first, True)
    assert ran(tools) == ["write x"]


async def test_calls_that_are_the_clients_are_handed_over_again(
    undelivered: Pair, model: ScriptedModel, tools: Tools
) -> None:
    mine = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    model.script(Answer("Both.", calls=[echo("4711"), Call("clock", {"zone": "UTC"})]), "It is late.")
    first = (await undelivered.first.ask("look", tools=[mine])).json()["choices"][0]
    undelivered.die()
    again = (await undelivered.second.ask("look", tools=[mine])).json()["choices"][0]
    assert again == first
    assert again["finish_reason"] == "tool_calls"
    result = {"role": "tool", "tool_call_id": again["message"]["tool_calls"][0]["id"], "content": "23:00"}
    assert await undelivered.second.say("look", again["message"], result, tools=[mine]) == "It is late."
    assert ran(tools) == ["echo 4711"]


@pytest.mark.parametrize(
    "other",
    [
        {"messages": ["look that up"]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "look it up"}]}]},
        {"messages": ["look it up"], "headers": {"x-openwebui-chat-id": "another"}},
        {"messages": ["look it up"], "model": "scripted"},
        {"messages": ["hello", said("Hi."), "look it up"]},
    ],
)
async def test_another_request_is_another_turn(undelivered: Pair, model: ScriptedModel, other: dict[str, Any]) -> None:
    model.script(*BRIEF, "Fresh.")
    await undelivered.first.say("look it up")
    undelivered.die()
    other = dict(other)
    assert await undelivered.second.say(*other.pop("messages"), **other) == "Fresh."


async def test_much_later_it_is_another_turn(
    undelivered: Pair, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs.runtime.retries, "RETRY_WINDOW", 0.0)
    model.script(*BRIEF, "Fresh.")
    await undelivered.first.say("look it up")
    undelivered.die()
    assert await undelivered.second.say("look it up") == "Fresh."


@pytest.mark.parametrize("process", ["first", "second"])
async def test_while_its_process_lives_it_comes_again_too(
    undelivered: Pair, model: ScriptedModel, tools: Tools, process: str
) -> None:
    model.script(*BRIEF)
    first = await undelivered.first.say("look it up")
    assert await getattr(undelivered, process).say("look it up") == first
    assert ran(tools) == ["echo 4711"]


async def test_of_two_that_ask_again_at_once_one_gets_it(undelivered: Pair, model: ScriptedModel, tools: Tools) -> None:
    model.script(*BRIEF)
    first = await undelivered.first.say("look it up")
    undelivered.die()
    model.respond(lambda _: "Fresh.")
    answers = await asyncio.gather(*(undelivered.second.say("look it up") for _ in range(2)))
    assert sorted(answers) == sorted([first, "Fresh."])
    assert ran(tools) == ["echo 4711"]


async def test_two_equal_requests_that_both_arrived_are_two_turns(
    pair: Pair,  # noqa: F811
    model: ScriptedModel,
    tools: Tools,
) -> None:
    model.script(Answer(calls=[echo("4711")]), "It is 4711.", Answer(calls=[echo("4712")]), "It is 4712.")
    assert await pair.first.say("look it up") == "It is 4711."
    with closing(sqlite3.connect(pair.database)) as connection:
        while connection.execute("SELECT 1 FROM turns WHERE delivered IS NOT 1").fetchall():
            await asyncio.sleep(0.01)
    pair.die()
    assert await pair.second.say("look it up") == "It is 4712."
    assert ran(tools) == ["echo 4711", "echo 4712"]


async def test_deliveries_are_noted_together_off_the_way_of_every_answer(
    facade: Facade, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.respond(lambda body: "Done." if body["messages"][-1]["role"] == "tool" else Answer(calls=[echo("x")]))
    await facade.say("warm")
    await asyncio.sleep(0.3)
    written: list[float] = []
    original = SqliteDatabase.write

    async def counting(self: SqliteDatabase, work: Any, **more: Any) -> Any:
        written.append(time.monotonic())
        return await original(self, work, **more)

    monkeypatch.setattr(SqliteDatabase, "write", counting)
    await asyncio.gather(*(facade.say(f"look {number}") for number in range(8)))
    answered = len(written)
    await asyncio.sleep(0.5)
    assert answered >= 3 * 8
    assert len(written) < 4 * 8, "not one for each turn"


async def test_a_store_that_closes_notes_what_was_delivered(storage: str, tmp_path: Path) -> None:
    store = await Store.open(storage, tmp_path)
    for name in ("finished", "waiting", "running"):
        row = TurnRow(
            id=name, owner="ada", graph="g", created=1.0, status=name, base="", delivered=False, request={"a": 1}
        )
        await store.turns.add(row)
        store.deliveries.note(name)
    await store.close()
    store = await Store.open(storage, tmp_path)
    rows = [await store.turns.get(name) for name in ("finished", "waiting", "running")]
    assert [(row.delivered, row.request) for row in rows if row] == [(True, {"a": 1})] * 3
    found = await store.turns.find_attempts("ada", "", "", None, with_delivered=False)
    assert [row.id for row in found] == ["running"]
    await store.close()
