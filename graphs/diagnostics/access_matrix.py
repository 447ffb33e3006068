"""The access matrix: for each role and tool the decision, or what it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from graphs.config.loader import Snapshot
from graphs.diagnostics.tool_catalog import ToolCatalog, build_catalog, build_unknown_name
from graphs.diagnostics.waiting import Waiting
from graphs.expressions import PreparedValues
from graphs.policy.caller import build_values_before_call, depends_on_call
from graphs.policy.patterns import matches
from graphs.policy.rules import Decision, Policy, Rule, ToolFacts, Verdict, build_verdict, combine_verdicts, try_rule

_ORDER: tuple[Decision, ...] = ("allow", "ask", "deny")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A rule that may decide about a tool."""

    rule: Rule
    source_role: str
    """The role that brings it: the rule's own, or one that includes that."""
    always: bool
    """Whether it holds whatever the call is like."""


@dataclass(frozen=True, kw_only=True)
class AccessCell:
    """What one role, or two together, may do with one tool."""

    role: str
    narrowed_by: str | None
    """The role of the person for whom the caller asks, where it narrows what the caller may do."""
    tool: str
    decision: Literal["allow", "ask", "deny", "depends"]
    """`depends`: on the call, by the conditions of the candidates."""
    possible_decisions: tuple[Decision, ...]
    """Every decision that there can be."""
    rule: str
    """Which rules decide, in words."""
    candidates: tuple[Candidate, ...]
    """The rules that may decide, for each role in the order in which they do: the first that holds."""
    has_default_deny: bool
    """Whether it may come to what holds where no rule says anything, a denial."""


@dataclass(frozen=True, kw_only=True)
class AccessMatrix:
    """The whole matrix, ordered by role and tool."""

    cells: tuple[AccessCell, ...]
    catalog: ToolCatalog
    idle_roles: tuple[str, ...]
    """Roles that may use no graph: whatever their rules allow, there is nothing in which they could call it."""


async def build_access_matrix(
    snapshot: Snapshot,
    *,
    roles: Sequence[str] = (),
    narrowed_by: str | None = None,
    servers: Sequence[str] = (),
    tools: Sequence[str] = (),
    patience: float | None,
    waiting: Waiting | None = None,
) -> AccessMatrix:
    """Build the matrix of these roles (none: all) and of the tools that the patterns select, as for `build_catalog`.

    Raises UnknownName for a role that there is not, and for patterns that can match nothing.
    """
    policy = snapshot.policy
    for name in (*roles, *([] if narrowed_by is None else [narrowed_by])):
        if name not in policy.roles:
            raise build_unknown_name("role", name, policy.roles)
    found = await build_catalog(snapshot, servers=servers, tools=tools, patience=patience, waiting=waiting)
    # In the order of the file, whatever the order of the question.
    chosen = [name for name in policy.roles if not roles or name in roles]
    cells = tuple(build_cell(policy, role, narrowed_by, tool) for role in chosen for tool in found.tools)
    idle = tuple(
        role for role in chosen if not any(policy.may_role_use_graph(role, graph) for graph in snapshot.graphs)
    )
    return AccessMatrix(cells=cells, catalog=found, idle_roles=idle)


def build_cell(policy: Policy, role: str, narrowed_by: str | None, tool: ToolFacts) -> AccessCell:
    """Decide what the role may do with the tool, by what is known before the call: the tool, and the caller's role."""
    names = (role,) if narrowed_by in (None, role) else (role, narrowed_by)
    known = build_values_before_call(role, tool)
    found = {name: tuple(_find_candidates(policy, name, tool, known)) for name in names}
    ends = [
        combine_verdicts([end.verdict for end in each])
        for each in product(*(_list_branches(policy, name, candidates) for name, candidates in found.items()))
        if _is_possible(each)
    ]
    may = tuple[Decision, ...](decision for decision in _ORDER if any(end.decision == decision for end in ends))
    return AccessCell(
        role=role,
        narrowed_by=narrowed_by,
        tool=str(tool),
        decision=may[0] if len(may) == 1 else "depends",
        possible_decisions=may,
        rule=ends[0].rule if len(ends) == 1 else _describe_rules(policy, found),
        candidates=tuple(candidate for candidates in found.values() for candidate in candidates),
        has_default_deny=any(not _is_decided(candidates) for candidates in found.values()),
    )


def _find_candidates(policy: Policy, role: str, tool: ToolFacts, known: PreparedValues) -> Iterator[Candidate]:
    for rule in policy.list_rules(role):
        if not matches(rule.pattern, str(tool)):
            continue
        # What is not known fails, and what is true or false all the same does not depend on it.
        met, _ = try_rule(rule, known)
        if met is None and rule.when is not None and not depends_on_call(rule.when):
            met = rule.decision != "allow"  # it cannot be evaluated at the call either: closed
        if met is not False:
            yield Candidate(rule=rule, source_role=role, always=met is True)
        if met is True:
            return


def _is_decided(candidates: Iterable[Candidate]) -> bool:
    return any(candidate.always for candidate in candidates)


@dataclass(frozen=True)
class _Branch:
    """One possible decision, and which rules' conditions are true and false then."""

    verdict: Verdict
    true: frozenset[Rule]
    false: frozenset[Rule]


def _list_branches(policy: Policy, role: str, candidates: Sequence[Candidate]) -> list[_Branch]:
    rules = [candidate.rule for candidate in candidates]
    said = [
        _Branch(build_verdict(rule), true=frozenset([rule]), false=frozenset(rules[:at]))
        for at, rule in enumerate(rules)
    ]
    if _is_decided(candidates):
        return said
    return [*said, _Branch(policy.build_default_verdict(role), true=frozenset(), false=frozenset(rules))]


def _is_possible(ends: Iterable[_Branch]) -> bool:
    """Whether all branches can hold at once: two roles may include the same rules."""
    true = frozenset[Rule]().union(*(end.true for end in ends))
    return all(true.isdisjoint(end.false) for end in ends)


def _describe_rules(policy: Policy, found: Mapping[str, Sequence[Candidate]]) -> str:
    parts: list[str] = []
    for role, candidates in found.items():
        said = [
            str(one.rule) if one.rule.when is None or one.always else f"{one.rule} when {one.rule.when.text}"
            for one in candidates
        ]
        if not _is_decided(candidates):
            said.append(
                f"otherwise deny: {policy.build_default_verdict(role).rule}"
                if said
                else policy.build_default_verdict(role).rule
            )
        parts.append("; ".join(said))
    return "; and ".join(parts)
