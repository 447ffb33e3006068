"""The store as a whole: its file, its address, checkpoints, forgetting."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph

from graphs.errors import StorageError
from graphs.store.approvals import Approval
from graphs.store.backends.sqlite import BUSY_SECONDS, CHECKPOINT_EVERY, SqliteDatabase, parse_sqlite_path
from graphs.store.digests import compute_call_digest
from graphs.store.store import Store
from graphs.store.tool_journal import Claim
from graphs.store.turns import TurnEnd, TurnProgress, TurnRow

DAY = 86_400.0


def turn(id: str, created: float, thread: str | None = None) -> TurnRow:
    return TurnRow(id=id, owner="ada", graph="assistant", created=created, status="waiting", base="", thread=thread)


def approval(id: str, turn: str, created: float) -> Approval:
    return Approval(
        id=id,
        turn=turn,
        thread="thread",
        call_id=f"call-{id}",
        graph="assistant",
        snapshot="s1",
        tool="filesystem/write_file",
        args={"path": "a"},
        digest=compute_call_digest("filesystem/write_file", {"path": "a"}),
        rule="role admin, ask 'filesystem/write_file' (access.yaml:3)",
        caller_owner="ada",
        caller="Ada",
        created=created,
    )


def test_an_empty_address_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    assert parse_sqlite_path("", tmp_path) == tmp_path / "interlock.db"


def test_an_address_or_a_path_names_the_file(tmp_path: Path) -> None:
    assert parse_sqlite_path("sqlite:///var/lock.db", tmp_path) == Path("var/lock.db")
    assert parse_sqlite_path("sqlite:////var/lock.db", tmp_path) == Path("/var/lock.db")
    assert parse_sqlite_path("var/lock.db", tmp_path) == Path("var/lock.db")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+asyncpg://ada:s3cret@db/lock", "unknown kind 'postgresql\\+asyncpg'; expected postgresql://…"),
        ("postgresql://ada:p@s3cret@db/lock", "address of PostgreSQL cannot be read"),
        ("postgresql://ada:p/s3cret@db/lock", "address of PostgreSQL cannot be read"),
        ("postgresql://ada:p?s3@cret@db/lock", "address of PostgreSQL cannot be read"),
        ("postgresql://ada:s3cret@db:x/lock", "address of PostgreSQL cannot be read"),
        ("postgresql://ada:s3cret@db/lock?nonsense=1", "address of PostgreSQL cannot be read"),
        ("mysql://ada:s3cret@db/lock", "unknown kind 'mysql'"),
        ("sqlite://lock.db", "three slashes"),
        ("sqlite:///", "cannot be in memory"),
        (":memory:", "cannot be in memory"),
        ("sqlite:///lock.db?mode=ro", "without options"),
    ],
)
async def test_other_addresses_are_refused_in_words_without_their_secrets(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught:
        await Store.open(url, tmp_path)
    assert "s3cret" not in str(caught.value)


async def test_folders_are_made_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "lock.db"
    store = await Store.open(str(path), tmp_path)
    await store.turns.add(turn("t", 1.0))
    for file in path.parent.rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600), file
    await store.close()


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, " * 100)
    with pytest.raises(StorageError, match=r"notes\.txt cannot be used: file is not a database"):
        await Store.open(str(path), tmp_path)


async def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened: Is a directory"):
        await Store.open(str(tmp_path), tmp_path)


async def test_closing_ends_all_threads_and_can_be_repeated(storage: str, tmp_path: Path) -> None:
    before = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio")}
    store = await Store.open(storage, tmp_path)
    await store.turns.add(turn("t", 1.0))
    await store.turns.get("t")
    await store.close()
    await store.close()
    assert {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio")} == before


async def test_a_failed_opening_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(StorageError):
        await Store.open(str(tmp_path), tmp_path)
    assert threading.active_count() == before


async def test_what_is_kept_is_there_after_a_restart(storage: str, tmp_path: Path) -> None:
    store = await Store.open(storage, tmp_path)
    await store.turns.add(turn("t", 1.0))
    await store.close()
    store = await Store.open(storage, tmp_path)
    assert await store.turns.get("t") == turn("t", 1.0)
    await store.close()


async def test_the_file_waits_for_locks_and_writes_ahead(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "interlock.db")
    pragmas = ("journal_mode", "busy_timeout", "synchronous")
    for road in (database.read, database.write):
        found = await road(
            lambda connection: [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
        )
        assert found == ["wal", 30_000, 1]
    await database.close()


class Count(TypedDict):
    n: int


def up(state: Count) -> Count:
    return {"n": state["n"] + 1}


def counting(store: Store) -> Any:
    builder: Any = StateGraph(Count)
    builder.add_node("up", up)
    builder.add_edge(START, "up")
    builder.add_edge("up", END)
    return builder.compile(checkpointer=store.checkpoints)


async def test_the_saver_keeps_checkpoints_until_the_thread_is_deleted(store: Store) -> None:
    graph = counting(store)
    config: RunnableConfig = {"configurable": {"thread_id": "one"}}
    await graph.ainvoke({"n": 1}, config)
    assert (await graph.aget_state(config)).values == {"n": 2}
    await store.delete_thread("one")
    assert (await graph.aget_state(config)).values == {}


async def test_old_turns_are_forgotten_with_their_checkpoints_calls_and_questions(store: Store) -> None:
    graph = counting(store)
    for thread in ("old", "new"):
        await graph.ainvoke({"n": 1}, {"configurable": {"thread_id": thread}})
    now = 100 * DAY
    await store.turns.add(turn("t-old", now - 31 * DAY, "old"))
    await store.turns.add(turn("t-new", now - 29 * DAY, "new"))
    await store.approvals.request(
        [
            approval("aaaaaaaa", "t-old", now - 31 * DAY),
            approval("bbbbbbbb", "t-new", now - 29 * DAY),
            approval("cccccccc", "t-older", now - 99 * DAY),
        ]
    )
    for call_id, age in (("old", 31), ("new", 29)):
        claim = Claim(call_id=call_id, thread="x", tool="a/b", digest="d", needs_approval=False, now=now - age * DAY)
        await store.journal.claim([claim])

    pruned = await store.prune(conversations=30 * DAY, audit=90 * DAY, now=now)

    assert (pruned.turns, pruned.calls, pruned.approvals) == (1, 1, 1)
    assert await store.turns.get("t-old") is None
    assert await store.turns.get("t-new") is not None
    assert [row async for row in store.checkpoints.alist({"configurable": {"thread_id": "old"}})] == []
    assert [row async for row in store.checkpoints.alist({"configurable": {"thread_id": "new"}})] != []
    old, new = await store.approvals.get("aaaaaaaa"), await store.approvals.get("bbbbbbbb")
    assert old is not None
    assert new is not None
    assert (old.status, new.status) == ("superseded", "pending")
    assert await store.approvals.get("cccccccc") is None


async def test_more_old_turns_than_one_transaction_takes_are_all_forgotten(store: Store) -> None:
    for index in range(450):
        await store.turns.add(turn(f"t{index}", float(index)))
    pruned = await store.prune(conversations=DAY, audit=DAY, now=3 * DAY)
    assert pruned.turns == 450
    assert await store.turns.find_older_than(3 * DAY) == ()


def write_elsewhere(storage: str) -> None:
    """From outside, with all of the tables locked for it alone; fails if somebody else keeps a lock."""
    if storage.startswith("postgresql"):
        with psycopg.connect(storage) as other:
            other.execute("SET lock_timeout = '5s'")
            other.execute("LOCK TABLE turns, checkpoints, checkpoint_writes")
    else:
        with closing(sqlite3.connect(storage, timeout=5)) as other, other:
            other.execute("UPDATE interlock_schema SET version_num = version_num")


async def test_a_turn_cancelled_while_it_saves_leaves_the_database_free(store: Store, storage: str) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "one", "checkpoint_ns": "", "checkpoint_id": "c"}}
    for steps in range(12):
        task = asyncio.create_task(store.checkpoints.aput_writes(config, [("n", 1), ("m", 2)], f"task{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(write_elsewhere, storage)


async def test_threads_that_a_killed_process_left_are_forgotten_in_their_time(store: Store) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "orphan"}}
    await counting(store).ainvoke({"n": 1}, config)
    await store.prune(conversations=DAY, audit=DAY)
    assert [row async for row in store.checkpoints.alist(config)] != []
    await store.prune(conversations=DAY, audit=DAY, now=time.time() + 2 * DAY)
    assert [row async for row in store.checkpoints.alist(config)] == []


async def test_a_brief_write_waits_for_anothers_lock_off_the_event_loop(tmp_path: Path) -> None:
    store = await Store.open("", tmp_path)
    await store.turns.end(TurnEnd(row=turn("before", 1.0), may_exist=False))
    with closing(sqlite3.connect(tmp_path / "interlock.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ending = asyncio.create_task(store.turns.end(TurnEnd(row=turn("t", 2.0), may_exist=False)))
        for _ in range(20):  # the loop goes on meanwhile
            await asyncio.sleep(0.01)
        assert not ending.done()
        assert await store.turns.get("t") is None
        other.execute("ROLLBACK")
    assert await ending
    assert await store.turns.get("t") is not None
    await store.close()


async def test_what_is_written_on_the_event_loop_does_not_pile_up_beside_the_file(tmp_path: Path) -> None:
    store = await Store.open("", tmp_path)
    for number in range(4 * CHECKPOINT_EVERY):
        await store.turns.end(TurnEnd(row=replace(turn(f"t{number}", 1.0), text="x" * 4000), may_exist=False))
        if number % CHECKPOINT_EVERY == 0:
            await store.workers.prune()  # the thread has its turn, as it has wherever the loop waits for anything
    written = sum(path.stat().st_size for path in tmp_path.glob("interlock.db-wal"))
    assert 0 < written < 20_000_000, "all that was written is 34 MB"
    await store.close()


async def test_a_long_reader_does_not_keep_others_from_writing(tmp_path: Path) -> None:
    store = await Store.open("", tmp_path)
    await store.turns.end(TurnEnd(row=turn("before", 1.0), may_exist=False))
    with closing(sqlite3.connect(tmp_path / "interlock.db", isolation_level=None)) as backup:
        backup.execute("BEGIN")
        assert backup.execute("SELECT count(*) FROM turns").fetchone() == (1,)
        for number in range(CHECKPOINT_EVERY):
            await store.turns.end(TurnEnd(row=turn(f"t{number}", 1.0), may_exist=False))
        async with asyncio.timeout(BUSY_SECONDS / 2):
            await store.turns.add(turn("after", 2.0))
            await store.close()


async def test_a_brief_write_under_way_is_done_before_the_store_closes(tmp_path: Path) -> None:
    store = await Store.open("", tmp_path)
    with closing(sqlite3.connect(tmp_path / "interlock.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ending = asyncio.create_task(store.turns.end(TurnEnd(row=turn("t", 1.0), may_exist=False)))
        await asyncio.sleep(0)
        closed = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
    await closed
    assert await ending
    assert not list(tmp_path.glob("interlock.db-*")), "a connection is open"
    again = await Store.open("", tmp_path)
    assert await again.turns.get("t") is not None
    await again.close()


async def test_a_closed_store_says_so_and_opens_nothing(tmp_path: Path) -> None:
    store = await Store.open("", tmp_path)
    await store.close()
    with pytest.raises(StorageError, match="is closed"):
        await store.turns.end(TurnEnd(row=turn("t", 1.0), may_exist=False))
    with pytest.raises(StorageError, match="is closed"):
        await store.turn_lookup.find_parents("ada", call_ids=["c"])
    with pytest.raises(StorageError, match="is closed"):
        await store.turns.get("t")
    assert not list(tmp_path.glob("interlock.db-*")), "a connection is open"


@pytest.mark.parametrize("large", ["row", "checkpoint", ""])
async def test_calls_are_claimed_off_the_event_loop_where_much_is_kept_with_them(tmp_path: Path, large: str) -> None:
    store = await Store.open("", tmp_path)
    on: list[threading.Thread] = []
    progress = TurnProgress(
        id="t",
        worker=store.workers.id,
        row=replace(turn("t", 1.0), text="x" * 200_000 if large == "row" else "x"),
        fields={},
        transaction_work=lambda _: on.append(threading.current_thread()),
        checkpoint_values=["x" * 200_000 if large == "checkpoint" else "x", [{"type": "text", "text": "x"}]],
    )
    call = Claim(call_id="c", thread="t", tool="a/b", digest="", needs_approval=False, now=1.0)
    assert (await store.journal.claim([call], progress))["c"].state == "claimed"
    assert [thread is threading.current_thread() for thread in on] == [not large]
    await store.close()
