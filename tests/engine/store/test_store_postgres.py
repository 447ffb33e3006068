"""The store in PostgreSQL where that is not just another place: lost connections, waiting, who may, what it says."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, insert, text
from support.facade import serving, write_configs
from support.postgres import Postgres, postgres
from support.processes import free_port
from support.scripted_model import ScriptedModel

from graphs.errors import StorageError
from graphs.store.backends.address import parse_postgres_address
from graphs.store.backends.base import Database
from graphs.store.backends.locks import hold
from graphs.store.backends.postgres import PostgresDatabase
from graphs.store.backends.sqlite import SqliteDatabase
from graphs.store.store import Store
from graphs.store.tables import turns
from graphs.store.turns import TurnRow, to_row

KILL = text("SELECT pg_terminate_backend(pg_backend_pid())")


def turn(id: str) -> TurnRow:
    return TurnRow(id=id, owner="ada", graph="g", created=1.0, status="running", base="")


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL that tests may stop."""
    with postgres(tmp_path_factory.mktemp("own") / "postgres.log") as server:
        yield server


@pytest.fixture
async def database(postgres_url: str) -> Any:
    opened = await PostgresDatabase.open(parse_postgres_address(postgres_url), 10)
    yield opened
    await opened.close()


# Addresses


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "PostgreSQL"])
async def test_every_usual_scheme_is_understood_and_options_reach_the_server(
    postgres_url: str, tmp_path: Path, scheme: str
) -> None:
    url = f"{scheme}{postgres_url.removeprefix('postgresql')}&application_name=of-the-tests"
    store = await Store.open(url, tmp_path)
    with psycopg.connect(postgres_url) as connection:
        seen = connection.execute("SELECT application_name, datname FROM pg_stat_activity").fetchall()
    assert ("of-the-tests", postgres_url.rpartition("/")[2].partition("?")[0]) in seen
    await store.close()


def test_an_address_is_said_without_its_user_and_password() -> None:
    address = parse_postgres_address("postgresql://ada:s%403cret@db.example:5433/lock?sslmode=require")
    assert address.place == "PostgreSQL at db.example:5433/lock"
    assert "s@3cret" in address.conninfo
    assert "sslmode=require" in address.conninfo
    assert "cret" not in repr(address)


# Reaching it


async def test_a_server_that_is_not_up_yet_is_waited_for(
    own_server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.stop()
    with caplog.at_level(logging.WARNING):
        opening = asyncio.create_task(Store.open(own_server.url, tmp_path, patience=30))
        while not caplog.records:
            await asyncio.sleep(0.02)
    assert not opening.done()
    assert "cannot be reached; trying again for 30 s: " in caplog.text
    await asyncio.to_thread(own_server.start)
    store = await opening
    await store.turns.add(turn("t1"))
    await store.close()
    assert len(caplog.records) == 1


async def test_a_server_that_never_comes_is_named_without_the_password(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(
        StorageError, match=f"PostgreSQL at 127.0.0.1:{port}/lock cannot be reached: .*refused"
    ) as caught:
        await Store.open(f"postgresql://ada:s3cret@127.0.0.1:{port}/lock", tmp_path, patience=0.1)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "name", "words"),
    [("nobody", "ready", 'role "nobody" does not exist'), ("postgres", "nothing", 'database "nothing" does not exist')],
)
async def test_a_server_that_says_no_is_not_waited_for(
    postgres_shared: Postgres, tmp_path: Path, user: str, name: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://{user}:s3cret@127.0.0.1:{postgres_shared.port}/{name}"
    with pytest.raises(StorageError, match=words) as caught:
        await Store.open(url, tmp_path, patience=3600)
    assert "check the user, the password and the database that `storage` names" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caplog.records == []


async def test_a_user_who_may_make_no_tables_is_told_what_to_grant(postgres_shared: Postgres, tmp_path: Path) -> None:
    postgres_shared.run("CREATE ROLE guest LOGIN")
    refused = pytest.raises(StorageError, match="permission denied for schema public; let the user own the database")
    with postgres_shared.database("guests") as url, refused:
        await Store.open(url.replace("postgres@", "guest@"), tmp_path)


async def test_a_database_that_cannot_hold_every_text_is_refused(postgres_shared: Postgres, tmp_path: Path) -> None:
    postgres_shared.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(StorageError, match="encoding is LATIN1; make one with ENCODING 'UTF8'"):
        await Store.open(postgres_shared.url_of("latin"), tmp_path)
    postgres_shared.run("DROP DATABASE latin WITH (FORCE)")


async def test_eight_first_starts_at_once_make_it_once(postgres_empty: str, tmp_path: Path) -> None:
    stores = await asyncio.gather(*(Store.open(postgres_empty, tmp_path) for _ in range(8)))
    await asyncio.gather(*(store.turns.add(turn(f"t{n}")) for n, store in enumerate(stores)))
    assert all([await stores[0].turns.get(f"t{n}") for n in range(8)])
    for store in stores:
        await store.close()


# Losing it


async def test_what_is_asked_while_postgresql_restarts_is_answered(own_server: Postgres, tmp_path: Path) -> None:
    store = await Store.open(own_server.url, tmp_path)
    await store.turns.add(turn("before"))
    own_server.stop()
    config: Any = {"configurable": {"thread_id": "one", "checkpoint_ns": "", "checkpoint_id": "c"}}
    asked = [
        asyncio.create_task(store.turns.add(turn("meanwhile"))),
        asyncio.create_task(store.turns.get("before")),
        asyncio.create_task(store.checkpoints.aput_writes(config, [("n", 1)], "task")),
    ]
    await asyncio.wait(asked, timeout=0.3)
    assert not any(task.done() for task in asked)
    await asyncio.to_thread(own_server.start)
    _, before, _ = await asyncio.gather(*asked)
    assert before == turn("before")
    assert await store.turns.get("meanwhile") == turn("meanwhile")
    await store.close()


async def test_a_transaction_whose_connection_is_lost_is_run_again_and_applied_once(database: PostgresDatabase) -> None:
    runs: list[int] = []

    def work(connection: Connection) -> None:
        runs.append(1)
        connection.execute(insert(turns), to_row(turn(f"t{len(runs)}")))
        if len(runs) == 1:
            connection.execute(KILL)

    await database.write(work)
    kept = await database.read(lambda connection: connection.scalars(text("SELECT id FROM turns")).all())
    assert (len(runs), kept) == (2, ["t2"])


DIES_AT_COMMIT = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER die AFTER INSERT ON turns DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()
"""


async def test_a_commit_that_nobody_saw_end_is_not_repeated(database: PostgresDatabase, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(DIES_AT_COMMIT.encode())
    runs: list[int] = []

    def work(connection: Connection) -> None:
        runs.append(1)
        connection.execute(insert(turns), to_row(turn("t1")))

    with pytest.raises(StorageError, match="middle of a commit, so whether it was kept is not known"):
        await database.write(work)
    assert len(runs) == 1


async def test_two_that_wait_for_each_other_both_end(database: PostgresDatabase) -> None:
    meeting = threading.Barrier(2)
    runs: list[str] = []

    def work(connection: Connection, first: str, second: str) -> None:
        runs.append(first)
        hold(connection, first)
        if len(runs) <= 2:
            meeting.wait(10)
        hold(connection, second)

    await asyncio.gather(
        database.write(lambda connection: work(connection, "a", "b")),
        database.write(lambda connection: work(connection, "b", "a")),
    )
    assert len(runs) == 3


async def test_a_cancelled_write_has_ended_when_its_task_has(database: PostgresDatabase, postgres_url: str) -> None:
    begun = threading.Event()

    def work(connection: Connection) -> None:
        connection.execute(insert(turns), to_row(turn("t1")))
        begun.set()
        connection.execute(text("SELECT pg_sleep(0.3)"))

    task = asyncio.create_task(database.write(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT id FROM turns").fetchall() == [("t1",)]


async def test_a_write_that_is_cancelled_while_the_server_is_away_gives_up(
    own_server: Postgres, tmp_path: Path
) -> None:
    store = await Store.open(own_server.url, tmp_path)
    own_server.stop()
    task = asyncio.create_task(store.turns.add(turn("given-up")))
    await asyncio.wait([task], timeout=0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(own_server.start)
    assert await store.turns.get("given-up") is None
    await store.close()


async def test_ready_fails_while_the_server_is_away_or_silent_and_not_after(
    own_server: Postgres, tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    configs = write_configs(tmp_path / "configs", model.url, {})
    storage = own_server.url.replace("postgres@", "postgres:hunter2-hunter2@")
    async with serving(configs, tmp_path / "data", storage=storage) as facade:

        async def until(status: str, code: int, reason: str) -> None:
            async with asyncio.timeout(40):
                while True:
                    # A probe gives up after a second or so.
                    async with asyncio.timeout(5):
                        answer = await facade.ready()
                    said = answer.json()["storage"]
                    if (said["status"], answer.status_code) == (status, code):
                        break
                    await asyncio.sleep(0.05)
            assert reason in str(said["reason"])
            assert "hunter2" not in answer.text

        await until("ok", 200, "None")
        own_server.stop()
        await until("failed", 503, "PostgreSQL at 127.0.0.1")
        await asyncio.to_thread(own_server.start)
        await until("ok", 200, "None")
        with own_server.frozen():
            await until("failed", 503, "no answer for")
        await until("ok", 200, "None")


# One at a time


async def opened(storage: str) -> Database:
    if storage.startswith("postgresql"):
        return await PostgresDatabase.open(parse_postgres_address(storage), 10)
    return await SqliteDatabase.open(Path(storage))


async def test_who_holds_a_name_reads_what_stays_true(storage: str) -> None:
    databases = [await opened(storage) for _ in range(2)]

    def work(connection: Connection) -> None:
        hold(connection, "numbers")
        count = connection.scalar(text("SELECT count(*) FROM turns"))
        connection.execute(insert(turns), to_row(turn(f"t{count}")))

    await asyncio.gather(*(databases[n % 2].write(work) for n in range(40)))
    kept = await databases[0].read(lambda connection: connection.scalars(text("SELECT id FROM turns")).all())
    assert set(kept) == {f"t{n}" for n in range(40)}
    for database in databases:
        await database.close()


async def test_a_read_sees_one_state(database: PostgresDatabase) -> None:
    counted = text("SELECT count(*) FROM turns")
    loop = asyncio.get_running_loop()

    def work(connection: Connection) -> tuple[Any, Any]:
        before = connection.scalar(counted)
        added = database.write(lambda other: other.execute(insert(turns), to_row(turn("t1"))).rowcount)
        asyncio.run_coroutine_threadsafe(added, loop).result(10)
        return before, connection.scalar(counted)

    assert await database.read(work) == (0, 0)
    with pytest.raises(StorageError, match="read-only transaction"):
        await database.read(lambda connection: connection.execute(insert(turns), to_row(turn("t2"))).rowcount)
