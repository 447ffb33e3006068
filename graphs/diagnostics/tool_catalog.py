"""The tools that rights can be told of: those that servers really offer, and of the others those that rules name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphs.config.loader import Snapshot
from graphs.diagnostics.probe import survey
from graphs.errors import InterlockError, did_you_mean
from graphs.policy.patterns import could_begin, fault, matches_any, tool_fault
from graphs.policy.rules import ToolFacts

_LISTED = 12


class NoSuch(InterlockError):
    """What was asked about is not there: a role, a key, a graph, a tool."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The tools, and what was not to be known of them."""

    tools: tuple[ToolFacts, ...]
    """By server as servers.yaml orders them, then by name."""
    away: Mapping[str, str]
    """By server that was not asked or did not answer: why, in words. Of these, only the tools that rules name are
    known."""


def no_such(kind: str, name: str, choices: Iterable[str]) -> NoSuch:
    """The error for a name that is none of `choices`, with those, or the nearest of them."""
    names = list(choices)
    shown = ", ".join(names[:_LISTED]) or "none"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return NoSuch(f"there is no {kind} {name!r}; there is {shown}{more}{did_you_mean(name, names)}")


async def inventory(
    snapshot: Snapshot, *, servers: Sequence[str] = (), tools: Sequence[str] = (), patience: float | None
) -> Inventory:
    """Starts the servers that the patterns are about, waits `patience` seconds at most, and leaves nothing running.

    `servers` are patterns over names of servers, `tools` over `server/tool`; none of a kind: all. `patience` None: no
    server is started. Raises NoSuch for a pattern that can match nothing.
    """
    for patterns, judge in ((servers, fault), (tools, tool_fault)):
        for pattern in patterns:
            if (wrong := judge(pattern)) is not None:
                raise NoSuch(wrong)
    named = _named(snapshot)
    configured = [name.removeprefix("server ") for name in snapshot.places if name.startswith("server ")]
    every = list(dict.fromkeys([*configured, *named]))
    wanted = [
        name
        for name in every
        if (not servers or matches_any(servers, name))
        and (not tools or any(could_begin(pattern, f"{name}/") for pattern in tools))
    ]
    if not wanted:
        raise no_such("server for", ", ".join([*servers, *tools]), every)
    asked = {name: spec for name, spec in snapshot.servers.items() if name in wanted}
    seen = () if patience is None else await survey(replace(snapshot, servers=asked), patience)
    offered = {one.name: one for one in seen if one.up}
    away = {one.name: one.words.rstrip(".") for one in seen if not one.up}
    for name in wanted:
        if name not in offered and name not in away:
            away[name] = _absence(name, configured, asked)

    def known(name: str) -> Iterable[ToolFacts]:
        if name in offered:
            return offered[name].facts
        # What these say of themselves would count where their server is trusted, but nobody knows it now.
        spec = snapshot.servers.get(name)
        return (ToolFacts(name, tool, trusted=spec is not None and spec.trusted) for tool in named.get(name, ()))

    found = [tool for name in wanted for tool in sorted(known(name), key=str)]
    kept = tuple(tool for tool in found if not tools or matches_any(tools, str(tool)))
    if tools and not kept and not away:
        raise no_such("tool", ", ".join(tools), map(str, found))
    return Inventory(tools=kept, away=away)


def _absence(name: str, configured: Sequence[str], asked: Mapping[str, object]) -> str:
    if name not in configured:
        return "is in rules, but not in servers.yaml"
    return "was not asked" if name in asked else "is disabled"


def _named(snapshot: Snapshot) -> dict[str, set[str]]:
    """The tools that rules name without `*` and `?`, by server."""
    found: dict[str, set[str]] = {}
    for role in snapshot.policy.roles:
        for rule in snapshot.policy.rules(role):
            server, slash, tool = rule.pattern.partition("/")
            if slash and tool and not set("*?") & set(rule.pattern):
                found.setdefault(server, set()).add(tool)
    return found
