"""What each role can reach: the tools that graphs show it, and the rules that then decide.

Servers are not asked. A pattern stands for the tools that it describes and that no narrower pattern of the files does;
`files/*` is any tool of `files` that nothing else names. So each tool there may be is like one that stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from graphs.config.loader import Snapshot
from graphs.expressions import Condition
from graphs.policy.caller import build_values_before_call, depends_on_call
from graphs.policy.pattern_sets import build_example, close_intersections, intersect
from graphs.policy.patterns import is_plain, matches, matches_any
from graphs.policy.rules import Decision, Rule, ToolFacts, try_rule

_Terms = tuple[str | None, str | None]
"""The condition of a rule, and who decides an `ask`."""
_MOST_OF_A_SERVER = 1000
"""Patterns that stand for the tools of one server at most."""


@dataclass(frozen=True)
class PossibleRule:
    """A rule that may decide about a tool."""

    rule: Rule
    when: str | None
    """Its condition; None: it holds whatever the call is like."""

    def __str__(self) -> str:
        who = f" by {self.rule.approver}" if self.rule.approver is not None else ""
        when = f" when {self.when}" if self.when is not None else ""
        return f"{self.rule.decision}{who}{when}"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How a role may use a tool."""

    graphs: tuple[str, ...] = field(compare=False)
    """The graphs that show it to the role."""
    rules: tuple[PossibleRule, ...]
    """The rules that may decide, in the order in which they do."""

    @property
    def may_run_at_once(self) -> bool:
        """Whether there are calls that nobody is asked about."""
        return any(each.rule.decision == "allow" for each in self.rules)

    def is_within(self, other: Reach) -> bool:
        """Whether it surely allows nothing that `other` does not. Conditions are compared by their words alone: where
        they differ, nobody can say it."""
        asked, was_asked = self._list_terms("ask"), other._list_terms("ask")
        denied, allowed = self._list_terms("deny"), self._list_terms("allow")
        was_allowed = other._list_terms("allow")
        asks_as_before = all(_covers(asked, each) or _covers(denied, (each[0], None)) for each in was_asked)
        return (
            all(_covers(denied, each) for each in other._list_terms("deny"))
            and (not allowed or (asks_as_before and all(_covers(was_allowed, each) for each in allowed)))
            and all(
                _covers(was_asked, each) or (asks_as_before and _covers(was_allowed, (each[0], None))) for each in asked
            )
        )

    def _list_terms(self, decision: Decision) -> set[_Terms]:
        return {(each.when, each.rule.approver) for each in self.rules if each.rule.decision == decision}

    def __str__(self) -> str:
        return "; ".join(map(str, self.rules))


def _covers(terms: set[_Terms], each: _Terms) -> bool:
    """Whether a rule with these terms holds under one of the others too."""
    return each in terms or (None, each[1]) in terms


def list_tool_sets(*snapshots: Snapshot) -> list[str]:
    """List the patterns, each within one server, that stand for all tools that these files may decide about."""
    servers = dict.fromkeys(name for snapshot in snapshots for name in snapshot.servers)
    written = {pattern for snapshot in snapshots for pattern in _list_patterns(snapshot)}
    found: list[str] = []
    for server in servers:
        own = sorted({part for pattern in written for part in _narrow(pattern, f"{server}/*")})
        found += close_intersections([f"{server}/*", *own], most=_MOST_OF_A_SERVER)
    return found


class ReachFinder:
    """Finds how roles may use tools by the files of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rules = {role: snapshot.policy.list_rules(role) for role in snapshot.policy.roles}
        self._patterns = {graph: list_node_patterns(snapshot, [graph]) for graph in snapshot.graphs}
        self._graphs = {
            role: [graph for graph in snapshot.graphs if snapshot.policy.may_role_use_graph(role, graph)]
            for role in snapshot.policy.roles
        }

    def find(self, role: str, tools: str) -> Reach | None:
        """Find how a role may use the tools that a pattern stands for; None: it may not."""
        name = build_example(tools)
        server, _, own = name.partition("/")
        spec = self._snapshot.servers.get(server)
        if spec is None or not spec.offers_tool(own):
            return None
        showing = tuple(graph for graph in self._graphs.get(role, ()) if matches_any(self._patterns[graph], name))
        facts = ToolFacts(server, own, trusted=spec.trusted)
        rules = tuple(self._list_rules(role, facts, is_one=is_plain(tools))) if showing else ()
        if all(each.rule.decision == "deny" for each in rules):
            return None
        return Reach(graphs=showing, rules=rules)

    def _list_rules(self, role: str, tool: ToolFacts, *, is_one: bool) -> Iterator[PossibleRule]:
        """List the rules that may decide about a tool, up to the first that holds for every call."""
        known = build_values_before_call(role, tool)
        for rule in self._rules[role]:
            if not matches(rule.pattern, str(tool)):
                continue
            met, _ = try_rule(rule, known)
            if rule.when is not None and _is_open(rule.when, tool, is_one=is_one, met=met):
                yield PossibleRule(rule, rule.when.text)
                continue
            # What cannot be evaluated here cannot be at the call either: it is closed then.
            if met or (met is None and rule.decision != "allow"):
                yield PossibleRule(rule, None)
                return


def _is_open(condition: Condition, tool: ToolFacts, *, is_one: bool, met: bool | None) -> bool:
    """Whether there may be calls for which the condition is true, and others for which it is not.

    `is_one`: `tool` is one tool, and stands for no others, whose names are not known.
    """
    if not is_one and not condition.names.isdisjoint(("tool", "tool.name")):
        return True
    # What a trusted tool says of itself is not known without its server.
    return met is None and (depends_on_call(condition) or (tool.trusted and bool(condition.hints)))


def list_node_patterns(snapshot: Snapshot, graphs: Iterable[str]) -> list[str]:
    """List the patterns of the tools that the nodes of these graphs may use."""
    plans = (plan for graph in graphs for plan in snapshot.graphs[graph].list_run_plans())
    nodes = (node for plan in plans for node in plan.nodes.values())
    return [pattern for node in nodes for pattern in node.locate_tool_patterns().values()]


def _list_patterns(snapshot: Snapshot) -> Iterator[str]:
    for role in snapshot.policy.roles:
        yield from (rule.pattern for rule in snapshot.policy.get_role(role).rules)
    yield from list_node_patterns(snapshot, snapshot.graphs)
    for name, spec in snapshot.servers.items():
        yield from (f"{name}/{pattern}" for pattern in (*spec.include, *spec.exclude))


def _narrow(pattern: str, server: str) -> Sequence[str]:
    """Return what of a pattern is about tools of a server; a star that spans the '/' twice says nothing of its own."""
    found = sorted(intersect(pattern, server))
    return [part for part in found if part.count("/") == 1] or found
