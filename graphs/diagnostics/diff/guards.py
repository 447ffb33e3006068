"""Changes of what stands before tools: nodes that every path to a tool went through, and no longer does."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from graphs.config.compile_graph import GraphPlan
from graphs.config.spec.graph import NodeSpec
from graphs.diagnostics.diff.changes import Change

_ASKING = "question"
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
            if old.spec.nodes[each].type == _ASKING and each not in now:
                yield _build_change(subject, new, name, f"a path leads to node {name} past question {each}")


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
        if (node.role == "gate" or node.type == _ASKING) and name != goal and not _can_reach(plan, goal, past=name)
    ]


def _can_reach(plan: GraphPlan, goal: str, *, past: str) -> bool:
    """Whether a path leads from the start to a node without another."""
    found = {past}
    waiting = [plan.spec.start]
    while waiting:
        if (name := waiting.pop()) in found or name not in plan.spec.nodes:
            continue
        if name == goal:
            return True
        found.add(name)
        waiting += [branch.to for branch in plan.branches[name]]
        if (way := plan.error_ways.get(name)) is not None:
            waiting.append(way.to)
    return False
