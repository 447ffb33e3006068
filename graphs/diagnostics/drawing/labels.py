"""Name the faults of a graph in the few words that fit into a drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphs.config.graph_checks import Fault, FaultKind, GraphOutline, find_faults

NO_PATH_TO_END = "no way to the end"
DEAD_EDGE = "never taken"
NO_SUCH_NODE = "no such node"
UNREADABLE_TYPE = "its type cannot be read"

_LABELS: Mapping[FaultKind, str] = {
    "missing_target": NO_SUCH_NODE,
    "dead_edge": DEAD_EDGE,
    "unreachable": "never reached",
    "no_edge": "no way on",
    "no_path_to_end": NO_PATH_TO_END,
    "executor_without_gate": "no permission node before it",
}
"""What the drawing shows; the other kinds need more words than there is room for, and `check` has them."""


@dataclass(frozen=True, kw_only=True)
class FaultLabels:
    """What is wrong, in words."""

    nodes: Mapping[str, tuple[str, ...]]
    edges: Mapping[tuple[str, int], tuple[str, ...]]
    """By the name of the node and the index of the edge; one that leads nowhere only says so."""


def label_faults(graph: GraphOutline) -> FaultLabels:
    """Label the nodes and edges that something is wrong with."""
    nodes: dict[str, tuple[str, ...]] = {}
    edges: dict[tuple[str, int], tuple[str, ...]] = {}
    for fault in find_faults(graph):
        if (label := _LABELS.get(fault.kind)) is not None:
            _add_label(nodes, edges, fault, label)
    return FaultLabels(nodes=nodes, edges=edges)


def _add_label(
    nodes: dict[str, tuple[str, ...]], edges: dict[tuple[str, int], tuple[str, ...]], fault: Fault, label: str
) -> None:
    for name in fault.nodes:
        if fault.edge is None:
            nodes[name] = (*nodes.get(name, ()), label)
        else:
            edges.setdefault((name, fault.edge), (label,))
