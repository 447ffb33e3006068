"""Changes of a graph's variables: added, gone, and whether a type takes less than before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphs.diagnostics.diff.changes import Change, format_value
from graphs.errors import list_some
from graphs.expressions import Variable, VarType

NARROWER = "a turn that waits with a value that no longer fits ends in words"
_MOST_PLACES = 5


def compare_variables(subject: str, old: Mapping[str, Variable], new: Mapping[str, Variable]) -> Iterator[Change]:
    """Compare the variables of a graph."""
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield Change(subject=subject, mark="removed", text=f"variable {name} ({old[name].type.describe()})")
        elif name not in old:
            yield Change(subject=subject, mark="added", text=f"variable {name} ({new[name].type.describe()})")
        else:
            yield from _compare_variable(subject, name, old[name], new[name])


def _compare_variable(subject: str, name: str, old: Variable, new: Variable) -> Iterator[Change]:
    if old.type != new.type and (said := describe_type_change(old.type, new.type)) is not None:
        yield Change(subject=subject, mark="changed", text=f"variable {name} {said}")
    before, now = _describe_default(old), _describe_default(new)
    if before != now:
        yield Change(subject=subject, mark="changed", text=f"variable {name}: default {before} → {now}")


def describe_type_change(old: VarType, new: VarType) -> str | None:
    """Describe how a type changed; None: it takes the same values."""
    takes_all, took_all = accepts(new, old), accepts(old, new)
    rules = describe_rules_change(old, new)
    if takes_all and took_all:
        return rules
    before, now = old.describe(), new.describe()
    shown = f"{before} → {now}" if before != now else f"{now}, with other types in it"
    if takes_all:
        return f"takes more: {shown}" if rules is None else f"takes more: {shown}; it {rules}"
    how = "takes less" if took_all else "has another type"
    return f"{how}: {shown}; {NARROWER}"


def describe_rules_change(old: VarType, new: VarType) -> str | None:
    """Describe how the rules of schema files changed, such as `pattern`, at places that are in both types; None: they
    are the same."""
    before, now = dict(_list_rules(old, "")), dict(_list_rules(new, ""))
    places = [place for place in before if before[place] != now.get(place, before[place])]
    added = [place for place in places if not now[place].items() <= before[place].items()]
    words = "has other rules in its schema" if added else "has fewer rules in its schema"
    named = [repr(place) for place in added or places if place]
    where = f" for {list_some(named, _MOST_PLACES)}" if named else ""
    return None if not places else f"{words}{where}; {NARROWER}" if added else f"{words}{where}"


def _list_rules(type_: VarType, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the rules of a type that it does not say itself, by the place in it."""
    yield place, {} if type_.schema is None else type_.schema.read_unsaid()
    if type_.item is not None:
        yield from _list_rules(type_.item, f"{place}[]")
    for field in type_.fields:
        yield from _list_rules(field.type, f"{place}.{field.name}".removeprefix("."))


def accepts(type_: VarType, other: VarType) -> bool:
    """Whether every value of `other` fits `type_`, whatever rules of a schema there are beside."""
    if other.is_nullable and not type_.is_nullable and type_.kind != "any":
        return False
    match type_.kind, other.kind:
        case "any", _:
            return True
        case "string", "enum":
            return True
        case "number", "int":
            return True
        case "enum", "enum":
            return {*other.values} <= {*type_.values}
        case "list", "list":
            return type_.item is None or (other.item is not None and accepts(type_.item, other.item))
        case "object", "object":
            return _accepts_fields(type_, other)
        case kind, other_kind:
            return kind == other_kind


def _accepts_fields(type_: VarType, other: VarType) -> bool:
    for field in other.fields:
        own = type_.find_field(field.name)
        if own is None and type_.is_open:
            continue
        if own is None or not accepts(own.type, field.type) or (field.is_optional and not own.is_optional):
            return False
    if other.is_open and not type_.is_open:
        return False
    return all(field.is_optional or other.find_field(field.name) is not None for field in type_.fields)


def _describe_default(variable: Variable) -> str:
    return format_value(variable.default) if variable.has_default else "none"
