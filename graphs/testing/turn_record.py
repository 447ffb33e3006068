"""What the store has recorded of one turn, with the beginnings of it that waited for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphs.diagnostics.turn_path import find_turn_rows
from graphs.llm.messages import client_call_ids
from graphs.store.approvals import Approval
from graphs.store.audit.log import AuditFilter
from graphs.store.audit.record import AuditRecord
from graphs.store.questions import NodeQuestion
from graphs.store.store import Store
from graphs.store.tool_journal import ClaimResult
from graphs.store.turns import TurnRow


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
    rows = await find_turn_rows(store, turn)
    owner = rows[-1].owner
    ids = [each.id for each in rows]
    audit = await store.audit.find(AuditFilter(owners=[owner], turns=ids, limit=None), oldest_first=True)
    calls = sorted(
        {record.call_id for record in audit if record.call_id}
        | {call for each in rows for call in client_call_ids(each.messages)}
    )
    questions = await store.questions.list("answered", owner, limit=1_000)
    return TurnRecording(
        rows=rows,
        audit=audit,
        outcomes=await store.journal.find_outcomes(calls),
        approvals=await store.approvals.find_by_calls(calls),
        questions=[question for question in reversed(questions) if question.turn in ids],
    )
