"""`interlock turn`: the way that a turn took through its graph."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import typer

from graphs.errors import InterlockError
from server.cli.options import Configs, load_settings, report_error

# ruff: noqa: PLC0415  what needs the engine loads it itself: `--help` does not


def turn(
    turn: Annotated[
        str | None, typer.Argument(metavar="[TURN]", help="The id of a turn.", show_default="the newest")
    ] = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="json: one object.")] = "text",
    configs: Configs = None,
) -> None:
    """Shows the way that a turn took, node by node, with times and tokens. Exit 0: shown; 1: there is no such turn."""
    from server.cli.turn_output import FORMATS, read_turn

    try:
        found = asyncio.run(read_turn(load_settings(configs), turn))
    except InterlockError as error:
        raise report_error(error) from None
    for line in FORMATS[format](found):
        typer.echo(line)
