"""Checks of the audit's hash chain: they find records that were changed, removed, added or moved.

What it proves: each record names the hash of the one before, so nobody can change, remove or move one without changing
every later hash, and with them the newest, the head. Who may write the whole database can write a whole new chain.
Against that helps a head or an export that is kept where they cannot write: the chain must still run through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from graphs.store.audit.record import GENESIS_HASH, AuditRecord, is_intact

_SEARCH_DISTANCE = 20_000
"""How far from its place a moved record is looked for."""


@dataclass(frozen=True, kw_only=True)
class ChainHead:
    """The newest record's number and hash; 0 and START while there is none."""

    seq: int = 0
    hash: str = GENESIS_HASH

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """The first thing that is wrong in a chain, and at which record."""

    seq: int
    description: str


@dataclass(frozen=True, kw_only=True)
class ChainReport:
    """The result of a check."""

    records: int
    first: int
    """Number of the oldest record; 0 where there is none."""
    head: ChainHead
    flaw: Flaw | None
    pruned_anchors: tuple[int, ...] = ()
    """Numbers of the heads to compare with whose records have been pruned."""


@dataclass
class _ChainChecker:
    anchors: Mapping[int, str]
    numbers: frozenset[int]
    first: AuditRecord | None = None
    last: AuditRecord | None = None
    count: int = 0
    pruned: dict[int, str] = field(default_factory=dict[int, str])
    """Hashes of the last records that were pruned, by number."""

    def check_next(self, record: AuditRecord, is_canonical: bool) -> Flaw | None:
        """Check the next record; return a flaw where it cannot be the next."""
        before = self.last
        if before is not None and record.seq != before.seq + 1:
            return self._describe_gap(before, record)
        if not is_canonical or not is_intact(record):
            return _describe_alteration(record)
        if before is not None and record.previous != before.hash:
            words = (
                f"record {before.seq} was replaced, and its hash with it: "
                f"record {record.seq} was written after another one"
            )
            return Flaw(seq=before.seq, description=words)
        if self.anchors.get(record.seq, record.hash) != record.hash:
            words = f"record {record.seq} is another one than was there before: its hash was {self.anchors[record.seq]}"
            return Flaw(seq=record.seq, description=words)
        if record.kind == "pruned" and record.args is not None:
            through, hash = record.args.get("through"), record.args.get("hash")
            if isinstance(through, int) and isinstance(hash, str):
                self.pruned[through] = hash
        self.first = self.first or record
        self.last = record
        self.count += 1
        return None

    def _describe_gap(self, before: AuditRecord, record: AuditRecord) -> Flaw:
        if record.seq <= before.seq:
            return Flaw(seq=record.seq, description=f"record {record.seq} stands after record {before.seq}: reordered")
        missing = before.seq + 1
        if missing in self.numbers:
            return Flaw(
                seq=missing, description=f"record {missing} is not in its place, before {record.seq}: reordered"
            )
        return Flaw(seq=missing, description=f"{_format_range(missing, record.seq - 1)} missing: removed")

    def check_start(self) -> Flaw | None:
        """Return a flaw where the oldest record is not the first and no pruning accounts for those before it."""
        first = self.first
        if first is None:
            return None
        expected = GENESIS_HASH if first.seq == 1 else self.pruned.get(first.seq - 1)
        if expected == first.previous:
            return None
        if first.seq == 1:
            return Flaw(seq=1, description="record 1 does not begin a chain: it was written after another one")
        if expected is not None:
            words = f"record {first.seq} was not written after the records that were pruned: it was replaced"
            return Flaw(seq=first.seq, description=words)
        words = f"{_format_range(1, first.seq - 1)} missing, and no pruning accounts for it: removed"
        return Flaw(seq=1, description=words)

    def check_end(self, head: ChainHead | None) -> Flaw | None:
        """Return a flaw where the newest record is not the head."""
        last = ChainHead() if self.last is None else ChainHead(seq=self.last.seq, hash=self.last.hash)
        if head is None:
            return None if self.last is None else Flaw(seq=last.seq, description="the head is missing: removed")
        if head.seq > last.seq:
            return Flaw(
                seq=last.seq + 1, description=f"{_format_range(last.seq + 1, head.seq)} missing at the end: removed"
            )
        if head.seq < last.seq:
            words = f"{_format_range(head.seq + 1, last.seq)} beyond the head, record {head.seq}: added from outside"
            return Flaw(seq=head.seq + 1, description=words)
        if head.hash != last.hash:
            return Flaw(
                seq=last.seq, description=f"record {last.seq} does not match the head: one of them was replaced"
            )
        return None

    def check_anchors(self) -> tuple[Flaw | None, tuple[int, ...]]:
        """Find anchors that the chain no longer runs through, and those that cannot be compared any more."""
        first = self.first.seq if self.first is not None else 1
        last = self.last.seq if self.last is not None else 0
        older: list[int] = []
        if (newest := max(self.anchors, default=0)) > last:
            words = f"{_format_range(last + 1, newest)} missing at the end, though there before: removed"
            return Flaw(seq=last + 1, description=words), ()
        for seq in sorted(self.anchors):
            if 0 < seq < first and self.pruned.get(seq) != self.anchors[seq]:
                if seq in self.pruned:
                    words = f"record {seq} was pruned, but was another one than was there before"
                    return Flaw(seq=seq, description=words), ()
                older.append(seq)
        return None, tuple(older)


def check_chain(
    records: Iterable[tuple[AuditRecord, bool]], head: ChainHead | None, anchors: Mapping[int, str] | None = None
) -> ChainReport:
    """Walk the chain, oldest record first; each comes with whether it was kept as it was written.

    `anchors` are hashes by number that were seen before. The walk ends at the first flaw.
    """
    walk = _ChainChecker(anchors or {}, frozenset())
    return _check_records(walk, records, head, complete=True)


def check_export(records: list[AuditRecord]) -> ChainReport:
    """Check an export: it may begin and end anywhere, but holds everything in between, in order."""
    walk = _ChainChecker({}, frozenset(record.seq for record in records))
    return _check_records(walk, ((record, True) for record in records), None, complete=False)


def _check_records(
    checker: _ChainChecker, records: Iterable[tuple[AuditRecord, bool]], head: ChainHead | None, *, complete: bool
) -> ChainReport:
    flaw: Flaw | None = None
    older: tuple[int, ...] = ()
    for record, whole in records:
        if (flaw := checker.check_next(record, whole)) is not None:
            break
    if flaw is None and complete:
        flaw = checker.check_start() or checker.check_end(head)
        if flaw is None:
            flaw, older = checker.check_anchors()
    last = checker.last
    return ChainReport(
        records=checker.count,
        first=checker.first.seq if checker.first is not None else 0,
        head=ChainHead() if last is None else ChainHead(seq=last.seq, hash=last.hash),
        flaw=flaw,
        pruned_anchors=older,
    )


def _describe_alteration(record: AuditRecord) -> Flaw:
    """Say how a record differs from what was hashed: it is in another's place, or has other contents."""
    for away in range(1, _SEARCH_DISTANCE):
        for seq in (record.seq - away, record.seq + away):
            if seq > 0 and is_intact(replace(record, seq=seq)):
                words = f"record {record.seq} was written as record {seq}: reordered"
                return Flaw(seq=record.seq, description=words)
    return Flaw(seq=record.seq, description=f"record {record.seq} is not what was written: changed")


def _format_range(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"
