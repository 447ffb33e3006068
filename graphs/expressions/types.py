"""The types of a graph's variables: how they are written, what fits them, and what CEL and JSON Schema call them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from cel_expr_python import cel

from graphs.errors import InterlockError, describe_kind, did_you_mean
from graphs.expressions.value_schema import ValueSchema
from graphs.expressions.values import clean_text, format_time

Path = tuple[str | int, ...]
TypeKind = Literal["string", "int", "number", "bool", "any", "list", "enum", "object"]

PLAIN_KINDS: tuple[TypeKind, ...] = ("string", "int", "number", "bool", "any")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
"""What variables and fields may be called."""
MAX_DEPTH = 32
"""Levels of lists and objects in a type or a value."""
MAX_VALUES = 100_000
"""JSON values in one variable."""

_T = cel.Type
_CEL_TYPES: Mapping[TypeKind, cel.Type] = {
    "string": _T.STRING,
    "enum": _T.STRING,
    "int": _T.INT,
    "number": _T.DYN,  # a whole number is an int in JSON, and CEL has no `3 + 1.5`
    "bool": _T.BOOL,
    "any": _T.DYN,
    "object": _T.Map(_T.STRING, _T.DYN),
}
_CEL_KINDS: Mapping[TypeKind, frozenset[str]] = {
    "string": frozenset({"STRING", "TIMESTAMP"}),
    "enum": frozenset({"STRING"}),
    "int": frozenset({"INT", "UINT"}),
    "number": frozenset({"INT", "UINT", "DOUBLE"}),
    "bool": frozenset({"BOOL"}),
    "list": frozenset({"LIST"}),
    "object": frozenset({"MAP"}),
    "any": frozenset({"STRING", "TIMESTAMP", "INT", "UINT", "DOUBLE", "BOOL", "LIST", "MAP", "NULL"}),
}
_EXPECTED: Mapping[TypeKind, str] = {
    "string": "a text",
    "int": "a whole number",
    "number": "a number",
    "bool": "true or false",
    "list": "a list",
    "object": "a mapping",
}
_FORMS = (
    "write string, int, number, bool, any, one of these with [] behind it, [a, b], {fields: {name: string}} or {schema:"
    " ./NAME.schema.json}"
)


class TypeFault(InterlockError):
    """A type that is written wrong. `path` leads to the place within what was given."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


class TypeMismatch(InterlockError):
    """A value that does not fit its type. The message names the place, and shows nothing of the value."""


@dataclass(frozen=True, kw_only=True)
class VarType:
    """The type of a variable, or of a part of one. Equal types are written alike."""

    kind: TypeKind
    item: VarType | None = None
    """What is in a list."""
    values: tuple[str, ...] = ()
    """The values of an enum, in the order of the file."""
    fields: tuple[FieldType, ...] = ()
    """The fields of an object, in the order of the file."""
    is_open: bool = False
    """Whether an object may have fields that are not named here."""
    is_nullable: bool = False
    """Whether it may be null instead."""
    schema: ValueSchema | None = None
    """What a schema file says beyond this."""

    @property
    def cel_type(self) -> cel.Type:
        """What CEL knows a variable of this type as."""
        if self.is_nullable:
            return _T.DYN
        if self.kind == "list":
            # CEL compares the items of typed lists; the fields of what is in a list are checked elsewhere.
            inner = self.item.cel_type if self.item is not None and self.item.kind in ("string", "enum") else _T.DYN
            return _T.List(inner)
        return _CEL_TYPES[self.kind]

    @property
    def has_any(self) -> bool:
        """Whether anything may stand somewhere in it, which no strict schema can say."""
        parts = (self.item, *(field.type for field in self.fields))
        return self.is_loose or any(part is not None and part.has_any for part in parts)

    @property
    def is_loose(self) -> bool:
        """Whether it is anything, or an object of any fields."""
        return self.kind == "any" or (self.is_open and not self.fields)

    @property
    def is_plain_text(self) -> bool:
        """Whether any text is such a value, so that a model says it instead of answering with JSON."""
        has_rules = self.schema is not None and self.schema.unsaid != "{}"
        return self.kind == "string" and not self.is_nullable and not has_rules

    def may_come_from(self, cel_kind: str) -> bool:
        """Whether an expression that CEL says to be of this kind, such as `INT`, can give such a value."""
        kind = cel_kind.partition("<")[0]
        return kind == "DYN" or kind in _CEL_KINDS[self.kind] or (self.is_nullable and kind == "NULL")

    def find_literal_fault(self, text: str | None) -> str | None:
        """Explain why a text that is written out is none of the values of this choice; None: it is, or anything may
        stand there."""
        if self.kind != "enum" or text is None or text in self.values:
            return None
        return f"{text!r} is none of its values: {', '.join(self.values)}{did_you_mean(text, self.values)}"

    def find_field(self, name: str) -> FieldType | None:
        """Find the field of this name."""
        return next((field for field in self.fields if field.name == name), None)

    def fit(self, value: Any) -> Any:
        """Return a value as it is stored: of this type, with fields in the order of the file and no field that is null.

        A whole number fits `number` and `int` however it is written. Raises TypeMismatch.
        """
        return _Fitting().fit(self, value, "")

    def build_schema(self) -> dict[str, Any]:
        """Build the JSON Schema of such a value, as strict as model endpoints want it: every field is there, and one
        that may be absent may be null."""
        schema = self._build_plain_schema()
        if self.schema is not None:
            schema |= self.schema.build_shown()
        return {"anyOf": [schema, {"type": "null"}]} if self.is_nullable else schema

    def _build_plain_schema(self) -> dict[str, Any]:
        match self.kind:
            case "any":
                return {}
            case "string":
                return {"type": "string"}
            case "int":
                return {"type": "integer"}
            case "number":
                return {"type": "number"}
            case "bool":
                return {"type": "boolean"}
            case "enum":
                return {"type": "string", "enum": [*self.values]}
            case "list":
                return {"type": "array", "items": self.item.build_schema() if self.item is not None else {}}
            case "object" if self.is_loose:
                return {"type": "object"}
            case "object":
                return {
                    "type": "object",
                    "properties": {field.name: field.build_schema() for field in self.fields},
                    "required": [field.name for field in self.fields],
                    "additionalProperties": False,
                }

    def describe(self) -> str:
        """Return the type as a person writes it, an object shortened to its fields."""
        return f"{self._describe_kind()} or null" if self.is_nullable else self._describe_kind()

    def _describe_kind(self) -> str:
        match self.kind:
            case "list":
                inner = self.item.describe() if self.item is not None else "any"
                return (
                    f"{inner}[]"
                    if self.item is None or self.item.kind in (*PLAIN_KINDS, "list")
                    else f"list of {inner}"
                )
            case "enum":
                return f"one of {', '.join(self.values)}"
            case "object" if self.fields:
                return f"object with {', '.join(field.name + '?' * field.is_optional for field in self.fields)}"
            case _:
                return self.kind


@dataclass(frozen=True, kw_only=True)
class FieldType:
    """One field of an object."""

    name: str
    type: VarType
    is_optional: bool = False

    def build_schema(self) -> dict[str, Any]:
        """Build the JSON Schema of the field: null stands for a field that is absent."""
        schema = self.type.build_schema()
        takes_null = self.is_optional and not self.type.is_nullable
        return {"anyOf": [schema, {"type": "null"}]} if takes_null and schema else schema


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable of a graph."""

    type: VarType
    default: Any = None
    has_default: bool = False
    """Whether it has a value before a node writes it."""


ANY = VarType(kind="any")

SchemaReader = Callable[[str], VarType]
"""Reads the type that a schema file says, by what is written behind `schema`. Raises TypeFault."""


def _read_no_schema(_: str) -> VarType:
    raise TypeFault("no schema file can be read here")


def parse_variable(written: object, read_schema: SchemaReader = _read_no_schema) -> Variable:
    """Parse one entry of `vars`: a type, or `{type: T, default: VALUE}`. Raises TypeFault."""
    entry: Mapping[str, object] = cast("Mapping[str, object]", written) if isinstance(written, Mapping) else {}
    if "type" not in entry:
        return Variable(type=parse_type(cast("object", written), read_schema))
    for key in entry:
        if key not in ("type", "default"):
            raise TypeFault(f"there is no setting {key!r} here; there is type, default", (key,))
    type_ = _parse(entry["type"], ("type",), read_schema)
    if "default" not in entry:
        return Variable(type=type_)
    try:
        return Variable(type=type_, default=type_.fit(entry["default"]), has_default=True)
    except TypeMismatch as error:
        raise TypeFault(f"the default {error}", ("default",)) from error


def parse_type(written: object, read_schema: SchemaReader = _read_no_schema) -> VarType:
    """Parse a type as it is written in a graph file. Raises TypeFault."""
    return _parse(written, (), read_schema)


def _parse(written: object, path: Path, read_schema: SchemaReader) -> VarType:
    if len(path) > MAX_DEPTH:
        raise TypeFault(f"a type has at most {MAX_DEPTH} levels", path)
    if isinstance(written, str):
        return _parse_name(written, path)
    if isinstance(written, list):
        return _parse_enum(cast("list[object]", written), path)
    if not isinstance(written, Mapping):
        raise TypeFault(f"found {describe_kind(written)}; expected a type: {_FORMS}", path)
    entry = cast("Mapping[str, object]", written)
    match [*entry]:
        case ["fields"]:
            return _parse_fields(entry["fields"], (*path, "fields"), read_schema)
        case ["list"]:
            return VarType(kind="list", item=_parse(entry["list"], (*path, "list"), read_schema))
        case ["schema"]:
            return _parse_schema(entry["schema"], (*path, "schema"), read_schema)
        case keys:
            listed = ", ".join(map(repr, keys)) or "nothing in it"
            raise TypeFault(f"a type is not written with {listed}; {_FORMS}", path)


def _parse_name(written: str, path: Path) -> VarType:
    name = written.strip()
    lists = 0
    while name.endswith("[]"):
        name, lists = name[:-2].rstrip(), lists + 1
    if name not in PLAIN_KINDS or lists > MAX_DEPTH:
        raise TypeFault(f"{written!r} is no type; {_FORMS}{did_you_mean(name, PLAIN_KINDS)}", path)
    found = VarType(kind=name)
    for _ in range(lists):
        found = VarType(kind="list", item=found)
    return found


def _parse_enum(values: Sequence[object], path: Path) -> VarType:
    if not values:
        raise TypeFault("this choice has no values; write at least two, such as [yes, no]", path)
    texts: list[str] = []
    for at, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise TypeFault(f"found {describe_kind(value)}; a choice is between texts: put it in quotes", (*path, at))
        if value in texts:
            raise TypeFault(f"{value!r} stands there twice", (*path, at))
        texts.append(value)
    return VarType(kind="enum", values=tuple(texts))


def _parse_schema(written: object, path: Path, read_schema: SchemaReader) -> VarType:
    if not isinstance(written, str) or not written.strip():
        kind = describe_kind(written)
        raise TypeFault(f"found {kind}; expected a file beside this one, such as ./NAME.schema.json", path)
    try:
        return read_schema(written.strip())
    except TypeFault as error:
        raise TypeFault(str(error), path) from error


def _parse_fields(written: object, path: Path, read_schema: SchemaReader) -> VarType:
    entries: Mapping[str, object] = cast("Mapping[str, object]", written) if isinstance(written, Mapping) else {}
    if not entries:
        kind = describe_kind(cast("object", written))
        raise TypeFault(f"found {kind}; expected the fields, such as {{name: string}}", path)
    fields: dict[str, FieldType] = {}
    for key, inner in entries.items():
        name = key.removesuffix("?")
        if NAME.fullmatch(name) is None:
            message = f"{key!r} is no name for a field; use letters, digits and '_', and a '?' behind one that may miss"
            raise TypeFault(message, (*path, key))
        if name in fields:
            raise TypeFault(f"there is a field {name!r} already", (*path, key))
        fields[name] = FieldType(
            name=name, type=_parse(inner, (*path, key), read_schema), is_optional=key.endswith("?")
        )
    return VarType(kind="object", fields=tuple(fields.values()))


class _Fitting:
    """Fits one value to its type, counting what is in it."""

    def __init__(self) -> None:
        self._count = 0
        self._is_inside_schema = False

    def fit(self, type_: VarType, value: Any, where: str, depth: int = 0) -> Any:
        """Fit a value, or a part of one. Raises TypeMismatch."""
        if type_.schema is None or self._is_inside_schema:
            return self._fit_kind(type_, value, where, depth)
        # A schema holds for all that is in the value.
        self._is_inside_schema = True
        fitting = self._fit_kind(type_, value, where, depth)
        self._is_inside_schema = False
        if (wrong := type_.schema.find_mismatch(fitting, where)) is not None:
            raise TypeMismatch(wrong)
        return fitting

    def _fit_kind(self, type_: VarType, value: Any, where: str, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            raise TypeMismatch(f"has more than {MAX_VALUES:,} values or {MAX_DEPTH} levels")
        if isinstance(value, datetime):
            value = format_time(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise TypeMismatch(f"{where}is a number that is infinite or undefined")
        match type_.kind, value:
            case _, None if type_.is_nullable:
                return None
            case "any", _:
                return self._fit_any(value, where, depth)
            case "string", str():
                return clean_text(value)
            case "enum", str() if value in type_.values:
                return value
            case "enum", str():
                raise TypeMismatch(f"{where}is none of its values; expected {type_.describe()}")
            case ("bool", bool()) | ("number", float()):
                return value
            case (("int" | "number"), int()) if not isinstance(value, bool):
                return _fit_int(value, where)
            case "int", float() if value.is_integer():
                return _fit_int(int(value), where)
            case "list", list():
                return self._fit_list(type_, cast("list[Any]", value), where, depth)
            case "object", dict():
                return self._fit_object(type_, cast("dict[Any, Any]", value), where, depth)
            case _:
                expected = _EXPECTED.get(type_.kind) or type_.describe()
                raise TypeMismatch(f"{where}is {describe_kind(value)}; expected {expected}")

    def _fit_list(self, type_: VarType, value: list[Any], where: str, depth: int) -> list[Any]:
        item = type_.item
        assert item is not None  # noqa: S101  every list type is parsed with one
        return [self.fit(item, one, _point(where, at), depth + 1) for at, one in enumerate(value)]

    def _fit_object(self, type_: VarType, value: dict[Any, Any], where: str, depth: int) -> dict[str, Any]:
        known = [field.name for field in type_.fields]
        others = [key for key in value if key not in known]
        for key in others:
            if not type_.is_open or not isinstance(key, str):
                shown = repr(key) if isinstance(key, str) and len(key) < 60 else "of that name"
                hint = did_you_mean(key, known) if isinstance(key, str) else ""
                raise TypeMismatch(f"{where}has no field {shown}; there is {', '.join(known) or 'none'}{hint}")
        found: dict[str, Any] = {}
        for field in type_.fields:
            if field.is_optional and value.get(field.name) is None:
                continue
            if field.name not in value:
                raise TypeMismatch(f"{where}has no {field.name!r}, which must be there")
            found[field.name] = self.fit(field.type, value[field.name], _point(where, field.name), depth + 1)
        found |= {clean_text(key): self.fit(ANY, value[key], _point(where, key), depth + 1) for key in others}
        return found

    def _fit_any(self, value: Any, where: str, depth: int) -> Any:
        match value:
            case None | bool() | float():
                return value
            case str():
                return clean_text(value)
            case int():
                return _fit_int(value, where)
            case list():
                items = enumerate(cast("list[Any]", value))
                return [self.fit(ANY, one, _point(where, at), depth + 1) for at, one in items]
            case dict() if all(isinstance(key, str) for key in cast("dict[object, object]", value)):
                entries = cast("dict[str, Any]", value).items()
                return {clean_text(key): self.fit(ANY, one, _point(where, key), depth + 1) for key, one in entries}
            case _:
                raise TypeMismatch(f"{where}is not something that JSON can hold")


def _fit_int(value: int, where: str) -> int:
    if not -(2**63) <= value < 2**63:
        raise TypeMismatch(f"{where}is a number of more than 64 bits")
    return value


def _point(where: str, step: str | int) -> str:
    """Extend `at 'a[0].b' ` by one step."""
    before = where.removeprefix("at '").removesuffix("' ")
    after = f"[{step}]" if isinstance(step, int) else f".{step}" if before else step
    return f"at '{before}{after[:80]}' "
