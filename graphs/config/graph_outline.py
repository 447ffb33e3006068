"""Outline a graph for the checks of its shape, also where its file cannot be read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from graphs.config.graph_checks import EdgeOutline, GraphOutline, NodeOutline
from graphs.config.graph_plan import Branch, GraphPlan
from graphs.config.source import Path, Source, find_value
from graphs.config.spec.node import BranchSpec
from graphs.policy import patterns


def build_outline(
    plan: GraphPlan, source: Source, original: Source, names: Sequence[str], *, has_variables: bool
) -> GraphOutline:
    """Build the outline of a graph: of what `plan` has by its page, of the other nodes in `names` by what can be read
    of them. `original` is the whole file, `source` what of it is right."""
    start = original.find_value(("start",))
    nodes = {name: _build_node_outline(name, plan, source, original, has_variables=has_variables) for name in names}
    return GraphOutline(start if isinstance(start, str) else "", nodes)


def _build_node_outline(
    name: str, plan: GraphPlan, source: Source, original: Source, *, has_variables: bool
) -> NodeOutline:
    """Outline a node: by its page, or where that left something out by what can be read of it."""
    node = plan.spec.nodes.get(name)
    at: Path = ("nodes", name)
    written = original.find_value(at)
    seen = node.locate_tool_patterns() if node is not None else {}
    has_tools = None if any(map(patterns.find_tool_fault, seen.values())) else bool(seen)
    if node is not None and written == source.find_value(at) and not original.is_broken((*at, "next")):
        edges = [_build_edge_outline(*pair) for pair in zip(node.next, plan.branches[name], strict=True)]
        if (way := node.find_error_way()) is not None:
            edges.insert(0, EdgeOutline(way, is_conditional=True, is_error=True))
        # In a graph with variables a branch that nobody thought of is no small thing: what follows may read them.
        needs_otherwise = has_variables and all(branch.value is None for branch in node.next)
        return NodeOutline(role=node.role, edges=edges, has_tools=has_tools, needs_otherwise=needs_otherwise)
    found = find_value(written, ("next",))
    branches: list[tuple[int | str, object, bool]]
    match found:
        case list():
            items = enumerate(cast("list[Any]", found))
            branches = [
                (place, find_value(item, ("to",)), find_value(item, ("when",)) is not None) for place, item in items
            ]
        case dict():
            branches = [(value, to, True) for value, to in cast("dict[str, object]", found).items()]
        case _:
            branches = [(0, found, False)]
    edges = [
        EdgeOutline(to, is_conditional=is_conditional, place=place, is_bounded=is_conditional)
        for place, to, is_conditional in branches
        if isinstance(to, str)
    ]
    if isinstance(way := find_value(written, ("on_error",)), str):
        edges.insert(0, EdgeOutline(way, is_conditional=True, is_error=True))
        branches.insert(0, ("on_error", way, True))
    is_read = len(edges) == len(branches) > 0 and not original.is_broken((*at, "next"))
    return NodeOutline(
        role=node.role if node is not None else None, edges=edges, is_complete=is_read, has_tools=has_tools or None
    )


def _build_edge_outline(spec: BranchSpec, branch: Branch) -> EdgeOutline:
    # A condition with a mistake in it may well be a bound: the mistake is told, and nothing that may follow from it.
    return EdgeOutline(
        spec.to,
        is_conditional=spec.when is not None or spec.value is not None,
        place=spec.value,
        is_bounded=branch.when.most_times is not None if branch.when is not None else spec.when is not None,
    )
