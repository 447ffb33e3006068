"""The tools of one server for one caller: what they take, and which role may do what with each, by which rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphs.config.loader import Snapshot
from graphs.diagnostics.access_matrix import AccessCell, build_cell
from graphs.diagnostics.overview import may_know_server
from graphs.nodes.judge import build_tool_facts
from graphs.policy.rules import Caller
from graphs.tools.registry import ToolRegistry


@dataclass(frozen=True, kw_only=True)
class ServerToolView:
    """One tool that can be called now."""

    name: str
    description: str
    """As its server says it."""
    schema: Mapping[str, Any]
    """The JSON Schema of its arguments, as its server lists it."""
    read_only: bool
    """Whether its server says that it changes nothing."""
    destructive: bool
    """Whether its server says, or leaves open, that what it changes may be lost."""
    is_trusted: bool
    """Whether rules believe the server in this."""
    cells: tuple[AccessCell, ...]
    """What may be done with it: by each role for an admin, else by the caller."""


def list_server_tools(
    snapshot: Snapshot, registry: ToolRegistry, caller: Caller, server: str, *, sees_all: bool
) -> tuple[ServerToolView, ...] | None:
    """List the tools of a server: with `sees_all`, an admin's, every tool and role; else what the caller could call.

    None: there is no such server that the caller may know of. Servers with a connection for each user list none.
    """
    policy = snapshot.policy
    status = registry.get_status().get(server)
    if status is None or not (sees_all or may_know_server(policy, caller, server, status.tools)):
        return None
    served = [tool for tool in registry.tools.values() if tool.server == server]
    roles = [(role, None) for role in policy.roles] if sees_all else [(caller.role, caller.narrowed_by)]
    views: list[ServerToolView] = []
    for tool in served:
        if sees_all or policy.may_see_tool(caller, server, tool.name):
            facts = build_tool_facts(tool, snapshot.servers)
            views.append(
                ServerToolView(
                    name=tool.name,
                    description=tool.description,
                    schema=tool.input_schema,
                    read_only=tool.read_only,
                    destructive=tool.destructive,
                    is_trusted=facts.trusted,
                    cells=tuple(build_cell(policy, role, narrowed_by, facts) for role, narrowed_by in roles),
                )
            )
    return tuple(views)
