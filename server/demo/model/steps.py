"""The steps that the rules know, one class each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ListFiles:
    path: str


@dataclass(frozen=True)
class ReadFile:
    path: str


@dataclass(frozen=True)
class ReadFound:
    """Read a file that an earlier step listed or wrote."""

    which: int | None
    """Position among the listed files, -1 is the last; None: the one that was spoken of, `read it`."""
    every: bool = False


@dataclass(frozen=True)
class WriteFile:
    path: str
    content: str


@dataclass(frozen=True)
class WriteFound:
    """Write what the steps before found."""

    path: str


@dataclass(frozen=True)
class ListTables:
    pass


@dataclass(frozen=True)
class Query:
    sql: str


@dataclass(frozen=True)
class CountThere:
    """Count the customers of the country that the step before read of."""


@dataclass(frozen=True)
class Execute:
    sql: str


@dataclass(frozen=True)
class Measure:
    """Measure how busy the machine is."""


@dataclass(frozen=True)
class Unknown:
    """Words that no rule fits."""

    text: str


Step = (
    ListFiles
    | ReadFile
    | ReadFound
    | WriteFile
    | WriteFound
    | ListTables
    | Query
    | CountThere
    | Execute
    | Measure
    | Unknown
)

Stage = tuple[Step, ...]
"""Steps that need nothing of each other: their tools are called in one round."""
