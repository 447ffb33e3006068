"""Printing what people and models wrote: harmless to a terminal, and to a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from graphs.text import escape_invisible


def escape_line(text: str) -> str:
    """Escape a text as one line: what a terminal would obey, and what nobody would see."""
    return escape_invisible(text)


def escape_lines(text: str) -> str:
    """Escape a text that may have several lines."""
    return escape_invisible(text, keep="\n\t")


def format_csv_line(values: Sequence[str]) -> str:
    """Format values as a line of CSV, none of which a spreadsheet takes for a formula."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value for value in values
    )
    return text.getvalue()


def format_schema(content: dict[str, Any]) -> str:
    """Format a schema as it is kept in a file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
