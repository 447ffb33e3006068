"""The shape of the store: one for all, whether it was made at once, by migrations, or before there were any."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from graphs.errors import StorageError
from graphs.store import Claim, Store, migrations, tables
from graphs.store.migrations.__main__ import write
from graphs.store.migrations.upgrade import config, upgrade
from graphs.store.shape import prepare

VERSION_1 = Path(__file__).parent / "support" / "store_version_1.sql"


def differences(connection: Connection) -> list[Any]:
    """What autogenerate would write into another migration; LangGraph's own tables are not ours."""
    context = MigrationContext.configure(connection, opts={"version_table": tables.schema.name, "compare_type": True})
    return [
        difference
        for difference in compare_metadata(context, tables.metadata)
        if not str(getattr(difference[1], "name", "")).startswith(("checkpoint", "writes"))
    ]


@pytest.mark.parametrize("make", [prepare, upgrade])
def test_migrations_and_tables_agree(make: Callable[[Connection], None]) -> None:
    with create_engine("sqlite://").connect() as connection:
        make(connection)
        assert differences(connection) == []
        prepare(connection)


def test_the_migrations_are_one_line_named_as_their_files() -> None:
    with create_engine("sqlite://").connect() as connection:
        scripts = ScriptDirectory.from_config(config(connection))
    line = [script.revision for script in scripts.walk_revisions()]
    assert scripts.get_current_head() == migrations.newest()
    assert line == list(reversed(migrations.known()))
    assert all(len(name) <= 32 for name in line)


async def test_a_file_from_before_migrations_is_taken_over_with_all_its_rows(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "interlock.db")) as connection, connection:
        connection.executescript(VERSION_1.read_text())
    for _ in range(2):
        store = await Store.open("", tmp_path)
        row = await store.turns.get("t1")
        assert row is not None
        assert (row.text, row.created, row.request) == ("It is 12 °C.", 1755000000.25, {"model": "assistant"})
        assert (await store.turns.find_parents("ada", call_ids=["call_1"])).parent == row
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
    return Path(write("what_comes"))


async def test_an_older_file_is_migrated_with_its_rows(tmp_path: Path, next_shape: Path) -> None:
    older = next_shape.read_text()
    next_shape.rename(next_shape.with_suffix(".txt"))
    with closing(sqlite3.connect(tmp_path / "interlock.db")) as connection, connection:
        connection.executescript(VERSION_1.read_text())
    await (await Store.open("", tmp_path)).close()
    more = 'op.add_column("turns", sa.Column("colour", sa.Text(), server_default="green", nullable=False))'
    next_shape.write_text(older.replace("pass", more))

    await (await Store.open("", tmp_path)).close()

    with closing(sqlite3.connect(tmp_path / "interlock.db")) as connection:
        assert connection.execute("SELECT id, colour FROM turns").fetchall() == [("t1", "green")]
        assert connection.execute("SELECT * FROM interlock_schema").fetchall() == [(next_shape.stem,)]


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path, next_shape: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "interlock.db")) as connection, connection:
        connection.executescript(VERSION_1.read_text())
    next_shape.write_text(
        next_shape.read_text().replace("pass", 'op.drop_table("journal"); op.execute("SELECT nonsense FROM turns")')
    )
    with pytest.raises(StorageError, match="no such column: nonsense"):
        await Store.open("", tmp_path)
    with closing(sqlite3.connect(tmp_path / "interlock.db")) as connection:
        assert connection.execute("SELECT call_id FROM journal").fetchall() == [("call_0",)]
        assert connection.execute("SELECT * FROM interlock_schema").fetchall() == [(1,)]
