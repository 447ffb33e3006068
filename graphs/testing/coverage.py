"""The ways of graphs that cases took, and those that none did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from graphs.config.graph_plan import Branch, GraphPlan
from graphs.telemetry.path import ERROR_WAY
from graphs.testing.case_run import CaseRun


@dataclass(frozen=True, kw_only=True)
class GraphWay:
    """One way on from a node."""

    graph: str
    node: str
    at: int
    """Its place among those of the node."""
    to: str
    when: str | None
    """Its condition; None: there is none."""
    value: str | None
    """The value of the node's variable for which it is taken; None: it does not depend on one."""
    where: str
    """`graphs/assistant.yaml:8:12`."""

    def __str__(self) -> str:
        condition = f", when {self.when}" if self.when is not None else ""
        value = f", for {self.value}" if self.value is not None else ", when it fails" if self.at == ERROR_WAY else ""
        return f"{self.where}: {self.node} → {self.to}{condition}{value}"


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The ways of one graph."""

    graph: str
    has_cases: bool
    ways: Sequence[GraphWay]
    missed: Sequence[GraphWay]
    """Those that no case took."""


def compute_coverage(plans: Mapping[str, GraphPlan], runs: Sequence[CaseRun]) -> list[Coverage]:
    """Compute what the runs took of these graphs."""
    taken = {entry for run in runs for entry in run.path.branches}
    steps = {(run.case.graph, *pair) for run in runs for pair in pairwise(run.route)}
    found: list[Coverage] = []
    for graph, plan in plans.items():
        ways = list_ways(plan)
        alone = {
            node for node, branches in plan.branches.items() if [each.is_conditional for each in branches] == [False]
        }
        missed = [
            way
            for way in ways
            if (graph, way.node, way.at) not in taken
            # Nothing is chosen where there is but one way, so the step itself shows it.
            and not (way.node in alone and (graph, way.node, way.to) in steps)
        ]
        tested = any(run.case.graph == graph for run in runs)
        found.append(Coverage(graph=graph, has_cases=tested, ways=ways, missed=missed))
    return found


def compute_share(found: Iterable[Coverage]) -> float:
    """Compute how many of the ways were taken, in per cent."""
    entries = list(found)
    total = sum(len(entry.ways) for entry in entries)
    return 100.0 if not total else 100.0 * (total - sum(len(entry.missed) for entry in entries)) / total


def list_ways(plan: GraphPlan) -> list[GraphWay]:
    """List every way of a graph, in the order of the file; that of a failure comes first."""
    found: list[GraphWay] = []
    for node, branches in plan.branches.items():
        if (way := plan.error_ways.get(node)) is not None:
            found.append(build_way(plan.id, node, ERROR_WAY, way))
        found += [build_way(plan.id, node, at, branch) for at, branch in enumerate(branches)]
    return found


def build_way(graph: str, node: str, at: int, branch: Branch) -> GraphWay:
    """Build one way of a graph."""
    return GraphWay(
        graph=graph,
        node=node,
        at=at,
        to=branch.to,
        when=branch.when.text if branch.when is not None else None,
        value=branch.value,
        where=branch.where,
    )
