"""What `interlock audit` prints: records as a table, JSON or CSV, and what a check of their chain finds."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import typer

from graphs.config.environment import build_environment
from graphs.config.loader import load
from graphs.diagnostics.audit_reader import (
    AuditFilter,
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
from graphs.text import truncate
from server.cli.options import TableFormat
from server.cli.output import escape_line, format_csv_line
from server.settings import Settings

LONGEST_ARGS = 120


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


async def print_records(settings: Settings, wanted: AuditFilter, format: TableFormat, follow: bool) -> None:
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
    decision = f"{record.verdict} {record.outcome or ''}".rstrip()
    what = {"decision": decision, "approval": record.verdict, "call": record.outcome or ""}.get(record.kind, "")
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
