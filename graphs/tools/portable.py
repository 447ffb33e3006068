"""Schemas in the words that every model API takes.

One tool with a schema that an endpoint does not know costs a role every chat: the whole request is refused. So models
are shown a form that all take, in which what cannot be said is left open, and a call is held against the original.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import unquote

from graphs.errors import list_some

MOST_PARTS = 4_000
"""Parts of one portable schema, each reference followed wherever it stands."""
DEEPEST = 16
LONGEST_PATTERN = 120
_LONGEST_VALUES = 200
_MOST_CHOICES = 20

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
"""Anthropic's rule for the names of arguments, the narrowest."""
_KEPT = frozenset({
    "title", "description", "default", "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength",
})  # fmt: skip
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_FORMATS = frozenset({"date-time", "date", "time"})
_BRANCHES = ("anyOf", "oneOf")

Schema = dict[str, Any]


@dataclass(frozen=True)
class PortableSchema:
    """What models are shown in the place of a schema."""

    schema: Schema
    is_whole: bool
    """Whether it says all that the original says."""
    is_checkable: bool
    """Whether the original can be held against arguments without much work."""


def make_portable(original: Mapping[str, Any]) -> PortableSchema:
    """Make a tool's schema portable: an object with properties, without references, choices or conditions at its top.

    What was portable before comes out equal, but without its titles.
    """
    writer = _Writer(original)
    written = writer.write_object(writer.merge(original, 0), 0)
    schema = {**written, "properties": written.get("properties", {})}
    # Other patterns than those of texts are not checked in linear time.
    is_checkable = not writer.is_full and "patternProperties" not in json.dumps(original)
    whole = {name: value for name, value in original.items() if name != "$schema"}
    return PortableSchema(_remove_titles(schema), schema == whole, is_checkable)


class ShownTool(Protocol):
    """What models are shown of a tool."""

    @property
    def model_name(self) -> str:
        """Its name for models."""
        ...

    @property
    def description(self) -> str:
        """What it says of itself."""
        ...

    @property
    def shown_schema(self) -> Schema:
        """Its portable schema."""
        ...


def build_openai_tool(served: ShownTool, longest: int) -> dict[str, Any]:
    """Build a tool's entry in a request's `tools`; its description has at most `longest` characters."""
    description = served.description
    if len(description) > longest:
        description = description[: longest - 2].rstrip() + " …"
    function = {"name": served.model_name, "description": description, "parameters": served.shown_schema}
    return {"type": "function", "function": function}


class _Writer:
    """Writes one schema; counts what it has written, since references can make much of little."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._parts = 0
        self._open: list[str] = []
        """The references that lead to where it writes."""

    @property
    def is_full(self) -> bool:
        """Whether there was more than is written."""
        return self._parts > MOST_PARTS

    def write(self, schema: object, depth: int) -> Schema:
        """Write one part, which may be anything."""
        self._parts += 1
        if not isinstance(schema, Mapping) or not schema or depth > DEEPEST or self._parts > MOST_PARTS:
            return _build_anything(cast("Mapping[str, Any]", schema) if isinstance(schema, Mapping) else {})
        reference = cast("Mapping[str, Any]", schema).get("$ref")
        if isinstance(reference, str):
            if reference in self._open:
                target = self._resolve_whole(cast("object", schema))
                return {"type": "object"} if "properties" in target else _build_anything({})
            self._open.append(reference)
            written = self._write_part(cast("Mapping[str, Any]", schema), depth)
            self._open.pop()
            return written
        return self._write_part(cast("Mapping[str, Any]", schema), depth)

    def _write_part(self, schema: Mapping[str, Any], depth: int) -> Schema:
        merged = self.merge(schema, depth)
        choices = next((merged[word] for word in _BRANCHES if isinstance(merged.get(word), list)), None)
        if choices is not None and "properties" not in merged:
            return self._write_choices(merged, cast("list[object]", choices), depth)
        kinds = _list_types(merged)
        if len(kinds) > 1:
            return self._write_choices(merged, [{**merged, "type": kind} for kind in kinds], depth)
        if not kinds:
            return _build_anything(merged)
        match kinds[0]:
            case "object":
                return self.write_object(merged, depth)
            case "array":
                return self._write_array(merged, depth)
            case kind:
                return _write_scalar(merged, kind)

    def merge(self, schema: Mapping[str, Any], depth: int) -> Schema:
        """Merge a schema with what it refers to and with all of its `allOf`; at the top also with its choices."""
        merged: Schema = {}
        waiting: list[tuple[Mapping[str, Any], bool]] = [(schema, True)]
        seen: set[int] = set()
        while waiting and len(seen) < MOST_PARTS:
            current, is_certain = waiting.pop(0)
            if id(current) in seen:
                continue
            seen.add(id(current))
            own = {name: value for name, value in current.items() if name not in ("$ref", "allOf")}
            merged = _merge_two(merged, own, is_certain=is_certain)
            brought: list[tuple[object, bool]] = [(self._resolve(current.get("$ref")), is_certain)]
            brought += [(part, is_certain) for part in _to_list(current.get("allOf"))]
            if depth == 0:
                for word in _BRANCHES:
                    branches = [self._resolve_whole(part) for part in _to_list(current.get(word))]
                    required = [set(_to_list(part.get("required"))) for part in branches]
                    both = set[Any].intersection(*required) if required else set[Any]()
                    brought += [({**part, "required": sorted(both)}, is_certain) for part in branches]
                brought += [(current.get(word), False) for word in ("then", "else")]
            waiting += [(cast("Mapping[str, Any]", part), sure) for part, sure in brought if isinstance(part, Mapping)]
        return {name: value for name, value in merged.items() if depth or name not in _BRANCHES}

    def write_object(self, merged: Mapping[str, Any], depth: int) -> Schema:
        """Write an object; names of arguments that some endpoint refuses are told in words."""
        written = _keep(merged) | {"type": "object"}
        properties: Mapping[str, Any] = {}
        if isinstance(merged.get("properties"), Mapping):
            properties = cast("Mapping[str, Any]", merged["properties"])
        shown = {
            name: self.write(part, depth + 1)
            for name, part in properties.items()
            if part is not False and _NAME.fullmatch(name)
        }
        if unsaid := [name for name in properties if properties[name] is not False and name not in shown]:
            _add_words(written, f"Also takes {list_some(map(repr, unsaid), _MOST_CHOICES)}.")
        written["properties"] = shown
        if required := [name for name in dict.fromkeys(_to_list(merged.get("required"))) if name in shown]:
            written["required"] = required
        others = merged.get("additionalProperties")
        if isinstance(others, Mapping) and others:
            written["additionalProperties"] = self.write(cast("object", others), depth + 1)
        elif isinstance(others, bool | Mapping):
            written["additionalProperties"] = others is not False
        return written if shown or depth == 0 or "properties" in merged else _drop(written, "properties")

    def _write_array(self, merged: Mapping[str, Any], depth: int) -> Schema:
        items = merged.get("items")
        places = [*_to_list(merged.get("prefixItems")), *_to_list(items)]
        if isinstance(items, Mapping) and items:
            places.append(cast("object", items))
        written = [self.write(part, depth + 1) for part in places]
        distinct = [part for at, part in enumerate(written) if part not in written[:at]]
        inner = distinct[0] if len(distinct) == 1 else {"anyOf": distinct} if distinct else {"type": "string"}
        if not distinct:
            inner = _build_anything({})
        return _keep(merged) | {"type": "array", "items": inner}

    def _write_choices(self, merged: Mapping[str, Any], choices: Sequence[object], depth: int) -> Schema:
        outer = {name: value for name, value in _keep(merged).items() if name in ("title", "description", "default")}
        beside = {name: value for name, value in merged.items() if name in ("type", "enum", "const", "format")}
        written: list[Schema] = []
        for choice in choices:
            if choice is False:
                continue
            part = {**beside, **cast("Mapping[str, Any]", choice)} if isinstance(choice, Mapping) else choice
            if isinstance(part, dict):
                part = {name: value for name, value in cast(Schema, part).items() if value not in (outer.get(name),)}
            one = self.write(part, depth + 1)
            for inner in one["anyOf"] if one.keys() == {"anyOf"} else [one]:
                if inner not in written:
                    written.append(inner)
        return outer | (written[0] if len(written) == 1 else {"anyOf": written} if written else _build_anything({}))

    def _resolve_whole(self, part: object) -> Mapping[str, Any]:
        """Follow a branch to the object that it is."""
        for _ in range(DEEPEST):
            if not isinstance(part, Mapping) or "$ref" not in part:
                break
            part = self._resolve(cast("Mapping[str, Any]", part)["$ref"])
        return cast("Mapping[str, Any]", part) if isinstance(part, Mapping) else {}

    def _resolve(self, reference: object) -> object:
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        part: Any = self._root
        for step in unquote(reference[1:]).split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            part = cast("Mapping[str, Any]", part).get(step) if isinstance(part, Mapping) else None
        return cast("object", part)


def _merge_two(first: Schema, second: Mapping[str, Any], *, is_certain: bool) -> Schema:
    """Merge what two schemas say of the same value. `is_certain`: the second holds always."""
    merged = dict(first)
    for name, value in second.items():
        if name == "properties" and isinstance(value, Mapping):
            before = cast("Mapping[str, Any]", merged.get(name) or {})
            parts = cast("Mapping[str, Any]", value)
            both = {key: {"anyOf": [before[key], part]} for key, part in parts.items() if before.get(key, part) != part}
            merged[name] = {**parts, **before, **both}
        elif name == "required":
            if is_certain:
                merged[name] = [*_to_list(merged.get(name)), *_to_list(value)]
        elif name == "additionalProperties" and first:
            merged[name] = True
        else:
            merged.setdefault(name, value)
    return merged


def _write_scalar(merged: Mapping[str, Any], kind: str) -> Schema:
    written = _keep(merged) | {"type": kind}
    values = [merged["const"]] if "const" in merged else _to_list(merged.get("enum"))
    if values and kind == "string" and all(isinstance(value, str) and value for value in values):
        written["enum"] = list(dict.fromkeys(values))
    elif values:  # Google takes texts alone, and no empty one
        _add_words(written, f"One of: {list_some(map(repr, values), _MOST_CHOICES)[:_LONGEST_VALUES]}.")
    for name, word in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(merged.get(name), int | float) and not isinstance(merged[name], bool):
            written.setdefault(word, merged[name])
    if isinstance(shape := merged.get("format"), str):
        if kind == "string" and shape in _FORMATS:
            written["format"] = shape
        else:
            _add_words(written, f"Format: {shape[:LONGEST_PATTERN]}.")
    if isinstance(pattern := merged.get("pattern"), str) and len(pattern) <= LONGEST_PATTERN:
        _add_words(written, f"Pattern: {pattern}")
    return written


def _list_types(merged: Mapping[str, Any]) -> list[str]:
    """List the types that a value may have, from what stands there where no type is said."""
    said = merged.get("type")
    kinds = [kind for kind in (_to_list(said) or [said]) if kind in _TYPES]
    values = [merged["const"]] if "const" in merged else _to_list(merged.get("enum"))
    if not kinds and values:
        return list(dict.fromkeys(_find_type(value) for value in values))
    if not kinds and ("properties" in merged or "additionalProperties" in merged):
        return ["object"]
    if not kinds and ("items" in merged or "prefixItems" in merged):
        return ["array"]
    if not kinds and ("pattern" in merged or "format" in merged or "minLength" in merged or "maxLength" in merged):
        return ["string"]
    if not kinds and ("minimum" in merged or "maximum" in merged):
        return ["number"]
    return list(dict.fromkeys(kinds))


def _find_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _build_anything(schema: Mapping[str, Any]) -> Schema:
    """A value of any kind: some endpoints refuse a part that says no type."""
    kinds = [{"type": kind} for kind in ("string", "number", "boolean", "object")]
    outer = {name: value for name, value in _keep(schema).items() if name in ("title", "description", "default")}
    return outer | {"anyOf": [*kinds, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]}


def _remove_titles(written: Schema) -> Schema:
    """Remove titles from a portable schema: most are made by a program out of the argument's name, and models pay for
    each. A simple value among choices keeps its own, which may be all that is said of it."""
    shown: Schema = {}
    for word, value in written.items():
        match word, value:
            case "title", _:
                continue
            case "properties", dict():
                parts = cast("Mapping[str, Schema]", value)
                shown[word] = {name: _remove_titles(part) for name, part in parts.items()}
            case (("items" | "additionalProperties"), dict()):
                shown[word] = _remove_titles(cast("Schema", value))
            case "anyOf", list():
                choices = cast("list[Schema]", value)
                shown[word] = [
                    _remove_titles(choice) if choice.get("type") in (None, "object", "array") else choice
                    for choice in choices
                ]
            case _:
                shown[word] = value
    return shown


def _keep(merged: Mapping[str, Any]) -> Schema:
    return {name: value for name, value in merged.items() if name in _KEPT}


def _drop(schema: Schema, name: str) -> Schema:
    return {key: value for key, value in schema.items() if key != name}


def _add_words(schema: Schema, words: str) -> None:
    before = schema.get("description")
    schema["description"] = f"{before} {words}" if isinstance(before, str) and before else words


def _to_list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
