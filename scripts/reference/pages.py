"""Every page of docs/reference, by its file name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.reference import commands, configuration, expressions, graphs, http, metrics

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "reference"
NOTICE = "<!-- Written by `make reference`: change the program or scripts/reference, not this page. -->\n\n"


BUILDERS: Mapping[str, Callable[[Path], str]] = {
    "configuration.md": configuration.build_page,
    "graphs.md": graphs.build_page,
    "expressions.md": lambda _: expressions.build_page(),
    "commands.md": lambda _: commands.build_page(),
    "http.md": http.build_page,
    "metrics.md": lambda _: metrics.build_page(),
}
"""File name → what makes the text from the root of the repository."""


def build_page(name: str) -> str:
    """The text of one page. Raises ValueError where something has no description."""
    return NOTICE + BUILDERS[name](ROOT)
