"""Check that on no way through a graph a variable is read before it is written, nor a field that may be absent.

A forward analysis over the ways of the graph: a fact is a variable that surely has a value (`ticket`), or a field of
one that is surely there (`ticket.title`). A node has the facts that all ways to it have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphs.config.source import Path
from graphs.expressions import GraphExpression
from graphs.expressions.celtree import Expr, split_field

_STEP = re.compile(r"[.\[]")

Facts = frozenset[str]
ERROR = "error"
"""The name that has a value behind an `on_error`."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """One expression, and where it stands."""

    expression: GraphExpression
    place: Path
    own: Facts = frozenset()
    """Names that have a value here whatever the way."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One edge."""

    when: Read | None = None
    to: str
    is_error: bool = False
    """Whether it is taken where the node fails, so before it has written anything. Such ways come first."""


@dataclass(frozen=True, kw_only=True)
class NodeFlow:
    """What a node reads and writes."""

    reads: Sequence[Read]
    """What it evaluates before it has written anything."""
    writes: Collection[str]
    ways: Sequence[Way]
    may_write: Collection[str] = ()
    """What it writes or leaves as it is."""


@dataclass(frozen=True, kw_only=True)
class EarlyRead:
    """A variable, or a field of one, that is read where it may not be there."""

    place: Path
    """Where the text stands that it is in."""
    offset: int
    """Where it begins in this text, in characters."""
    name: str
    """`ticket`, or `ticket.title` for a field that may be absent."""
    path: Sequence[str]
    """A way from the start to the node on which nobody writes the variable; empty for a field."""


def find_early_reads(start: str, nodes: Mapping[str, NodeFlow], assigned: Collection[str]) -> list[EarlyRead]:
    """Find every read of a variable that a way leads to before it is written.

    `assigned` are the variables that have a value from the start.
    """
    before = _compute_facts(start, nodes, frozenset(assigned))
    found: list[EarlyRead] = []
    for name, node in nodes.items():
        if (facts := before.get(name)) is None:
            continue  # no way leads here, which is reported elsewhere

        def report(read: Read, facts: Facts, name: str = name) -> None:
            for offset, missing in _find_missing(read.expression, facts | read.own):
                path = _find_path(start, name, nodes, missing) if "." not in missing else ()
                found.append(EarlyRead(place=read.place, offset=offset, name=missing, path=path))

        for read in node.reads:
            report(read, facts)
        facts = _write(facts, node)
        for way in node.ways:
            if way.when is not None:
                report(way.when, facts)
                facts |= _find_facts(way.when.expression.tree.root, truth=False)
    return found


def _compute_facts(start: str, nodes: Mapping[str, NodeFlow], assigned: Facts) -> dict[str, Facts]:
    before: dict[str, Facts] = {start: assigned} if start in nodes else {}
    waiting = [start] if start in nodes else []
    while waiting:
        name = waiting.pop()
        facts = _write(before[name], nodes[name])
        for way in nodes[name].ways:
            taken = facts if not way.is_error else before[name] | {ERROR}
            if way.when is not None:
                root = way.when.expression.tree.root
                taken = facts | _find_facts(root, truth=True)
                facts |= _find_facts(root, truth=False)
            if way.to not in nodes:
                continue
            known = before.get(way.to)
            joined = taken if known is None else known & taken
            if joined != known:
                before[way.to] = joined
                waiting.append(way.to)
    return before


def _write(facts: Facts, node: NodeFlow) -> Facts:
    changed = {*node.writes, *node.may_write}
    return frozenset(fact for fact in facts if fact in node.may_write or _find_root(fact) not in changed) | frozenset(
        node.writes
    )


def _find_missing(expression: GraphExpression, facts: Facts) -> Iterator[tuple[int, str]]:
    variables = {ERROR, *(name for name, _ in expression.variables)}

    def visit(node: Expr, facts: Facts, hidden: frozenset[str]) -> Iterator[tuple[int, str]]:
        place = expression.offset + expression.tree.offsets.get(node.id, 0)
        parts = (*((node.target,) if node.target is not None else ()), *node.children)
        if node.kind == "ident":
            name = node.name.lstrip(".").split(".")[0]
            if name in variables and name not in hidden and name not in facts:
                yield place, name
            return
        if node.kind == "comprehension":
            yield from visit(parts[0], facts, hidden)
            for part in parts[1:]:
                yield from visit(part, facts, hidden | {node.name})
            return
        if node.name in ("_&&_", "_||_") and len(parts) == 2:
            yield from visit(parts[0], facts, hidden)
            yield from visit(parts[1], facts | _find_facts(parts[0], truth=node.name == "_&&_"), hidden)
            return
        if node.name == "_?_:_" and len(parts) == 3:
            yield from visit(parts[0], facts, hidden)
            yield from visit(parts[1], facts | _find_facts(parts[0], truth=True), hidden)
            yield from visit(parts[2], facts | _find_facts(parts[0], truth=False), hidden)
            return
        if (path := _find_optional_path(node, expression)) is not None and path not in facts:
            root = _find_root(path)
            if root not in hidden and root in facts:
                yield place, path
        for part in parts:
            yield from visit(part, facts, hidden)

    yield from visit(expression.tree.root, facts, frozenset())


def _find_optional_path(node: Expr, expression: GraphExpression) -> str | None:
    """Return the path of a field that is read here and may be absent, such as `ticket.title`; None: nothing such."""
    looked = split_field(node)
    if looked is None or node.is_test or node.name in ("@in", "_in_"):
        return None
    holder = expression.variable_types.get(looked[0].id)
    field = holder.find_field(looked[1]) if holder is not None else None
    path = _find_path_of(node)
    return path if field is not None and field.is_optional and path is not None else None


def _find_path_of(node: Expr) -> str | None:
    """Return `a.b` for a variable's field, however it is looked at; None: it is no plain path."""
    if node.kind == "ident":
        return node.name.lstrip(".")
    if node.name == "_[_]" and node.children[1].index is not None:
        before = _find_path_of(node.children[0])
        return f"{before}[{node.children[1].index}]" if before is not None else None
    looked = split_field(node)
    if looked is None:
        return None
    before = _find_path_of(looked[0])
    return f"{before}.{looked[1]}" if before is not None else None


def _find_root(path: str) -> str:
    """Find the variable of a path such as `rows[0].title`."""
    return _STEP.split(path, maxsplit=1)[0]


def _find_facts(node: Expr, *, truth: bool) -> Facts:
    """Find which fields are surely there where this condition is true, or false."""
    if node.name == "!_" and len(node.children) == 1:
        return _find_facts(node.children[0], truth=not truth)
    if node.name in ("_&&_", "_||_") and len(node.children) == 2:
        one, other = (_find_facts(child, truth=truth) for child in node.children)
        return one | other if (node.name == "_&&_") == truth else one & other
    if truth and (node.is_test or node.name in ("@in", "_in_")) and (path := _find_path_of(node)) is not None:
        return frozenset({path})
    return frozenset()


def _find_path(start: str, goal: str, nodes: Mapping[str, NodeFlow], variable: str) -> Sequence[str]:
    """Find the shortest way to a node on which nobody writes a variable."""
    paths: list[tuple[str, ...]] = [(start,)]
    passed = {start}
    while paths:
        path = paths.pop(0)
        if path[-1] == goal:
            return path
        is_written = variable in nodes[path[-1]].writes
        for way in nodes[path[-1]].ways:
            if is_written and not way.is_error:
                continue
            if way.to in nodes and way.to not in passed:
                passed.add(way.to)
                paths.append((*path, way.to))
    return (goal,)
