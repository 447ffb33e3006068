"""Check the graphs that nodes run: they are there, none runs itself, and they get and give what the nodes say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphs.config.graph_plan import GraphPlan
from graphs.config.reader import ParsedFile
from graphs.config.source import Path
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.node_types import walk_texts
from graphs.config.spec.subgraph import SubgraphNodeSpec
from graphs.errors import Problem, did_you_mean
from graphs.expressions import Template, TypeMismatch, Variable

_Graphs = Mapping[str, tuple[ParsedFile[GraphSpec], GraphPlan | None]]


def link_subgraphs(graphs: _Graphs) -> tuple[dict[str, tuple[ParsedFile[GraphSpec], GraphPlan | None]], list[Problem]]:
    """Give each plan the plans of the graphs that its nodes run. A plan with problems, or that needs one with problems,
    becomes None."""
    linker = _Linker(graphs)
    return {name: (reading, linker.link(name)) for name, (reading, _) in graphs.items()}, linker.problems


@dataclass
class _Linker:
    graphs: _Graphs
    problems: list[Problem] = field(default_factory=list[Problem])
    linked: dict[str, GraphPlan | None] = field(default_factory=dict[str, "GraphPlan | None"])
    way: list[str] = field(default_factory=list[str])
    """The graphs that are being linked, from the outermost on."""

    def link(self, graph: str) -> GraphPlan | None:
        """Link one graph, after those that it runs."""
        if graph in self.linked:
            return self.linked[graph]
        reading, plan = self.graphs[graph]
        known = len(self.problems)
        subgraphs: dict[str, GraphPlan] = {}
        is_whole = True
        self.way.append(graph)
        for name, node in reading.spec.list_all_nodes().items() if reading.spec is not None else ():
            for path, wanted in node.locate_graphs().items():
                inner = self._find_inner(reading, graph, name, path, wanted)
                if inner is None:
                    is_whole = False
                    continue
                # Of an agent's graphs each has a name of its own.
                subgraphs[name if isinstance(node, SubgraphNodeSpec) else f"{name}.{wanted}"] = inner
                if plan is not None and isinstance(node, SubgraphNodeSpec):
                    self._report_all(reading, name, _check_node(node, name, inner, plan))
        self.way.pop()
        is_right = plan is not None and is_whole and len(self.problems) == known
        self.linked[graph] = replace(plan, subgraphs=subgraphs) if plan is not None and is_right else None
        return self.linked[graph]

    def _find_inner(
        self, reading: ParsedFile[GraphSpec], graph: str, name: str, path: Path, wanted: str
    ) -> GraphPlan | None:
        if wanted not in self.graphs:
            others = [each for each in self.graphs if each != graph]
            known = f"there is {', '.join(others)}{did_you_mean(wanted, others)}" if others else "there is no other"
            self._report_all(reading, name, [(path, f"there is no graph {wanted!r}; {known}")])
            return None
        if wanted in self.way:
            circle = " → ".join([*self.way[self.way.index(wanted) :], wanted])
            why = f"this graph would run itself: {circle}; a graph cannot, since nothing would end it"
            self._report_all(reading, name, [(path, why)])
            return None
        return self.link(wanted)

    def _report_all(self, reading: ParsedFile[GraphSpec], name: str, faults: Any) -> None:
        assert reading.spec is not None  # noqa: S101  a node of it was read
        place = reading.spec.locate_node(name)
        for path, message in faults:
            if not reading.source.is_broken((*place, *path)):
                self.problems.append(reading.source.build_problem((*place, *path), message))


def _check_node(node: SubgraphNodeSpec, name: str, inner: GraphPlan, outer: GraphPlan) -> Iterator[tuple[Path, str]]:
    """Check what a node gives to a graph, and takes from it."""
    inputs = inner.inputs
    for given, value in node.arguments.items():
        at: Path = ("with", given)
        if given not in inputs:
            listed = f"it takes {', '.join(inputs)}{did_you_mean(given, inputs)}" if inputs else "it takes nothing"
            yield at, f"graph {inner.id!r} has no input {given!r}; {listed}"
        elif (wrong := _find_value_fault(value, outer.templates.get((name, *at)), given, inputs[given])) is not None:
            yield at, wrong
    if missing := [each for each, one in inputs.items() if not one.has_default and each not in node.arguments]:
        listed = ", ".join(map(repr, missing))
        yield ("with",) if node.arguments else ("graph",), f"graph {inner.id!r} needs {listed}; give it under 'with'"
    if node.into is None or (variable := outer.find_output(node.into)) is None:
        return
    output = inner.spec.output
    kind = inner.variables[output].type.kind if output is not None else "string"
    if (
        "any" not in (kind, variable.type.kind)
        and kind != variable.type.kind
        and {kind, variable.type.kind}
        not in (
            {"int", "number"},
            {"string", "enum"},
        )
    ):
        what = (
            f"gives {inner.variables[output].type.describe()}" if output is not None else "gives the text that it says"
        )
        yield ("into",), f"graph {inner.id!r} {what}, and {node.into!r} is {variable.type.describe()}"


def _find_value_fault(value: Any, template: Template | None, name: str, variable: Variable) -> str | None:
    """Explain why a value does not fit an input, as far as it is known before it is filled in."""
    type_ = variable.type
    if template is not None:
        given = "STRING" if template.alone is None else template.alone.kind
        if type_.may_come_from(given):
            return None
        what = "a text" if template.alone is None else template.alone.describe_kind()
        return f"this is {what}, and {name!r} is {type_.describe()}"
    if any("{{" in text for _, text in walk_texts(value, ())):
        return None
    try:
        type_.fit(value)
    except TypeMismatch as error:
        return f"{name!r} {error}"
    return None
