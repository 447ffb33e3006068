"""A check of the names of a call's arguments against those that the tool declares.

A rule looks at `args.path`; a server that matches names without case, or normalises them, may use `Path` of the same
call. So a name that is another one's twin is refused, wherever in the arguments it stands.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast
from urllib.parse import unquote

from graphs.errors import list_some
from graphs.expressions.functions import full_match
from graphs.text import escape_invisible, strip_invisible

_BRANCHES = ("allOf", "anyOf", "oneOf")
_CONDITIONS = ("if", "then", "else", "not")
_MOST_LEVELS = 1_000
"""Kinds of objects of one tool that are remembered."""
_MOST_SCHEMAS = 2_000
"""Parts of a schema that may speak of one object."""
_DEEPEST = 100
_LONGEST_SHOWN = 60
_MOST_SHOWN = 20
_MOST_PATTERNS = 100

_Schema = Mapping[str, Any]


def fold_name(name: str) -> str:
    """Fold a name to the form that its twins share: NFKC_Casefold (Unicode, 3.13), that is without case, without
    invisible characters and without differences of mere form, with both Turkish letters I as well."""
    if name.isascii() and name.isprintable():
        return name.lower().strip()
    folded = name
    for _ in range(2):
        # By way of capitals, since a dotless i has the capital of the other.
        folded = unicodedata.normalize("NFKC", strip_invisible(folded)).upper().casefold()
    return strip_invisible(unicodedata.normalize("NFKC", folded)).replace("i\u0307", "i").strip()


@dataclass(frozen=True)
class _Level:
    """What a schema declares of one kind of object."""

    declared: Mapping[str, tuple[_Schema, ...]]
    """By name."""
    folded: Mapping[str, tuple[str, ...]]
    """Declared names by their folded form."""
    patterns: tuple[tuple[str, _Schema], ...]
    others: tuple[_Schema, ...]
    """For names that are not declared, where they have a schema of their own: then they are data, such as words that
    are counted."""
    keyed: bool
    """Whether names that are not declared have one."""


@dataclass(eq=False)
class Arguments:
    """The arguments that one tool declares. Made once for each tool; what it works out it remembers."""

    schema: _Schema
    _levels: dict[tuple[int, ...], _Level] = field(default_factory=dict[tuple[int, ...], _Level])

    @cached_property
    def _anchors(self) -> Mapping[str, _Schema]:
        """The parts of the schema that have a name of their own, which a `$ref` may use instead of their place."""
        found: dict[str, _Schema] = {}
        waiting: list[Any] = [self.schema]
        while waiting:
            part = waiting.pop()
            if isinstance(part, list):
                waiting += cast("list[Any]", part)
            elif isinstance(part, dict):
                schema = cast("_Schema", part)
                for word in ("$anchor", "$dynamicAnchor"):
                    if isinstance(schema.get(word), str):
                        found.setdefault(schema[word], schema)
                waiting += schema.values()
        return found

    def find_objection(self, args: Mapping[str, Any], *, strict: bool) -> str | None:
        """Find why a call with these arguments is refused, in words for the model; None if nothing is wrong.

        `strict`: every name that the schema does not declare is refused, not only twins.
        """
        return self._check_object(args, (self.schema,), "", strict=strict, depth=0)

    def _check_value(
        self, value: object, schemas: tuple[_Schema, ...], path: str, *, strict: bool, depth: int
    ) -> str | None:
        if depth > _DEEPEST:
            return f"its arguments are nested more than {_DEEPEST} deep at {path}"
        if isinstance(value, dict):
            known = cast("Mapping[str, Any]", value)
            return self._check_object(known, schemas, path, strict=strict, depth=depth)
        if isinstance(value, list):
            items = cast("Sequence[object]", value)
            listed = list(self._expand(schemas))
            for index, item in enumerate(items):
                if _has_parts(item):
                    inner = tuple(_list_item_schemas(listed, index))
                    found = self._check_value(item, inner, f"{path}[{index}]", strict=strict, depth=depth + 1)
                    if found is not None:
                        return found
        return None

    def _check_object(
        self, value: Mapping[str, Any], schemas: tuple[_Schema, ...], path: str, *, strict: bool, depth: int
    ) -> str | None:
        level = self._get_level(schemas)
        # A value whose inside the schema does not describe is one argument, however it is made.
        strict_here = strict and not level.keyed and (depth == 0 or bool(level.declared))
        others: dict[str, str] = {}
        for name, part in value.items():
            inner = level.declared.get(name)
            if inner is None:
                shown = f"{path}.{name}" if path else name
                folded = fold_name(name)
                if twins := level.folded.get(folded):
                    return self._describe_twin(shown, twins, level)
                matched = tuple(schema for pattern, schema in level.patterns if _is_match(name, pattern))
                if strict_here and not matched:
                    return f"its argument {_show(shown)} is not declared; {_list_declared(level)}"
                if not matched and not level.keyed:
                    before = others.setdefault(folded, name)
                    if before != name:
                        return (
                            f"its arguments {_show(before)} and {_show(shown)} differ only in case or in the form of "
                            f"their characters; {_list_declared(level)}"
                        )
                inner = matched or level.others
            if _has_parts(part):
                under = f"{path}.{name}" if path else name
                found = self._check_value(part, inner, under, strict=strict, depth=depth + 1)
                if found is not None:
                    return found
        return None

    def _describe_twin(self, name: str, twins: Iterable[str], level: _Level) -> str:
        return (
            f"its argument {_show(name)} is not declared and differs from {_show(next(iter(twins)))} only in case or "
            f"in the form of its characters; {_list_declared(level)}"
        )

    def _get_level(self, schemas: tuple[_Schema, ...]) -> _Level:
        key = tuple(map(id, schemas))  # they are parts of `schema`, which stays
        level = self._levels.get(key)
        if level is None:
            level = _merge(self._expand(schemas))
            if len(self._levels) < _MOST_LEVELS:
                self._levels[key] = level
        return level

    def _expand(self, schemas: Iterable[_Schema]) -> Iterable[_Schema]:
        """Expand schemas with all that they bring in for the same value."""
        waiting = [schema for schema in schemas if isinstance(schema, dict)]
        found: dict[int, _Schema] = {}
        while waiting and len(found) < _MOST_SCHEMAS:
            schema = waiting.pop()
            if id(schema) in found:
                continue
            found[id(schema)] = schema
            brought: list[Any] = [self._resolve(schema.get(word)) for word in ("$ref", "$dynamicRef")]
            for word in _BRANCHES:
                several = schema.get(word)
                brought += several if isinstance(several, list) else []
            brought += [schema.get(word) for word in _CONDITIONS]
            for word in ("dependentSchemas", "dependencies"):
                several = schema.get(word)
                brought += several.values() if isinstance(several, dict) else []  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            waiting += [one for one in brought if isinstance(one, dict)]
        return found.values()

    def _resolve(self, reference: object) -> Any:
        """Find the part of this schema that a `$ref` names; nothing of any other document is looked up."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        if not reference.startswith("#/") and len(reference) > 1:
            return self._anchors.get(unquote(reference[1:]))
        part: Any = self.schema
        for step in unquote(reference[1:]).split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(part, dict):
                part = cast("dict[str, Any]", part).get(step)
            elif isinstance(part, list) and step.isdigit() and int(step) < len(cast("list[Any]", part)):
                part = cast("list[Any]", part)[int(step)]
            else:
                return None
        return part


def _merge(schemas: Iterable[_Schema]) -> _Level:
    declared: dict[str, list[_Schema]] = {}
    patterns: list[tuple[str, _Schema]] = []
    others: list[_Schema] = []
    keyed = False
    for schema in schemas:
        for name, part in _to_mapping(schema.get("properties")).items():
            declared.setdefault(name, []).append(part)
        patterns += _to_mapping(schema.get("patternProperties")).items()
        for word in ("additionalProperties", "unevaluatedProperties"):
            part = schema.get(word)
            if isinstance(part, dict):
                others.append(cast("_Schema", part))
                keyed = True
    folded: dict[str, tuple[str, ...]] = {}
    for name in declared:
        key = fold_name(name)
        folded[key] = (*folded.get(key, ()), name)
    return _Level(
        {name: tuple(parts) for name, parts in declared.items()},
        folded,
        tuple(patterns[:_MOST_PATTERNS]),
        tuple(others),
        keyed,
    )


def _list_item_schemas(schemas: Iterable[_Schema], index: int) -> Iterable[_Schema]:
    """List the schemas of a list's item at this place."""
    for schema in schemas:
        items = schema.get("items")
        places = schema.get("prefixItems", items if isinstance(items, list) else None)
        if isinstance(places, list) and index < len(cast("list[Any]", places)):
            yield cast("list[_Schema]", places)[index]
        elif isinstance(items, dict):
            yield cast("_Schema", items)
        for word in ("additionalItems", "unevaluatedItems", "contains"):
            part = schema.get(word)
            if isinstance(part, dict):
                yield cast("_Schema", part)


def _has_parts(value: object) -> bool:
    return isinstance(value, dict | list)


def _to_mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _is_match(name: str, pattern: str) -> bool:
    """Whether the pattern of a `patternProperties` matches somewhere in the name, in time linear in its length.

    A pattern that RE2 does not know matches nothing.
    """
    try:
        return full_match(name, f"(?s:.*)(?:{pattern})(?s:.*)")
    except ValueError:
        return False


def _show(name: str) -> str:
    shown = escape_invisible(name[:_LONGEST_SHOWN])
    return f"'{shown}'" if len(name) <= _LONGEST_SHOWN else f"'{shown}…' ({len(name)} characters)"


def _list_declared(level: _Level) -> str:
    names = list(level.declared)
    if not names:
        return "none is declared there"
    return f"declared there: {list_some(map(_show, names), _MOST_SHOWN)}"
