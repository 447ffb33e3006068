"""`interlock audit`: shows what was decided and done, and checks that the record of it is whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from graphs.errors import InterlockError
from graphs.events import AuditKind
from server.cli.options import Configs, TableFormat, load_settings, report_error
from server.cli.progress import show_progress

# ruff: noqa: PLC0415  what needs the engine loads it itself: `--help` does not

audit = typer.Typer(
    name="audit",
    help="What was decided and done: shows the records, and checks that none was changed or removed.",
    no_args_is_help=True,
)


@audit.command()
def show(
    configs: Configs = None,
    since: Annotated[str, typer.Option(help="How long ago (1h, 7d), or a date or time.")] = "",
    until: Annotated[str, typer.Option(help="The same, for the end.")] = "",
    user: Annotated[str | None, typer.Option(help="Who acted.")] = None,
    key: Annotated[str | None, typer.Option(help="The name of their key.")] = None,
    role: Annotated[str | None, typer.Option(help="Their role.")] = None,
    tool: Annotated[str | None, typer.Option(help="A pattern over server/tool, as in access.yaml.")] = None,
    graph: Annotated[str | None, typer.Option(help="A graph.")] = None,
    turn: Annotated[str | None, typer.Option(help="A turn's id.")] = None,
    verdict: Annotated[
        str | None, typer.Option(help="allow, ask, deny; approved, rejected, expired or superseded.")
    ] = None,
    kind: Annotated[AuditKind | None, typer.Option(help="Only records of this kind.")] = None,
    after: Annotated[int | None, typer.Option(min=0, help="Only records with a greater number.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="The newest so many; with --after the first; 0: all.")] = 50,
    format: Annotated[TableFormat, typer.Option(help="json: one object a line, which `audit verify` reads.")] = "table",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is recorded from now on.")] = False,
) -> None:
    """Prints records, oldest first: the newest 50, or as many as --limit says."""
    from graphs.diagnostics.audit_reader import AuditFilter
    from server.cli.audit_output import parse_time_option, print_records

    wanted = AuditFilter(
        turns=None if turn is None else [turn],
        user=user,
        key=key,
        role=role,
        tool=tool,
        graph=graph,
        verdict=verdict,
        kind=kind,
        since=parse_time_option(since, "--since"),
        until=parse_time_option(until, "--until"),
        after=after,
        limit=limit or None,
    )
    try:
        asyncio.run(print_records(load_settings(configs), wanted, format, follow))
    except InterlockError as error:
        raise report_error(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@audit.command()
def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="An export (show --format json --limit 0); - reads stdin.")
    ] = None,
    head: Annotated[str, typer.Option(help="A head that was printed before: all up to it must still be there.")] = "",
    configs: Configs = None,
) -> None:
    """Checks that no record was changed, removed, added or moved. Exit 0: whole; 1: not; 2: usage.

    Prints the head, NUMBER:HASH. Keep it, or an export, where those cannot write who may write the database: without
    one of them, whoever can rewrite the whole database can rewrite the whole chain.
    """
    from graphs.diagnostics.audit_reader import BadExport
    from server.cli.audit_output import inspect_records, parse_head_option, read_export_file

    try:
        wanted = parse_head_option(head)
        with show_progress() as waiting:
            with waiting.wait_for("the export"):
                export = None if file is None else read_export_file(file)
            with waiting.wait_for("the check of all records"):
                found = asyncio.run(inspect_records(load_settings(configs), export, str(file), wanted))
    except BadExport as error:
        typer.echo(str(error))
        raise typer.Exit(1) from None
    except InterlockError as error:
        raise report_error(error) from None
    for text in found.lines:
        typer.echo(text)
    if not found.sound:
        raise typer.Exit(1)
