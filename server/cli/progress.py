"""What a command waits for, shown on a terminal while it waits, and cleared."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from graphs.diagnostics.waiting import Waiting
from graphs.errors import list_some
from server.cli.output import escape_line

MOST_SHOWN = 5
"""How many names the line has."""


@contextmanager
def show_progress() -> Generator[Waiting]:
    """Show on stderr what is waited for while the block lasts; nothing where that is no terminal.

    Nothing is to be printed meanwhile.
    """
    if not sys.stderr.isatty():
        yield Waiting()
        return
    from rich.console import Console  # noqa: PLC0415 -- scripts need none of it
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, emoji=False)
    with console.status("") as status:

        def show(names: Sequence[str]) -> None:
            words = escape_line(f"waiting for {list_some(names, MOST_SHOWN)}") if names else ""
            status.update(Text(words, no_wrap=True, overflow="ellipsis"))

        yield Waiting(show)
