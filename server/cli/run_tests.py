"""The command `interlock test`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphs.config.environment import build_environment
from graphs.errors import ConfigError, InterlockError, describe_missing_folder
from server.cli.options import (
    Configs,
    load_settings,
    print_problems,
    report_error,
    silence_engine_log,
)

if TYPE_CHECKING:
    from graphs.config.loader import Snapshot
    from server.settings import Settings

# ruff: noqa: PLC0415  the engine takes seconds to load, and `--help` needs none of it


def run_tests(
    graphs: Annotated[
        list[str] | None, typer.Argument(metavar="[GRAPH]...", help="Graphs, by name or file; without any, all.")
    ] = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Run the cases with a cassette on the real model and tools, and write it anew."),
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Run the cases with a cassette on the real model and tools, and write nothing."),
    ] = False,
    patience: Annotated[
        float, typer.Option(min=0.1, help="With --record and --live: seconds that the MCP servers get.")
    ] = 45.0,
    from_turn: Annotated[
        str | None,
        typer.Option("--from", metavar="TURN", help="Make a case of a turn that happened, by its id; runs nothing."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --from: a file that is not there yet. Default: stdout.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the results to this file too, as JUnit's XML.")] = None,
    cover: Annotated[
        float | None, typer.Option(min=0, max=100, help="Fail where fewer per cent of the ways are taken.")
    ] = None,
    configs: Configs = None,
) -> None:
    """Runs the tests beside the graphs, without a model or a server. Exit 0: all pass; 1: some fail; 2: files or
    usage."""
    if from_turn is not None:
        if graphs or record or live or junit or cover is not None:
            raise refuse("--from makes a case and runs none; besides it there is --output alone")
        make_case(load_settings(configs), from_turn, output)
        return
    if output is not None:
        raise refuse("--output is for the case that --from makes; results go to a file with --junit")
    if record and live:
        raise refuse("--record writes what --live only runs; name one of the two")
    is_real = record or live
    if is_real and cover is not None:
        raise refuse(
            f"--cover counts the ways that all cases take; leave it out with {'--record' if record else '--live'}"
        )
    snapshot = load_snapshot(load_settings(configs), with_cassettes=not record)

    from graphs.testing.comparison import has_passed
    from server.cli.cases import CannotTest, choose_cases, choose_live_cases, run_cases, run_live_cases, show_summary
    from server.cli.junit import write_junit

    named = graphs or []
    silence_engine_log()
    try:
        if is_real:
            chosen = choose_live_cases(snapshot, named)
            runs = asyncio.run(run_live_cases(snapshot, chosen, patience, typer.echo, warn, record=record))
        else:
            runs = asyncio.run(run_cases(snapshot, choose_cases(snapshot, named), typer.echo))
    except CannotTest as error:
        raise refuse(str(error)) from None
    except InterlockError as error:
        raise report_error(error) from None
    share = show_summary(snapshot, named, runs, typer.echo, with_ways=not is_real)
    if junit is not None:
        try:
            write_junit(junit, runs)
        except OSError as error:
            raise refuse(f"{junit}: cannot be written: {error.strerror}") from None
    is_short = cover is not None and share < cover
    if is_short:
        typer.echo(f"{int(share)} % of the ways are taken, and --cover wants {cover:g} %", err=True)
    if is_short or not all(has_passed(run) for run in runs):
        raise typer.Exit(1)


def make_case(settings: Settings, turn: str, output: Path | None) -> None:
    """Print the case of a recorded turn, or write it to a file of its own. Ends the command where it cannot."""
    from server.cli.new_files import CannotWrite, write_new_file
    from server.cli.output import escape_lines
    from server.cli.turn_cases import build_case

    try:
        text = asyncio.run(build_case(settings, turn))
        if output is None:
            typer.echo(escape_lines(text), nl=False)
        elif not write_new_file(output, text):
            raise refuse(f"{output} is there already; name another file, or paste what is printed without --output")
        else:
            typer.echo(str(output))
    except (InterlockError, CannotWrite) as error:
        raise refuse(str(error)) from None


def load_snapshot(settings: Settings, *, with_cassettes: bool) -> Snapshot:
    """Load the files with their tests. Ends the command where something is wrong in them."""
    from graphs.config.loader import load

    if not settings.configs.is_dir():
        raise refuse(describe_missing_folder(settings.configs))
    env = build_environment(os.environ, settings.data)
    try:
        return load(settings.configs, env, with_cases=True, with_cassettes=with_cassettes)
    except ConfigError as error:
        print_problems(error.problems, None)
        raise refuse("no test was run: mend this first") from None


def warn(text: str) -> None:
    """Say something beside the results."""
    typer.echo(text, err=True)


def refuse(text: str) -> typer.Exit:
    """Show what is wrong with what was asked for, and end with exit code 2."""
    typer.echo(text, err=True)
    return typer.Exit(2)
