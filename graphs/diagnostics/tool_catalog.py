"""The catalog of tools: those that servers really offer, and of the other servers those that rules name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphs.config.loader import Snapshot
from graphs.diagnostics.probe import probe_servers
from graphs.diagnostics.waiting import Waiting
from graphs.errors import InterlockError, did_you_mean, list_some
from graphs.policy.patterns import could_begin, find_fault, find_tool_fault, matches_any
from graphs.policy.rules import ToolFacts

MOST_LISTED = 12
"""Names that an error lists."""


class UnknownName(InterlockError):
    """A name that is asked about does not exist: a role, a key, a graph, a tool."""


@dataclass(frozen=True, kw_only=True)
class ToolCatalog:
    """The tools, and the servers whose tools are not known."""

    tools: tuple[ToolFacts, ...]
    """By server as servers.yaml orders them, then by name."""
    unavailable: Mapping[str, str]
    """By server that was not asked or did not answer: why, in words. Of these, only the tools that rules name are
    known."""


def build_unknown_name(kind: str, name: str, choices: Iterable[str]) -> UnknownName:
    """Build the error for a name that is none of `choices`, with those, or the nearest of them."""
    names = list(choices)
    listed = list_some(names, MOST_LISTED)
    return UnknownName(f"there is no {kind} {name!r}; there is {listed}{did_you_mean(name, names)}")


async def build_catalog(
    snapshot: Snapshot,
    *,
    servers: Sequence[str] = (),
    tools: Sequence[str] = (),
    patience: float | None,
    waiting: Waiting | None = None,
) -> ToolCatalog:
    """Start the servers that the patterns select, wait `patience` seconds at most, and leave nothing running.

    `servers` are patterns over names of servers, `tools` over `server/tool`; none of a kind: all. `patience` None: no
    server is started. Raises UnknownName for a pattern that can match nothing.
    """
    for patterns, judge in ((servers, find_fault), (tools, find_tool_fault)):
        for pattern in patterns:
            if (wrong := judge(pattern)) is not None:
                raise UnknownName(wrong)
    named = _find_named_tools(snapshot)
    configured = list(snapshot.server_positions)
    every = list(dict.fromkeys([*configured, *named]))
    wanted = [
        name
        for name in every
        if (not servers or matches_any(servers, name))
        and (not tools or any(could_begin(pattern, f"{name}/") for pattern in tools))
    ]
    if not wanted:
        raise build_unknown_name("server for", ", ".join([*servers, *tools]), every)
    asked = {name: spec for name, spec in snapshot.servers.items() if name in wanted}
    seen = () if patience is None else await probe_servers(replace(snapshot, servers=asked), patience, waiting)
    offered = {one.name: one for one in seen if one.up}
    away = {one.name: one.message.rstrip(".") for one in seen if not one.up}
    for name in wanted:
        if name not in offered and name not in away:
            away[name] = _explain_absence(name, configured, asked)

    def list_tools(name: str) -> Iterable[ToolFacts]:
        if name in offered:
            return offered[name].tool_facts
        # What these say of themselves would count where their server is trusted, but nobody knows it now.
        spec = snapshot.servers.get(name)
        offered_names = (tool for tool in named.get(name, ()) if spec is None or spec.offers_tool(tool))
        return (ToolFacts(name, tool, trusted=spec is not None and spec.trusted) for tool in offered_names)

    found = [tool for name in wanted for tool in sorted(list_tools(name), key=str)]
    kept = tuple(tool for tool in found if not tools or matches_any(tools, str(tool)))
    if tools and not kept and not away:
        raise build_unknown_name("tool", ", ".join(tools), map(str, found))
    return ToolCatalog(tools=kept, unavailable=away)


def _explain_absence(name: str, configured: Sequence[str], asked: Mapping[str, object]) -> str:
    if name not in configured:
        return "is in rules, but not in servers.yaml"
    return "was not asked" if name in asked else "is disabled"


def _find_named_tools(snapshot: Snapshot) -> dict[str, set[str]]:
    """Find the tools that rules name without `*` and `?`, by server."""
    found: dict[str, set[str]] = {}
    for role in snapshot.policy.roles:
        for rule in snapshot.policy.list_rules(role):
            server, slash, tool = rule.pattern.partition("/")
            if slash and tool and not set("*?") & set(rule.pattern):
                found.setdefault(server, set()).add(tool)
    return found
