"""`GET /console/api/servers/{name}/tools`: a server's tools, what they take, and what roles may do with them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from graphs.diagnostics.access_matrix import AccessCell
from graphs.diagnostics.server_tools import ServerToolView, list_server_tools
from graphs.policy.admins import is_admin
from graphs.text import dump_json
from server.protocols.errors import BadRequest
from server.routes.console_turns import send_private
from server.routes.dependencies import FacadeDep, IdentityDep

router = APIRouter(prefix="/console/api/servers")


@router.get("/{name}/tools")
async def tools(name: str, facade: FacadeDep, identity: IdentityDep) -> Response:
    """List a server's tools: for an admin all of them with every role's rights, else those of the caller's role with
    its own. Raises BadRequest (404) for a server that the caller may not know of."""
    revision = facade.revision
    sees_all = is_admin(identity.caller) and identity.remembers
    ask = partial(list_server_tools, revision.snapshot, revision.tool_registry, identity.caller, name)
    # Many roles and tools take their time.
    found = await asyncio.to_thread(ask, sees_all=sees_all)
    if found is None:
        raise BadRequest(f"There is no server {name!r} that the role {identity.caller.role} may use.", status=404)
    return send_private(
        {
            "tools": [format_tool(tool) for tool in found],
            "role": name_role(identity.caller.role, identity.caller.narrowed_by),
            "all_roles": sees_all,
        }
    )


def format_tool(tool: ServerToolView) -> dict[str, Any]:
    """Format one tool; its schema as a text, since a browser would round large numbers in it."""
    return {
        "name": tool.name,
        "description": tool.description,
        "schema": dump_json(tool.schema, indent=True),
        "read_only": tool.read_only,
        "destructive": tool.destructive,
        "trusted": tool.is_trusted,
        "rights": [format_right(cell) for cell in tool.cells],
    }


def format_right(cell: AccessCell) -> dict[str, Any]:
    """Format what one role may do with a tool, with the rules that may decide in their order."""
    return {
        "role": name_role(cell.role, cell.narrowed_by),
        "decision": cell.decision,
        "rules": [
            {
                "decision": candidate.rule.decision,
                "pattern": candidate.rule.pattern,
                "when": None if candidate.rule.when is None or candidate.always else candidate.rule.when.text,
                "where": candidate.rule.where,
                "role": candidate.rule.role,
                "approver": candidate.rule.approver,
            }
            for candidate in cell.candidates
        ],
        "otherwise": cell.rule if not cell.candidates else "otherwise deny" if cell.has_default_deny else None,
    }


def name_role(role: str, narrowed_by: str | None) -> str:
    """Name a role, and the one that narrows it."""
    return role if narrowed_by in (None, role) else f"{role} for {narrowed_by}"
