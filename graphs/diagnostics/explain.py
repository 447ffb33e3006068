"""Explanation of one possible call: what would be decided, by which rule, and why by none of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from graphs.config.loader import Snapshot
from graphs.config.spec.node import MODEL_ROLES
from graphs.diagnostics.tool_catalog import UnknownName, build_catalog, build_unknown_name
from graphs.diagnostics.waiting import Waiting
from graphs.expressions import Evaluator, PreparedValues
from graphs.policy.patterns import matches, matches_any
from graphs.policy.rules import (
    Caller,
    CallFacts,
    Policy,
    Rule,
    ToolFacts,
    Verdict,
    build_values,
    combine_verdicts,
    try_rule,
)

TrialOutcome = Literal["decides", "outranked", "no match", "not met", "not evaluated"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One rule, and its part in the decision."""

    rule: Rule
    include_path: tuple[str, ...]
    """The roles from the caller's to the rule's own, each including the next; one alone for a rule of the caller's."""
    outcome: TrialOutcome
    reason: str
    """Why, for a person."""


@dataclass(frozen=True, kw_only=True)
class RoleRuling:
    """The decision of one of the caller's roles, and all of its rules in the order in which they decide."""

    role: str
    verdict: Verdict
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """The call that is asked about. What is None is chosen for it."""

    role: str | None = None
    key: str | None = None
    user: str | None = None
    email: str = ""
    narrowed_by: str | None = None
    tool: str
    args: Mapping[str, Any]
    graph: str | None = None
    node: str | None = None
    now: datetime
    rounds: int = 1
    calls: int = 0


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The answer to a question."""

    caller: Caller
    facts: CallFacts
    verdict: Verdict
    """What is decided in the end: by the graph, by its node, or by the rules."""
    rulings: tuple[RoleRuling, ...]
    """What the rules say, for each of the caller's roles."""
    hidden: str | None
    """Why the model is not shown the tool; None where it is."""
    notes: tuple[str, ...]
    """What could not be known, in words."""


async def explain(
    snapshot: Snapshot, question: Question, *, patience: float | None, waiting: Waiting | None = None
) -> Explanation:
    """Decide the call without making it. Raises UnknownName for a role, key, graph, node or tool that there is not.

    The tool's server is started for it, for at most `patience` seconds; None: it is not, and the tool taken as it is
    named.
    """
    caller = _build_caller(snapshot, question)
    tool, notes = await _find_tool(snapshot, question.tool, patience, waiting)
    graph, node = _choose_node(snapshot, caller, question, str(tool))
    facts = CallFacts(
        call_id="",
        tool=tool,
        args=question.args,
        graph=graph,
        node=node,
        rounds=question.rounds,
        calls=question.calls,
        now=question.now,
    )
    policy = snapshot.policy
    values, evaluator = build_values(caller, facts), Evaluator()
    try:
        rulings = await evaluator.resolve(lambda: explain_roles(policy, caller, facts, values), values)
    finally:
        await evaluator.close()
    hindrance = find_hindrance(snapshot, caller, facts)
    unable = [role for role in caller.roles if not policy.may_role_see_tool(role, tool.server, tool.name)]
    never = f"there are no arguments with which role {unable[0]} could call it, or ask to" if unable else None
    return Explanation(
        caller=caller,
        facts=facts,
        verdict=Verdict(decision="deny", rule=hindrance)
        if hindrance is not None
        else combine_verdicts([ruling.verdict for ruling in rulings]),
        rulings=rulings,
        hidden=hindrance or never,
        notes=notes,
    )


def explain_roles(
    policy: Policy, caller: Caller, facts: CallFacts, values: PreparedValues | None = None
) -> tuple[RoleRuling, ...]:
    """Explain what each of the caller's roles decides, and each rule's part in it."""
    # Each condition is tried once for all: what it asks of the world may change between two questions.
    values = build_values(caller, facts) if values is None else values
    rulings: list[RoleRuling] = []
    for role in caller.roles:
        verdict = policy.decide_as(role, caller, facts, values=values)
        trials: list[Trial] = []
        for rule in policy.list_rules(role):
            if matches(rule.pattern, str(facts.tool)):
                outcome, words = _classify_rule(rule, verdict, *try_rule(rule, values))
            else:
                outcome, words = "no match", f"its pattern does not match {facts.tool}"
            way = _find_include_path(policy, role, rule.role)
            trials.append(Trial(rule=rule, include_path=way, outcome=outcome, reason=words))
        rulings.append(RoleRuling(role=role, verdict=verdict, trials=tuple(trials)))
    return tuple(rulings)


def _classify_rule(rule: Rule, verdict: Verdict, met: bool | None, why: str) -> tuple[TrialOutcome, str]:
    """Classify a rule whose pattern matches."""
    condition = rule.when.text if rule.when is not None else ""
    if met is False:
        return "not met", f"its condition is false: {condition}"
    if met is None and rule.decision == "allow":
        return (
            "not evaluated",
            f"its condition could not be evaluated, and so lets nothing through: {condition} ({why})",
        )
    holds = (
        f"its condition could not be evaluated, and so holds: {condition} ({why})"
        if met is None
        else f"its condition is true: {condition}"
        if condition
        else "it has no condition"
    )
    if rule is verdict.source_rule:
        return "decides", f"decides: {holds}"
    return "outranked", f"{holds}; but {_explain_outranked(rule, verdict)}"


def _explain_outranked(rule: Rule, verdict: Verdict) -> str:
    by = verdict.source_rule
    if by is None:  # cannot be: what holds decides, or is outranked
        return verdict.rule
    if by.decision != rule.decision:
        return f"{by.decision} stands over {rule.decision}"
    if by.approver is not None and rule.approver is None:
        return "a question with an approver of its own stands over one without"
    return "another one of its kind came first"


def _find_include_path(policy: Policy, role: str, to: str) -> tuple[str, ...]:
    """Find the shortest path of includes."""
    ways = [(role,)]
    while ways:
        way = ways.pop(0)
        if way[-1] == to:
            return way
        ways += [(*way, other) for other in policy.get_role(way[-1]).include if other not in way]
    return (role, to)


def _build_caller(snapshot: Snapshot, question: Question) -> Caller:
    roles = snapshot.policy.roles
    for name in (question.role, question.narrowed_by):
        if name is not None and name not in roles:
            raise build_unknown_name("role", name, roles)
    if question.key is None:
        if question.role is None:
            raise UnknownName("say for whom: --role or --key")
        role, key = question.role, ""
    else:
        key = question.key
        spec = next((spec for spec in snapshot.keys if spec.name == key), None)
        if spec is None and question.role is None:
            raise build_unknown_name("key", key, (spec.name for spec in snapshot.keys))
        if spec is not None and question.role not in (None, spec.role):
            raise UnknownName(f"the key {key!r} stands for the role {spec.role!r}, not for {question.role!r}")
        if spec is not None and question.narrowed_by is not None and not spec.forwards_users:
            raise UnknownName(
                f"the key {key!r} does not say `forwards_users: true`, so no person's role narrows its rights"
            )
        # A key that access.yaml does not list, but a role: one of LiteLLM's, say.
        role = spec.role if spec is not None else question.role or ""
    user = question.user if question.user is not None else key
    return Caller(user=user, email=question.email, role=role, key=key, narrowed_by=question.narrowed_by)


async def _find_tool(
    snapshot: Snapshot, name: str, patience: float | None, waiting: Waiting | None
) -> tuple[ToolFacts, tuple[str, ...]]:
    server, slash, tool = name.partition("/")
    if not slash or not server or not tool or set("*?") & set(name):
        raise UnknownName(f"{name!r} is no tool; tools are written server/tool, such as filesystem/read_file")
    configured = list(snapshot.server_positions)
    if server in snapshot.servers and not snapshot.servers[server].offers_tool(tool):
        raise UnknownName(
            f"there is no tool {name!r}: 'include' or 'exclude' of {server} in servers.yaml leaves it out"
        )
    found = (
        await build_catalog(snapshot, servers=[server], patience=patience, waiting=waiting)
        if server in configured
        else None
    )
    known = {str(one): one for one in found.tools} if found is not None else {}
    if name in known and (found is None or not found.unavailable):
        return known[name], ()
    if found is None:
        named = (await build_catalog(snapshot, patience=None)).tools
        if ToolFacts(server, tool) not in named:
            raise build_unknown_name("server", server, configured)
        return ToolFacts(server, tool), (f"{server} is in rules, but not in servers.yaml: nobody can call {name} yet",)
    if not found.unavailable:
        raise build_unknown_name("tool", name, known)
    notes = tuple(
        f"{away}: {words}; whether it has a tool {tool!r} is not known" for away, words in found.unavailable.items()
    )
    trusted = server in snapshot.servers and snapshot.servers[server].trusted
    return known.get(name, ToolFacts(server, tool, trusted=trusted)), notes


def _choose_node(snapshot: Snapshot, caller: Caller, question: Question, tool: str) -> tuple[str, str]:
    """Choose the graph and the model node: those asked about, or else the first from which the caller could call the
    tool."""
    if question.graph is not None and question.graph not in snapshot.graphs:
        raise build_unknown_name("graph", question.graph, snapshot.graphs)

    default = snapshot.gateway.default_graph
    graphs = [question.graph] if question.graph is not None else [default, *snapshot.graphs]
    places = [
        (
            graph,
            name,
            matches_any([*node.locate_tool_patterns().values()], tool) and snapshot.policy.may_use_graph(caller, graph),
        )
        for graph in graphs
        for name, node in snapshot.graphs[graph].nodes.items()
        if node.role in MODEL_ROLES and question.node in (None, name)
    ]
    if not places:
        nodes = [
            name
            for graph in dict.fromkeys(graphs)
            for name, node in snapshot.graphs[graph].nodes.items()
            if node.role in MODEL_ROLES
        ]
        where = f" in graph {question.graph!r}" if question.graph is not None else ""
        if question.node is not None:
            raise build_unknown_name(f"model node{where}", question.node, nodes)
        return graphs[0], ""
    graph, node, _ = next((place for place in places if place[2]), places[0])
    return graph, node


def find_hindrance(snapshot: Snapshot, caller: Caller, facts: CallFacts) -> str | None:
    """Find why the rules are never asked; None where they are."""
    policy = snapshot.policy
    for role in caller.roles:
        if not policy.may_role_use_graph(role, facts.graph):
            return f"role {role} may not use the graph {facts.graph!r} (its `graphs`, {policy.get_role(role).where})"
    node = snapshot.graphs[facts.graph].nodes.get(facts.node)
    if node is None or not matches_any([*node.locate_tool_patterns().values()], str(facts.tool)):
        return f"node {facts.node!r} of graph {facts.graph!r} may not use {facts.tool} (its `tools`)"
    return None
