"""Probes of servers: each is started once, to see whether it is up, how long it took, and what it offers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphs.config.loader import Snapshot
from graphs.diagnostics.waiting import Waiting
from graphs.errors import Position
from graphs.nodes.judge import build_tool_facts
from graphs.policy.rules import ToolFacts
from graphs.tools.registry import ServerStatus, ToolRegistry
from graphs.tools.tool import ServedTool

_POLL = 0.02


@dataclass(frozen=True, kw_only=True)
class ServerProbe:
    """One server, as it was when the probe ended."""

    name: str
    position: Position
    """Of its entry in servers.yaml."""
    up: bool
    message: str
    """How it is, for a person: how many tools it offers, or why it does not come up and what cures that."""
    tools: Mapping[str, Mapping[str, Any]]
    """The input schemas of its tools, by their own names."""
    left_out: tuple[str, ...]
    """Why tools that it lists cannot be called, such as a second one of the same name."""
    unwanted: tuple[str, ...] = ()
    """Names of tools that `include` and `exclude` in its entry do not choose."""
    unmatched: tuple[str, ...] = ()
    """Patterns in these that match none of its tools."""
    per_user: bool = False
    """Whether it is asked for each user only: then it was not looked at, and is not `up`."""
    tool_facts: tuple[ToolFacts, ...] = ()
    """The same tools as rules know them."""
    served: tuple[ServedTool, ...] = ()
    """And as models are shown them."""


async def probe_servers(snapshot: Snapshot, patience: float, waiting: Waiting | None = None) -> tuple[ServerProbe, ...]:
    """Start all servers at once, wait at most `patience` seconds, and leave nothing running.

    `waiting` is told which are still waited for.

    What a `per_user` server offers depends on who asks, and here nobody does.
    """
    shared = {name: spec for name, spec in snapshot.servers.items() if not spec.per_user}
    registry = ToolRegistry(shared)
    began = time.monotonic()
    took: dict[str, float] = {}
    waiting = waiting or Waiting()
    waiting.begin(*shared)
    try:
        await registry.start()
        while len(took) < len(shared) and time.monotonic() - began < patience:
            for name, status in registry.get_status().items():
                # One that is late may be downloading itself: it is waited for.
                if status.status != "starting" and not status.is_late:
                    took.setdefault(name, time.monotonic() - began)
                    waiting.end(name)
            await asyncio.sleep(_POLL)
        seen = {
            name: ServerProbe(
                name=name,
                position=snapshot.server_positions[name],
                up=status.status == "up",
                message=_describe_status(status, took.get(name, patience), patience),
                tools=_read_schemas(registry, name, status),
                left_out=status.left_out,
                unwanted=status.unwanted,
                unmatched=status.unmatched,
                tool_facts=list_tool_facts(snapshot, registry, name, status),
                served=tuple(tool for tool in registry.tools.values() if tool.server == name),
            )
            for name, status in registry.get_status().items()
        }
        return tuple(seen.get(name) or _skip_per_user(snapshot, name) for name in snapshot.servers)
    finally:
        waiting.end(*shared)
        await registry.close()


def _skip_per_user(snapshot: Snapshot, name: str) -> ServerProbe:
    words = "is per user: it is connected to when a user needs it, so it was not tried here"
    position = snapshot.server_positions[name]
    return ServerProbe(name=name, position=position, up=False, per_user=True, message=words, tools={}, left_out=())


def _describe_status(status: ServerStatus, took: float, patience: float) -> str:
    if status.status == "up":
        count = len(status.tools)
        tools = f"{count} {'tool' if count == 1 else 'tools'} after {took:.1f} s"
        fewer = [f"without {len(status.unwanted)} more, by its entry in servers.yaml"] if status.unwanted else []
        return "; ".join((tools, *fewer, *status.remarks))
    reason = status.reason or f"is still starting after {patience:g} s"
    return f"{reason}; it last said: {status.last_output}" if status.last_output else reason


def _read_schemas(registry: ToolRegistry, server: str, status: ServerStatus) -> Mapping[str, Mapping[str, Any]]:
    if status.status != "up":
        return {}
    served = ((tool, registry.find_by_people_name(f"{server}/{tool}")) for tool in status.tools)
    return {tool: one.input_schema if one is not None else {} for tool, one in served}


def list_tool_facts(
    snapshot: Snapshot, registry: ToolRegistry, server: str, status: ServerStatus
) -> tuple[ToolFacts, ...]:
    """List the tools of one server as rules know them; none while it is not up."""
    if status.status != "up":
        return ()
    served = (registry.find_by_people_name(f"{server}/{tool}") for tool in status.tools)
    return tuple(build_tool_facts(one, snapshot.servers) for one in served if one is not None)
