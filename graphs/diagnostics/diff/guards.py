"""Changes of what stands before tools: nodes that every path to a tool went through, and no longer does."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from graphs.config.graph_plan import GraphPlan
from graphs.config.spec.node import NodeSpec
from graphs.diagnostics.diff.changes import Change
from graphs.diagnostics.diff.ways import list_ways

ASKING = "question"
"""The node type that asks a person: what comes behind it may rely on the answer."""


def compare_guards(subject: str, old: GraphPlan, new: GraphPlan) -> Iterator[Change]:
    """Find the nodes that run tools, and to which a path leads now past what stood before them.

    An agent decides each of its calls itself, and what takes its place is no less guarded; a permission node is as good
    as another.
    """
    for name, node in new.spec.nodes.items():
        if not _uses_tools(node) or name not in old.spec.nodes or not _uses_tools(old.spec.nodes[name]):
            continue
        before, now = _list_guards(old, name), _list_guards(new, name)
        if node.role == "executor" and _has_gate(old, before) and not _has_gate(new, now):
            gates = ", ".join(each for each in before if old.spec.nodes[each].role == "gate")
            yield _build_change(subject, new, name, f"a path leads to node {name} past permission node {gates}")
        for each in before:
            if old.spec.nodes[each].type == ASKING and each not in now:
                yield _build_change(subject, new, name, f"a path leads to node {name} past question {each}")


def compare_answers(subject: str, old: GraphPlan, new: GraphPlan) -> Iterator[Change]:
    """Find the answers to questions that lead to a tool now to which they did not."""
    for name, node in new.spec.nodes.items():
        if node.type != ASKING or name not in old.spec.nodes or old.spec.nodes[name].type != ASKING:
            continue
        before = list_ways(old, name)
        for way in list_ways(new, name):
            # A way that fewer conditions stand before is taken for answers for which it was not.
            same = [each for each in before if each.label == way.label and each.before <= way.before]
            reached = _find_reachable(old, same[0].to, past=name) if same else set[str]()
            behind = _find_reachable(new, way.to, past=name) - reached
            for tool in [each for each in new.spec.nodes if each in behind and each in old.spec.nodes]:
                if _uses_tools(new.spec.nodes[tool]) and _uses_tools(old.spec.nodes[tool]):
                    label = way.label or "where no way before it is taken"
                    text = f"question {name} leads to node {tool} {label}, as it did not"
                    yield Change(subject=subject, mark="changed", text=text, position=way.where, widens_rights=True)


def _build_change(subject: str, plan: GraphPlan, name: str, text: str) -> Change:
    where = plan.branches[name][0].where
    return Change(subject=subject, mark="changed", text=text, position=where, widens_rights=True)


def _uses_tools(node: NodeSpec) -> bool:
    return node.role == "executor" or bool(node.locate_tool_patterns())


def _has_gate(plan: GraphPlan, names: Collection[str]) -> bool:
    return any(plan.spec.nodes[name].role == "gate" for name in names)


def _list_guards(plan: GraphPlan, goal: str) -> list[str]:
    """List the gates and questions that every path from the start to a node goes through."""
    return [
        name
        for name, node in plan.spec.nodes.items()
        if (node.role == "gate" or node.type == ASKING) and name != goal and not _can_reach(plan, goal, past=name)
    ]


def _can_reach(plan: GraphPlan, goal: str, *, past: str) -> bool:
    """Whether a path leads from the start to a node without another."""
    return goal in _find_reachable(plan, plan.spec.start, past=past)


def _find_reachable(plan: GraphPlan, start: str, *, past: str) -> set[str]:
    """Find the nodes to which paths lead from one without another."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found or name == past or name not in plan.spec.nodes:
            continue
        found.add(name)
        waiting += [way.to for way in list_ways(plan, name)]
    return found
