"""`/v1/approvals`: what waits for a decision, and deciding it outside the conversation."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from graphs.runtime.approvals import Approval, ApprovalDecision, ApprovalStatus
from server.protocols.errors import BadRequest
from server.protocols.json import PlainJSON
from server.routes.dependencies import FacadeDep, IdentityDep, read_bytes

LARGEST = 64 * 1024
"""Bytes that a decision may have."""

router = APIRouter(prefix="/v1/approvals", default_response_class=PlainJSON)


class DecisionBody(BaseModel):
    """A decision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: ApprovalDecision
    note: str = ""


def format_approval(entry: Approval) -> dict[str, Any]:
    """Format one approval. Times are seconds since the epoch."""
    return {
        "id": entry.id,
        "object": "approval",
        "status": entry.status,
        "graph": entry.graph,
        "tool": entry.tool,
        "args": dict(entry.args),
        "digest": entry.digest,
        "rule": entry.rule,
        "reason": entry.reason,
        "caller": entry.caller,
        "approver": entry.approver,
        "created": entry.created,
        "expires": entry.expires,
        "decided_by": entry.decided_by,
        "note": entry.note,
    }


@router.get("")
async def list_approvals(
    facade: FacadeDep, identity: IdentityDep, status: Annotated[ApprovalStatus | None, Query()] = None
) -> dict[str, Any]:
    """List what this key asked for, and what waits for its role."""
    found = await facade.engine.list_approvals(identity.caller, identity.owner, status)
    return {"object": "list", "data": [format_approval(entry) for entry in found]}


@router.get("/{approval_id}")
async def get_approval(approval_id: str, facade: FacadeDep, identity: IdentityDep) -> dict[str, Any]:
    """Find one approval."""
    return format_approval(await facade.engine.find_approval(approval_id, identity.caller, identity.owner))


@router.post("/{approval_id}")
async def decide(approval_id: str, request: Request, facade: FacadeDep, identity: IdentityDep) -> dict[str, Any]:
    """Decide one approval, once. What was asked goes on with the conversation's next message, or in a stream that
    waits."""
    try:
        body = DecisionBody.model_validate_json(await read_bytes(request, LARGEST))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(step) for step in first["loc"]) or None
        raise BadRequest(
            f'{field or "body"}: {first["msg"]}; expected {{"decision": "approve" or "reject"}}', param=field
        ) from None
    return format_approval(
        await facade.engine.decide(approval_id, body.decision, identity.caller, identity.owner, body.note)
    )
