"""Compile and check one file of tests: what its cases name must be there, what they expect must be an expression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from graphs.config.graph_input import INPUT_NODE, is_asked_for
from graphs.config.reader import ParsedFile
from graphs.config.source import Path, Source
from graphs.config.spec.cases import (
    ANY_NODE,
    ANY_NODES,
    CaseFileSpec,
    CaseSpec,
    HintsSpec,
    TesterSpec,
    find_tested_graph,
)
from graphs.config.spec.cassettes import find_place_fault
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.node import END, NodeSpec
from graphs.config.spec.node_types import AgentNodeSpec
from graphs.errors import Position, Problem, did_you_mean
from graphs.expressions import Expectation, ExpressionError, TypeFault, compile_expectation, parse_variable
from graphs.policy import patterns

QUESTION = "question"
"""The type of the nodes that ask a person."""


@dataclass(frozen=True, kw_only=True)
class CasePlan:
    """One case without mistakes, ready to run."""

    name: str
    graph: str
    tester: TesterSpec
    spec: CaseSpec
    answer: Expectation | None
    """The condition under `expect.answer`."""
    cassette: str | None = None
    """Where its cassette lies, in the config folder: `graphs/cassettes/release.yaml`. None: the case has none."""
    position: Position


@dataclass(frozen=True, kw_only=True)
class CaseFile:
    """One file of tests without mistakes."""

    file: str
    """`graphs/assistant.test.yaml`."""
    graph: str
    """The graph that it is named after; a case may name another, and there may be none of this name."""
    hints: Mapping[str, HintsSpec]
    cases: Sequence[CasePlan]


@dataclass(frozen=True, kw_only=True)
class KnownNames:
    """What cases may name, mistakes in it or not. What cannot be read at all is empty, and nothing is held against
    it."""

    graphs: Mapping[str, ParsedFile[GraphSpec]]
    roles: Sequence[str]
    servers: Sequence[str]
    cassettes: dict[str, Position] = field(default_factory=dict[str, Position])
    """Where the cassettes of the files so far are named, by their own files."""


def compile_cases(
    name: str, reading: ParsedFile[CaseFileSpec], names: KnownNames
) -> tuple[CaseFile | None, list[Problem]]:
    """Compile and check one file of tests, `name` without its folder; there is no result if there are problems."""
    if reading.spec is None:
        return None, []
    compiler = _CaseCompiler(find_tested_graph(name), reading.spec, reading.source, names, reading.is_complete)
    compiler.check_hints()
    cases = [made for case in reading.spec.cases if (made := compiler.compile_case(case)) is not None]
    if not reading.is_complete or compiler.problems:
        return None, compiler.problems
    made = CaseFile(file=reading.source.file, graph=compiler.graph, hints=reading.spec.hints, cases=cases)
    return made, []


@dataclass
class _CaseCompiler:
    graph: str
    spec: CaseFileSpec
    source: Source
    names: KnownNames
    is_complete: bool
    """Whether nothing was left out of the file."""
    problems: list[Problem] = field(default_factory=list[Problem])

    def _report(self, path: Path, message: str) -> None:
        path = self._find_written_path(path)
        if not self.source.is_broken(path):
            self.problems.append(self.source.build_problem(path, message))

    def _find_written_path(self, path: Path) -> Path:
        """Find where it is in the file, in which the one member of a list may stand without brackets."""
        found: list[str | int] = []
        for step in path:
            if not isinstance(step, int) or isinstance(self.source.find_value(tuple(found)), list):
                found.append(step)
        return tuple(found)

    def check_hints(self) -> None:
        """Check the names of tools, and the role of the whole file."""
        self._check_tools((("hints", tool), tool) for tool in self.spec.hints)
        if self.spec.tester is not None:
            self._check_role(("as", "role"), self.spec.tester)

    def compile_case(self, name: str) -> CasePlan | None:
        """Compile and check one case; None where who asks is missing."""
        spec, path = self.spec.cases[name], ("cases", name)
        graph = spec.graph or self.graph
        self._check_graph(path, spec, graph)
        self._check_nodes(path, spec, graph)
        self._check_tools(_list_tools(path, spec))
        cassette = self._locate_cassette((*path, "cassette"), spec.cassette)
        answer = self._compile_answer((*path, "expect", "answer"), spec.expect.answer)
        if spec.tester is not None:
            self._check_role((*path, "as", "role"), spec.tester)
        tester = spec.tester or self.spec.tester
        if tester is None:
            if self.is_complete:  # else it may be what was left out
                roles = f"; the roles are {', '.join(self.names.roles)}" if self.names.roles else ""
                self._report(
                    path, f"nobody is said to ask in this case; write 'as: {{role: ROLE}}' above the cases{roles}"
                )
            return None
        return CasePlan(
            name=name,
            graph=graph,
            tester=tester,
            spec=spec,
            answer=answer,
            cassette=cassette,
            position=self.source.find_position(path),
        )

    def _locate_cassette(self, path: Path, written: str | None) -> str | None:
        """Find where a cassette lies in the config folder, and check that it can."""
        if written is None:
            return None
        if (wrong := find_place_fault(written)) is not None:
            self._report(path, wrong)
            return None
        file = str(PurePosixPath("graphs", written))
        if (other := self.names.cassettes.get(file)) is not None:
            self._report(path, f"{written!r} is the cassette of another case too ({other}); give each its own")
        self.names.cassettes.setdefault(file, self.source.find_position(path))
        return file

    def _check_role(self, path: Path, tester: TesterSpec) -> None:
        roles = self.names.roles
        if roles and tester.role not in roles:
            known = f"access.yaml has {', '.join(roles)}"
            self._report(path, f"there is no role {tester.role!r}; {known}{did_you_mean(tester.role, roles)}")

    def _check_graph(self, path: Path, spec: CaseSpec, graph: str) -> None:
        graphs = self.names.graphs
        if graph in graphs:
            return
        known = f"there is {', '.join(graphs)}{did_you_mean(graph, graphs)}"
        if spec.graph is not None:
            self._report((*path, "graph"), f"there is no graph {graph!r}; {known}")
        else:
            self._report(
                path,
                f"there is no graph {graph!r}, which this file is named after; name the case's own with 'graph:'; "
                f"{known}",
            )

    def _check_nodes(self, path: Path, spec: CaseSpec, graph: str) -> None:
        reading = self.names.graphs.get(graph)
        nodes = reading.list_names("nodes") if reading is not None else []
        if reading is None or not nodes:
            return
        all_nodes: Mapping[str, NodeSpec] = reading.spec.list_all_nodes() if reading.spec is not None else {}
        roles = {name: node.role for name, node in all_nodes.items()}
        inner = [name for name in all_nodes if name not in nodes]
        # What the graphs of an agent ask is named after the agent and the graph.
        inner += [
            f"{name}.{graph}"
            for name, node in all_nodes.items()
            if isinstance(node, AgentNodeSpec)
            for graph in node.agents
        ]
        for name in spec.model:
            if name == ANY_NODE:
                continue
            if name not in (*nodes, *inner):
                known = f"graph {graph!r} has {', '.join((*nodes, *inner))}, and {ANY_NODE!r} stands for all"
                hint = did_you_mean(name, [*nodes, *inner])
                self._report((*path, "model", name), f"there is no node {name!r}; {known}{hint}")
            elif roles.get(name) == "group":
                inside = ", ".join(each for each in inner if each.startswith(f"{name}."))
                message = f"node {name!r} asks no model itself; name the node inside it that does: {inside}"
                self._report((*path, "model", name), message)
            elif roles.get(name) in ("gate", "executor"):
                message = f"node {name!r} asks no model, so nothing would ever answer with this; remove it"
                self._report((*path, "model", name), message)
        self._check_questions(path, spec, graph, reading)
        self._check_memory(path, spec, graph, reading)
        for at, name in enumerate(spec.expect.route or ()):
            if name not in (*nodes, END, ANY_NODES):
                known = f"graph {graph!r} has {', '.join(nodes)}, then {END!r}; {ANY_NODES!r} stands for any in between"
                hint = did_you_mean(name, [*nodes, END])
                self._report((*path, "expect", "route", at), f"there is no node {name!r}; {known}{hint}")

        variables = [*reading.list_names("input"), *reading.list_names("vars")]
        known = f"it has {', '.join(variables)}" if variables else "it has none"
        for name in spec.expect.vars:
            if name not in variables:
                hint = did_you_mean(name, variables)
                self._report(
                    (*path, "expect", "vars", name), f"graph {graph!r} has no variable {name!r}; {known}{hint}"
                )

    def _check_questions(self, path: Path, spec: CaseSpec, graph: str, reading: ParsedFile[GraphSpec]) -> None:
        """Check that what a person answers is asked by a node, or before the first one."""
        nodes = reading.list_names("nodes")
        types = {name: node.type for name, node in reading.spec.nodes.items()} if reading.spec is not None else {}
        has_form = reading.spec is None or _asks_for_input(reading.spec)
        known = [INPUT_NODE, *nodes] if has_form and reading.spec is not None else nodes
        for name in spec.answers:
            if name == INPUT_NODE:
                if not has_form:
                    why = f"whoever chats with graph {graph!r} is asked for no input before it starts"
                    self._report((*path, "answers", name), f"{why}; remove this")
            elif name not in nodes:
                listed = f"graph {graph!r} has {', '.join(known)}{did_you_mean(name, known)}"
                self._report((*path, "answers", name), f"there is no node {name!r}; {listed}")
            elif types.get(name, QUESTION) != QUESTION:
                message = f"node {name!r} asks no person; what a model answers stands under 'model'"
                self._report((*path, "answers", name), message)

    def _check_memory(self, path: Path, spec: CaseSpec, graph: str, reading: ParsedFile[GraphSpec]) -> None:
        """Check that what is remembered is for a graph that remembers."""
        if reading.spec is None or any(node.uses_memory for node in reading.spec.nodes.values()):
            return
        for at, written in ((("memory",), spec.memory), (("expect", "memory"), spec.expect.memory)):
            if written is not None and (written or at[0] == "expect"):
                self._report((*path, *at), f"graph {graph!r} has no memory node, so nothing is remembered; remove this")

    def _check_tools(self, tools: Iterable[tuple[Path, str]]) -> None:
        for path, tool in tools:
            if (wrong := find_tool_fault(tool, self.names.servers)) is not None:
                self._report(path, wrong)

    def _compile_answer(self, path: Path, text: str | None) -> Expectation | None:
        if text is None:
            return None
        try:
            return compile_expectation(text)
        except ExpressionError as error:
            if not self.source.is_broken(path):
                self.problems.append(self.source.build_text_problem(path, error.offset, str(error)))
            return None


def _asks_for_input(spec: GraphSpec) -> bool:
    """Whether a graph asks whoever chats for its input, or may: that has a mistake in it, which is told elsewhere."""
    try:
        return is_asked_for({name: parse_variable(written) for name, written in spec.input.items()})
    except TypeFault:
        return True


def find_tool_fault(tool: str, servers: Sequence[str]) -> str | None:
    """Explain what is wrong with the name of one tool; None if nothing is. A server may be one to come."""
    server, slash, own = tool.partition("/")
    if not patterns.is_plain(tool):
        return f"{tool!r} is a pattern; in a test, name each tool by itself"
    if (slash or "__" in tool) and (wrong := patterns.find_tool_fault(tool)) is not None:
        return wrong
    if not own or not patterns.is_server_name(server):
        return f"{tool!r} is no name of a tool; tools are written server/tool, such as 'database/query'"
    return patterns.find_misspelt_server(tool, servers)


def _list_tools(path: Path, spec: CaseSpec) -> Iterator[tuple[Path, str]]:
    """List every tool that a case names, with its place."""
    for node, answers in spec.model.items():
        for at, answer in enumerate(answers):
            for number, call in enumerate(answer.calls):
                for tool in call:
                    yield (*path, "model", node, at, "calls", number, tool), tool
    for key, named in (("tools", spec.tools), ("approvals", spec.approvals)):
        for tool in named:
            yield (*path, key, tool), tool
    for tool in spec.expect.verdicts:
        yield (*path, "expect", "verdicts", tool), tool
    for at, tool in enumerate(spec.expect.calls or ()):
        yield (*path, "expect", "calls", at), tool
