"""Who may do what before anything is called: for each role and tool the decision, or what it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from graphs.config.loader import Snapshot
from graphs.diagnostics.tool_catalog import Inventory, inventory, no_such
from graphs.expressions import Prepared
from graphs.policy.caller import depends_on_call, known_before
from graphs.policy.patterns import matches
from graphs.policy.rules import Decision, Policy, Rule, ToolFacts, Verdict, together, try_rule, verdict_of

_ORDER: tuple[Decision, ...] = ("allow", "ask", "deny")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A rule that may decide about a tool."""

    rule: Rule
    of: str
    """The role that brings it: the rule's own, or one that includes that."""
    always: bool
    """Whether it holds whatever the call is like."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one role, or two together, may do with one tool."""

    role: str
    narrowed_by: str | None
    """The role of the person for whom the caller asks, where it narrows what the caller may do."""
    tool: str
    decision: Literal["allow", "ask", "deny", "depends"]
    """`depends`: on the call, by the conditions of the candidates."""
    may: tuple[Decision, ...]
    """Every decision that there can be."""
    rule: str
    """Which rules decide, in words."""
    candidates: tuple[Candidate, ...]
    """The rules that may decide, for each role in the order in which they do: the first that holds."""
    otherwise: bool
    """Whether it may come to what holds where no rule says anything, a denial."""


@dataclass(frozen=True, kw_only=True)
class RightsTable:
    """The whole matrix, ordered by role and tool."""

    cells: tuple[Cell, ...]
    inventory: Inventory
    idle: tuple[str, ...]
    """Roles that may use no graph: whatever their rules allow, there is nothing in which they could call it."""


async def rights_table(
    snapshot: Snapshot,
    *,
    roles: Sequence[str] = (),
    narrowed_by: str | None = None,
    servers: Sequence[str] = (),
    tools: Sequence[str] = (),
    patience: float | None,
) -> RightsTable:
    """The matrix of these roles (none: all) and of the tools that the patterns are about; `inventory` says how.

    Raises NoSuch for a role that there is not, and for patterns that can match nothing.
    """
    policy = snapshot.policy
    for name in (*roles, *([] if narrowed_by is None else [narrowed_by])):
        if name not in policy.roles:
            raise no_such("role", name, policy.roles)
    found = await inventory(snapshot, servers=servers, tools=tools, patience=patience)
    # In the order of the file, whatever the order of the question.
    chosen = [name for name in policy.roles if not roles or name in roles]
    cells = tuple(cell(policy, role, narrowed_by, tool) for role in chosen for tool in found.tools)
    idle = tuple(role for role in chosen if not any(policy.graph_allowed(role, graph) for graph in snapshot.graphs))
    return RightsTable(cells=cells, inventory=found, idle=idle)


def cell(policy: Policy, role: str, narrowed_by: str | None, tool: ToolFacts) -> Cell:
    """What the role may do with the tool, for all that is known before the call: the tool, and the caller's role."""
    names = (role,) if narrowed_by in (None, role) else (role, narrowed_by)
    known = known_before(role, tool)
    found = {name: tuple(_candidates(policy, name, tool, known)) for name in names}
    ends = [
        together([end.verdict for end in each])
        for each in product(*(_ends(policy, name, candidates) for name, candidates in found.items()))
        if _possible(each)
    ]
    may = tuple[Decision, ...](decision for decision in _ORDER if any(end.decision == decision for end in ends))
    return Cell(
        role=role,
        narrowed_by=narrowed_by,
        tool=str(tool),
        decision=may[0] if len(may) == 1 else "depends",
        may=may,
        rule=ends[0].rule if len(ends) == 1 else _words(policy, found),
        candidates=tuple(candidate for candidates in found.values() for candidate in candidates),
        otherwise=any(not _settled(candidates) for candidates in found.values()),
    )


def _candidates(policy: Policy, role: str, tool: ToolFacts, known: Prepared) -> Iterator[Candidate]:
    for rule in policy.rules(role):
        if not matches(rule.pattern, str(tool)):
            continue
        # What is not known fails, and what is true or false all the same does not depend on it.
        met, _ = try_rule(rule, known)
        if met is None and rule.when is not None and not depends_on_call(rule.when):
            met = rule.decision != "allow"  # it cannot be evaluated at the call either: closed
        if met is not False:
            yield Candidate(rule=rule, of=role, always=met is True)
        if met is True:
            return


def _settled(candidates: Iterable[Candidate]) -> bool:
    return any(candidate.always for candidate in candidates)


@dataclass(frozen=True)
class _End:
    """One thing that a role may come to, and the conditions of which rules are true and false then."""

    verdict: Verdict
    true: frozenset[Rule]
    false: frozenset[Rule]


def _ends(policy: Policy, role: str, candidates: Sequence[Candidate]) -> list[_End]:
    rules = [candidate.rule for candidate in candidates]
    said = [
        _End(verdict_of(rule), true=frozenset([rule]), false=frozenset(rules[:at])) for at, rule in enumerate(rules)
    ]
    if _settled(candidates):
        return said
    return [*said, _End(policy.silence(role), true=frozenset(), false=frozenset(rules))]


def _possible(ends: Iterable[_End]) -> bool:
    """Whether all may be so at once: two roles may include the same rules."""
    true = frozenset[Rule]().union(*(end.true for end in ends))
    return all(true.isdisjoint(end.false) for end in ends)


def _words(policy: Policy, found: Mapping[str, Sequence[Candidate]]) -> str:
    parts: list[str] = []
    for role, candidates in found.items():
        said = [
            str(one.rule) if one.rule.when is None or one.always else f"{one.rule} when {one.rule.when.text}"
            for one in candidates
        ]
        if not _settled(candidates):
            said.append(f"otherwise deny: {policy.silence(role).rule}" if said else policy.silence(role).rule)
        parts.append("; ".join(said))
    return "; and ".join(parts)
