"""The demo's MCP server for SQL: a small shop in SQLite, read by one tool and changed by another."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

from anyio import to_thread
from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import ToolAnnotations

from server.demo.data import ensure_database
from server.demo.results import Cell, ChangeResult, Rows, Table, Tables

MAX_ROWS = 200
MAX_VALUE_BYTES = 100_000
MAX_SECONDS = 5.0

# What SQLite's authorizer names; anything else, such as ATTACH, could reach other files.
READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
NEVER_WRITES = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA}


def create_server(data: Path) -> FastMCP:
    """Create the server over DATA/demo.db. Raises OSError or sqlite3.Error if the database cannot be made."""
    file = ensure_database(data)
    server = FastMCP(
        "database", instructions="A sample shop in SQLite: customers and their orders.", log_level="WARNING"
    )
    reads = ToolAnnotations(readOnlyHint=True, idempotentHint=True, openWorldHint=False)
    writes = ToolAnnotations(readOnlyHint=False, destructiveHint=True, openWorldHint=False)

    # Statements run in a thread, so that a slow one does not keep the server from answering others.
    @server.tool(annotations=reads)
    async def list_tables() -> Tables:  # pyright: ignore[reportUnusedFunction]
        """List the tables of the database with their columns and how many rows they have."""
        return await to_thread.run_sync(read_tables, file)

    @server.tool(annotations=reads)
    async def query(sql: str) -> Rows:  # pyright: ignore[reportUnusedFunction]
        """Run one SELECT (SQLite) and return its rows. Changes nothing."""
        return await to_thread.run_sync(run_query, file, sql)

    @server.tool(annotations=writes)
    async def execute(sql: str) -> ChangeResult:  # pyright: ignore[reportUnusedFunction]
        """Run one statement that changes the database (SQLite): INSERT, UPDATE, DELETE, CREATE …"""
        return await to_thread.run_sync(run_statement, file, sql)

    return server


def read_tables(file: Path) -> Tables:
    """Describe every table that holds data of the shop. Raises ToolError."""
    with open_connection(file, read_only=True, allowed=lambda _action: True) as connection:
        names = [
            str(row[0])
            for row in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
            )
        ]
        tables: list[Table] = []
        for name in names:
            quoted = '"' + name.replace('"', '""') + '"'
            columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({quoted})")]
            count = int(connection.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0])  # noqa: S608
            tables.append(Table(name=name, columns=columns, rows=count))
    return Tables(tables=tables)


def run_query(file: Path, sql: str) -> Rows:
    """Fetch the first rows of one SELECT. Raises ToolError, also for what would change anything."""
    with open_connection(file, read_only=True, allowed=lambda action: action in READS) as connection:
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise ToolError("That returns no rows. query runs one SELECT; what changes data goes to execute.")
        rows = cursor.fetchmany(MAX_ROWS + 1)
        return Rows(
            columns=[str(column[0]) for column in cursor.description],
            rows=[[_to_cell(value) for value in row] for row in rows[:MAX_ROWS]],
            truncated=len(rows) > MAX_ROWS,
        )


def run_statement(file: Path, sql: str) -> ChangeResult:
    """Run and commit one statement. Raises ToolError; then nothing is changed."""
    with open_connection(file, read_only=False, allowed=lambda action: action not in NEVER_WRITES) as connection:
        changed = connection.execute(sql).rowcount
        connection.commit()
    return ChangeResult(statement=sql.split(maxsplit=1)[0].upper() if sql.split() else "", rows_changed=max(changed, 0))


@contextmanager
def open_connection(file: Path, *, read_only: bool, allowed: Callable[[int], bool]) -> Generator[sqlite3.Connection]:
    """Open a connection for one call, with limits on time and size. SQLite's errors come out as ToolError."""
    address = f"{file.as_uri()}?mode={'ro' if read_only else 'rw'}"
    deadline = time.monotonic() + MAX_SECONDS

    def authorize(action: int, *_names: str | None) -> int:
        return sqlite3.SQLITE_OK if allowed(action) else sqlite3.SQLITE_DENY

    try:
        with closing(sqlite3.connect(address, uri=True, timeout=MAX_SECONDS)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            connection.set_authorizer(authorize)
            yield connection
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise ToolError(f"SQLite refused it: {_describe_error(error, read_only=read_only)}") from error


def _describe_error(error: Exception, *, read_only: bool) -> str:
    match str(error):
        case "not authorized" if read_only:
            return "query runs one SELECT and changes nothing; what changes data goes to execute."
        case "not authorized":
            return "ATTACH, DETACH and PRAGMA are not run here."
        case "interrupted":
            return f"it took longer than {MAX_SECONDS:.0f} seconds."
        case "You can only execute one statement at a time.":
            return "it holds more than one statement; send them one by one."
        case text:
            return f"{text}."


def _to_cell(value: object) -> Cell:
    match value:
        case None | str() | int() | float():
            return value
        case bytes():
            return f"<{len(value)} bytes>"
        case _:
            return str(value)
