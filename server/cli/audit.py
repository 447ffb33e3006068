"""`interlock audit`: shows what was decided and done, and checks that the record of it is whole."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from graphs.config.loader import load
from graphs.diagnostics.audit_reader import (
    AuditFilter,
    AuditKind,
    AuditRecord,
    BadExport,
    ChainHead,
    Inspection,
    NoStore,
    inspect,
    open_audit,
    parse_moment,
    read_export,
    read_head,
    read_records,
    to_line,
)
from graphs.errors import InterlockError
from graphs.runtime.engine import build_environment
from graphs.text import truncate
from server.cli.options import Configs, load_settings, report_error
from server.cli.output import escape_line, format_csv_line
from server.settings import Settings

audit = typer.Typer(
    name="audit",
    help="What was decided and done: shows the records, and checks that none was changed or removed.",
    no_args_is_help=True,
)

LONGEST_ARGS = 120


Format = Literal["table", "json", "csv"]


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
    format: Annotated[Format, typer.Option(help="json: one object a line, which `audit verify` reads.")] = "table",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is recorded from now on.")] = False,
) -> None:
    """Prints records, oldest first: the newest 50, or as many as --limit says."""
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
    try:
        export = None if file is None else read_export_file(file)
        found = asyncio.run(inspect_records(load_settings(configs), export, str(file), parse_head_option(head)))
    except BadExport as error:
        typer.echo(str(error))
        raise typer.Exit(1) from None
    except InterlockError as error:
        raise report_error(error) from None
    for text in found.lines:
        typer.echo(text)
    if not found.sound:
        raise typer.Exit(1)


def parse_time_option(text: str, option: str) -> float | None:
    """Parse a time into seconds since the epoch; None for no text."""
    try:
        return parse_moment(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def parse_head_option(text: str) -> ChainHead | None:
    """Parse a head that was printed before; None for no text."""
    try:
        return read_head(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--head") from None


def find_storage(settings: Settings) -> str:
    """Find where the records are: what the environment says, or else gateway.yaml. Raises ConfigError."""
    if settings.storage:
        return settings.storage
    return load(settings.configs, build_environment(os.environ, settings.data)).gateway.storage


async def print_records(settings: Settings, wanted: AuditFilter, format: Format, follow: bool) -> None:
    """Print what is chosen, as it is found."""
    as_text: Callable[[AuditRecord], str] = {"table": format_row, "json": to_line, "csv": format_csv}[format]
    if format == "csv":
        typer.echo(format_csv_line(COLUMNS))
    async with open_audit(find_storage(settings), settings.data) as records:
        async for record in read_records(records, wanted, follow=follow):
            typer.echo(as_text(record))


def format_row(record: AuditRecord) -> str:
    """Format one record as one line for people."""
    when = datetime.fromtimestamp(record.time).strftime("%Y-%m-%d %H:%M:%S")
    what = {"decision": record.verdict, "approval": record.verdict, "call": record.outcome or ""}.get(record.kind, "")
    if record.seconds is not None:
        what += f" {record.seconds:.2f}s"
    who = (
        f"{record.user} ({record.key}, {record.role})"
        if record.key != record.user
        else f"{record.user} ({record.role})"
    )
    args = "" if record.args is None else json.dumps(record.args, separators=(",", ":"), ensure_ascii=False)
    said = record.rule + (f"; approval {record.approval}" if record.approval else "")
    said += f"; note: {record.note}" if record.note else ""
    row = (
        f"{record.seq:>6}  {when}  {record.kind:<8} {what:<12} {who if record.user else '':<24} "
        f"{record.tool} {truncate(args, LONGEST_ARGS)}  {'' if record.kind == 'call' else said}"
    )
    return escape_line(row.rstrip())


COLUMNS = tuple(item.name for item in fields(AuditRecord))


def format_csv(record: AuditRecord) -> str:
    """Format one record as a line of CSV."""
    values = {name: getattr(record, name) for name in COLUMNS}
    values["args"] = "" if record.args is None else json.dumps(record.args)
    return format_csv_line(["" if value is None else str(value) for value in values.values()])


async def inspect_records(
    settings: Settings, export: list[AuditRecord] | None, name: str, head: ChainHead | None
) -> Inspection:
    """Find what `verify` reports. An export alone is checked too, on a machine without the database."""
    try:
        async with open_audit(find_storage(settings), settings.data) as records:
            return await inspect(records, export, name, head)
    except NoStore:
        if export is None:
            raise
        return await inspect(None, export, name, head)


def read_export_file(file: Path) -> list[AuditRecord]:
    """Read the records of an export. Raises BadExport."""
    try:
        with sys.stdin if str(file) == "-" else file.open(encoding="utf-8", errors="replace") as lines:
            return read_export(lines, str(file))
    except OSError as error:
        raise BadExport(f"{file} cannot be read: {error.strerror}") from None
