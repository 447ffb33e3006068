"""The types of the parts of an expression, as far as the variables of a graph say more than CEL knows."""

from __future__ import annotations

from collections.abc import Mapping

from graphs.expressions.celtree import Expr, Tree, split_field
from graphs.expressions.types import VarType


def infer_types(tree: Tree, variables: Mapping[str, VarType]) -> dict[int, VarType]:
    """Find the type of each part that is a variable, a field of one, or an item; by the part's id in the tree.

    To CEL, an object is a mapping to anything.
    """
    found: dict[int, VarType] = {}
    _infer(tree.root, variables, found)
    return found


def _infer(node: Expr, names: Mapping[str, VarType], found: dict[int, VarType]) -> VarType | None:
    type_: VarType | None = None
    if node.kind == "ident":
        type_ = names.get(node.name.lstrip("."))
    elif node.kind == "comprehension":
        type_ = _infer_comprehension(node, names, found)
    else:
        parts = [_infer(part, names, found) for part in (*((node.target,) if node.target else ()), *node.children)]
        holder = parts[0] if parts else None
        looked = split_field(node)
        if looked is not None and holder is not None and not node.is_test and node.name not in ("@in", "_in_"):
            field = holder.find_field(looked[1])
            type_ = field.type if field is not None else None
        elif node.name == "_[_]" and holder is not None:
            type_ = holder.item
        elif node.name == "_?_:_" and parts[1:2] == parts[2:3]:
            type_ = parts[1]
    if type_ is not None:
        found[node.id] = type_
    return type_


def _infer_comprehension(node: Expr, names: Mapping[str, VarType], found: dict[int, VarType]) -> VarType | None:
    """Infer inside `list.map(x, …)` and its like: the name of the item hides a variable of that name."""
    range_, *rest = node.children
    listed = _infer(range_, names, found)
    inner = {name: type_ for name, type_ in names.items() if name != node.name}
    if listed is not None and listed.item is not None:
        inner[node.name] = listed.item
    for part in rest:
        _infer(part, inner, found)
    # `map` and `filter` add a list of one to what there is; `all` and `exists` add nothing.
    for step in rest[2].walk() if len(rest) > 2 else ():
        if step.name == "_+_" and len(step.children) == 2 and step.children[1].kind == "list":
            item = found.get(step.children[1].children[0].id) if step.children[1].children else None
            return VarType(kind="list", item=item) if item is not None else None
    return None
