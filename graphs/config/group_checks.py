"""Check nodes that have nodes inside: what they give fits the variable that takes it, and there are not too many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from graphs.config.source import Path
from graphs.config.spec.groups import ITEMS, MapNodeSpec, ParallelNodeSpec
from graphs.config.spec.node import NodeSpec
from graphs.errors import did_you_mean
from graphs.expressions import ANY, GraphExpression, Variable, VarType

ITEM = "item"
INDEX = "index"

ANYTHING = Variable(type=ANY, has_default=True)
"""Stands for a variable whose type cannot be read, so that nothing else is said of it."""


def find_output(name: str, variables: Mapping[str, Variable]) -> Variable | None:
    """Find a variable, an item of one (`notes[]`), or a field of one (`found.style`); None: there is none such."""
    if name in variables:
        return variables[name]
    is_item = name.endswith(ITEMS)
    holder, _, field = (name.removesuffix(ITEMS), "", "") if is_item else name.partition(".")
    outer = variables.get(holder)
    if outer is None or outer.type.kind == "any":
        return ANYTHING if outer is not None else None
    if is_item:
        return Variable(type=outer.type.item or ANY) if outer.type.kind == "list" else None
    found = outer.type.find_field(field)
    return Variable(type=found.type) if found is not None else None


def check_group(
    node: NodeSpec, variables: Mapping[str, Variable], over: GraphExpression | None, width: int
) -> Iterator[tuple[Path, str]]:
    """Check a node with nodes inside; what is wrong comes with its path in the node. `over` is the list of a `map`,
    None where it cannot be read; `width` is the graph's limit."""
    match node:
        case MapNodeSpec():
            yield from _check_map(node, variables, over, width)
        case ParallelNodeSpec():
            yield from _check_parallel(node, variables, width)
        case _:
            pass


def _check_map(
    node: MapNodeSpec, variables: Mapping[str, Variable], over: GraphExpression | None, width: int
) -> Iterator[tuple[Path, str]]:
    if node.at_most is not None and node.at_most > width:
        yield ("at_most",), f"this is more than 'limits.width' of this graph, {width}; raise that, or lower this"
    if over is not None and not VarType(kind="list").may_come_from(over.kind):
        yield ("over",), f"this is {over.describe_kind()}; a map runs over a list"
    into = variables.get(node.into or "")
    if into is not None and into.type.kind not in ("list", "any"):
        yield ("into",), f"{node.into!r} is {into.type.describe()}; a map gives a list, such as string[]"


def _check_parallel(
    node: ParallelNodeSpec, variables: Mapping[str, Variable], width: int
) -> Iterator[tuple[Path, str]]:
    if len(node.branches) > width:
        yield (
            ("branches",),
            f"there are {len(node.branches)} branches, and 'limits.width' of this graph is {width}; raise that, or"
            " remove some",
        )
    for name in node.branches:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII):
            yield ("branches", name), f"{name!r} is no name for a branch; use letters, digits and '_'"
    into = variables.get(node.into or "")
    if into is None or into.type.kind == "any":
        return
    if into.type.kind != "object":
        example = "{fields: {" + ", ".join(f"{name}: string" for name in node.branches) + "}}"
        yield ("into",), f"{node.into!r} is {into.type.describe()}; parallel gives an object, such as {example}"
        return
    fields = {field.name: field for field in into.type.fields}
    for name in node.branches:
        if name not in fields:
            known = f"it has {', '.join(fields)}{did_you_mean(name, fields)}"
            yield ("branches", name), f"{node.into!r} has no field {name!r} for what this branch gives; {known}"
    missing = [name for name, field in fields.items() if name not in node.branches and not field.is_optional]
    if missing:
        yield (
            ("into",),
            f"no branch gives {', '.join(map(repr, missing))} of {node.into!r}; add one, or a '?' behind it",
        )
