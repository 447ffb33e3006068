"""`GET /console/api/audit`: search of the audit, in pages. An admin finds everybody's records, others their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from graphs.diagnostics.audit_search import AuditRecord, AuditSearch, search_for_caller
from graphs.events import AuditKind
from graphs.policy.admins import is_admin
from graphs.text import dump_json
from server.routes.console_turns import send_private
from server.routes.dependencies import FacadeDep, IdentityDep

MOST_RECORDS = 100
LONGEST = 200
"""Characters of what is searched for."""

router = APIRouter(prefix="/console/api/audit")

Words = Annotated[str, Query(max_length=LONGEST)]
Verdict = Literal["", "allow", "ask", "deny", "approved", "rejected", "expired", "superseded"]
Outcome = Literal["", "ok", "failed", "stopped", "unknown", "cached", "trial"]


@router.get("")
async def audit(
    facade: FacadeDep,
    identity: IdentityDep,
    who: Words = "",
    tool: Words = "",
    text: Words = "",
    kind: AuditKind | None = None,
    verdict: Verdict = "",
    outcome: Outcome = "",
    since: float | None = None,
    until: float | None = None,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_RECORDS)] = 50,
) -> Response:
    """Find records, newest first; `before` is the `next` of the page before. Times are seconds since the epoch."""
    if not identity.remembers:  # they may be another's
        return send_private({"records": [], "next": None, "reached": None, "everybody": False})
    caller = identity.caller
    search = AuditSearch(
        owner=identity.owner,
        who=who.strip(),
        tool=tool.strip(),
        kind=kind,
        verdict=verdict,
        outcome=outcome,
        since=since,
        until=until,
        text=text.strip(),
    )
    store = facade.engine.store
    page = await search_for_caller(store, caller, identity.owner, search, before=before, limit=limit)
    return send_private(
        {
            "records": [format_record(record) for record in page.records],
            "next": page.next,
            "reached": page.reached,
            "everybody": is_admin(caller),
        }
    )


def format_record(record: AuditRecord) -> dict[str, Any]:
    """Format a record for people; the audit keeps no secrets."""
    return {
        "seq": record.seq,
        "time": record.time,
        "kind": record.kind,
        "verdict": record.verdict,
        "outcome": record.outcome,
        "user": record.user,
        "key": record.key,
        "role": record.role,
        "graph": record.graph,
        "node": record.node,
        "tool": record.tool,
        "rule": record.rule,
        "note": record.note,
        "seconds": record.seconds,
        "approval": record.approval,
        "turn": record.turn,
        "call": record.call_id,
        "arguments": None if record.args is None else dump_json(record.args, indent=True),
    }
