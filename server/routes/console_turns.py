"""`/console/api/turns/{turn}`: what the console asks about one of the caller's own turns, once it is opened."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from graphs.diagnostics.timeline import cut_middle
from server.protocols.errors import BadRequest
from server.protocols.json import JSON
from server.routes.console import SECURITY_HEADERS
from server.routes.dependencies import FacadeDep, IdentityDep
from server.routes.markdown import build_markdown

LONGEST_ANSWER = 20_000
"""Characters of an answer that are shown as Markdown."""

router = APIRouter(prefix="/console/api/turns")


@router.get("/{turn}/answer")
async def answer(turn: str, facade: FacadeDep, identity: IdentityDep) -> Response:
    """Answer with the turn's text as a tree of Markdown elements. Raises BadRequest (404) for another's turn."""
    store = facade.engine.store
    rows = await store.turns.find_by_owner(identity.owner, [turn]) if identity.remembers else {}
    if turn not in rows:
        raise BadRequest("There is no such turn of yours.", status=404)
    text = cut_middle(rows[turn].text.strip(), LONGEST_ANSWER)
    # A long one takes its time.
    return send_private({"blocks": await asyncio.to_thread(build_markdown, text)})


def send_private(content: dict[str, Any]) -> Response:
    """Answer with a person's own data, which nobody on the way may keep."""
    return JSON(content, headers={**SECURITY_HEADERS, "cache-control": "no-store"})
