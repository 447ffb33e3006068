"""What commands print that people and models wrote: harmless to a terminal, and to a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence


def printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def csv_line(values: Sequence[str]) -> str:
    """The values, none of which a spreadsheet takes for a formula."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value for value in values
    )
    return text.getvalue()
