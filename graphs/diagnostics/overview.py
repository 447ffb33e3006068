"""The overview for one caller: the graphs, servers, tools and approvals that their roles may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.config.loader import Snapshot
from graphs.policy.rules import Caller, Policy
from graphs.store.approvals import Approval

TurnCounts = Mapping[str, Mapping[str, int]]
"""Graph → node → turns in that node now; the node "" counts the graph's turns."""


@dataclass(frozen=True, kw_only=True)
class GraphView:
    """One graph that the caller may use."""

    id: str
    description: str
    status: str
    reason: str | None
    running: int
    """Turns of everybody that run in it now."""
    nodes: Mapping[str, int]
    """How many of them are in each node."""


@dataclass(frozen=True, kw_only=True)
class ServerView:
    """One MCP server of which the caller could call something."""

    name: str
    status: str
    reason: str | None
    tools: Sequence[str]
    """Those that the caller could call, with some arguments."""


@dataclass(frozen=True, kw_only=True)
class ApprovalView:
    """One call that waits, and whether the caller may decide it."""

    entry: Approval
    yours: bool
    """Whether the caller asked for it."""
    decidable: bool
    """Whether the caller may decide it."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Everything that a caller may see now."""

    status: str
    snapshot: str
    problems: Sequence[str]
    graphs: Sequence[GraphView]
    servers: Sequence[ServerView]
    approvals: Sequence[ApprovalView]


def build_overview(
    snapshot: Snapshot,
    ready: Mapping[str, Any],
    running: TurnCounts,
    approvals: Iterable[Approval],
    caller: Caller,
    owner: str,
) -> Overview:
    """Build the overview from `ready`, what `Engine.check_readiness` returns, cut down to what all of the caller's
    roles may use, with what waits; see docs/ARCHITECTURE.md, "Readiness"."""
    policy = snapshot.policy
    return Overview(
        status=ready["status"],
        snapshot=ready["snapshot"],
        problems=ready["problems"],
        graphs=[
            GraphView(
                id=name,
                description=snapshot.graphs[name].spec.description,
                status=state["status"],
                reason=state["reason"],
                running=running.get(name, {}).get("", 0),
                nodes={node: count for node, count in running.get(name, {}).items() if node and count},
            )
            for name, state in ready["graphs"].items()
            if policy.may_use_graph(caller, name)
        ],
        servers=[
            ServerView(
                name=name,
                status=state["status"],
                reason=state["reason"],
                tools=[tool for tool in state["tools"] if policy.may_see_tool(caller, name, tool)],
            )
            for name, state in ready["servers"].items()
            if may_know_server(policy, caller, name, state["tools"])
        ],
        approvals=[
            ApprovalView(
                entry=entry,
                yours=entry.caller_owner == owner,
                decidable=caller.has_role(entry.approver)
                if entry.approver is not None
                else entry.caller_owner == owner,
            )
            for entry in approvals
        ],
    )


def may_know_server(policy: Policy, caller: Caller, server: str, tools: Sequence[str]) -> bool:
    """Whether the caller could call anything of the server. One that is down serves no tools: then the rules tell."""
    if tools:
        return any(policy.may_see_tool(caller, server, tool) for tool in tools)
    return policy.may_reach_server(caller, server)
