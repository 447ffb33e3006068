"""Changes of one graph: its nodes with their settings and texts, its ways, its variables, its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from graphs.config.graph_plan import GraphPlan
from graphs.config.worst_case import compute_worst_case
from graphs.diagnostics.diff.changes import (
    Change,
    FieldChange,
    Path,
    compare_fields,
    describe_field,
    is_confidential,
    is_prose,
)
from graphs.diagnostics.diff.guards import ASKING, compare_answers, compare_guards
from graphs.diagnostics.diff.variables import compare_variables
from graphs.diagnostics.diff.ways import compare_ways, list_ways

_COMPARED_APART = ("type", "next", "on_error")
"""Fields of nodes that are compared as types and as ways."""


@dataclass(frozen=True, kw_only=True)
class GraphDiff:
    """What is different in one graph that both sides have."""

    changes: tuple[Change, ...]
    nodes: frozenset[str]
    """The nodes that are not the same on both sides."""
    ways: frozenset[tuple[str, str]]
    """The ways that only one side has, or that are taken when another condition holds: from a node, to a node."""


def compare_graphs(old: GraphPlan, new: GraphPlan) -> GraphDiff:
    """Compare two versions of a graph."""
    subject = f"graph {new.id}"
    changes = [*_compare_pages(subject, old, new), *compare_variables(subject, old.variables, new.variables)]
    nodes: set[str] = set()
    ways: set[tuple[str, str]] = set()
    for name in dict.fromkeys([*old.spec.nodes, *new.spec.nodes]):
        found = list(_compare_node(subject, name, old, new))
        nodes |= {name} if found else set()
        changes += found
        if name not in old.spec.nodes or name not in new.spec.nodes:
            continue
        before, now = list_ways(old, name), list_ways(new, name)
        changes += compare_ways(subject, before, now)
        was, goes = ({(way.label, way.to) for way in each} for each in (before, now))
        ways |= {(name, to) for _, to in was ^ goes}
    changes += [*compare_guards(subject, old, new), *compare_answers(subject, old, new)]
    return GraphDiff(changes=tuple(changes), nodes=frozenset(nodes), ways=frozenset(ways))


def describe_graph(plan: GraphPlan) -> str:
    """Describe a graph that only one side has."""
    count = len(plan.spec.nodes)
    return f"graph {plan.id} ({count} {'node' if count == 1 else 'nodes'}; {compute_worst_case(plan)})"


def _compare_pages(subject: str, old: GraphPlan, new: GraphPlan) -> Iterator[Change]:
    # The nodes have what `defaults` say.
    for change in compare_fields(old.spec, new.spec, skip=("nodes", "vars", "start", "defaults")):
        yield _build_change(subject, "", change, old, new)
    if old.spec.start != new.spec.start:
        yield Change(subject=subject, mark="changed", text=f"it starts at {new.spec.start}, before at {old.spec.start}")
    before, now = compute_worst_case(old), compute_worst_case(new)
    for kind, was, most in (
        ("model calls", before.model_calls, now.model_calls),
        ("tool calls", before.tool_calls, now.tool_calls),
    ):
        if was != most:
            yield Change(subject=subject, mark="changed", text=f"{kind} of a turn: at most {was} → {most}")


def _compare_node(subject: str, name: str, old: GraphPlan, new: GraphPlan) -> Iterator[Change]:
    before, now = old.spec.nodes.get(name), new.spec.nodes.get(name)
    if before is None or now is None:
        plan, node = (new, now) if now is not None else (old, before)
        kind = node.type if node is not None else ""
        where = plan.branches[name][0].where
        mark = "added" if now is not None else "removed"
        yield Change(subject=subject, mark=mark, text=f"node {name} ({kind})", position=where)
        for way in list_ways(plan, name):
            yield Change(subject=subject, mark=mark, text=f"way {way}", position=way.where)
        return
    if before.type != now.type:
        yield Change(subject=subject, mark="changed", text=f"node {name}: type {before.type} → {now.type}")
    for change in compare_fields(before, now, skip=_COMPARED_APART):
        made = _build_change(subject, name, change, old, new)
        asks_another = now.type == ASKING and change.name == "by"
        yield replace(made, widens_rights=asks_another)


def _build_change(subject: str, node: str, change: FieldChange, old: GraphPlan, new: GraphPlan) -> Change:
    """Build the change of a setting of a node; an empty name: of the graph itself."""
    prefix, path = (f"node {node}: ", ("nodes", node, *change.path)) if node else ("", change.path)
    change = FieldChange(
        path=change.path,
        old=_find_written(old.raw_texts, path, change.old),
        new=_find_written(new.raw_texts, path, change.new),
    )
    if is_prose(change) and not is_confidential(change):
        texts = (str(change.old), str(change.new))
        return Change(subject=subject, mark="changed", text=f"{prefix}{change.name}", texts=texts)
    return Change(subject=subject, mark="changed", text=f"{prefix}{describe_field(change)}")


def _find_written(raw_texts: Mapping[Path, str], path: Path, value: object) -> object:
    """Find how a value is written: what variables filled in is for nobody to read."""
    if isinstance(value, list):
        return [raw_texts.get((*path, at), each) for at, each in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return raw_texts.get(path, value)
