"""Which processes live: known at once, and without a clock."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from graphs.store.backends.postgres_liveness import compute_worker_key
from graphs.store.store import DEATH_PATIENCE, Store
from graphs.store.turns import TurnRow

CHILD = """
import asyncio, sys
from pathlib import Path
from graphs.store.store import Store

async def main():
    store = await Store.open(sys.argv[1], Path())
    print(store.workers.id, flush=True)
    sys.stdin.readline()
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
async def store(storage: str, tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(storage, tmp_path)
    yield store
    await store.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open("", tmp_path)
    yield store
    await store.close()


@pytest.fixture
async def two_stores(postgres_url: str, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two with the same PostgreSQL."""
    store, other = await Store.open(postgres_url, tmp_path), await Store.open(postgres_url, tmp_path)
    yield store, other
    await store.close()
    await other.close()


def other_process(storage: str) -> tuple[subprocess.Popen[str], str]:
    """A process with the same store, and its name there. It ends when it is told a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, storage], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def test_a_process_lives_until_it_ends(store: Store, storage: str) -> None:
    process, worker = other_process(storage)
    with process:
        assert await store.workers.is_alive(worker)
        process.communicate("\n")
    assert not await store.workers.is_alive(worker, DEATH_PATIENCE)


async def test_a_turn_is_taken_up_from_the_dead_alone_and_once(store: Store, storage: str, tmp_path: Path) -> None:
    process, worker = other_process(storage)
    row = TurnRow(id="t", owner="ada", graph="g", created=1.0, status="running", base="", worker=worker)
    third = await Store.open(storage, tmp_path)
    with process:
        await store.turns.add(row)
        assert not await store.take_up(row)
        process.kill()
        assert process.stdout is not None
        process.stdout.read()  # returns once its end is closed, as a client's connection would be
        assert [await store.take_up(row), await third.take_up(row)] == [True, False]
    kept = await store.turns.get("t")
    assert kept is not None
    assert kept.worker == store.workers.id
    await third.close()


async def test_one_asks_for_itself_and_for_one_that_never_was(store: Store) -> None:
    assert await store.workers.is_alive(store.workers.id)
    assert not await store.workers.is_alive("nobody")


async def test_nobody_needs_to_look_unless_a_process_was_killed(sqlite: Store) -> None:
    assert sqlite.workers.is_quiet()
    process, _ = other_process(sqlite.place)
    with process:
        assert sqlite.workers.is_quiet()
        process.communicate("\n")
    assert sqlite.workers.is_quiet()
    process, worker = other_process(sqlite.place)
    with process:
        assert sqlite.workers.is_quiet()
        process.kill()
    assert not sqlite.workers.is_quiet()
    assert not await sqlite.workers.is_alive(worker)


async def test_the_dead_are_forgotten_after_an_hour(sqlite: Store) -> None:
    process, _ = other_process(sqlite.place)
    with process:
        process.kill()
    assert not sqlite.workers.is_quiet()
    await sqlite.workers.prune()
    assert not sqlite.workers.is_quiet()
    (grave,) = Path(f"{sqlite.place}.workers").glob("*.dead")
    os.utime(grave, (1, 1))
    await sqlite.workers.prune()
    assert sqlite.workers.is_quiet()


async def test_a_process_whose_connection_was_lost_is_seen_again(
    postgres_url: str, two_stores: tuple[Store, Store]
) -> None:
    store, other = two_stores
    worker = store.workers.id
    assert await other.workers.is_alive(worker)
    held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted AND objid = %s"
    low = compute_worker_key(worker) & 0xFFFFFFFF
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        (lost,) = connection.execute(held, [low]).fetchall()
        assert connection.execute("SELECT pg_terminate_backend(%s)", lost).fetchall() == [(True,)]
        while connection.execute(held, [low]).fetchall() in ([], [lost]):  # for a moment, perhaps an unseen one
            await asyncio.sleep(0.01)
    assert await other.workers.is_alive(worker)
    await store.close()
    assert not await other.workers.is_alive(worker, DEATH_PATIENCE)
