"""Whether the type of a variable and the JSON Schema of a Python annotation can have a value in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from graphs.expressions import GraphExpression, VarType

Schema = Mapping[str, Any]

_MAX_DEPTH = 32
_JSON_TYPES: Mapping[str, tuple[str, ...]] = {
    "string": ("string",),
    "enum": ("string",),
    "int": ("integer", "number"),
    "number": ("integer", "number"),
    "bool": ("boolean",),
    "list": ("array",),
    "object": ("object",),
}
_CEL_TYPES: Mapping[str, VarType] = {
    "STRING": VarType(kind="string"),
    "TIMESTAMP": VarType(kind="string"),
    "INT": VarType(kind="int"),
    "UINT": VarType(kind="int"),
    "DOUBLE": VarType(kind="number"),
    "BOOL": VarType(kind="bool"),
    "LIST": VarType(kind="list"),
    "MAP": VarType(kind="object"),
}


def find_expression_type(expression: GraphExpression) -> VarType:
    """Find the type of what an expression gives, as far as it is known. An object without fields is any object."""
    known = expression.variable_types.get(expression.tree.root.id)
    return known or _CEL_TYPES.get(expression.kind.partition("<")[0], VarType(kind="any"))


def may_overlap(type_: VarType, schema: Schema, *, is_result: bool = False) -> bool:
    """Whether a value can have this type and fit the schema too; where nobody can tell, it can.

    `is_result`: the schema is of what a function returns, which has no fields but those that it names.
    """
    return _Overlap(cast("Mapping[str, Schema]", schema.get("$defs", {})), is_result).find(type_, schema, 0)


class _Overlap:
    def __init__(self, defs: Mapping[str, Schema], is_result: bool) -> None:
        self._defs = defs
        self._is_result = is_result

    def find(self, type_: VarType, schema: object, depth: int) -> bool:
        if not isinstance(schema, Mapping) or type_.kind == "any" or depth > _MAX_DEPTH:
            return schema is not False
        schema = cast("Schema", schema)
        if isinstance(name := schema.get("$ref"), str):
            return self.find(type_, self._defs.get(name.rpartition("/")[2], {}), depth + 1)
        for key in ("anyOf", "oneOf"):
            if isinstance(choices := schema.get(key), list):
                return any(self.find(type_, choice, depth + 1) for choice in cast("list[object]", choices))
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list):
            return any(_may_be(type_, value) for value in cast("list[object]", values))
        if isinstance(kind := schema.get("type"), str) and kind not in _JSON_TYPES[type_.kind]:
            return False
        match type_.kind:
            case "list":
                return self._find_in_list(type_, schema, depth)
            case "object":
                return self._find_in_object(type_, schema, depth)
            case _:
                return True

    def _find_in_list(self, type_: VarType, schema: Schema, depth: int) -> bool:
        # An empty list fits whatever the items are, and nobody means one: it is the items that are compared.
        items = [*cast("Sequence[object]", schema.get("prefixItems", ())), schema.get("items", {})]
        inner = type_.item or VarType(kind="any")
        return all(self.find(inner, each, depth + 1) for each in items if each is not False)

    def _find_in_object(self, type_: VarType, schema: Schema, depth: int) -> bool:
        fields = type_.fields
        if not fields:  # any object
            return True
        properties = cast("Mapping[str, object]", schema.get("properties", {}))
        names = {field.name for field in fields}
        required = cast("Sequence[str]", schema.get("required", ()))
        if not type_.is_open and any(name not in names for name in required):
            return False
        others = schema.get("additionalProperties", not (self._is_result and properties))
        return all(
            self.find(field.type, properties.get(field.name, others), depth + 1)
            for field in fields
            if not field.is_optional
        )


def _may_be(type_: VarType, value: object) -> bool:
    """Whether a value that is written out may be of a type."""
    match value:
        case str():
            return type_.kind == "string" or value in type_.values
        case bool():
            return type_.kind == "bool"
        case int() | float():
            return type_.kind in ("int", "number")
        case _:
            return False
