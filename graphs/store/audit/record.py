"""One record of the audit, its canonical form and its hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from graphs.events import AuditKind
from graphs.text import dump_canonical_json, format_cut, make_storable

GENESIS_HASH = "0" * 64
"""What the first record names as the hash before it."""
MAX_FIELD_LENGTH = 2000
"""Characters of one field that are kept."""


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """What is to be recorded. Times are seconds since the epoch. Whoever makes one leaves secrets out.

    `decision`: the rules, or what came of an approval, let a call run (`allow`), have it asked (`ask`) or refuse it
    (`deny`). `call`: one ran, or began to. `approval`: one was decided, expired, or its conversation went on without
    it. `endpoint`: a request was passed on to the model endpoint, without a graph. `pruned`: older records were
    forgotten by retention.
    """

    time: float
    kind: AuditKind
    turn: str = ""
    thread: str = ""
    user: str = ""
    """Who acted: whose call it was, or who decided the approval."""
    owner: str = ""
    """Whose conversation it belongs to."""
    key: str = ""
    """The name of the key that was shown."""
    role: str = ""
    """The role; where rights are narrowed by a second one, both with " & " between them."""
    graph: str = ""
    snapshot: str = ""
    """Id of the configuration whose rules decided."""
    node: str = ""
    """The model node that asked for the call."""
    tool: str = ""
    """`server/tool`."""
    call_id: str = ""
    args_digest: str = ""
    """`compute_call_digest(tool, args)` of the whole arguments."""
    args: Mapping[str, Any] | None = None
    """A bounded copy without secrets."""
    verdict: str = ""
    """allow, ask or deny; of an approval approved, rejected, expired or superseded."""
    rule: str = ""
    approval: str | None = None
    note: str | None = None
    """What the person said who decided; of a cached result, whose it is; of a trial, as which role."""
    outcome: str | None = None
    """Of a call: ok, failed, stopped or unknown. Of a decision: cached, where the call did not run since the result of
    an earlier one was there, or trial, where it was not to run."""
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class AuditRecord(AuditEntry):
    """An entry in its place in the chain."""

    seq: int
    """From 1, without gaps."""
    previous: str
    """The hash of the record before it."""
    hash: str


ENTRY_NAMES = tuple(item.name for item in fields(AuditEntry))
RECORD_NAMES = ("seq", *ENTRY_NAMES, "previous", "hash")
_NUMBERS = ("time", "seconds")


class InvalidRecord(ValueError):
    """A text is no record; the message says why."""


def compute_record_hash(values: Mapping[str, Any]) -> str:
    """Compute the hash of a record, from its fields but `hash` itself. What is None does not count, so that a field
    which comes later leaves older hashes as they are."""
    hashed = {name: values[name] for name in RECORD_NAMES if name != "hash" and values[name] is not None}
    return hashlib.sha256(dump_canonical_json(hashed).encode()).hexdigest()


def seal_entry(entry: AuditEntry, seq: int, previous: str) -> dict[str, Any]:
    """Build the fields of the record that `entry` becomes, with its hash."""
    values: dict[str, Any] = {"seq": seq, "previous": previous}
    for name in ENTRY_NAMES:
        value = getattr(entry, name)
        if isinstance(value, str):
            value = fit_text(value)
        elif name in _NUMBERS and value is not None:
            value = round(float(value), 6)
        values[name] = value
    # As it will be read again: tuples become lists, names become texts.
    values["args"] = None if entry.args is None else json.loads(dump_canonical_json(entry.args))
    values["hash"] = compute_record_hash(values)
    return values


def fit_text(text: str) -> str:
    """Make `text` fit for every database: UTF-8, no NUL, cut to a length."""
    cut = text if len(text) <= MAX_FIELD_LENGTH else format_cut(text[:MAX_FIELD_LENGTH], len(text))
    return make_storable(cut, nul="�")


def to_values(record: AuditRecord) -> dict[str, Any]:
    """The fields in their order."""
    return {name: getattr(record, name) for name in RECORD_NAMES}


def is_intact(record: AuditRecord) -> bool:
    """Whether the record is what was hashed."""
    try:
        return compute_record_hash(to_values(record)) == record.hash
    except (TypeError, ValueError):
        return False


def to_line(record: AuditRecord) -> str:
    """The record as a line of JSON, without the line's end."""
    return json.dumps(to_values(record), allow_nan=False)


def from_line(text: str) -> AuditRecord:
    """Read the record from a line of JSON. Raises InvalidRecord, in words that hold nothing of the line."""
    try:
        read = json.loads(text, object_pairs_hook=_reject_duplicate_names, parse_constant=_reject_constant)
    except InvalidRecord:
        raise
    except (ValueError, RecursionError):
        raise InvalidRecord("is not JSON") from None
    if not isinstance(read, dict):
        raise InvalidRecord("is not a JSON object")
    values = cast("dict[str, Any]", read)
    if values.keys() != set(RECORD_NAMES):
        odd = sorted(values.keys() ^ set(RECORD_NAMES))
        raise InvalidRecord(f"has other fields than a record ({', '.join(name[:40] for name in odd[:3])})")
    for name, value in values.items():
        if not _has_valid_type(name, value):
            raise InvalidRecord(f"has a {name!r} of another kind than a record has")
    return AuditRecord(**values)


def _has_valid_type(name: str, value: object) -> bool:
    match name:
        case "seq":
            return isinstance(value, int) and not isinstance(value, bool)
        case "time" | "seconds":
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            return number or (value is None and name == "seconds")
        case "args":
            return value is None or isinstance(value, dict)
        case "approval" | "note" | "outcome":
            return value is None or isinstance(value, str)
        case _:
            return isinstance(value, str)


def _reject_duplicate_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidRecord("has a name twice")
    return values


def _reject_constant(name: str) -> Any:
    raise InvalidRecord(f"holds {name}, which is no JSON")
