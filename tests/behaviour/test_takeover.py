"""What a process leaves when it dies, and what the next one makes of it. Here "dies" means that it is seen to be dead
while it hangs: its lock is gone, so that what it would still do shows too. `test_takeover_killed.py` kills for real."""

from __future__ import annotations

import asyncio
import fcntl
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from pydantic import SecretStr
from support.facade import ACCESS, ADMIN, Facade, content, events, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

import graphs.runtime.turn_entry
import graphs.store.backends.sqlite
from graphs.llm.client import ChatModel
from graphs.runtime import conversation, pauses
from graphs.store.backends.liveness import FileWorkers
from graphs.store.backends.sqlite import SqliteDatabase
from graphs.store.deliveries import Deliveries
from graphs.store.store import Store

TAKEN_UP = "Another process has taken this turn up"
UNKNOWN = "Whether it took effect is unknown"


class Mortal(FileWorkers):
    """A process that can seem to die."""

    made: list[Mortal]

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.made.append(self)

    def die(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


@dataclass(frozen=True)
class Pair:
    """Two processes on one store."""

    first: Facade
    second: Facade
    workers: list[Mortal]
    deliveries: list[Deliveries]
    database: Path

    async def runs_in(self, process: int) -> None:
        """Waits until a turn runs in that process, as far as the store knows."""
        worker = self.workers[process]
        with closing(sqlite3.connect(self.database)) as connection:
            while not connection.execute("SELECT 1 FROM turns WHERE worker = ?", [worker.id]).fetchall():
                await asyncio.sleep(0.01)

    async def ended(self, tool: str) -> str:
        """The id of a call to that tool, once its result is kept."""
        with closing(sqlite3.connect(self.database)) as connection:
            ended = "SELECT call_id FROM journal WHERE tool = ? AND finished"
            while (found := connection.execute(ended, [tool]).fetchone()) is None:
                await asyncio.sleep(0.01)
        return found[0]

    def die(self) -> None:
        """The first seems dead from now on."""
        self.workers[0].die()


@pytest.fixture
async def pair(configs: Path, tmp_path: Path, keys: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    made: list[Mortal] = []
    monkeypatch.setattr(Mortal, "made", made, raising=False)
    monkeypatch.setattr(graphs.store.backends.sqlite, "FileWorkers", Mortal)
    deliveries: list[Deliveries] = []
    begin = Deliveries.__init__

    def begin_and_keep(self: Deliveries, database: Any) -> None:
        begin(self, database)
        deliveries.append(self)

    monkeypatch.setattr(Deliveries, "__init__", begin_and_keep)
    async with serving(configs, tmp_path / "data") as first, serving(configs, tmp_path / "data") as second:
        yield Pair(first, second, made, deliveries, tmp_path / "data" / "interlock.db")


def ran(tools: Tools) -> list[str]:
    """The calls that ran. That a hanging one was cancelled may be told late, in the middle of the next test."""
    return [line for line in tools.ran() if not line.startswith("cancelled")]


def echo(text: str) -> Call:
    return Call("files__echo", {"text": text})


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


def hang(mark: str) -> Call:
    return Call("files__hang", {"mark": mark})


@asynccontextmanager
async def hanging(pair: Pair, model: ScriptedModel, *messages: Any, **more: Any) -> AsyncIterator[asyncio.Task[str]]:
    """A turn that stays under way in the first process, which seems dead once its second model call hangs."""
    before = len(model.requests)
    turn = asyncio.create_task(pair.first.stream(*messages, **more))
    await model.arrived(before + 2)
    pair.die()
    try:
        yield turn
    finally:
        await left(turn)


async def left(turn: asyncio.Task[str]) -> None:
    """The client of that turn leaves."""
    turn.cancel()
    await asyncio.wait([turn])


LOOK = Answer("Let me look.", calls=[echo("4711")])
STUCK = Answer("It is", stall_after=1)


async def test_a_retry_goes_on_from_the_last_checkpoint(pair: Pair, model: ScriptedModel, tools: Tools) -> None:
    model.script(LOOK, STUCK, "It is 4711.", "Yes.")
    async with hanging(pair, model, "look it up"):
        raw = await pair.second.stream("look it up", headers={"x-interlock-tools": "items"})
    assert content(raw) == "Let me look.\n\nIt is 4711."
    items = [event["item"] for event in events(raw) if "item" in event]
    assert [(item["type"], item["status"]) for item in items] == [
        ("function_call", "in_progress"),
        ("function_call", "completed"),
        ("function_call_output", "completed"),
    ]
    resumed = model.requests[2].messages
    assert [message["role"] for message in resumed] == ["system", "user", "assistant", "tool"]
    assert resumed[2]["content"] == "Let me look."  # from the checkpoint: the row keeps the calls alone
    assert ran(tools) == ["echo 4711"]

    await pair.second.say("look it up", said(content(raw)), "sure?")
    assert model.requests[3].tool_results == ["4711"]
    assert ran(tools) == ["echo 4711"]


async def test_a_retry_shows_the_way_before_and_after(pair: Pair, model: ScriptedModel, tools: Tools) -> None:
    model.script(LOOK, STUCK, "It is 4711.")
    async with hanging(pair, model, "look it up"):
        assert "4711" in await pair.second.say("look it up")
    root = pair.second.url.removesuffix("/v1")
    answer = await pair.second.http.get(f"{root}/console/api/turns", headers={"authorization": f"Bearer {ADMIN}"})
    (turn,) = answer.json()["turns"]
    steps = turn["path"]["steps"]
    # What was written down with the tool call; the second process took up the node that runs it.
    assert [(step["node"], step["seconds"] is None) for step in steps] == [
        ("agent", False),
        ("check", False),
        ("act", True),
        ("act", False),
        ("agent", False),
    ]
    assert [len(step.get("models", ())) for step in steps] == [1, 0, 0, 0, 1]


async def test_without_its_checkpoint_a_retry_goes_on_from_the_journal(
    pair: Pair, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    look = Answer("Let me look.", calls=[Call("files__echo", {"text": "4711"}, id="toolu_1")], reasoning="Look.")
    model.script(look, STUCK, "It is 4711.", "Yes.")
    async with hanging(pair, model, "look it up"):
        store = await Store.open("", tmp_path / "data")
        for thread in await store.checkpoints.find_threads_before(2e10):
            await store.delete_thread(thread)
        await store.close()
        answer = await pair.second.say("look it up")
        assert answer == "Let me look.\n\nIt is 4711."
        assert model.requests[2].tool_results == ["4711"]
        # The endpoint's own id and thoughts are in the row too.
        asked = next(message for message in model.requests[2].messages if message.get("tool_calls"))
        assert (asked["reasoning_content"], asked["tool_calls"][0]["id"]) == ("Look.", "toolu_1")
        await pair.second.say("look it up", said(answer), "sure?")
    assert model.requests[3].tool_results == ["4711"]
    assert ran(tools) == ["echo 4711"]


async def test_after_a_change_of_the_rules_a_retry_is_judged_by_the_new_ones(
    pair: Pair, model: ScriptedModel, tools: Tools, tmp_path: Path
) -> None:
    access = {**ACCESS, "roles": {"admin": {"allow": ["*"], "deny": ["files/echo"]}}, "keys": ACCESS["keys"][:1]}
    changed = write_configs(tmp_path / "changed", model.url, {"files": {"url": tools.url}}, access=access)
    model.script(LOOK, STUCK, Answer(calls=[echo("again")]), "I may not.")
    async with hanging(pair, model, "look it up"), serving(changed, tmp_path / "data") as later:
        assert await later.say("look it up") == "Let me look.\n\nI may not."
    assert model.requests[3].tool_results[0] == "4711"
    assert "not run" in model.requests[3].tool_results[1]
    assert ran(tools) == ["echo 4711"]


async def both_begun(pair: Pair, tools: Tools) -> str:
    """Waits until one call of a round has ended and the other hangs. The id of the first."""
    while "hang m" not in tools.ran():
        await asyncio.sleep(0.01)
    return await pair.ended("files/echo")


async def test_the_next_message_has_the_results_though_the_client_got_no_word(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[echo("4711"), hang("m")]), "Hm.", "As I said.")
    turn = asyncio.create_task(pair.first.stream("look it up"))
    await both_begun(pair, tools)
    pair.die()
    await pair.second.say("look it up", "are you there?")
    asked = model.requests[1]
    roles = [message["role"] for message in asked.messages]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert asked.tool_results[0] == "4711"
    assert UNKNOWN in asked.tool_results[1]
    await pair.second.say("look it up", "are you there?", said("Hm."), "so?")
    assert model.requests[2].tool_results == asked.tool_results
    await left(turn)
    assert tools.ran().count("hang m") == 1


async def test_the_client_may_hold_more_of_the_text_than_the_row(pair: Pair, model: ScriptedModel) -> None:
    model.script(LOOK, STUCK, "Go on.", "Fine.")
    async with hanging(pair, model, "look it up"):
        await pair.second.say("look it up", said("Let me look.\n\nIt is"), "is it?")
        await pair.second.say("look it up", said("Let me"), "is it?")
    assert [request.tool_results for request in model.requests[2:]] == [["4711"], ["4711"]]


async def test_a_process_that_was_taken_for_dead_asks_for_nothing(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        LOOK, Answer(["More."], calls=[write("twice")], stall_after=1), Answer(calls=[echo("again")]), "Done.", "Fine."
    )
    turn = asyncio.create_task(pair.first.stream("look it up"))
    await model.arrived(2)
    pair.die()
    assert await pair.second.say("look it up") == "Let me look.\n\nDone."
    model.release()
    assert TAKEN_UP in await turn
    assert ran(tools) == ["echo 4711", "echo again"]

    await pair.second.say("look it up", said("Let me look.\n\nDone."), "sure?")
    assert model.requests[-1].tool_results == ["4711", "again"]


async def test_a_process_that_was_taken_for_dead_runs_no_call_and_says_why(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, Answer(["More."], calls=[echo("twice")], stall_after=1), "Done.")
    turn = asyncio.create_task(pair.first.stream("look it up"))
    await model.arrived(2)
    pair.die()
    assert await pair.second.say("look it up") == "Let me look.\n\nDone."
    model.release()
    assert TAKEN_UP in await turn
    assert ran(tools) == ["echo 4711"]


async def test_while_its_process_lives_the_same_request_starts_afresh(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, STUCK, Answer(calls=[echo("anew")]), "It is 4711.")
    turn = asyncio.create_task(pair.first.stream("look it up"))
    await model.arrived(2)
    assert await pair.second.say("look it up") == "It is 4711."
    assert ran(tools) == ["echo 4711", "echo anew"]
    await left(turn)


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
async def test_another_request_is_no_retry(
    pair: Pair, model: ScriptedModel, tools: Tools, other: dict[str, Any]
) -> None:
    model.script(LOOK, STUCK, "Fresh.")
    async with hanging(pair, model, "look it up"):
        other = dict(other)
        assert await pair.second.say(*other.pop("messages"), **other) == "Fresh."
    assert model.requests[2].tool_results == []


async def test_a_request_that_comes_much_later_is_no_retry(
    pair: Pair, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs.runtime.turn_entry, "RETRY_WINDOW", 0.0)
    model.script(LOOK, STUCK, "Fresh.")
    async with hanging(pair, model, "look it up"):
        assert await pair.second.say("look it up") == "Fresh."


async def test_of_two_retries_at_once_one_goes_on(pair: Pair, model: ScriptedModel, tools: Tools) -> None:
    model.script(LOOK, STUCK)
    model.respond(lambda body: "Resumed." if body["messages"][-1]["role"] == "tool" else "Fresh.")
    async with hanging(pair, model, "look it up"):
        answers = await asyncio.gather(pair.second.say("look it up"), pair.second.say("look it up"))
    assert sorted(answers) == ["Fresh.", "Let me look.\n\nResumed."]
    assert ran(tools) == ["echo 4711"]


def approval_in(text: str) -> str:
    found = re.search(r"approve ([a-z2-7]{8})", text)
    assert found, text
    return found[1]


async def test_an_approval_given_to_a_process_that_died_is_not_given_twice(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("Shall I?", calls=[write("x")]), STUCK, "It is written.", "Yes.")
    question = await pair.first.say("write x")
    reply = f"approve {approval_in(question)}"
    turn = asyncio.create_task(pair.first.stream("write x", said(question), reply))
    await model.arrived(2)
    assert ran(tools) == ["write x"]
    pair.die()
    assert await pair.second.say("write x", said(question), reply) == "It is written."
    await left(turn)
    assert model.requests[2].tool_results == ["written"]
    await pair.second.say("write x", said(question), reply, said("It is written."), "sure?")
    assert model.requests[3].tool_results == ["written"]
    assert ran(tools) == ["write x"]


async def test_the_next_message_after_an_approval_whose_turn_died_has_its_results(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("Shall I?", calls=[write("x")]), STUCK, "As I said.")
    question = await pair.first.say("write x")
    reply = f"approve {approval_in(question)}"
    turn = asyncio.create_task(pair.first.stream("write x", said(question), reply))
    await model.arrived(2)
    pair.die()
    await pair.second.say("write x", said(question), reply, said("It is"), "sure?")
    await left(turn)
    assert model.requests[2].tool_results == ["written"]
    assert ran(tools) == ["write x"]


WAIT = {"x-interlock-approvals": "wait"}


async def waiting_turn(pair: Pair, model: ScriptedModel) -> tuple[asyncio.Task[str], str]:
    """A stream of the first process that stays open for a decision, and what is to be decided; that process is dead."""
    turn = asyncio.create_task(pair.first.stream("write x", headers=WAIT))
    headers = {"authorization": f"Bearer {ADMIN}"}
    while True:
        listed = (await pair.first.http.get(f"{pair.first.url}/approvals", headers=headers)).json()["data"]
        if listed:
            break
        await asyncio.sleep(0.01)
    await pair.runs_in(0)
    pair.die()
    return turn, listed[0]["id"]


async def decide(facade: Facade, approval: str) -> int:
    """Approves it over HTTP; the status of the answer."""
    decided = await facade.http.post(
        f"{facade.url}/approvals/{approval}",
        json={"decision": "approve"},
        headers={"authorization": f"Bearer {ADMIN}"},
    )
    return decided.status_code


async def test_a_retry_of_an_answer_that_waited_asks_for_the_same_approval(
    pair: Pair, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("Shall I?", calls=[write("x")]), "It is written.")
    turn, approval = await waiting_turn(pair, model)
    decided = 0
    raw = ""
    async with pair.second.streaming("write x", headers=WAIT) as pieces:
        async for piece in pieces:
            raw += piece
            if not decided and f"approve {approval}" in content(raw):  # earlier, and the retry would not ask
                await left(turn)
                decided = await decide(pair.second, approval)
    assert decided == 200
    text = content(raw)
    assert text.startswith("Shall I?")
    assert text.endswith("It is written.")
    assert ran(tools) == ["write x"]


async def test_what_waited_in_a_process_that_died_can_be_approved_by_text(
    pair: Pair, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It only seems dead, and would see the approval before the other takes its turn.
    monkeypatch.setattr(pauses, "POLL_SECONDS", 60.0)
    model.script(Answer("Shall I?", calls=[write("x")]), "It is written.")
    turn, approval = await waiting_turn(pair, model)
    assert await pair.second.say("write x", said("Shall I?"), f"approve {approval}") == "It is written."
    await left(turn)
    assert ran(tools) == ["write x"]


async def test_what_nobody_comes_back_for_is_pruned_with_its_checkpoints(
    pair: Pair, model: ScriptedModel, tmp_path: Path
) -> None:
    model.script(LOOK, STUCK)
    async with hanging(pair, model, "look it up"):
        store = await Store.open("", tmp_path / "data")
        assert len(await store.checkpoints.find_threads_before(2e10)) == 1
        pruned = await store.prune(conversations=0, audit=3600)
        assert (pruned.turns, pruned.calls) == (1, 1)
        assert await store.checkpoints.find_threads_before(2e10) == []
        await store.close()


async def test_images_that_tools_returned_are_put_back_too(pair: Pair, model: ScriptedModel) -> None:
    model.script(Answer("Look.", calls=[Call("files__picture")]), STUCK, "A picture.")
    async with hanging(pair, model, "show me"):
        before = model.requests[1].messages
        await pair.second.say("show me", said("Look.\n\nIt"), "and?")
    after = model.requests[2].messages
    pictures = [[m for m in messages if "image_url" in str(m["content"])] for messages in (before, after)]
    assert pictures[0] == pictures[1] != []
    assert model.requests[2].tool_results == model.requests[1].tool_results


async def test_the_calls_that_the_client_shows_lead_to_the_turn(pair: Pair, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[echo("4711"), hang("m")]), "Hm.")
    shown = {"x-interlock-tools": "items"}
    turn = asyncio.create_task(pair.first.stream("look it up", headers=shown))
    call_id = await both_begun(pair, tools)
    pair.die()
    function = {"name": "files/echo", "arguments": '{"text": "4711"}'}
    kept = [
        {"role": "assistant", "content": "", "tool_calls": [{"id": call_id, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call_id, "content": "4711"},
    ]
    await pair.second.say("look it up", *kept, "are you there?")
    await left(turn)
    assert model.requests[1].tool_results[0] == "4711"
    assert UNKNOWN in model.requests[1].tool_results[1]


def test_calls_are_kept_in_the_same_form_while_a_turn_runs_and_after() -> None:
    call = {"name": "a__b", "args": {"x": 1, "ü": "é", "n": 2**70}, "id": "c1", "type": "tool_call"}
    broken = {"name": "q", "args": "{", "id": "c2", "error": "e", "type": "invalid_tool_call"}
    made = [AIMessage("No calls."), AIMessage("Two.", tool_calls=[call], invalid_tool_calls=[broken])]
    model = ChatModel("http://127.0.0.1:1/v1", SecretStr("x"), silence=1)
    ended = conversation.collect_tool_messages(made, model, open_names=["a__b", "q"])
    assert conversation.collect_tool_calls(made) == ended


async def test_a_turn_without_tools_asks_the_store_for_nothing_and_writes_once(
    facade: Facade, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("read", "write"):
        real = getattr(SqliteDatabase, name)

        async def counted(self: SqliteDatabase, work: Any, *, real: Any = real, name: str = name, **how: Any) -> Any:
            task = asyncio.current_task()
            if task is not None and task.get_name() != "prune":  # which begins when the process does
                done.append(name)
            return await real(self, work, **how)

        monkeypatch.setattr(SqliteDatabase, name, counted)
    model.script("Hello.")
    assert await facade.say("hi") == "Hello."
    assert done == ["write"]
