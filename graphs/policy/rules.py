"""Decide one tool call: allow, ask or deny, by the rules of the caller's roles.

Pure but for a cache: no clock and no store. A rule's own functions may look at files and names of hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from graphs.expressions import Condition, PreparedValues
from graphs.policy.caller import Caller, CallFacts, build_values
from graphs.policy.caller import ToolFacts as ToolFacts  # for those who ask about a tool
from graphs.policy.limits import NO_LIMITS, Limit, Limits, combine_limits, find_lowest
from graphs.policy.patterns import PatternIndex, could_begin, matches, matches_any

Decision = Literal["allow", "ask", "deny"]

_CACHE_SIZE = 4096
_IMPROBABLE_NAME = "\0" * 256
_STRICTNESS: Mapping[Decision, int] = {"deny": 0, "ask": 1, "allow": 2}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A decision on one call and the rule that made it, in words for the model and for people."""

    decision: Decision
    rule: str
    approver: str | None = None
    """The role that decides an `ask`; None: whoever asked."""
    expires: float | None = None
    """Seconds that an `ask` stays open; None: until it is answered."""
    reason: str | None = None
    """The rule's own sentence, if it has one, and why a condition could not be evaluated."""
    source_rule: Rule | None = field(default=None, compare=False, repr=False)
    """The rule that decided; None where none did."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One pattern of one rule of one role, compiled."""

    role: str
    decision: Decision
    pattern: str
    where: str
    """`access.yaml:12`."""
    when: Condition | None = None
    approver: str | None = None
    expires: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        return f"role {self.role}, {self.decision} {self.pattern!r} ({self.where})"


@dataclass(frozen=True, kw_only=True)
class Role:
    """One role as it is written."""

    name: str
    where: str
    include: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    graphs: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    limits: Limits = NO_LIMITS


@dataclass(frozen=True)
class _RelevantRules:
    """The rules that speak of one tool, for one role with all that it includes."""

    deny: tuple[Rule, ...]
    ask: tuple[Rule, ...]
    allow: tuple[Rule, ...]
    argument_names: frozenset[str]
    """The arguments of a call that their conditions name."""
    is_lasting: bool
    """Whether none of their conditions looks at the clock, at files or at names of hosts."""


class Policy:
    """The rules of all roles. Includes must name roles that exist and go in no circle: the loader sees to that."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self._roles: Mapping[str, Role] = {role.name: role for role in roles}
        self._lines: Mapping[str, tuple[Role, ...]] = {name: self._resolve_includes(name) for name in self._roles}
        self._index: Mapping[str, PatternIndex[Rule]] = {
            name: PatternIndex((rule.pattern, rule) for line in lines for rule in line.rules)
            for name, lines in self._lines.items()
        }
        self._relevant: dict[tuple[str, str], _RelevantRules] = {}
        self.limits: Mapping[str, Limits] = {
            name: combine_limits(role.limits for role in line) for name, line in self._lines.items()
        }
        """What limits each role, with all that it includes."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of the roles, as the file orders them."""
        return tuple(self._roles)

    def decide(self, caller: Caller, facts: CallFacts, values: PreparedValues | None = None) -> Verdict:
        """Decide one call: deny over ask over allow, whatever the order; no matching rule means deny.

        A condition that cannot be evaluated fails closed: `allow` then does not match, `ask` and `deny` do. Where the
        caller's rights are narrowed by a second role, the stricter of both verdicts holds. Where `values`, the call's,
        are bounded, it raises NeedsTime; nothing else.
        """
        values = build_values(caller, facts) if values is None else values
        return combine_verdicts([self.decide_as(name, caller, facts, values=values) for name in caller.roles])

    def decide_as(
        self, name: str, caller: Caller, facts: CallFacts, *, values: PreparedValues | None = None
    ) -> Verdict:
        """Decide one call by one role alone. `values` are the call's, where several roles decide about it."""
        role = self._roles.get(name)
        if role is None:
            return Verdict(decision="deny", rule=f"there is no role {name} in access.yaml")
        relevant = self._find_relevant(role.name, str(facts.tool))
        values = build_values(caller, facts) if values is None else values
        values.expect(relevant.argument_names)
        for rule in relevant.deny:
            met, why = try_rule(rule, values)
            if met is not False:
                return build_verdict(rule, why)
        for rule in relevant.ask:
            met, why = try_rule(rule, values)
            if met is not False:
                return build_verdict(rule, why)
        unmet: tuple[Rule, str] | None = None
        for rule in relevant.allow:
            met, why = try_rule(rule, values)
            if met is True:
                return build_verdict(rule, "")
            unmet = unmet or (rule, why)
        if unmet is not None and unmet[0].when is not None:
            rule, why = unmet
            said = f"{rule} holds only when {rule.when.text}" if rule.when is not None else str(rule)
            return Verdict(decision="deny", rule=said, reason=_build_reason(rule, why))
        return self.build_default_verdict(role.name)

    def is_lasting(self, caller: Caller, tool: ToolFacts) -> bool:
        """Whether the verdict on a call of this tool is the same whenever it is asked for."""
        return all(name in self._roles and self._find_relevant(name, str(tool)).is_lasting for name in caller.roles)

    def get_role(self, name: str) -> Role:
        """Return the role as it is written. Raises KeyError."""
        return self._roles[name]

    def list_rules(self, role: str) -> tuple[Rule, ...]:
        """List the rules of a role and of all that it includes, in the order in which they decide."""
        rules = [rule for line in self._lines.get(role, ()) for rule in line.rules]
        # Of several questions the one with an approver of its own is the stricter.
        return tuple(sorted(rules, key=lambda rule: (_STRICTNESS[rule.decision], rule.approver is None)))

    def build_default_verdict(self, role: str) -> Verdict:
        """Return the verdict where no rule matches. Raises KeyError."""
        return Verdict(decision="deny", rule=f"role {role} says nothing about it ({self._roles[role].where})")

    def may_see_tool(self, caller: Caller, server: str, tool: str) -> bool:
        """Whether there are any arguments with which the caller could call the tool, or ask to."""
        return all(self.may_role_see_tool(role, server, tool) for role in caller.roles)

    def may_reach_server(self, caller: Caller, server: str) -> bool:
        """Whether the server could have a tool that the caller could call: for one that is down and names no tools."""
        return all(self.may_role_reach_server(role, server) for role in caller.roles)

    def may_use_graph(self, caller: Caller, graph: str) -> bool:
        """Whether all of the caller's roles may use the graph."""
        return all(self.may_role_use_graph(role, graph) for role in caller.roles)

    def may_use_model(self, caller: Caller, model: str) -> bool:
        """Whether all of the caller's roles may use the model."""
        return all(self.may_role_use_model(role, model) for role in caller.roles)

    def may_role_see_tool(self, role: str, server: str, tool: str) -> bool:
        """Whether there are any arguments with which the role could call the tool, or ask to."""
        if role not in self._roles:
            return False
        relevant = self._find_relevant(role, f"{server}/{tool}")
        return bool(relevant.allow or relevant.ask) and all(rule.when is not None for rule in relevant.deny)

    def may_role_reach_server(self, role: str, server: str) -> bool:
        """Whether the server could have a tool that the role could call: for one that is down and names no tools."""
        rules = [rule for line in self._lines.get(role, ()) for rule in line.rules]
        opens = any(rule.decision != "deny" and could_begin(rule.pattern, f"{server}/") for rule in rules)
        # What denies a name that nobody would think of denies them all.
        closed = any(
            rule.decision == "deny" and rule.when is None and matches(rule.pattern, f"{server}/{_IMPROBABLE_NAME}")
            for rule in rules
        )
        return opens and not closed

    def find_turn_call_limit(self, roles: Iterable[str]) -> Limit | None:
        """Find how many tool calls a turn may run for a caller of all these roles; None: the roles do not say."""
        return find_lowest(self.limits[role].tool_calls for role in roles if role in self.limits)

    def may_role_use_graph(self, role: str, graph: str) -> bool:
        """Whether the role may use the graph."""
        return self._is_named(role, graph, [line.graphs for line in self._lines.get(role, ())])

    def may_role_use_model(self, role: str, model: str) -> bool:
        """Whether the role may use the model."""
        return self._is_named(role, model, [line.models for line in self._lines.get(role, ())])

    def _is_named(self, role: str, name: str, lists: list[tuple[str, ...] | None]) -> bool:
        if role not in self._roles:
            return False
        said = [patterns for patterns in lists if patterns is not None]
        # Roles that say nothing leave it to those that do; if none says anything, all is allowed.
        return not said or any(matches_any(patterns, name) for patterns in said)

    def _resolve_includes(self, name: str) -> tuple[Role, ...]:
        found: dict[str, Role] = {}
        waiting = [name]
        while waiting:
            role = self._roles[waiting.pop(0)]
            if role.name not in found:
                found[role.name] = role
                waiting += role.include
        return tuple(found.values())

    def _find_relevant(self, role: str, tool: str) -> _RelevantRules:
        known = self._relevant.get((role, tool))
        if known is not None:
            return known
        rules = self._index[role].find_matches(tool)
        conditions = [rule.when for rule in rules if rule.when is not None]
        relevant = _RelevantRules(
            deny=tuple(rule for rule in rules if rule.decision == "deny"),
            # Of several questions the one with an approver of its own is the stricter, and so is asked first.
            ask=tuple(sorted((rule for rule in rules if rule.decision == "ask"), key=lambda rule: not rule.approver)),
            allow=tuple(rule for rule in rules if rule.decision == "allow"),
            argument_names=frozenset(name for condition in conditions for name in condition.argument_names or ()),
            is_lasting=not any(condition.effort.waits or "now" in condition.names for condition in conditions),
        )
        # Names come from the model, which may invent any number of them.
        if len(self._relevant) >= _CACHE_SIZE:
            self._relevant.clear()
        self._relevant[role, tool] = relevant
        return relevant


def combine_verdicts(verdicts: Sequence[Verdict]) -> Verdict:
    """Combine the verdicts of several roles: the strictest, under the terms of all."""
    if len(verdicts) == 1:
        return verdicts[0]
    strictest = min(verdicts, key=lambda verdict: (_STRICTNESS[verdict.decision], verdict.approver is None))
    if strictest.decision != "ask":
        return strictest
    approvers = {verdict.approver for verdict in verdicts if verdict.decision == "ask" and verdict.approver}
    if len(approvers) > 1:
        return Verdict(decision="deny", rule=f"two roles want different approvers: {strictest.rule}")
    times = [verdict.expires for verdict in verdicts if verdict.decision == "ask" and verdict.expires is not None]
    return replace(strictest, expires=min(times, default=None))


def try_rule(rule: Rule, values: Mapping[str, Any]) -> tuple[bool | None, str]:
    """Evaluate a rule's condition on these values; None, and why, where it cannot be evaluated."""
    return (True, "") if rule.when is None else rule.when.compute_outcome(values)


def build_verdict(rule: Rule, why: str = "") -> Verdict:
    """Return the verdict where this rule holds; `why`: why its condition could not be evaluated, if so."""
    return Verdict(
        decision=rule.decision,
        rule=str(rule),
        approver=rule.approver,
        expires=rule.expires,
        reason=_build_reason(rule, why),
        source_rule=rule,
    )


def _build_reason(rule: Rule, why: str) -> str | None:
    unknown = f"its condition could not be evaluated: {why}" if why else None
    return "; ".join(part for part in (rule.reason, unknown) if part) or None
