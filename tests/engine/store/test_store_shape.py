"""The shape of the store: one for all, whether it was made at once, by migrations, or before there were any."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, make_url

from graphs.errors import StorageError
from graphs.store import migrations, tables
from graphs.store.backends.schema_version import is_newest, prepare
from graphs.store.migrations.__main__ import write_migration
from graphs.store.migrations.upgrade import build_config, upgrade
from graphs.store.store import Store
from graphs.store.tool_journal import Claim
from graphs.store.turns import TurnRow

VERSION_1 = Path(__file__).parents[2] / "support" / "store_version_1.sql"


def differences(connection: Connection) -> list[Any]:
    """What autogenerate would write into another migration; LangGraph's own tables are not ours."""
    context = MigrationContext.configure(connection, opts={"version_table": tables.schema.name, "compare_type": True})
    return [
        difference
        for difference in compare_metadata(context, tables.metadata)
        if not str(getattr(difference[1], "name", "")).startswith(("checkpoint", "writes"))
    ]


@pytest.fixture
def connection(new_storage: str) -> Iterator[Connection]:
    """To an empty database, of each kind in turn, in one transaction."""
    url = make_url("sqlite://")
    if new_storage.startswith("postgresql"):
        url = make_url(new_storage).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("make", [prepare, upgrade])
def test_migrations_and_tables_agree(connection: Connection, make: Callable[[Connection], None]) -> None:
    make(connection)
    assert differences(connection) == []
    assert is_newest(connection)
    prepare(connection)


def test_a_difference_would_be_seen(connection: Connection) -> None:
    prepare(connection)
    connection.exec_driver_sql("ALTER TABLE journal DROP COLUMN thread")
    assert [difference[0] for difference in differences(connection)] == ["add_column"]


def test_the_migrations_are_one_line_named_as_their_files() -> None:
    with create_engine("sqlite://").connect() as connection:
        scripts = ScriptDirectory.from_config(build_config(connection))
    line = [script.revision for script in scripts.walk_revisions()]
    assert scripts.get_current_head() == migrations.find_newest_revision()
    assert line == list(reversed(migrations.list_revisions()))
    assert all(len(name) <= 32 for name in line)


async def test_a_file_from_before_migrations_is_taken_over_with_all_its_rows(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "interlock.db")) as connection, connection:
        connection.executescript(VERSION_1.read_text())
    for _ in range(2):
        store = await Store.open("", tmp_path)
        row = await store.turns.get("t1")
        assert row is not None
        assert (row.text, row.created, row.request) == ("It is 12 °C.", 1755000000.25, {"model": "assistant"})
        assert (await store.turn_lookup.find_parents("ada", call_ids=["call_1"])).parent == row
        (asked,) = await store.approvals.list("pending", "ada")
        assert (asked.id, asked.args, asked.approver) == ("abcdefgh", {"path": "a"}, "admin")
        claim = Claim(
            call_id="call_0", thread="t", tool="filesystem/read_file", digest="digest", needs_approval=False, now=1.0
        )
        assert (await store.journal.claim([claim]))["call_0"].result == {"content": "hello"}
        await store.close()
    with create_engine(f"sqlite:///{tmp_path / 'interlock.db'}").connect() as connection:
        assert differences(connection) == []


async def test_the_version_from_before_migrations_refuses_a_new_file(tmp_path: Path) -> None:
    await (await Store.open("", tmp_path)).close()
    refused = pytest.raises(sqlite3.OperationalError, match="no such column")
    with closing(sqlite3.connect(tmp_path / "interlock.db")) as connection, refused:
        connection.execute("SELECT interlock_schema.version FROM interlock_schema")


@pytest.fixture
def next_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A migration after the newest one, in a copy of the folder. Written by what people use."""
    shutil.copytree(migrations.FOLDER, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrations, "FOLDER", tmp_path / "migrations")
    return Path(write_migration("what_comes"))


async def test_an_older_store_is_migrated_with_its_rows(new_storage: str, tmp_path: Path, next_shape: Path) -> None:
    script = next_shape.read_text()
    next_shape.rename(next_shape.with_suffix(".txt"))
    store = await Store.open(new_storage, tmp_path)
    await store.turns.add(TurnRow(id="t1", owner="ada", graph="g", created=1.0, status="waiting", base=""))
    await store.close()
    more = 'op.add_column("turns", sa.Column("colour", sa.Text(), server_default="green", nullable=False))'
    next_shape.write_text(script.replace("pass", more))

    stores = await asyncio.gather(*(Store.open(new_storage, tmp_path) for _ in range(4)))

    assert [await store.turns.get("t1") is not None for store in stores] == [True] * 4
    assert look(new_storage, "SELECT id, colour FROM turns") == [("t1", "green")]
    assert look(new_storage, "SELECT * FROM interlock_schema") == [(next_shape.stem,)]
    for store in stores:
        await store.close()


async def test_a_migration_that_fails_changes_nothing(new_storage: str, tmp_path: Path, next_shape: Path) -> None:
    script = next_shape.read_text()
    next_shape.rename(next_shape.with_suffix(".txt"))
    await (await Store.open(new_storage, tmp_path)).close()
    before = look(new_storage, "SELECT * FROM interlock_schema")
    next_shape.write_text(script.replace("pass", 'op.drop_table("journal"); op.execute("SELECT nonsense FROM turns")'))
    with pytest.raises(StorageError, match="nonsense"):
        await Store.open(new_storage, tmp_path)
    assert look(new_storage, "SELECT * FROM journal") == []
    assert look(new_storage, "SELECT * FROM interlock_schema") == before


async def test_a_store_of_a_newer_version_is_refused(storage: str, tmp_path: Path) -> None:
    await (await Store.open(storage, tmp_path)).close()
    look(storage, "UPDATE interlock_schema SET version_num = '0999_later' RETURNING 1")
    with pytest.raises(StorageError, match="shape 0999_later, this Interlock knows 0"):
        await Store.open(storage, tmp_path)


def look(storage: str, query: str) -> list[tuple[Any, ...]]:
    """What the database itself answers, whatever Interlock believes."""
    if storage.startswith("postgresql"):
        with psycopg.connect(storage) as connection:
            return connection.execute(query.encode()).fetchall()
    with closing(sqlite3.connect(storage)) as connection, connection:
        return connection.execute(query).fetchall()
