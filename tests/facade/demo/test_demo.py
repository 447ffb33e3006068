"""The demo MCP servers, each a real process spoken to over stdio."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult, TextContent

from server.demo import data as demo_data
from server.demo import database, filesystem


@asynccontextmanager
async def demo_server(name: str, data: Path) -> AsyncGenerator[ClientSession]:
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "server.demo", name], env={**os.environ, "INTERLOCK_DATA": str(data)}
    )
    async with stdio_client(parameters) as (reading, writing), ClientSession(reading, writing) as session:
        await session.initialize()
        yield session


async def call(session: ClientSession, tool: str, **args: Any) -> str:
    result = await session.call_tool(tool, args)
    assert not result.isError, text(result)
    return text(result)


async def refused(session: ClientSession, tool: str, **args: Any) -> str:
    result = await session.call_tool(tool, args)
    assert result.isError, text(result)
    return text(result)


def text(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


async def test_the_files_of_the_sample_workspace_are_listed_read_and_written(tmp_path: Path) -> None:
    async with demo_server("filesystem", tmp_path) as session:
        listing = json.loads(await call(session, "list_directory"))
        names = {entry["name"]: entry["type"] for entry in listing["entries"]}
        assert listing["path"] == "/workspace"
        assert names == {"agenda.md": "file", "inventory.csv": "file", "notes": "directory", "welcome.md": "file"}
        assert "heron named Quill" in await call(session, "read_file", path="/workspace/welcome.md")
        assert "Ingrid Solheim" in await call(session, "read_file", path="notes/supplier-call.md")

        written = json.loads(await call(session, "write_file", path="/workspace/new/a.json", content='{"a": 1}'))
        assert written == {"path": "/workspace/new/a.json", "bytes": 8, "created": True}
        assert (tmp_path / "workspace/new/a.json").read_text() == '{"a": 1}'
        assert await call(session, "read_file", path="/workspace/new/a.json") == '{"a": 1}'
        again = json.loads(await call(session, "write_file", path="new/a.json", content="grüße"))
        assert again == {"path": "/workspace/new/a.json", "bytes": 7, "created": False}


async def test_a_file_that_is_missing_is_refused_in_words(tmp_path: Path) -> None:
    async with demo_server("filesystem", tmp_path) as session:
        answer = await refused(session, "read_file", path="/workspace/welcom.md")
    assert "'/workspace/welcom.md' does not exist. list_directory shows what does." in answer


async def test_tools_say_whether_they_only_read(tmp_path: Path) -> None:
    said: dict[str, bool | None] = {}
    for name in ("filesystem", "database", "monitoring"):
        async with demo_server(name, tmp_path) as session:
            for tool in (await session.list_tools()).tools:
                assert tool.annotations is not None
                assert tool.description
                said[f"{name}/{tool.name}"] = tool.annotations.readOnlyHint
                assert tool.annotations.destructiveHint is (None if tool.annotations.readOnlyHint else True)
    assert said == {
        "filesystem/list_directory": True,
        "filesystem/read_file": True,
        "filesystem/write_file": False,
        "database/list_tables": True,
        "database/query": True,
        "database/execute": False,
        "monitoring/metrics": True,
    }


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "/workspace/../secret.txt",
        "/workspace/notes/../../secret.txt",
        "/etc/passwd",
        "/workspaces/a.md",
        "/",
        "..",
        "..\\secret.txt",
        "a\0b",
        "link-out/secret.txt",
        "link-to-file",
        "circle",
        "//etc/passwd",
    ],
)
def test_nothing_outside_the_workspace_is_reached(tmp_path: Path, path: str) -> None:
    folder = demo_data.ensure_workspace(tmp_path)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link-out").symlink_to(tmp_path)
    (folder / "link-to-file").symlink_to(tmp_path / "secret.txt")
    (folder / "circle").symlink_to(folder / "circle")
    for act in (filesystem.list_entries, filesystem.read_text, lambda f, p: filesystem.write_text(f, p, "x")):
        with pytest.raises(filesystem.ToolError) as caught:
            act(folder.resolve(), path)
        assert "secret.txt" not in str(caught.value).replace(repr(path), "")
    assert (tmp_path / "secret.txt").read_text() == "secret"


def test_what_is_no_text_is_not_read(tmp_path: Path) -> None:
    folder = demo_data.ensure_workspace(tmp_path).resolve()
    (folder / "picture.png").write_bytes(b"\x89PNG\xff")
    (folder / "large.txt").write_bytes(b"x" * 1_000_001)
    os.mkfifo(folder / "pipe")
    for name, words in (("picture.png", "not UTF-8"), ("large.txt", "1,000,001 bytes"), ("pipe", "not a plain file")):
        with pytest.raises(filesystem.ToolError, match=words):
            filesystem.read_text(folder, name)


async def test_the_sample_shop_is_queried_and_changed(tmp_path: Path) -> None:
    async with demo_server("database", tmp_path) as session:
        tables = json.loads(await call(session, "list_tables"))["tables"]
        assert {table["name"]: table["rows"] for table in tables} == {"customers": 24, "orders": 60}
        assert tables[0]["columns"] == ["id", "name", "country", "city", "since"]

        per_country = "SELECT country, count(*) AS n FROM customers GROUP BY country ORDER BY n DESC LIMIT 2"
        rows = json.loads(await call(session, "query", sql=per_country))
        assert rows == {"columns": ["country", "n"], "rows": [["Germany", 7], ["Portugal", 5]], "truncated": False}

        changed = json.loads(await call(session, "execute", sql="UPDATE customers SET city = 'Faro' WHERE id < 3"))
        assert changed == {"statement": "UPDATE", "rows_changed": 2}
        rows = json.loads(await call(session, "query", sql="SELECT count(*) FROM customers WHERE city = 'Faro'"))
        assert rows["rows"] == [[2]]
        assert "no such table: nowhere" in await refused(session, "query", sql="SELECT * FROM nowhere")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM orders",
        "WITH a AS (SELECT 1) DELETE FROM orders",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "PRAGMA user_version = 7",
        "SELECT * FROM pragma_database_list",
        "ATTACH 'file:other.db?mode=rwc' AS other",
        "VACUUM INTO 'copy.db'",
        "SELECT 1; DELETE FROM orders",
        "BEGIN",
        "SELECT load_extension('x')",
        "",
    ],
)
def test_query_changes_nothing_and_reaches_no_other_file(
    tmp_path: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = demo_data.ensure_database(tmp_path)
    before = file.read_bytes()
    with pytest.raises(database.ToolError):
        database.run_query(file, sql)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.db"]


@pytest.mark.parametrize("sql", ["ATTACH 'file:other.db?mode=rwc' AS other", "VACUUM INTO 'copy.db'", "PRAGMA x = 1"])
def test_execute_reaches_no_other_file(tmp_path: Path, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = demo_data.ensure_database(tmp_path)
    with pytest.raises(database.ToolError):
        database.run_statement(file, sql)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.db"]


def test_long_answers_are_cut_and_say_so(tmp_path: Path) -> None:
    file = demo_data.ensure_database(tmp_path)
    rows = database.run_query(file, "SELECT a.id FROM customers a, customers b")
    assert len(rows.rows) == database.MAX_ROWS
    assert rows.truncated
    with pytest.raises(database.ToolError, match="too big"):
        database.run_query(file, "SELECT zeroblob(100000000)")


def test_a_query_without_end_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MAX_SECONDS", 0.05)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(database.ToolError, match="took longer"):
        database.run_query(demo_data.ensure_database(tmp_path), endless)


async def test_the_machine_is_measured(tmp_path: Path) -> None:
    async with demo_server("monitoring", tmp_path / "not" / "there") as session:
        metrics = json.loads(await call(session, "metrics"))
    assert metrics["cores"] >= 1
    assert len(metrics["load"]) == 3
    assert 0 < metrics["memory"]["used_bytes"] < metrics["memory"]["total_bytes"]
    assert 0 < len(metrics["busiest"]) <= 5
    assert metrics["processes"] >= len(metrics["busiest"])


async def test_processes_that_start_together_make_the_samples_once(tmp_path: Path) -> None:
    async def start() -> None:
        script = (
            "import pathlib, sys; from server.demo import data; folder = pathlib.Path(sys.argv[1]); "
            "data.ensure_workspace(folder); data.ensure_database(folder)"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path))
        assert await process.wait() == 0

    await asyncio.gather(*(start() for _ in range(6)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.db", "workspace"]
    with closing(sqlite3.connect(tmp_path / "demo.db")) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (24,)


def test_samples_that_exist_are_left_as_the_person_changed_them(tmp_path: Path) -> None:
    folder = demo_data.ensure_workspace(tmp_path)
    (folder / "welcome.md").write_text("mine")
    (folder / "agenda.md").unlink()
    database.run_statement(demo_data.ensure_database(tmp_path), "DELETE FROM orders")
    assert demo_data.ensure_workspace(tmp_path) == folder
    assert (folder / "welcome.md").read_text() == "mine"
    assert not (folder / "agenda.md").exists()
    assert database.run_query(demo_data.ensure_database(tmp_path), "SELECT count(*) FROM orders").rows == [[0]]


async def test_a_server_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.demo", "filesystem"),
        env={**os.environ, "INTERLOCK_DATA": str(tmp_path / "data")},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith("python -m server.demo filesystem: ")
    assert errors.count(b"\n") == 1
