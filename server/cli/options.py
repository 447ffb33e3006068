"""Parts that commands share: the option for the config folder, and how errors and problems are shown."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from graphs.config.environment import SecretUnreadable
from graphs.errors import InterlockError, Problem
from server.cli.output import escape_lines

if TYPE_CHECKING:
    from server.settings import Settings

Configs = Annotated[
    Path | None, typer.Option("--configs", help="The folder with the config files.", show_default="configs")
]


DrawingFormat = Literal["mermaid", "svg", "png"]
DrawingDirection = Literal["down", "right"]
DiffFormat = Literal["text", "md", "json"]
TableFormat = Literal["table", "json", "csv"]


def silence_engine_log() -> None:
    """Silence the engine's log: what it says of servers that do not start is said by the command itself."""
    logging.getLogger("graphs").addHandler(logging.NullHandler())


def load_settings(configs: Path | None) -> Settings:
    """Load settings from the environment; the command line wins. Ends the command where a file with one cannot be
    read."""
    from server.settings import Settings  # noqa: PLC0415 -- for no command's --help

    try:
        return Settings() if configs is None else Settings(configs=configs)
    except SecretUnreadable as error:
        raise report_error(error) from None


def report_error(error: InterlockError) -> typer.Exit:
    """Show an error of ours and end with exit code 1."""
    typer.echo(str(error), err=True)
    return typer.Exit(1)


def print_problems(problems: Iterable[Problem], excerpts: bool | None) -> None:
    """Print each problem as one line on stdout, for scripts, and its excerpt beneath on stderr, for people.

    `excerpts` None: where both go to the same kind of place, a terminal or a log, so that none is torn from its line.
    """
    shown = sys.stdout.isatty() == sys.stderr.isatty() if excerpts is None else excerpts
    for problem in problems:
        typer.echo(escape_lines(str(problem)))
        if shown and problem.excerpt:
            typer.echo(problem.excerpt, err=True)
