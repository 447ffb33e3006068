"""One record of the audit, its canonical form and its hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

Kind = Literal["decision", "call", "approval", "pruned"]

START = "0" * 64
"""What the first record names as the hash before it."""
LONGEST = 2000
"""Characters of one field that are kept."""


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """What is to be recorded. Times are seconds since the epoch. Holds no secrets: whoever makes one sees to that.

    `decision`: the rules, or what came of an approval, let a call run (`allow`), have it asked (`ask`) or refuse it
    (`deny`). `call`: one ran, or began to. `approval`: one was decided, expired, or its conversation went on without
    it. `pruned`: older records were forgotten by retention.
    """

    time: float
    kind: Kind
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
    """`call_digest(tool, args)` of the whole arguments."""
    args: Mapping[str, Any] | None = None
    """A bounded copy without secrets."""
    verdict: str = ""
    """allow, ask or deny; of an approval approved, rejected, expired or superseded."""
    rule: str = ""
    approval: str | None = None
    note: str | None = None
    """What the person said who decided."""
    outcome: str | None = None
    """Of a call: ok, failed, stopped or unknown."""
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
NAMES = ("seq", *ENTRY_NAMES, "previous", "hash")
_NUMBERS = ("time", "seconds")


class NotARecord(ValueError):
    """A text that is no record, and why."""


def canonical_json(value: Any) -> str:
    """The one way to write a JSON value: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(values: Mapping[str, Any]) -> str:
    """The hash of a record, from its fields but `hash` itself. What is None does not count, so that a field which
    comes later leaves older hashes as they are."""
    hashed = {name: values[name] for name in NAMES if name != "hash" and values[name] is not None}
    return hashlib.sha256(canonical_json(hashed).encode()).hexdigest()


def sealed(entry: AuditEntry, seq: int, previous: str) -> dict[str, Any]:
    """The fields of the record that `entry` becomes, with its hash."""
    values: dict[str, Any] = {"seq": seq, "previous": previous}
    for name in ENTRY_NAMES:
        value = getattr(entry, name)
        if isinstance(value, str):
            value = fit(value)
        elif name in _NUMBERS and value is not None:
            value = round(float(value), 6)
        values[name] = value
    # As it will be read again: tuples become lists, names become texts.
    values["args"] = None if entry.args is None else json.loads(canonical_json(entry.args))
    values["hash"] = digest(values)
    return values


def fit(text: str) -> str:
    """`text` as every database can keep it: UTF-8, no NUL, not endless."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}… [{len(text)} characters]"
    return cut.encode("utf-8", "replace").decode().replace("\0", "�")


def values_of(record: AuditRecord) -> dict[str, Any]:
    """The fields in their order."""
    return {name: getattr(record, name) for name in NAMES}


def is_whole(record: AuditRecord) -> bool:
    """Whether the record is what was hashed."""
    try:
        return digest(values_of(record)) == record.hash
    except (TypeError, ValueError):
        return False


def line(record: AuditRecord) -> str:
    """The record as a line of JSON, without the line's end."""
    return json.dumps(values_of(record), allow_nan=False)


def from_line(text: str) -> AuditRecord:
    """The record of a line. Raises NotARecord, in words that hold nothing of the line."""
    try:
        read = json.loads(text, object_pairs_hook=_no_name_twice, parse_constant=_no_constant)
    except NotARecord:
        raise
    except (ValueError, RecursionError):
        raise NotARecord("is not JSON") from None
    if not isinstance(read, dict):
        raise NotARecord("is not a JSON object")
    values = cast("dict[str, Any]", read)
    if values.keys() != set(NAMES):
        odd = sorted(values.keys() ^ set(NAMES))
        raise NotARecord(f"has other fields than a record ({', '.join(name[:40] for name in odd[:3])})")
    for name, value in values.items():
        if not _fits(name, value):
            raise NotARecord(f"has a {name!r} of another kind than a record has")
    return AuditRecord(**values)


def _fits(name: str, value: object) -> bool:
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


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise NotARecord("has a name twice")
    return values


def _no_constant(name: str) -> Any:
    raise NotARecord(f"holds {name}, which is no JSON")
