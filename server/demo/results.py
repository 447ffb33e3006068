"""The results of the demo tools: the servers fill them in and the demo model reads them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Cell = str | int | float | None


class Result(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Entry(Result):
    name: str
    type: Literal["file", "directory"]
    bytes: int | None
    """Size of a file; null for a directory."""


class ListingResult(Result):
    path: str
    entries: list[Entry]
    """Sorted by name."""


class WriteResult(Result):
    path: str
    bytes: int
    created: bool
    """False when a file of that name was replaced."""


class Table(Result):
    name: str
    columns: list[str]
    rows: int


class Tables(Result):
    tables: list[Table]


class Rows(Result):
    columns: list[str]
    rows: list[list[Cell]]
    truncated: bool
    """True when the answer had more rows than are shown."""


class ChangeResult(Result):
    statement: str
    """The first word of the statement that ran."""
    rows_changed: int


class Share(Result):
    used_bytes: int
    total_bytes: int
    percent: float


class Process(Result):
    pid: int
    name: str
    cpu_percent: float
    """100 is one core kept busy."""
    memory_bytes: int


class MetricsResult(Result):
    cpu_percent: float
    """Over all cores: 100 is every core kept busy."""
    cores: int
    load: list[float]
    """Averages over 1, 5 and 15 minutes."""
    memory: Share
    disk: Share
    """The disk that holds the demo's data."""
    uptime_seconds: int
    processes: int
    busiest: list[Process]
