"""Compile and check one graph file: its templates, its conditions and its shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphs.config import graph_checks
from graphs.config.graph_checks import EdgeOutline, GraphOutline, NodeOutline
from graphs.config.reader import ParsedFile
from graphs.config.source import Path, Source
from graphs.config.spec.graph import END, BranchSpec, GraphSpec
from graphs.errors import Problem
from graphs.expressions import Condition, ExpressionError, Template, compile_branch_condition, compile_template
from graphs.policy import patterns


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One edge from a node."""

    when: Condition | None
    """None: always."""
    to: str
    """The name of a node, or `end`."""
    where: str
    """`graphs/assistant.yaml:8:12`."""


@dataclass(frozen=True, kw_only=True)
class GraphPlan:
    """One graph without mistakes, ready to be compiled for LangGraph."""

    id: str
    spec: GraphSpec
    templates: Mapping[tuple[str, str], Template]
    """The texts that hold CEL, by node and field."""
    branches: Mapping[str, tuple[Branch, ...]]
    """The edges from every node, in order; never empty."""
    raw_texts: Mapping[Path, str]
    """The texts of the spec that variables went into, as they are written: what went in may be secret."""


def compile_graph(graph: str, reading: ParsedFile[GraphSpec]) -> tuple[GraphPlan | None, list[Problem]]:
    """Compile and check one graph; the plan is None if there are problems."""
    if reading.spec is None:
        return None, []
    planner = _GraphCompiler(reading.spec, reading.source, reading.list_names("nodes"))
    templates, branches = planner.compile_templates(), planner.compile_branches()
    planner.check_names()
    planner.check_shape(is_complete=reading.is_complete)
    written = reading.source.raw_texts
    made = GraphPlan(id=graph, spec=reading.spec, templates=templates, branches=branches, raw_texts=written)
    return (made if reading.is_complete and not planner.problems else None), planner.problems


@dataclass
class _GraphCompiler:
    spec: GraphSpec
    source: Source
    node_names: list[str]
    """The names of all nodes, of those too that could not be read."""
    problems: list[Problem] = field(default_factory=list[Problem])

    def _report(self, path: Path, message: str) -> None:
        if not self.source.is_broken(path):
            self.problems.append(self.source.build_problem(path, message))

    def _report_in_text(self, path: Path, error: ExpressionError) -> None:
        if not self.source.is_broken(path):
            self.problems.append(self.source.build_text_problem(path, error.offset, str(error)))

    def compile_templates(self) -> Mapping[tuple[str, str], Template]:
        found: dict[tuple[str, str], Template] = {}
        for name, node in self.spec.nodes.items():
            for field_name in node.templates:
                if text := getattr(node, field_name):
                    try:
                        found[name, field_name] = compile_template(text)
                    except ExpressionError as error:
                        self._report_in_text(("nodes", name, field_name), error)
        return found

    def compile_branches(self) -> Mapping[str, tuple[Branch, ...]]:
        found: dict[str, tuple[Branch, ...]] = {}
        for name, node in self.spec.nodes.items():
            found[name] = tuple(
                self._compile_branch(("nodes", name, "next", at), each) for at, each in enumerate(node.next)
            )
        return found

    def _compile_branch(self, path: Path, spec: BranchSpec) -> Branch:
        when: Condition | None = None
        if spec.when is not None:
            try:
                when = compile_branch_condition(spec.when)
            except ExpressionError as error:
                self._report_in_text((*path, "when"), error)
        return Branch(when=when, to=spec.to, where=str(self.source.find_position(path)))

    def check_names(self) -> None:
        """Check how nodes are called, and the patterns of tools."""
        for name in self.node_names:
            if name == END:
                self._report(("nodes", name), f"{name!r} is the name of the turn's end; choose another for this node")
            elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name, re.ASCII):
                self._report(("nodes", name), f"{name!r} is no name for a node; use letters, digits, '_' and '-'")
        for name, node in self.spec.nodes.items():
            for path, pattern in node.locate_tool_patterns().items():
                if (wrong := patterns.find_tool_fault(pattern)) is not None:
                    self._report(("nodes", name, *path), wrong)

    def check_shape(self, *, is_complete: bool) -> None:
        """Check that edges lead to nodes; and, where nothing else is wrong with the file, the paths that they make."""
        outline = self._build_outline()
        faults = graph_checks.find_faults(outline)
        misled = [fault for fault in faults if fault.kind in ("missing_start", "missing_target", "dead_edge")]
        for fault in misled or (graph_checks.select_first_faults(faults) if is_complete and not self.problems else ()):
            self._report(*graph_checks.describe_fault(fault, outline))

    def _build_outline(self) -> GraphOutline:
        unread = NodeOutline(role=None, edges=(), is_complete=False)
        outlines = {
            name: NodeOutline(
                role=node.role,
                edges=[EdgeOutline(branch.to, is_conditional=branch.when is not None) for branch in node.next],
                has_tools=bool(node.locate_tool_patterns()),
            )
            for name, node in self.spec.nodes.items()
        }
        return GraphOutline(self.spec.start, {name: outlines.get(name, unread) for name in self.node_names})
