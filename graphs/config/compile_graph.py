"""Compile and check one graph file: its variables, its expressions, its shape, and what its nodes read and write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from graphs.config.graph_checks import EdgeOutline, GraphOutline, NodeOutline
from graphs.config.graph_faults import find_mistakes
from graphs.config.group_checks import ANYTHING, INDEX, ITEM, check_group, find_output
from graphs.config.python_checks import PythonChecker
from graphs.config.python_code import PythonCode
from graphs.config.python_functions import PythonFunction
from graphs.config.reader import ParsedFile
from graphs.config.source import Path, Source, find_value
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.groups import OUTER_FIELDS, MapNodeSpec
from graphs.config.spec.node import END, BranchSpec, NodeSpec
from graphs.config.spec.node_types import AgentNodeSpec
from graphs.config.spec.registry import NODE_SPECS
from graphs.config.variable_checks import ERROR, NodeFlow, Read, Way, find_early_reads
from graphs.errors import Problem, did_you_mean
from graphs.expressions import (
    ANY,
    ExpressionError,
    GraphExpression,
    Template,
    TypeFault,
    Variable,
    VariableTypes,
    VarType,
    compile_branch_condition,
    compile_template,
    compile_value,
    find_name_fault,
    parse_variable,
)
from graphs.policy import patterns


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One edge from a node."""

    when: GraphExpression | None = None
    """None: always, or where the node's variable has the value of `value`."""
    value: str | None = None
    """The value of the node's `into` at which it is taken."""
    to: str
    """The name of a node, or `end`."""
    where: str
    """`graphs/assistant.yaml:8:12`."""

    @property
    def is_conditional(self) -> bool:
        """Whether there are turns that do not take it."""
        return self.when is not None or self.value is not None


@dataclass(frozen=True, kw_only=True)
class GraphPlan:
    """One graph without mistakes, ready to be compiled for LangGraph."""

    id: str
    spec: GraphSpec
    """With its `defaults` in the nodes that they hold for."""
    templates: Mapping[Path, Template]
    """The texts that hold CEL, by the node and the path in it."""
    branches: Mapping[str, tuple[Branch, ...]]
    """The edges from every node, in order; never empty."""
    error_ways: Mapping[str, Branch]
    """Where nodes lead that fail, for those that say it."""
    variables: Mapping[str, Variable]
    """The variables of a turn, in the order of the file."""
    expressions: Mapping[Path, GraphExpression]
    """The fields that are CEL, by the node and the path in it."""
    subgraphs: Mapping[str, GraphPlan] = field(default_factory=dict[str, "GraphPlan"])
    """The graphs that nodes run, by the nodes' names."""
    output: GraphExpression | None = None
    """The variable that is its result; None: the text that it said."""
    raw_texts: Mapping[Path, str]
    """The texts of the spec that variables of the environment went into, as they are written: what went in may be
    secret."""
    functions: Mapping[str, PythonFunction] = field(default_factory=dict[str, PythonFunction])
    """The operator's functions that nodes call, by what `run` says."""

    @cached_property
    def nodes(self) -> Mapping[str, NodeSpec]:
        """All nodes, those inside others too: the path to one is its name, such as `read.do`."""
        return self.spec.list_all_nodes()

    @cached_property
    def calls_tools(self) -> bool:
        """Whether a node calls a tool itself, or the graph that it runs may."""
        return any(node.role in ("caller", "graph") for node in self.nodes.values())

    @cached_property
    def has_groups(self) -> bool:
        """Whether several nodes may run at the same time."""
        return any(node.role == "group" for node in self.spec.nodes.values())

    @cached_property
    def may_wait_twice(self) -> bool:
        """Whether several nodes may wait for people at the same time."""
        delegates = any(isinstance(node, AgentNodeSpec) and node.agents for node in self.nodes.values())
        return self.has_groups or delegates or any(plan.may_wait_twice for plan in self.subgraphs.values())

    def list_run_plans(self) -> Iterator[GraphPlan]:
        """List the graph and those that it runs, some perhaps more than once."""
        yield self
        for plan in self.subgraphs.values():
            yield from plan.list_run_plans()

    @cached_property
    def inputs(self) -> Mapping[str, Variable]:
        """What whoever starts the graph gives."""
        return {name: self.variables[name] for name in self.spec.input}

    @cached_property
    def message_input(self) -> str | None:
        """The input that a chat message is, where the graph is chatted with; None: none is."""
        texts = [name for name, one in self.inputs.items() if one.type.kind == "string" and not one.has_default]
        return texts[0] if len(texts) == 1 else None

    @cached_property
    def counts_visits(self) -> bool:
        """Whether an expression asks how often its node ran."""
        return any("visits" in expression.names for expression in self._list_expressions())

    def find_output(self, name: str) -> Variable | None:
        """Find the variable that a node names under `into`: one of the graph, or the part of one that a node inside
        another fills. None: there is none, or it has no such part."""
        return find_output(name, self.variables)

    def list_reads(self, name: str) -> frozenset[str]:
        """List the names that the expressions of a node look at, but for its ways on."""
        found = [text.names for path, text in self.templates.items() if path[0] == name]
        found += [each.names for path, each in self.expressions.items() if path[0] == name]
        return frozenset(each for names in found for each in names)

    def _list_expressions(self) -> Iterator[GraphExpression]:
        yield from self.expressions.values()
        for text in self.templates.values():
            yield from (piece for piece in text.pieces if isinstance(piece, GraphExpression))
        for branches in self.branches.values():
            yield from (branch.when for branch in branches if branch.when is not None)


def compile_graph(
    graph: str, reading: ParsedFile[GraphSpec], code: PythonCode | None = None
) -> tuple[GraphPlan | None, list[Problem]]:
    """Compile and check one graph; the plan is None if there are problems.

    `code`: the operator's Python. None: it is not imported, so the plan cannot be served if it has `python` nodes.
    """
    if reading.spec is None:
        return None, []
    compiler = _GraphCompiler(
        reading.spec,
        reading.source,
        reading.original,
        reading.list_names("nodes"),
        [*reading.list_names("input"), *reading.list_names("vars")],
    )
    plan = GraphPlan(
        id=graph,
        spec=reading.spec.fill_in_defaults(),
        variables=compiler.parse_variables(),
        output=compiler.compile_output(),
        templates=compiler.compile_templates(),
        expressions=compiler.compile_expressions(),
        branches=compiler.compile_branches(),
        error_ways=compiler.locate_error_ways(),
        raw_texts=reading.source.raw_texts,
    )
    checker = PythonChecker(
        reading.spec, reading.source, reading.original, plan.variables, plan.templates, compiler.problems
    )
    plan = replace(plan, functions=checker.find_functions(code))
    compiler.check_names()
    compiler.check_defaults()
    compiler.check_memory()
    compiler.check_outputs(plan)
    compiler.check_shape(plan)
    if reading.is_complete and not compiler.problems:
        compiler.check_reads(plan)
    return (plan if reading.is_complete and not compiler.problems else None), compiler.problems


@dataclass
class _GraphCompiler:
    spec: GraphSpec
    source: Source
    original: Source
    """The whole file: with what was left out of `spec`, because it cannot be read."""
    node_names: list[str]
    """The names of all nodes, of those too that could not be read."""
    variable_names: list[str]
    """The names of all variables, likewise."""
    problems: list[Problem] = field(default_factory=list[Problem])

    variables: dict[str, Variable] = field(default_factory=dict[str, Variable])

    @cached_property
    def nodes(self) -> Mapping[str, NodeSpec]:
        """All nodes that could be read, those inside others too."""
        return self.spec.list_all_nodes()

    @property
    def types(self) -> VariableTypes:
        """The types of the variables, as expressions are compiled with them."""
        return tuple((name, variable.type) for name, variable in self.variables.items())

    def _report(self, path: Path, message: str) -> None:
        if not self.source.is_broken(path):
            self.problems.append(self.source.build_problem(path, message))

    def _report_in_text(self, path: Path, error: ExpressionError) -> None:
        if not self.source.is_broken(path):
            self.problems.append(self.source.build_text_problem(path, error.offset, str(error)))

    def parse_variables(self) -> Mapping[str, Variable]:
        """Parse `input` and `vars`, and check how they are called."""
        for section, entries in (("input", self.spec.input), ("vars", self.spec.vars)):
            for name, written in entries.items():
                if (wrong := find_name_fault(name)) is not None:
                    self._report((section, name), wrong)
                    continue
                if name in self.variables:
                    self._report((section, name), f"{name!r} stands under 'input' too; keep one of them")
                    continue
                try:
                    self.variables[name] = parse_variable(written)
                except TypeFault as error:
                    self._report((section, name, *error.path), str(error))
                    self.variables[name] = ANYTHING
        for name in self.variable_names:
            if name not in (*self.spec.input, *self.spec.vars):
                self.variables[name] = ANYTHING
        return self.variables

    def compile_output(self) -> GraphExpression | None:
        """Compile the name of the variable under `output`."""
        name = self.spec.output
        if name is None:
            return None
        if name not in self.variables:
            self._report_unknown_variable(("output",), name)
            return None
        return compile_value(name, self.types)

    def compile_templates(self) -> Mapping[Path, Template]:
        """Compile the texts that hold CEL."""
        found: dict[Path, Template] = {}
        for name, node in self.nodes.items():
            types = (*self.types, *self._list_task_types(name))
            for path, text in node.locate_templates().items():
                try:
                    found[name, *path] = compile_template(text, variables=types)
                except ExpressionError as error:
                    self._report_in_text((*self.spec.locate_node(name), *path), error)
        return found

    def compile_expressions(self) -> Mapping[Path, GraphExpression]:
        """Compile the fields that are CEL."""
        found: dict[Path, GraphExpression] = {}
        for name, node in self.nodes.items():
            types = (*self.types, *self._list_task_types(name), *((own, ANY) for own in node.own_names))
            for path, text in node.locate_expressions().items():
                compile_one = compile_branch_condition if path == ("retry", "until") else compile_value
                try:
                    found[name, *path] = compile_one(text, types)
                except ExpressionError as error:
                    self._report_in_text((*self.spec.locate_node(name), *path), error)
        return found

    def _list_task_types(self, name: str) -> VariableTypes:
        """List the types of what a node inside a `map` sees of its item."""
        outer = self.spec.nodes[name.partition(".")[0]]
        if not isinstance(outer, MapNodeSpec) or "." not in name:
            return ()
        item = ANY
        with suppress(ExpressionError):  # which is told where it stands
            over = compile_value(outer.over, self.types)
            listed = over.variable_types.get(over.tree.root.id)
            item = listed.item if listed is not None and listed.item is not None else ANY
        return ((ITEM, item), (INDEX, VarType(kind="int")))

    def compile_branches(self) -> Mapping[str, tuple[Branch, ...]]:
        """Compile the conditions of all edges."""
        return {
            name: tuple(self._compile_branch(self._locate_edge(name, at), each) for at, each in enumerate(node.next))
            for name, node in self.spec.nodes.items()
        }

    def locate_error_ways(self) -> Mapping[str, Branch]:
        """Locate the ways of nodes that fail."""
        ways = {name: node.find_error_way() for name, node in self.spec.nodes.items()}
        return {
            name: Branch(to=to, where=str(self.source.find_position(("nodes", name, "on_error"))))
            for name, to in ways.items()
            if to is not None
        }

    def _locate_edge(self, node: str, at: int) -> Path:
        value = self.spec.nodes[node].next[at].value
        return ("nodes", node, "next", at if value is None else value)

    def _compile_branch(self, path: Path, spec: BranchSpec) -> Branch:
        when: GraphExpression | None = None
        if spec.when is not None:
            try:
                when = compile_branch_condition(spec.when, self.types)
            except ExpressionError as error:
                self._report_in_text((*path, "when"), error)
        return Branch(when=when, value=spec.value, to=spec.to, where=str(self.source.find_position(path)))

    def check_names(self) -> None:
        """Check how nodes are called, and the patterns of tools."""
        for name in self.node_names:
            if name == END:
                self._report(("nodes", name), f"{name!r} is the name of the turn's end; choose another for this node")
            elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name, re.ASCII):
                self._report(("nodes", name), f"{name!r} is no name for a node; use letters, digits, '_' and '-'")
            elif name.startswith("__"):
                why = "names that begin with '__' are LangGraph's own; begin with a letter"
                self._report(("nodes", name), f"{name!r} cannot be the name of a node: {why}")
        for name, node in self.nodes.items():
            for path, pattern in node.locate_tool_patterns().items():
                if (wrong := patterns.find_tool_fault(pattern)) is not None:
                    self._report((*self.spec.locate_node(name), *path), wrong)

    def check_defaults(self) -> None:
        """Check that each of `defaults` holds for some node."""
        if len(self.spec.nodes) < len(self.node_names):
            return  # it may be for one that cannot be read
        for key in self.spec.defaults.model_fields_set:
            if not any(key in node.list_default_keys() for node in self.nodes.values()):
                types = ", ".join(name for name, spec in NODE_SPECS.items() if key in spec.list_default_keys())
                self._report(
                    ("defaults", key), f"{key!r} holds for no node of this graph; it is for {types}; remove it"
                )

    def check_memory(self) -> None:
        """Check that the memory of the file has a use."""
        is_read = len(self.spec.nodes) == len(self.node_names)
        if self.spec.memory is not None and is_read and not any(node.uses_memory for node in self.spec.nodes.values()):
            self._report(
                ("memory",), "no node of this graph uses a memory; add a node of type 'memory', or remove this"
            )

    def check_outputs(self, plan: GraphPlan) -> None:
        """Check that nodes write variables that there are, with values that fit, and the ways for each value."""
        for name, node in self.nodes.items():
            place = self.spec.locate_node(name)
            for path, variable in node.locate_outputs().items() if "." not in name else ():
                at: Path = (*place, *path)
                if variable not in self.variables:
                    self._report_unknown_variable(at, variable)
                elif (wrong := self._find_output_fault(node, variable)) is not None:
                    self._report(at, wrong)
                elif (value := plan.expressions.get((name, *path))) is not None:
                    self._check_value(at, variable, value)
            if (picked := plan.expressions.get((name, "pick"))) is not None:
                self._check_value((*place, "pick"), node.locate_outputs()[("into",)], picked)
            if (arguments := plan.templates.get((name, "args"))) is not None:
                self._check_arguments((*place, "args"), arguments)
            if any(branch.value is not None for branch in node.next):
                self._check_choices(name)
            if node.role == "group":
                self._check_group(name, node, plan)

    def _check_group(self, name: str, node: NodeSpec, plan: GraphPlan) -> None:
        """Check the nodes inside another: they have nothing that is for the one around them, and it takes what they
        give."""
        for path in node.list_inner_nodes():
            for field_name in OUTER_FIELDS:
                at: Path = ("nodes", name, *path, field_name)
                if self.source.find_value(at) is not None:
                    self._report(at, f"{field_name!r} is for the node around this one; write it there, or remove it")
        over = plan.expressions.get((name, "over"))
        for path, message in check_group(node, self.variables, over, self.spec.limits.width):
            self._report(("nodes", name, *path), message)

    def _report_unknown_variable(self, path: Path, name: str) -> None:
        listed = f"there is {', '.join(self.variables)}{did_you_mean(name, self.variables)}"
        nothing = "write it under 'vars', with its type, such as 'string'"
        self._report(path, f"there is no variable {name!r}; {listed if self.variables else nothing}")

    def _find_output_fault(self, node: NodeSpec, name: str) -> str | None:
        known = self.variables[name]
        return None if known is ANYTHING else node.find_output_fault(known.type)

    def _check_value(self, path: Path, name: str, value: GraphExpression) -> None:
        """Check that what an expression gives fits the variable, which may be none."""
        type_ = (find_output(name, self.variables) or ANYTHING).type
        if not type_.may_come_from(value.kind):
            self._report(path, f"this is {value.describe_kind()}, and {name!r} is {type_.describe()}")
        elif (wrong := type_.find_literal_fault(value.literal)) is not None:
            self._report(path, wrong)

    def _check_arguments(self, path: Path, template: Template) -> None:
        """Check one text that gives all arguments of a tool."""
        value = template.alone
        if value is None:
            self._report(
                path, "this is a text; write a mapping of arguments, or one '{{ … }}' whose value is an object"
            )
        elif not VarType(kind="object").may_come_from(value.kind):
            self._report(path, f"this is {value.describe_kind()}, and the arguments of a tool are an object")

    def _check_choices(self, name: str) -> None:
        """Check a `next` that is a mapping: it has a node for each value of the node's variable."""
        node = self.spec.nodes[name]
        outputs = node.locate_outputs()
        variable = outputs.get(("into",))
        choice = self.variables.get(variable or "", ANYTHING).type
        path: Path = ("nodes", name, "next")
        if variable is None or (choice.kind != "enum" and variable in self.variables):
            what = "this node has no 'into'" if variable is None else f"{variable!r} is {choice.describe()}"
            self._report(
                path, f"a mapping is for a node whose 'into' is a choice, and {what}; write a list of branches"
            )
            return
        if choice.kind != "enum":
            return
        taken = [branch.value for branch in node.next]
        for value in taken:
            if value not in choice.values:
                hint = did_you_mean(str(value), choice.values)
                listed = ", ".join(choice.values)
                self._report((*path, str(value)), f"{value!r} is no value of {variable!r}; it has {listed}{hint}")
        if not node.writes_surely() and not self.variables[variable or ""].has_default:
            self._report(
                path, f"{variable!r} has no value where nothing is found, and no way is for that; give it a default"
            )
        if missing := [value for value in choice.values if value not in taken]:
            self._report(
                path, f"there is no way for {', '.join(map(repr, missing))}; give each value of {variable!r} one"
            )

    def check_shape(self, plan: GraphPlan) -> None:
        """Check that edges lead to nodes, and the paths that they make."""
        start = self.original.find_value(("start",))
        outline = GraphOutline(
            start if isinstance(start, str) else "",
            {name: self._build_node_outline(name, plan) for name in self.node_names},
        )
        for path, message in find_mistakes(outline):
            is_said = path == ("start",) and not isinstance(start, str)
            if not is_said and self.original.broken_paths.isdisjoint(path[:end] for end in range(len(path) + 1)):
                self.problems.append(self.original.build_problem(path, message))

    def _build_node_outline(self, name: str, plan: GraphPlan) -> NodeOutline:
        """Outline a node: by its page, or where that left something out by what can be read of it."""
        node = self.spec.nodes.get(name)
        at: Path = ("nodes", name)
        written = self.original.find_value(at)
        seen = node.locate_tool_patterns() if node is not None else {}
        has_tools = None if any(map(patterns.find_tool_fault, seen.values())) else bool(seen)
        if node is not None and written == self.source.find_value(at) and not self.original.is_broken((*at, "next")):
            edges = [_build_edge_outline(*pair) for pair in zip(node.next, plan.branches[name], strict=True)]
            if (way := node.find_error_way()) is not None:
                edges.insert(0, EdgeOutline(way, is_conditional=True, is_error=True))
            # In a graph with variables a branch that nobody thought of is no small thing: what follows may read them.
            needs_otherwise = bool(self.variable_names) and all(branch.value is None for branch in node.next)
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
        is_read = len(edges) == len(branches) > 0 and not self.original.is_broken((*at, "next"))
        return NodeOutline(
            role=node.role if node is not None else None, edges=edges, is_complete=is_read, has_tools=has_tools or None
        )

    def check_reads(self, plan: GraphPlan) -> None:
        """Check that no variable is read before it is written, and no field that may be absent unless it is there."""
        nodes = {name: self._build_flow(name, plan) for name in self.spec.nodes}
        nodes |= self._build_end(plan)
        assigned = [name for name, one in self.variables.items() if one.has_default or name in self.spec.input]
        for read in find_early_reads(self.spec.start, nodes, assigned):
            if "." in read.name:
                message = f"{read.name!r} may be absent; read it only where has({read.name}) is true"
            elif read.name == ERROR:
                message = "'error' has a value only behind an 'on_error', and a way without one leads here too"
            else:
                way = " → ".join(read.path)
                on_way = f"on the way {way} " if len(read.path) > 1 else ""
                message = f"{read.name!r} has no value yet {on_way}here; give it a default, or write it before"
            self._report_in_text(read.place, ExpressionError(message, read.offset))

    def _build_end(self, plan: GraphPlan) -> Mapping[str, NodeFlow]:
        """Build what is read where the graph ends."""
        if plan.output is None:
            return {}
        return {END: NodeFlow(reads=[Read(expression=plan.output, place=("output",))], writes=(), ways=())}

    def _build_flow(self, name: str, plan: GraphPlan) -> NodeFlow:
        """Build what a node reads and writes."""
        node = self.spec.nodes[name]
        reads = [read for each in (name, *self._list_inner_names(name)) for read in self._list_reads(each, plan)]
        ways = [Way(to=way.to, is_error=True)] if (way := plan.error_ways.get(name)) is not None else []
        for at, branch in enumerate(plan.branches[name]):
            place: Path = (*self._locate_edge(name, at), "when")
            when = Read(expression=branch.when, place=place) if branch.when is not None else None
            ways.append(Way(when=when, to=branch.to))
        outputs = {*node.locate_outputs().values()}
        if node.writes_surely():
            return NodeFlow(reads=reads, writes=outputs, ways=ways)
        return NodeFlow(reads=reads, writes=(), may_write=outputs, ways=ways)

    def _list_inner_names(self, name: str) -> list[str]:
        return [each for each in self.nodes if each.startswith(f"{name}.")]

    def _list_reads(self, name: str, plan: GraphPlan) -> Iterator[Read]:
        """List what a node evaluates before it has written anything."""
        node, place = self.nodes[name], self.spec.locate_node(name)
        own = frozenset((*node.own_names, *(each for each, _ in self._list_task_types(name))))
        for path in node.locate_templates():
            for piece in plan.templates[name, *path].pieces:
                if isinstance(piece, GraphExpression):
                    yield Read(expression=piece, place=(*place, *path), own=own)
        for path in node.locate_expressions():
            yield Read(expression=plan.expressions[name, *path], place=(*place, *path), own=own)


def _build_edge_outline(spec: BranchSpec, branch: Branch) -> EdgeOutline:
    # A condition with a mistake in it may well be a bound: the mistake is told, and nothing that may follow from it.
    return EdgeOutline(
        spec.to,
        is_conditional=spec.when is not None or spec.value is not None,
        place=spec.value,
        is_bounded=branch.when.most_times is not None if branch.when is not None else spec.when is not None,
    )
