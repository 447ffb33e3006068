"""The facts of a call that rules may look at: caller, tool, arguments, and where in a turn it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from graphs.expressions import HINTS, Condition, PreparedValues


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks. `key` is the name of the key that was shown, never its value."""

    user: str
    email: str = ""
    role: str
    key: str
    narrowed_by: str | None = None
    """The role of the person for whom the key's holder asks, if it says so: rights are what both roles have."""

    def has_role(self, role: str) -> bool:
        """Whether the caller acts with this role, wholly."""
        return self.role == role and self.narrowed_by in (None, role)

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role that must allow what the caller does."""
        return (self.role,) if self.narrowed_by in (None, self.role) else (self.role, self.narrowed_by)


@dataclass(frozen=True)
class ToolFacts:
    """A tool by the names that rules use."""

    server: str
    name: str
    read_only: bool | None = field(default=None, kw_only=True, compare=False)
    """Whether it says that it changes nothing; None: that is not known."""
    destructive: bool | None = field(default=None, kw_only=True, compare=False)
    """Whether it says, or leaves open, that what it changes may be lost; None: that is not known."""
    trusted: bool = field(default=False, kw_only=True, compare=False)
    """Whether servers.yaml trusts its server to say such things: rules see them only then."""

    def __str__(self) -> str:
        return f"{self.server}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class CallFacts:
    """Everything a rule may look at, but the caller."""

    call_id: str
    tool: ToolFacts
    args: Mapping[str, Any]
    graph: str
    node: str
    rounds: int
    calls: int
    now: datetime


def build_values(caller: Caller, facts: CallFacts) -> PreparedValues:
    """Build the values of a call's conditions, by their names there."""
    tool = facts.tool
    values = {
        "args": facts.args,
        "tool": _describe_tool(tool),
        "caller": {"user": caller.user, "email": caller.email, "role": caller.role, "key": caller.key},
        "graph": facts.graph,
        "node": facts.node,
        "now": facts.now,
        "turn": {"rounds": facts.rounds, "calls": facts.calls},
    }
    return PreparedValues(values, unknown=partial(_explain_missing, tool=tool))


def build_values_before_call(role: str, tool: ToolFacts) -> PreparedValues:
    """Build the values that are known before there is a call: conditions on anything else cannot be evaluated."""
    return PreparedValues({"tool": _describe_tool(tool), "caller": {"role": role}})


def depends_on_call(condition: Condition) -> bool:
    """Whether a condition looks at anything that is not known before there is a call. What is not known even then,
    such as a hint of a server that is not trusted, stays unknown at the call."""
    return any(not name.startswith("tool.") and name != "caller.role" for name in condition.names)


def _describe_tool(tool: ToolFacts) -> Mapping[str, Any]:
    """Build what rules see of a tool."""
    seen: dict[str, Any] = {"server": tool.server, "name": tool.name}
    if tool.trusted:
        hints = (("read_only", tool.read_only), ("destructive", tool.destructive))
        seen |= {name: hint for name, hint in hints if hint is not None}
    return seen


def _explain_missing(name: str, tool: ToolFacts) -> str | None:
    """Explain why a name has no value in this call; None where there is nothing to say."""
    if name not in HINTS:
        return None
    if tool.trusted:
        return f"what {tool} says of itself is not known"
    return f"server {tool.server} is not trusted to say what {name} is; write 'trusted: true' under it in servers.yaml"
