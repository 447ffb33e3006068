"""One graph file, checked: its spec, with prompts and conditions compiled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphs.config import graph_checks
from graphs.config.reader import ParsedFile
from graphs.config.source import Path, Source
from graphs.config.spec.graph import END, BranchSpec, GraphSpec, ModelNodeSpec
from graphs.errors import Problem, did_you_mean
from graphs.expressions import Condition, ExpressionError, Template, compile_branch_condition, compile_template
from graphs.policy import patterns


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One way on from a node."""

    when: Condition | None
    """None: always."""
    to: str
    """The name of a node, or `end`."""
    where: str
    """`graphs/assistant.yaml:8:12`."""


@dataclass(frozen=True, kw_only=True)
class GraphPlan:
    """One graph, ready to be assembled. Every name in it exists."""

    id: str
    spec: GraphSpec
    prompts: Mapping[str, Template]
    """The prompt of each model node that has one."""
    branches: Mapping[str, tuple[Branch, ...]]
    """The ways on from every node, in order; never empty."""
    raw_texts: Mapping[Path, str]
    """The texts of the spec that variables went into, as they are written: what went in may be secret."""


def compile_graph(graph: str, reading: ParsedFile[GraphSpec]) -> tuple[GraphPlan | None, list[Problem]]:
    """Compiles and checks one graph; the plan is None if there are problems.

    What a file with mistakes in it says of the shape of its graph is not judged: half a graph always looks wrong.
    """
    if reading.spec is None:
        return None, []
    planner = _GraphCompiler(reading.spec, reading.source, reading.list_names("nodes"))
    prompts, branches = planner.compile_prompts(), planner.compile_branches()
    if planner.check_names() and reading.is_complete and not planner.problems:
        planner.check_shape()
    written = reading.source.raw_texts
    made = GraphPlan(id=graph, spec=reading.spec, prompts=prompts, branches=branches, raw_texts=written)
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

    def compile_prompts(self) -> Mapping[str, Template]:
        found: dict[str, Template] = {}
        for name, node in self.spec.nodes.items():
            if isinstance(node, ModelNodeSpec) and node.prompt:
                try:
                    found[name] = compile_template(node.prompt)
                except ExpressionError as error:
                    self._report_in_text(("nodes", name, "prompt"), error)
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

    def check_names(self) -> bool:
        """Checks every name that the graph uses; whether all targets exist."""
        for name in self.node_names:
            if name == END:
                self._report(("nodes", name), f"{name!r} is the name of the turn's end; choose another for this node")
            elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name, re.ASCII):
                self._report(("nodes", name), f"{name!r} is no name for a node; use letters, digits, '_' and '-'")
        for name, node in self.spec.nodes.items():
            for at, pattern in enumerate(node.tools if isinstance(node, ModelNodeSpec) else ()):
                if (wrong := patterns.find_tool_fault(pattern)) is not None:
                    self._report(("nodes", name, "tools", at), wrong)
        all_known = self._check_target(("start",), self.spec.start, self.node_names) and END not in self.node_names
        for name, node in self.spec.nodes.items():
            for at, branch in enumerate(node.next):
                path: Path = ("nodes", name, "next", at)
                all_known &= self._check_target((*path, "to"), branch.to, [*self.node_names, END])
                if at and node.next[at - 1].when is None:
                    self._report(path, "this branch is never taken: the one before it has no 'when', so it always is")
        return all_known

    def _check_target(self, path: Path, target: str, known: list[str]) -> bool:
        if target in known:
            return True
        if target == END:
            self._report(path, "'end' ends the turn, so a graph cannot start there")
        else:
            hint = did_you_mean(target, known)
            self._report(path, f"there is no node {target!r}; there is {', '.join(known)}{hint}")
        return False

    def check_shape(self) -> None:
        """Every node has its use, every way comes to the end, and no call runs past its verdict."""
        for path, message in graph_checks.find_faults(self.spec):
            self._report(path, message)
