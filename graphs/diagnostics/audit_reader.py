"""Reading the audit without serving: select records, follow them, check their chain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from graphs.config.spec.base import parse_duration
from graphs.errors import StorageError
from graphs.store.audit.chain import ChainHead, ChainReport, check_export
from graphs.store.audit.log import AuditFilter, AuditLog
from graphs.store.audit.record import AuditKind, AuditRecord, InvalidRecord, from_line, to_line
from graphs.store.backends.sqlite import parse_sqlite_path
from graphs.store.store import Store, is_postgres

__all__ = [
    "AuditFilter",
    "AuditKind",
    "AuditRecord",
    "BadExport",
    "ChainHead",
    "Inspection",
    "NoStore",
    "inspect",
    "open_audit",
    "open_store",
    "parse_moment",
    "read_export",
    "read_head",
    "read_records",
    "to_line",
]

PAGE = 1000
POLL = 1.0
"""Seconds between two looks for new records."""


class NoStore(StorageError):
    """There is no database at the place given; none is made."""


class BadExport(Exception):
    """A file is no export of records; the message is for the person who named it."""


@asynccontextmanager
async def open_store(storage: str, data: Path) -> AsyncGenerator[Store]:
    """Open what `storage` names, or DATA/interlock.db. Raises StorageError, and NoStore where there is no file."""
    if not is_postgres(storage):
        path = parse_sqlite_path(storage, data)
        if not path.exists():
            raise NoStore(f"there is no database {path}; nothing has been recorded there")
    store = await Store.open(storage, data)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_audit(storage: str, data: Path) -> AsyncGenerator[AuditLog]:
    """Open the audit of what `storage` names, or of DATA/interlock.db. Raises StorageError, and NoStore where there is
    no file."""
    async with open_store(storage, data) as store:
        yield store.audit


async def read_records(audit: AuditLog, wanted: AuditFilter, *, follow: bool = False) -> AsyncIterator[AuditRecord]:
    """Yield the newest `wanted.limit` records that fit, or all, oldest first; then, with `follow`, what is added."""
    last = wanted.after or 0
    if wanted.limit is not None and wanted.after is None:
        before = await audit.read_head()
        found = await audit.find(wanted)
        for record in reversed(found):
            yield record
        last = found[0].seq if found else before.seq
        left = 0 if not follow else None
    else:
        left = wanted.limit if not follow else None
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = await audit.find(replace(wanted, after=last, limit=size), oldest_first=True)
        for record in page:
            yield record
            last = record.seq
        left = None if left is None else left - len(page)
        if len(page) == size:
            continue
        if not follow:
            return
        await asyncio.sleep(POLL)


def read_export(lines: Iterable[str], name: str) -> list[AuditRecord]:
    """Read the records of a file of JSON lines. Raises BadExport with the number of the line that is none."""
    records: list[AuditRecord] = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            records.append(from_line(text))
        except InvalidRecord as error:
            raise BadExport(
                f"{name}:{number}: the line {error}; expected what `audit show --format json` prints"
            ) from None
    return records


def read_head(text: str) -> ChainHead:
    """Parse `SEQ:HASH`, as `audit verify` prints it. Raises ValueError."""
    number, colon, hash = text.strip().partition(":")
    if not colon or not number.isascii() or not number.isdigit() or len(hash) != 64:
        raise ValueError("expected a head as `interlock audit verify` prints it: NUMBER:HASH")
    return ChainHead(seq=int(number), hash=hash.lower())


def parse_moment(text: str) -> float:
    """Parse `1h`, `30d` ago, or a date or time of ISO 8601, as seconds since the epoch. Raises ValueError."""
    try:
        return time.time() - float(parse_duration(text))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write how long ago, such as 90m or 7d, or 2026-01-31 or later"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What `verify` found, in words."""

    sound: bool
    lines: tuple[str, ...]


async def inspect(
    audit: AuditLog | None, export: list[AuditRecord] | None, name: str, head: ChainHead | None
) -> Inspection:
    """Check the store's chain, an export, or both against each other; and that a head seen before is still in them."""
    lines: list[str] = []
    anchors: dict[int, str] = {}
    if export is not None:
        found = check_export(export)
        if found.flaw is not None:
            return Inspection(sound=False, lines=(f"{name}: {found.flaw.description}",))
        lines.append(f"{name}: {describe_extent(found)}, whole")
        anchors = {record.seq: record.hash for record in export}
    if head is not None:
        if anchors.get(head.seq, head.hash) != head.hash:
            words = f"{name}: record {head.seq} is another one than the head {head} is of"
            return Inspection(sound=False, lines=(*lines, words))
        anchors[head.seq] = head.hash
    if audit is None:
        return Inspection(sound=True, lines=(*lines, "not compared with a store: there is none here"))
    found = await audit.verify(anchors)
    if found.flaw is not None:
        return Inspection(sound=False, lines=(*lines, f"the store: {found.flaw.description}"))
    lines.append(f"the store: {describe_extent(found)}, whole")
    if head is not None and head.seq in found.pruned_anchors:
        words = f"the head {head} cannot be compared: its record has been pruned; keep a newer one"
        return Inspection(sound=False, lines=(*lines, words))
    if export is not None and found.pruned_anchors:
        lines.append(f"{len(found.pruned_anchors)} records of {name} have been pruned from the store since")
    return Inspection(sound=True, lines=(*lines, f"head {found.head}"))


def describe_extent(found: ChainReport) -> str:
    """Say how many records there are, and which."""
    if found.records == 0:
        return "no records"
    numbers = f"{found.first}" if found.records == 1 else f"{found.first} to {found.head.seq}"
    return f"{found.records} record{'s' if found.records > 1 else ''}, {numbers}"
