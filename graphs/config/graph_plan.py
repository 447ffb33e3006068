"""One graph without mistakes: its page, with everything that it says compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from graphs.config.graph_input import find_message_input, is_asked_for
from graphs.config.group_checks import find_output
from graphs.config.python_functions import PythonFunction
from graphs.config.source import Path
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.node import NodeSpec
from graphs.config.spec.node_types import AgentNodeSpec
from graphs.expressions import GraphExpression, Template, Variable


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
    def is_tool_loop(self) -> bool:
        """Whether it is one model with its tools, and nothing else: then a conversation says all that it knows."""
        roles = [node.role for node in self.spec.nodes.values()]
        is_alone = sum(role in ("model", "agent") for role in roles) == 1
        return is_alone and not self.variables and set(roles) <= {"model", "agent", "gate", "executor"}

    def find_tools_node(self, name: str) -> str | None:
        """Find the `tools` node that runs the calls of a model node; None: none does, or the node does it itself."""
        left, found = [name], {name}
        while left:
            at = left.pop()
            if self.spec.nodes[at].role == "executor":
                return at
            if at == name or self.spec.nodes[at].role == "gate":
                behind = [branch.to for branch in self.branches[at]]
                new = [to for to in behind if to not in found and to in self.spec.nodes]
                left += [to for to in new if self.spec.nodes[to].role in ("gate", "executor")]
                found |= {*new}
        return None

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
        return find_message_input(self.inputs)

    @cached_property
    def asks_for_input(self) -> bool:
        """Whether whoever chats with the graph is asked for its input before it starts."""
        return is_asked_for(self.inputs)

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
