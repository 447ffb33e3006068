"""What a tool's input schema says of secrets: `format: password` and `writeOnly: true`, wherever they stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

DEEPEST = 10
MOST = 2000
"""Schemas of a tool that are looked at: they come from its server, which may be anybody's."""

_BRANCHES = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE_BRANCHES = ("if", "then", "else")


@dataclass(frozen=True)
class ValueShape:
    """Where secrets may stand in a value."""

    secret: bool = False
    properties: Mapping[str, ValueShape] = field(default_factory=dict[str, "ValueShape"])
    rest: ValueShape | None = None
    """Of every property that is not named, and of every item."""


def read_shape(schema: Mapping[str, Any]) -> ValueShape | None:
    """Read where a JSON Schema marks secrets; None where it marks none. Never raises, whatever the schema is."""
    return _Reader(schema).read(schema, 0, ())


class _Reader:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MOST

    def read(self, schema: object, depth: int, refs: tuple[str, ...]) -> ValueShape | None:
        if not isinstance(schema, Mapping) or depth > DEEPEST or self._left <= 0:
            return None
        self._left -= 1
        said = cast("Mapping[str, object]", schema)
        if said.get("format") == "password" or said.get("writeOnly") is True:
            return ValueShape(secret=True)
        found = self._read_own(said, depth, refs)
        for branch, known in self._iter_branches(said, refs):
            found = _merge_shapes(found, self.read(branch, depth + 1, known))
        return found

    def _read_own(self, said: Mapping[str, object], depth: int, refs: tuple[str, ...]) -> ValueShape | None:
        properties: dict[str, ValueShape] = {}
        for name, part in _get_mapping(said.get("properties")).items():
            if (shape := self.read(part, depth + 1, refs)) is not None:
                properties[name] = shape
        rest: ValueShape | None = None
        for part in (
            said.get("items"),
            said.get("additionalProperties"),
            *_get_mapping(said.get("patternProperties")).values(),
        ):
            rest = _merge_shapes(rest, self.read(part, depth + 1, refs))
        return ValueShape(properties=properties, rest=rest) if properties or rest else None

    def _iter_branches(
        self, said: Mapping[str, object], refs: tuple[str, ...]
    ) -> Iterator[tuple[object, tuple[str, ...]]]:
        ref = said.get("$ref")
        if isinstance(ref, str) and ref not in refs:
            yield self._resolve_reference(ref), (*refs, ref)
        for name in _BRANCHES:
            parts = said.get(name)
            for part in cast("list[object]", parts) if isinstance(parts, list) else ():
                # An item by its place is an item like the others: which one it is does not matter here.
                yield ({"items": part} if name == "prefixItems" else part), refs
        for name in _SINGLE_BRANCHES:
            yield said.get(name), refs

    def _resolve_reference(self, ref: str) -> object:
        """Return what `#/$defs/Name` points to in this schema; nothing else is followed."""
        if not ref.startswith("#/"):
            return None
        here: object = self._root
        for step in ref[2:].split("/"):
            here = _get_mapping(here).get(step.replace("~1", "/").replace("~0", "~"))
        return here


def _get_mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _merge_shapes(one: ValueShape | None, other: ValueShape | None) -> ValueShape | None:
    """Merge two shapes: a value is secret where either says so."""
    if one is None or other is None:
        return one or other
    if one.secret or other.secret:
        return ValueShape(secret=True)
    properties = {**one.properties}
    for name, shape in other.properties.items():
        properties[name] = _merge_shapes(properties.get(name), shape) or shape
    return ValueShape(properties=properties, rest=_merge_shapes(one.rest, other.rest))
