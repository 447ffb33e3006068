"""What commands print that people and models wrote: harmless to a terminal, and to a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from graphs.text import escape_invisible


def escape_line(text: str) -> str:
    """One line, with what a terminal would obey and what nobody would see escaped."""
    return escape_invisible(text)


def escape_lines(text: str) -> str:
    """The same, for words that may be several lines."""
    return escape_invisible(text, keep="\n\t")


def format_csv_line(values: Sequence[str]) -> str:
    """The values, none of which a spreadsheet takes for a formula."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value for value in values
    )
    return text.getvalue()
