"""Make the type of a variable of a JSON Schema: its fields and kinds as far as our types have them.

What they have not is checked by the schema itself (`value_schema.py`), and is `any` to expressions where it must be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from graphs.expressions.subschemas import ANNOTATIONS, change_subschemas, remove_annotations
from graphs.expressions.types import ANY, MAX_DEPTH, FieldType, TypeFault, TypeKind, VarType
from graphs.expressions.value_schema import ValueSchema

REFERENCE = "#/$defs/"
"""How a reference begins in a schema that stands by itself."""
MOST_PARTS = 10_000
"""Schemas in one, each counted as often as references lead to it."""
MOST_LEVELS = 64
"""Schemas inside each other where they are written out, with what their references lead to."""

_MOST_WRITTEN = 10 * MOST_PARTS
_KINDS: Mapping[str, TypeKind] = {
    "string": "string",
    "integer": "int",
    "number": "number",
    "boolean": "bool",
    "array": "list",
    "object": "object",
}
_SAID_BY_TYPE: Mapping[TypeKind, frozenset[str]] = {
    "enum": frozenset({"type", "enum", "const"}),
    "list": frozenset({"type", "items"}),
    "object": frozenset({"type", "properties", "required", "additionalProperties", "unevaluatedProperties"}),
}
_STRICT_WORDS = frozenset(
    (
        *("pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minItems", "maxItems", "enum", "const"),
    )
)
"""Keywords that endpoints take in strict schemas; others are told in words."""
_STRICT_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))
_COMPOSERS = ("allOf", "anyOf", "oneOf", "then", "else", "dependentSchemas")

_Node = Mapping[str, Any]
_Names = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StandaloneSchema:
    """A schema of which all references begin with `REFERENCE`."""

    root: str
    """The name of the schema itself."""
    definitions: Mapping[str, Any]
    """By name, the schema and what its references lead to."""


def build_schema_type(schema: StandaloneSchema) -> VarType:
    """Build the type of the values that fit a valid schema. Raises TypeFault where it is too large."""
    return _Builder(schema.definitions).build({"$ref": REFERENCE + schema.root}, ())


class _Builder:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._rules = _write({name: remove_annotations(each) for name, each in definitions.items()})
        self._parts = 0
        self._written = 0

    def build(self, node: Any, around: _Names, depth: int = 0) -> VarType:
        """Build the type of one schema; `around` are the references that lead to it."""
        self._count()
        if not isinstance(node, Mapping) or depth > MAX_DEPTH:
            inline = self._inline(node, around)
            return self._add_schema(ANY, node, inline, inline, around)
        whole = cast("_Node", node)
        found, further, is_nullable = self._open(whole, around)
        description = str((found or whole).get("description", ""))
        type_ = self._build_kind(found, further, depth) if found is not None else ANY
        if found is None or type_.is_loose:
            shown = unsaid = self._inline(whole, around)
        else:
            unsaid = self._inline(_list_unsaid(type_.kind, found), further)
            shown = _build_hints(found, unsaid)
        made = self._add_schema(type_, whole, shown, remove_annotations(unsaid), around, description)
        return made if type_.kind == "any" else replace(made, is_nullable=is_nullable)

    def _count(self, *, is_written: bool = False) -> None:
        """Count a part, or one that is written out once more. Raises TypeFault."""
        self._parts += not is_written
        self._written += is_written
        if self._parts > MOST_PARTS or self._written > _MOST_WRITTEN:
            raise TypeFault(f"it has more than {MOST_PARTS:,} parts, each counted as often as references lead to it")

    def _open(self, node: _Node, around: _Names) -> tuple[_Node | None, _Names, bool]:
        """Find what a schema says that only leads to another, and whether that may be null too. None: it leads to
        itself."""
        is_nullable = False
        names = [*around]
        inner: Any
        while True:
            notes = {key: value for key, value in node.items() if key in ANNOTATIONS}
            rest = [key for key in node if key not in ANNOTATIONS]
            if rest == ["$ref"]:
                name = str(node["$ref"]).removeprefix(REFERENCE)
                if name in names:
                    return None, tuple(names), is_nullable
                names.append(name)
                inner = self._definitions[name]
            elif len(rest) == 1 and rest[0] in ("anyOf", "oneOf", "allOf") and (one := _find_only(node[rest[0]])):
                inner, has_null = one
                is_nullable = is_nullable or has_null
            else:
                break
            if not isinstance(inner, Mapping):
                return None, tuple(names), is_nullable
            node = {**cast("_Node", inner), **notes}
        node, has_null = _split_null(node)
        return node, tuple(names), is_nullable or has_null

    def _build_kind(self, node: _Node, around: _Names, depth: int) -> VarType:
        values: Any = [node["const"]] if "const" in node else node.get("enum")
        written: Any = node.get("type", "object" if "properties" in node else None)
        kind = _KINDS.get(written, "any") if isinstance(written, str) else "any"
        if values and written in (None, "string") and all(isinstance(value, str) for value in values):
            return VarType(kind="enum", values=tuple(dict.fromkeys(values)))
        if kind == "list":
            item = ANY if "prefixItems" in node else self.build(node.get("items", True), around, depth + 1)
            return VarType(kind="list", item=item)
        return self._build_object(node, around, depth) if kind == "object" else VarType(kind=kind)

    def _build_object(self, node: _Node, around: _Names, depth: int) -> VarType:
        properties = cast("Mapping[str, Any]", node.get("properties", {}))
        required = cast("Sequence[str]", node.get("required", ()))
        if any(name not in properties for name in self._list_other_fields(node, around)):
            return ANY
        fields: list[FieldType] = []
        for name in dict.fromkeys([*properties, *required]):
            if properties.get(name) is False:
                continue
            type_ = self.build(properties.get(name, True), around, depth + 1)
            is_optional = name not in required
            # Of a field that may be absent, null means that it is.
            type_ = replace(type_, is_nullable=type_.is_nullable and not is_optional)
            fields.append(FieldType(name=name, type=type_, is_optional=is_optional))
        is_open = node.get("additionalProperties", node.get("unevaluatedProperties")) is not False
        return VarType(kind="object", fields=tuple(fields), is_open=is_open)

    def _list_other_fields(self, node: _Node, around: _Names) -> Iterator[str]:
        """List the fields that a schema names outside its own `properties`."""
        inner: list[Any] = []
        for key in _COMPOSERS:
            value: Any = node.get(key, ())
            inner += [value] if key in ("then", "else") and value else []
            inner += value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []
        for each in inner:
            self._count()
            if not isinstance(each, Mapping):
                continue
            found, further, _ = self._open(cast("_Node", each), around)
            if found is not None:
                yield from found.get("properties", ())
                yield from self._list_other_fields(found, further)

    def _add_schema(
        self, type_: VarType, node: Any, shown: Any, unsaid: Any, around: _Names, description: str = ""
    ) -> VarType:
        if type_.kind in ("any", "list", "object"):
            rules, definitions = node, self._rules
        else:  # it needs nothing beside itself, and may be kept with a question
            rules, definitions = self._inline(node, around), "{}"
        schema = ValueSchema(
            rules=_write(remove_annotations(rules)),
            shown=_write(_write_as_mapping(shown)),
            unsaid=_write(_write_as_mapping(unsaid)),
            definitions=definitions,
            description=description,
        )
        return replace(type_, schema=schema)

    def _inline(self, node: Any, around: _Names, level: int = 0) -> Any:
        """Return a schema with what its references lead to in their place; nothing in the place of one that leads to
        itself. Raises TypeFault where that is too much."""
        self._count(is_written=True)
        if level > MOST_LEVELS:
            raise TypeFault(
                f"it has more than {MOST_LEVELS} levels, with what its references lead to; let it be flatter"
            )
        if not isinstance(node, Mapping):
            return node
        schema = cast("_Node", node)
        name = str(schema.get("$ref", "")).removeprefix(REFERENCE)
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        found = change_subschemas(rest, lambda _, inner: self._inline(inner, around, level + 1))
        if not name or name in around:
            return found
        target = self._inline(self._definitions[name], (*around, name), level)
        return {**cast("_Node", target), **found} if isinstance(target, Mapping) else target


def _list_unsaid(kind: TypeKind, node: _Node) -> _Node:
    """List what a type of this kind does not say of a schema."""
    said = _SAID_BY_TYPE.get(kind, frozenset({"type"}))
    return {key: value for key, value in node.items() if key not in said and key not in ANNOTATIONS}


def _build_hints(node: _Node, unsaid: _Node) -> _Node:
    """Build what is shown of a schema beside its type: in keywords where endpoints take these, else in words."""
    rest = dict(unsaid)
    shown = {key: node[key] for key in ("title", "description") if key in node}
    for key, value in unsaid.items():
        if key in _STRICT_WORDS or (key == "format" and value in _STRICT_FORMATS):
            shown[key] = rest.pop(key)
    if rest:
        words = f"Must also fit: {_write(rest)}"
        shown["description"] = f"{shown['description']}\n{words}" if "description" in shown else words
    return shown


def _write_as_mapping(schema: Any) -> _Node:
    """Write a schema that is true or false as a mapping."""
    return cast("_Node", schema) if isinstance(schema, Mapping) else {} if schema is True else {"not": {}}


def _find_only(choices: Any) -> tuple[Any, bool] | None:
    """Find the one schema among choices beside which there is null at most, and whether that is there."""
    others = [each for each in choices if each != {"type": "null"}]
    return (others[0], len(others) < len(choices)) if len(others) == 1 else None


def _split_null(node: _Node) -> tuple[_Node, bool]:
    """Split null off from what a schema takes."""
    kinds: Any = node.get("type")
    values: Any = node.get("enum")
    if isinstance(kinds, list):
        others = [kind for kind in cast("list[str]", kinds) if kind != "null"]
        if len(others) != 1:
            return node, False
        is_nullable = len(others) < len(cast("list[str]", kinds)) and (values is None or None in values)
        node = {**node, "type": others[0]}
    else:
        is_nullable = kinds is None and isinstance(values, list) and None in values
    if isinstance(values, list) and None in values:
        node = {**node, "enum": [value for value in cast("list[Any]", values) if value is not None]}
    return node, is_nullable


def _write(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
