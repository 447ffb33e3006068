"""What the store has recorded of one turn, with the beginnings of it that waited for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphs.errors import InterlockError
from graphs.llm.messages import client_call_ids
from graphs.store.approvals import Approval
from graphs.store.audit.log import AuditFilter
from graphs.store.audit.record import AuditRecord
from graphs.store.questions import NodeQuestion
from graphs.store.store import Store
from graphs.store.tool_journal import ClaimResult
from graphs.store.turns import TurnRow

MOST_PAUSES = 20
"""How often a turn is followed back to the one that waited before it."""


class NoTurn(InterlockError):
    """There is no turn of this id; the text says where ids are found."""


@dataclass(frozen=True, kw_only=True)
class TurnRecording:
    """One turn, as far as it was recorded."""

    rows: Sequence[TurnRow]
    """Its rows, the first one first; the last has its end."""
    audit: Sequence[AuditRecord]
    """What was decided and done, oldest first."""
    outcomes: Mapping[str, ClaimResult]
    """What calls gave, by call id."""
    approvals: Mapping[str, Approval]
    """By call id."""
    questions: Sequence[NodeQuestion]
    """Those that were answered, oldest first."""


async def load_turn(store: Store, turn: str) -> TurnRecording:
    """Load what is recorded of a turn. Raises NoTurn and StorageError."""
    row = await store.turns.get(turn)
    if row is None:
        where = "`interlock audit show --format json` and GET /console/api/turns have their ids"
        raise NoTurn(f"there is no turn {turn!r} in this database; {where}")
    rows = [row]
    for _ in range(MOST_PAUSES):
        before = rows[0].story["continues"] if rows[0].story is not None else None
        earlier = await store.turns.get(before) if before is not None else None
        if earlier is None:
            break
        rows.insert(0, earlier)
    ids = [each.id for each in rows]
    audit = await store.audit.find(AuditFilter(owners=[row.owner], turns=ids, limit=None), oldest_first=True)
    calls = sorted(
        {record.call_id for record in audit if record.call_id}
        | {call for each in rows for call in client_call_ids(each.messages)}
    )
    questions = await store.questions.list("answered", row.owner, limit=1_000)
    return TurnRecording(
        rows=rows,
        audit=audit,
        outcomes=await store.journal.find_outcomes(calls),
        approvals=await store.approvals.find_by_calls(calls),
        questions=[question for question in reversed(questions) if question.turn in ids],
    )
