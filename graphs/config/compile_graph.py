"""Compile and check one graph file: its variables, its expressions, its shape, and what its nodes read and write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from graphs.config.graph_faults import find_mistakes
from graphs.config.graph_outline import build_outline
from graphs.config.graph_plan import Branch, GraphPlan
from graphs.config.group_checks import ANYTHING, INDEX, ITEM, check_group, find_output
from graphs.config.python_checks import PythonChecker
from graphs.config.python_code import PythonCode
from graphs.config.reader import ParsedFile
from graphs.config.source import Path, Source
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.groups import OUTER_FIELDS, MapNodeSpec
from graphs.config.spec.memory import MemoryNodeSpec
from graphs.config.spec.node import END, BranchSpec, NodeSpec
from graphs.config.spec.registry import NODE_SPECS
from graphs.config.variable_checks import ERROR, NodeFlow, Read, Way, find_early_reads
from graphs.errors import Problem, did_you_mean
from graphs.expressions import (
    ANY,
    ExpressionError,
    GraphExpression,
    SchemaReader,
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


def compile_graph(
    graph: str, reading: ParsedFile[GraphSpec], code: PythonCode | None, read_schema: SchemaReader
) -> tuple[GraphPlan | None, list[Problem]]:
    """Compile and check one graph; the plan is None if there are problems.

    `code`: the operator's Python. None: it is not imported, so the plan cannot be served if it has `python` nodes.
    `read_schema`: reads the schema files that types name.
    """
    if reading.spec is None:
        return None, []
    compiler = _GraphCompiler(
        reading.spec,
        reading.source,
        reading.original,
        reading.list_names("nodes"),
        [*reading.list_names("input"), *reading.list_names("vars")],
        read_schema,
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
    read_schema: SchemaReader
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
                    self.variables[name] = parse_variable(written, self.read_schema)
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
        is_searched = any(isinstance(node, MemoryNodeSpec) and node.is_search for node in self.spec.nodes.values())
        if self.spec.memory is not None and self.spec.memory.embed is not None and is_read and not is_searched:
            self._report(
                ("memory", "embed"),
                "no node of this graph searches its memory; give one a text to search for, such as"
                ' recall: "{{ message }}", or remove this',
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
        is_choice = choice.kind == "enum" and not choice.is_nullable  # there is no way for null
        if variable is None or (not is_choice and variable in self.variables):
            what = "this node has no 'into'" if variable is None else f"{variable!r} is {choice.describe()}"
            self._report(
                path, f"a mapping is for a node whose 'into' is a choice, and {what}; write a list of branches"
            )
            return
        if not is_choice:
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
        outline = build_outline(
            plan, self.source, self.original, self.node_names, has_variables=bool(self.variable_names)
        )
        for path, message in find_mistakes(outline):
            is_said = path == ("start",) and not isinstance(start, str)
            if not is_said and self.original.broken_paths.isdisjoint(path[:end] for end in range(len(path) + 1)):
                self.problems.append(self.original.build_problem(path, message))

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
