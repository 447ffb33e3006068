"""Compute the worst case of one turn: how many model calls and tool calls a graph can make at most.

A turn is a walk along the ways of the graph. Once it has left a circle it never comes back to it, so its cost is that
of a path over circles and single nodes. Inside a circle, the ways that ask for `visits < N` cut the walk into pieces;
where a piece can still go round, the limits of the graph alone end it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from graphlib import CycleError, TopologicalSorter

from graphs.config.graph_plan import GraphPlan
from graphs.config.spec.node import MODEL_ROLES, NodeSpec

_MOST_COSTS = 32
"""Costs that are followed side by side; more are joined into one that is above all of them."""


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The most that one turn of a graph can do."""

    model_calls: int
    """Visits of nodes that ask a model, and rounds of agents, those that fail too. The attempts that `retry` adds,
    the models of `fallback`, and the second request after an answer that does not fit, are part of the same call."""
    tool_calls: int
    """Tool calls that run."""
    limits: Sequence[str]
    """The limits of the graph without which it would be more, in words; and that of tokens, which ends a turn no later:
    how many calls it leaves room for, nobody can know."""

    def __str__(self) -> str:
        first = "at most " if self.model_calls else ""
        second = "at most " if self.tool_calls and not self.model_calls else ""
        models, tools = _count(self.model_calls, "model call"), _count(self.tool_calls, "tool call")
        counts = f"{first}{models} and {second}{tools} in a turn"
        return f"{counts} (limits: {', '.join(self.limits)})" if self.limits else counts


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def compute_worst_case(plan: GraphPlan) -> WorstCase:
    """Compute the worst case of a graph without mistakes."""
    walks = _Walks(plan)
    costs = walks.measure()
    limits = plan.spec.limits
    last_answers = walks.count_last_answers()
    rounds = limits.rounds + last_answers
    model_calls = max(min(cost.calls, rounds + cost.failures) for cost in costs)
    tool_calls = min(max(cost.tools for cost in costs), limits.tool_calls)
    cuts: list[str] = []
    if any(cost.calls > model_calls for cost in costs):
        last = f" and {_count(last_answers, 'last answer')}".replace(" 1 ", " a ") if last_answers else ""
        cuts.append(_count(limits.rounds, "round") + last)
    if any(cost.tools > tool_calls for cost in costs):
        cuts.append(_count(limits.tool_calls, "tool call"))
    if limits.tokens is not None and model_calls:
        cuts.append(f"{limits.tokens:,} token{'s' * (limits.tokens != 1)}")
    return WorstCase(model_calls=int(model_calls), tool_calls=int(tool_calls), limits=cuts)


@dataclass(frozen=True, slots=True)
class _Cost:
    """The cost of a part of a walk; infinite where the graph itself sets no bound."""

    calls: float = 0
    failures: float = 0
    """The model calls among them that failed and led on: they use up no round."""
    tools: float = 0

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(self.calls + other.calls, self.failures + other.failures, self.tools + other.tools)

    def multiply(self, times: int) -> _Cost:
        """Return the cost of so many such parts."""
        # Not for none of them: nothing times infinity is no number.
        return _Cost(self.calls * times, self.failures * times, self.tools * times) if times else _Cost()

    def is_within(self, other: _Cost) -> bool:
        """Whether nothing of it is more than there."""
        return self.calls <= other.calls and self.failures <= other.failures and self.tools <= other.tools


def _join(costs: Iterable[_Cost]) -> _Cost:
    """Return the most of each kind."""
    found = [_Cost(), *costs]
    return _Cost(
        max(cost.calls for cost in found), max(cost.failures for cost in found), max(cost.tools for cost in found)
    )


def _drop_lesser(costs: Iterable[_Cost]) -> Sequence[_Cost]:
    """Drop the costs that are within another."""
    found: list[_Cost] = []
    for cost in costs:
        if not any(cost.is_within(other) for other in found):
            found = [other for other in found if not other.is_within(cost)] + [cost]
    return found if len(found) <= _MOST_COSTS else [_join(found)]


def _measure_node(node: NodeSpec) -> _Cost:
    # An agent that has no tools goes round too: its model may call what it was not shown, and is refused.
    tools = node.find_most_tool_calls()
    return _Cost(calls=node.find_most_model_calls(), tools=math.inf if tools is None else tools)


@dataclass(frozen=True, slots=True)
class _Edge:
    to: str
    most: int | None
    """How often it can be taken in a turn; None: no condition of it says."""
    cost: _Cost
    ends_round: bool
    """Whether it is taken after a model's answer, and so at most as often as there are rounds."""


class _Walks:
    """Measures the walks through one graph."""

    def __init__(self, plan: GraphPlan) -> None:
        self._plan = plan
        self._nodes = plan.spec.nodes
        self._edges = {name: self._list_edges(name) for name in self._nodes}
        self._visits = {name: self._measure_visit(name) for name in self._nodes}

    def count_last_answers(self) -> int:
        """Count the answers that models may give when the rounds are used up: at the one node where that happens."""
        width = self._plan.spec.limits.width
        most = [self._count_own_last_answers(name) for name in self._nodes]
        for name, node in self._nodes.items():
            inner = [self._count_own_last_answers(f"{name}.{path[-1]}") for path in node.list_inner_nodes()]
            most.append(sum(inner) * node.find_most_tasks(width))
        return max(most)

    def _count_own_last_answers(self, name: str) -> int:
        """An agent gives one, and one more where it is asked for a value; a model that fills a variable gives none."""
        node = self._plan.nodes[name]
        into = node.locate_outputs().get(("into",))
        if node.role == "agent":
            variable = self._plan.find_output(into) if into is not None else None
            return 1 + (variable is not None and not variable.type.is_plain_text)
        return int(node.role in MODEL_ROLES and into is None)

    def measure(self) -> Sequence[_Cost]:
        """Measure the walks from the start: the costs of which none is within another."""
        circles = self._find_circles()
        following = {
            circle: {circles[edge.to] for name in circle for edge in self._edges[name] if edge.to in circles} - {circle}
            for circle in circles.values()
        }
        known: dict[str, Sequence[_Cost]] = {}
        for circle in TopologicalSorter(following).static_order():
            behind = [
                edge.cost + rest
                for name in circle
                for edge in self._edges[name]
                if edge.to in known
                for rest in known[edge.to]
            ]
            inside = self._measure_circle(circle)
            known |= {name: _drop_lesser([cost, *(cost + rest for rest in behind)]) for name, cost in inside.items()}
        return known[self._plan.spec.start]

    def _list_edges(self, name: str) -> list[_Edge]:
        is_model = self._nodes[name].role in MODEL_ROLES
        found: list[_Edge] = []
        if (way := self._plan.error_ways.get(name)) is not None:
            found.append(_Edge(way.to, None, _Cost(failures=int(is_model)), ends_round=False))
        for branch in self._plan.branches[name]:
            most = branch.when.most_times if branch.when is not None else None
            found.append(_Edge(branch.to, most, _Cost(), ends_round=is_model))
            if not branch.is_conditional:
                break  # none behind it is ever taken
        return found

    def _measure_visit(self, name: str) -> _Cost:
        node = self._nodes[name]
        if name in self._plan.subgraphs:
            return self._measure_subgraph(name)
        inner = node.list_inner_nodes().values()
        if not inner:
            return _measure_node(node)
        names = [each for each in self._plan.nodes if each.startswith(f"{name}.")]
        once = reduce(_Cost.__add__, map(self._measure_inner, names))
        return once.multiply(node.find_most_tasks(self._plan.spec.limits.width))

    def _measure_inner(self, name: str) -> _Cost:
        """Return the most that one run of a node inside another can do. What fails of it may be left out."""
        if name in self._plan.subgraphs:
            return self._measure_subgraph(name)
        node = self._plan.nodes[name]
        return replace(_measure_node(node), failures=node.role in MODEL_ROLES)

    def _measure_subgraph(self, name: str) -> _Cost:
        """Return the most that the graph can do which a node runs."""
        most = compute_worst_case(self._plan.subgraphs[name])
        return _Cost(calls=most.model_calls, failures=most.model_calls, tools=most.tool_calls)

    def _find_circles(self) -> Mapping[str, frozenset[str]]:
        """Find for each node those that lie on a circle with it, itself included."""
        behind = {name: self._find_reachable(name) for name in self._nodes}
        return {
            name: frozenset(other for other in reached if name in behind[other]) for name, reached in behind.items()
        }

    def _find_reachable(self, name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            if (here := waiting.pop()) not in found:
                found.add(here)
                waiting += [edge.to for edge in self._edges[here] if edge.to in self._nodes]
        return found

    def _measure_circle(self, circle: Collection[str]) -> Mapping[str, _Cost]:
        """Measure the walks inside a circle, by the node at which they enter it."""
        inside = [(name, edge) for name in circle for edge in self._edges[name] if edge.to in circle]
        paths = self._measure_paths(circle, self._visits, lambda edge: edge.most is None)
        if paths is None:
            tools = math.inf if any(self._visits[name].tools for name in circle) else 0
            cost = _Cost(math.inf, self._count_failures(circle, [edge for _, edge in inside]), tools)
            return dict.fromkeys(circle, cost)
        # Each time that a bounded way is taken, one more path begins where it leads.
        again = reduce(
            _Cost.__add__,
            ((edge.cost + paths[edge.to]).multiply(edge.most) for _, edge in inside if edge.most is not None),
            _Cost(),
        )
        return {name: cost + again for name, cost in paths.items()}

    def _count_failures(self, circle: Collection[str], edges: Sequence[_Edge]) -> float:
        """Count the model calls that may fail and lead on in a circle that only the limit of rounds ends."""
        # Those that failed inside a node are no ways of it.
        visits = {name: _Cost(failures=self._visits[name].failures) for name in circle}
        paths = self._measure_paths(circle, visits, lambda edge: edge.most is None and not edge.ends_round)
        if paths is None:
            return math.inf  # no graph without mistakes is such
        bounded = sum(edge.most for edge in edges if edge.most is not None and not edge.ends_round)
        return (1 + self._plan.spec.limits.rounds + bounded) * _join(paths.values()).failures

    def _measure_paths(
        self, circle: Collection[str], visits: Mapping[str, _Cost], may_take: Callable[[_Edge], bool]
    ) -> Mapping[str, _Cost] | None:
        """Measure the paths inside a circle by their first node; None where one can go round."""
        taken = {name: [edge for edge in self._edges[name] if edge.to in circle and may_take(edge)] for name in circle}
        found: dict[str, _Cost] = {}
        try:
            order = [
                *TopologicalSorter({name: [edge.to for edge in edges] for name, edges in taken.items()}).static_order()
            ]
        except CycleError:
            return None
        for name in order:
            found[name] = visits[name] + _join(edge.cost + found[edge.to] for edge in taken[name])
        return found
