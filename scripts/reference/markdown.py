"""Pieces of Markdown that the pages share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, with a line end after it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell(text) for text in line) + " |\n" for line in lines)


def cell(text: str) -> str:
    """A text of several lines as one cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """A text in the form of code."""
    return f"`{text}`"


def join_choices(texts: Iterable[str]) -> str:
    """The different ones of the texts: `a, b or c`."""
    *first, last = dict.fromkeys(texts)
    return f"{', '.join(first)} or {last}" if first else last


def require_same(what: str, there: Collection[str], described: Collection[str]) -> None:
    """Raises ValueError where the program and the descriptions in scripts/reference differ."""
    if missing := sorted(set(there) - set(described)):
        raise ValueError(f"scripts/reference describes no {what} {', '.join(missing)}: add a sentence there")
    if gone := sorted(set(described) - set(there)):
        raise ValueError(f"scripts/reference describes the {what} {', '.join(gone)}, which is gone: remove it there")
