"""The syntax tree of a compiled CEL expression: the names it looks at, literal arguments, and their offsets.

The library compiles and checks, and keeps its syntax tree to itself; but it can serialise it, as the public
`cel.expr.CheckedExpr` message. Its few fields that matter here are read straight from the wire format, so that nothing
as heavy as a protobuf runtime is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_Fields = dict[int, list["bytes | int"]]


@dataclass(frozen=True)
class Expr:
    """One node of the tree. `kind` says which of the other fields mean something."""

    id: int
    kind: str
    """`const`, `ident`, `select`, `call`, `list`, `struct`, `comprehension` or `none`."""
    name: str = ""
    """The identifier, the selected field, the called function, or the name that a comprehension gives each item."""
    text: str | None = None
    """The value of a text literal."""
    index: int | None = None
    """The value of a literal of a whole number."""
    is_test: bool = False
    """Whether a field is only looked for: `has(x.field)`."""
    target: Expr | None = None
    """What a field is selected from, or what a member function is called on."""
    children: tuple[Expr, ...] = ()
    """Arguments, elements, or the parts of a comprehension."""

    def walk(self) -> Iterator[Expr]:
        """Yield this node and everything under it."""
        waiting: list[Expr] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.children)
            if node.target is not None:
                waiting.append(node.target)


@dataclass(frozen=True)
class Tree:
    """A whole expression."""

    root: Expr
    offsets: Mapping[int, int]
    """Where each node stands in the text, in characters, by node id."""

    def find_field_names(self, variable: str) -> frozenset[str] | None:
        """Find which fields of `variable` are looked at; None if it is used in any other way, so all of them may be."""
        found: set[str] = set()
        accounted: set[int] = set()
        for node in self.root.walk():
            match split_field(node):
                case (holder, field) if _is_variable(holder, variable):
                    found.add(field)
                    accounted.add(holder.id)
                case _:
                    pass
        used = {node.id for node in self.root.walk() if _is_variable(node, variable)}
        return frozenset(found) if used <= accounted else None

    def find_first_use(self, variable: str) -> int | None:
        """Find the offset where `variable` is looked at first, in characters; None if it is not."""
        places = [self.offsets.get(node.id, 0) for node in self.root.walk() if _is_variable(node, variable)]
        return min(places, default=None)

    def find_fields(self, variable: str) -> Mapping[str, int]:
        """Find the fields of `variable` that are looked at, each with an offset at it or just before it."""
        found: dict[str, int] = {}
        for node in self.root.walk():
            match split_field(node):
                case (holder, field) if _is_variable(holder, variable):
                    literal = next((child for child in node.children if child.text == field), node)
                    at = self.offsets.get(literal.id, 0)
                    found[field] = min(at, found.get(field, at))
                case _:
                    pass
        return found


def split_field(node: Expr) -> tuple[Expr, str] | None:
    """Return holder and field that `x.field`, `has(x.field)`, `x["field"]` or `"field" in x` look at; else None."""
    if node.kind == "select" and node.target is not None:
        return node.target, node.name
    if node.kind == "call" and len(node.children) == 2:
        left, right = node.children
        if node.name == "_[_]" and right.text is not None:
            return left, right.text
        if node.name in ("@in", "_in_") and left.text is not None:
            return right, left.text
    return None


def find_most_times(node: Expr, variable: str) -> int | None:
    """Find how often this can be true where the variable counts how often it was asked, from 1 on: twice for `x < 3` or
    `3 > x && …`. None: it asks for no number that the variable is below."""
    if node.kind != "call" or len(node.children) != 2:
        return None
    left, right = node.children
    if node.name == "_&&_":
        found = [bound for side in node.children if (bound := find_most_times(side, variable)) is not None]
        return min(found, default=None)
    if node.name in ("_>_", "_>=_"):
        left, right = right, left
    elif node.name not in ("_<_", "_<=_"):
        return None
    if not _is_variable(left, variable) or right.index is None:
        return None
    return max(0, right.index - (node.name in ("_<_", "_>_")))


def list_names(node: Expr) -> Iterator[str]:
    """Yield what an expression looks at, by its first name; not the names that comprehensions give their items."""
    if node.kind == "ident":
        yield node.name.lstrip(".").split(".")[0]
        return
    inner = (*((node.target,) if node.target is not None else ()), *node.children)
    own = {node.name, "@result", "__result__"} if node.kind == "comprehension" else frozenset[str]()
    for at, child in enumerate(inner):
        found = list_names(child)
        yield from found if at == 0 else (name for name in found if name not in own)


def parse(serialized: bytes) -> Tree:
    """Parse what `Expression.serialize()` returns. Raises ValueError if that is no checked expression."""
    wrapped = _read_fields(serialized)
    checked = _read_fields(_get_bytes(wrapped, 2))
    source = _read_fields(_get_bytes(checked, 5))
    offsets: dict[int, int] = {}
    for entry in source.get(4, []):
        pair = _read_fields(_require_bytes(entry))
        offsets[_get_int(pair, 1)] = _get_int(pair, 2)
    return Tree(_read_expr(_get_bytes(checked, 4)), offsets)


def _is_variable(node: Expr, name: str) -> bool:
    return node.kind == "ident" and node.name.lstrip(".") == name


def _read_expr(data: bytes) -> Expr:
    fields = _read_fields(data)
    number = _get_int(fields, 2)
    if 3 in fields:
        constant = _read_fields(_get_bytes(fields, 3))
        text = _get_text(constant, 6) if 6 in constant else None
        index = _get_signed(constant, 3) if 3 in constant else None
        return Expr(number, "const", text=text, index=index)
    if 4 in fields:
        return Expr(number, "ident", _get_text(_read_fields(_get_bytes(fields, 4)), 1))
    if 5 in fields:
        select = _read_fields(_get_bytes(fields, 5))
        target = _read_expr(_get_bytes(select, 1))
        return Expr(number, "select", _get_text(select, 2), target=target, is_test=_get_int(select, 3) == 1)
    if 6 in fields:
        call = _read_fields(_get_bytes(fields, 6))
        target = _read_expr(_get_bytes(call, 1)) if 1 in call else None
        return Expr(number, "call", _get_text(call, 2), target=target, children=_read_exprs(call, 3))
    if 7 in fields:
        return Expr(number, "list", children=_read_exprs(_read_fields(_get_bytes(fields, 7)), 1))
    if 8 in fields:
        entries = [_read_fields(_require_bytes(entry)) for entry in _read_fields(_get_bytes(fields, 8)).get(2, [])]
        children = [child for entry in entries for child in (*_read_exprs(entry, 3), *_read_exprs(entry, 4))]
        return Expr(number, "struct", children=tuple(children))
    if 9 in fields:
        parts = _read_fields(_get_bytes(fields, 9))
        children = tuple(_read_expr(_get_bytes(parts, at)) for at in (2, 4, 5, 6, 7))
        return Expr(number, "comprehension", _get_text(parts, 1), children=children)
    return Expr(number, "none")


def _read_exprs(fields: _Fields, at: int) -> tuple[Expr, ...]:
    return tuple(_read_expr(_require_bytes(item)) for item in fields.get(at, []))


def _read_fields(data: bytes) -> _Fields:
    """Read one message of the wire format: field number to its values in order. Numbers of fixed width stay bytes."""
    found: _Fields = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value: bytes | int
        match key & 7:
            case 0:
                value, at = _read_varint(data, at)
            case 1:
                value, at = data[at : at + 8], at + 8
            case 2:
                size, at = _read_varint(data, at)
                value, at = data[at : at + size], at + size
            case 5:
                value, at = data[at : at + 4], at + 4
            case other:
                raise ValueError(f"a serialised expression holds the wire type {other}, which is not known here")
        found.setdefault(key >> 3, []).append(value)
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a serialised expression ends in the middle of a number")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at


def _require_bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a serialised expression holds a number where a message belongs")  # noqa: TRY004
    return value


def _get_bytes(fields: _Fields, at: int) -> bytes:
    return _require_bytes(fields[at][-1]) if at in fields else b""


def _get_text(fields: _Fields, at: int) -> str:
    return _get_bytes(fields, at).decode("utf-8")


def _get_int(fields: _Fields, at: int) -> int:
    value = fields[at][-1] if at in fields else 0
    return value if isinstance(value, int) else 0


def _get_signed(fields: _Fields, at: int) -> int:
    value = _get_int(fields, at)
    return value - 2**64 if value >= 2**63 else value
