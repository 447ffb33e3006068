"""What the console asks about one of the caller's own turns, or a call in it, once that is opened."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from graphs.diagnostics.explain import RoleRuling
from graphs.diagnostics.refusal import NoRefusal, explain_refusal
from graphs.diagnostics.timeline import cut_middle
from server.protocols.errors import BadRequest
from server.protocols.json import JSON
from server.routes.console import SECURITY_HEADERS
from server.routes.dependencies import FacadeDep, IdentityDep
from server.routes.markdown import build_markdown

LONGEST_ANSWER = 20_000
"""Characters of an answer that are shown as Markdown."""

router = APIRouter(prefix="/console/api")


@router.get("/turns/{turn}/answer")
async def answer(turn: str, facade: FacadeDep, identity: IdentityDep) -> Response:
    """Answer with the turn's text as a tree of Markdown elements. Raises BadRequest (404) for another's turn."""
    store = facade.engine.store
    rows = await store.turns.find_by_owner(identity.owner, [turn]) if identity.remembers else {}
    if turn not in rows:
        raise BadRequest("There is no such turn of yours.", status=404)
    text = cut_middle(rows[turn].text.strip(), LONGEST_ANSWER)
    # A long one takes its time.
    return send_private({"blocks": await asyncio.to_thread(build_markdown, text)})


@router.get("/calls/{call}/refusal")
async def refusal(call: str, facade: FacadeDep, identity: IdentityDep) -> Response:
    """Answer with why a call was refused, and what would have it run. Raises BadRequest (404) for any other call."""
    revision = facade.revision
    if not identity.remembers:
        raise BadRequest("Of people whom nobody vouches for, no call is told.", status=404)
    try:
        found = await explain_refusal(
            facade.engine.store,
            revision.snapshot,
            revision.tool_registry,
            facade.engine.evaluator,
            identity.caller,
            identity.owner,
            call,
        )
    except NoRefusal as error:
        raise BadRequest(str(error), status=404) from None
    return send_private(
        {
            "tool": found.tool,
            "rule": found.rule,
            "outdated": found.is_outdated,
            "now": {"decision": found.verdict.decision, "rule": found.verdict.rule, "reason": found.verdict.reason},
            "ways": found.ways,
            "roles": [format_ruling(ruling) for ruling in found.rulings],
        }
    )


def format_ruling(ruling: RoleRuling) -> dict[str, Any]:
    """Format what one role says, with those of its rules that speak of the tool."""
    return {
        "role": ruling.role,
        "decision": ruling.verdict.decision,
        "rule": ruling.verdict.rule,
        "rules": [
            {
                "decision": trial.rule.decision,
                "pattern": trial.rule.pattern,
                "where": trial.rule.where,
                "role": trial.rule.role,
                "outcome": trial.outcome,
                "why": trial.reason,
            }
            for trial in ruling.trials
            if trial.outcome != "no match"
        ],
    }


def send_private(content: dict[str, Any]) -> Response:
    """Answer with a person's own data, which nobody on the way may keep."""
    return JSON(content, headers={**SECURITY_HEADERS, "cache-control": "no-store"})
