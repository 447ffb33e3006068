"""Choose which faults of a graph to tell: all of them at once, but none that is only the result of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from graphs.config.graph_checks import Fault, FaultKind, GraphOutline, NodeOutline, describe_fault, find_faults
from graphs.config.source import Path
from graphs.config.spec.node import END, NodeRole
from graphs.errors import find_nearest

_STAGES: Mapping[FaultKind, int] = {
    "missing_start": 0,
    "missing_target": 0,
    "dead_edge": 0,
    "no_otherwise": 0,
    "unreachable": 1,
    "no_edge": 1,
    "no_path_to_end": 1,
    "unlimited_cycle": 2,
    "executor_without_calls": 3,
    "executor_without_gate": 3,
    "edge_past_gates": 3,
    "gate_without_calls": 4,
    "gate_without_executor": 4,
    "tools_without_executor": 5,
    "executor_without_tools": 5,
}
"""What may be the result of what: a fault in the edges comes before one in what travels along them."""
_LACKS: Mapping[NodeRole | None, Sequence[FaultKind]] = {
    "model": ("executor_without_calls", "gate_without_calls"),
    "gate": ("executor_without_gate", "tools_without_executor"),
    "executor": ("gate_without_executor", "tools_without_executor"),
    "agent": (),
    "caller": (),
    "group": (),
    "graph": (),
    "step": (),
    None: (),
}
"""What a graph may seem to lack while a node that does it is not reached."""
_NEAR = 0.75
"""How near a name is to a node's if it is taken for it: nearer than for a mere suggestion."""


def find_mistakes(outline: GraphOutline) -> Iterator[tuple[Path, str]]:
    """Find what is wrong with the shape of a graph, each with its place and its cure.

    Paths are those of the graph with its names put right: a name that is nearly a node's stands for that node, any
    other may lead anywhere, also to the end. Of a node whose type cannot be read nothing is said.
    """
    graph = _correct_names(outline)
    edges = [fault for fault in find_faults(outline) if _STAGES[fault.kind] == 0]
    yield from (describe_fault(fault, outline) for fault in edges)
    dead = {
        fault.nodes[0]: _find_behind(graph, outline.nodes[fault.nodes[0]].edges[fault.edge or 0].to)
        for fault in edges
        if fault.kind == "dead_edge"
    }
    paths = [fault for fault in find_faults(graph) if _STAGES[fault.kind] > 0 and _is_read(fault, graph)]
    idle = {fault.nodes for fault in paths if fault.kind == "executor_without_calls"}
    causes: list[Fault] = []
    for fault in sorted(paths, key=lambda fault: _STAGES[fault.kind]):
        is_idle = fault.kind == "executor_without_gate" and fault.nodes in idle
        if not is_idle and not _is_behind(fault, dead) and not any(_may_cause(each, fault, graph) for each in causes):
            causes.append(fault)
            yield describe_fault(fault, graph)


def _correct_names(graph: GraphOutline) -> GraphOutline:
    """Put the nearest name where there is no node of one; leave out the edges to those that are near to none."""
    known = [*graph.nodes, END]

    def correct(name: str) -> str:
        return name if name in known else find_nearest(name, known, cutoff=_NEAR) or ""

    nodes: dict[str, NodeOutline] = {}
    for name, node in graph.nodes.items():
        edges = [
            replace(edge, to=to, place=at if edge.place is None else edge.place)
            for at, edge in enumerate(node.edges)
            if (to := correct(edge.to))
        ]
        nodes[name] = replace(node, edges=edges, is_complete=node.is_complete and len(edges) == len(node.edges))
    return GraphOutline(correct(graph.start), nodes)


def _is_read(fault: Fault, graph: GraphOutline) -> bool:
    """Whether a fault is about a node that can be read; the others have been told already."""
    return fault.kind != "no_edge" and any(graph.nodes[name].role is not None for name in fault.nodes)


def _is_behind(fault: Fault, dead: Mapping[str, set[str]]) -> bool:
    """Whether a fault may go away when an edge that is never taken is. `dead`: what would be behind it, by its node."""
    match fault.kind:
        case "unreachable":
            return any(not behind.isdisjoint(fault.nodes) for behind in dead.values())
        case "no_path_to_end":
            return any(name in fault.nodes and END in behind for name, behind in dead.items())
        case _:
            return any(not {name, *behind}.isdisjoint((*fault.nodes, *fault.others)) for name, behind in dead.items())


def _find_behind(graph: GraphOutline, name: str) -> set[str]:
    """Find a node and all that its edges lead to, those too that are never taken; the end may be among it."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [edge.to for edge in graph.nodes[name].edges] if name in graph.nodes else []
    return found


def _may_cause(cause: Fault, fault: Fault, graph: GraphOutline) -> bool:
    """Whether a fault may go away when another one, `cause`, is cured."""
    if _STAGES[cause.kind] >= _STAGES[fault.kind]:
        return False
    if cause.kind == "unreachable" and fault.kind in _LACKS[graph.nodes[cause.nodes[0]].role]:
        return True
    if cause.kind == "no_path_to_end" and fault.kind == "executor_without_gate":
        return False  # a further way on puts no verdict before what runs calls
    return not _find_part(graph, cause.nodes).isdisjoint((*fault.nodes, *fault.others))


def _find_part(graph: GraphOutline, names: Iterable[str]) -> set[str]:
    """Find the part of the graph around these nodes: up to the next model nodes, where calls begin and end."""
    beside: dict[str, set[str]] = {name: set() for name in graph.nodes}
    for name, node in graph.nodes.items():
        for edge in node.edges:
            if edge.to in beside:
                beside[name].add(edge.to)
                beside[edge.to].add(name)
    found = set(names)
    waiting = [*found]
    while waiting:
        for name in beside[waiting.pop()] - found:
            found.add(name)
            if graph.nodes[name].role != "model":
                waiting.append(name)
    return found
