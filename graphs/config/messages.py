"""Validation errors of pydantic as messages for the person who wrote the file."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import AliasChoices, ValidationError
from pydantic.fields import FieldInfo

from graphs.config.source import find_value
from graphs.config.spec.base import Spec
from graphs.errors import describe_kind, did_you_mean

Path = tuple[str | int, ...]

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def describe_errors(
    error: ValidationError, spec: type[Spec], data: Any, hidden: Container[Path] = ()
) -> Iterator[tuple[Path, str]]:
    """Return a message for each error, with the path in `data` that it is about.

    No value of the file is in the words, but for types and the like, which only a typo makes wrong; and not even those
    at the paths in `hidden`, which variables went into.
    """
    for item in error.errors(include_input=False, include_url=False):
        path = _convert_location(item["loc"], data)
        context = dict(item.get("ctx", {}))
        if path in hidden or (*path, "type") in hidden:
            context["hidden"] = True
        yield path, _describe_error(item["type"], context, item["msg"], path, spec, data)


def _convert_location(location: Sequence[str | int], data: Any) -> Path:
    """Convert pydantic's location to a path of the file: without `[key]`, the tag of a tagged union, and the place in a
    list of which the one member is written without brackets."""
    path: list[str | int] = []
    tagged: set[Path] = set()
    for step in location:
        if step == "[key]" or (isinstance(step, int) and not isinstance(find_value(data, tuple(path), []), list)):
            continue
        # Only nodes are tagged: `('nodes', NAME, TAG, …)` stands for what is at `('nodes', NAME, …)`.
        at = tuple(path)
        if at not in tagged and _is_node(at) and step == find_value(data, (*at, "type")):
            tagged.add(at)
            continue
        path.append(step)
    return tuple(path)


def _is_node(path: Path) -> bool:
    """Whether a node stands at this path of a graph file, perhaps one inside another."""
    match path:
        case ("nodes", _) | ("nodes", _, "do") | ("nodes", _, "branches", _):
            return True
        case _:
            return False


def _describe_error(
    kind: str, context: Mapping[str, Any], message: str, path: Path, spec: type[Spec], data: Any
) -> str:
    name = ("this item" if isinstance(path[-1], int) else repr(path[-1])) if path else "the file"
    found = find_value(data, path)
    match kind:
        case "extra_forbidden" if isinstance(path[-1], str) and (own := _find_own_name(path, spec, data)) is not None:
            return f"{name} is another name of {own!r}, which is there too; keep one of them"
        case "extra_forbidden":
            return _describe_unknown_key(str(path[-1]), path[:-1], spec, data)
        case "missing":
            return f"{name} is missing"
        case "union_tag_not_found":
            tags = _list_node_types(path, spec, data)
            return f"'type' is missing from node {name}; choose one of: {', '.join(tags)}"
        case "union_tag_invalid":
            tags = _list_node_types(path, spec, data)
            tag = "" if "hidden" in context else str(context.get("tag"))
            shown = repr(tag) if tag else "what the variable holds"
            what = "not a node type" if len(path) == 2 else "not a type of node that runs inside another"
            return f"{shown} is {what}; choose one of: {', '.join(tags)}{did_you_mean(tag, tags)}"
        case "literal_error":
            is_name = isinstance(found, str) and len(found) < 40 and "hidden" not in context
            shown = repr(found) if is_name else describe_kind(found)
            expected = str(context.get("expected"))
            hint = did_you_mean(found, re.findall(r"'(\w+)'", expected)) if isinstance(found, str) and is_name else ""
            return f"{name} is {shown}; expected {expected}{hint}"
        case "value_error":
            said = str(context.get("error", message))
            return f"{name} {said}" if said.startswith(("is ", "has ", "holds ")) else f"{name}: {said}"
        case "too_short":
            return f"{name} is empty; write at least one"
        case "too_long":
            return f"{name} is too long; the most is {context.get('max_length')}"
        case "string_too_short":
            return f"{name} is empty; write a name"
        case "greater_than_equal":
            return f"{name} is too small; the least is {context.get('ge', 0):.15g}"
        case "less_than_equal":
            return f"{name} is too large; the most is {context.get('le', 0):.15g}"
        case _:
            return _describe_wrong_kind(name, _EXPECTED.get(kind), found, message)


def _describe_wrong_kind(name: str, expected: str | None, found: object, message: str) -> str:
    if expected is None:
        return f"{name}: {message[:1].lower()}{message[1:]}"
    kind = describe_kind(found)
    cure = ""
    if expected == "a text" and kind in ("a number", "true or false"):
        cure = "; put it in quotes"
    elif expected == "a list" and kind == "a mapping":
        cure = "; write each as an item that begins with '- '"
    elif expected == "a list":
        cure = "; write it as [one, two], or one '- ' a line"
    elif expected == "a mapping" and kind == "a list":
        cure = "; write each by its name, without '- '"
    elif expected == "a mapping" and kind == "nothing":
        cure = "; write its settings below it, or remove it"
    return f"{name} is {kind}; expected {expected}{cure}"


def _list_node_types(path: Path, spec: type[Spec], data: Any) -> list[str]:
    """List the types that a node may have."""
    nodes = _find_annotation(path, spec, data)
    return [tag for model in _list_union_members(nodes) for tag in _list_types(model)]


def _describe_unknown_key(name: str, path: Path, spec: type[Spec], data: Any) -> str:
    holder = _choose_member(_find_annotation(path, spec, data), find_value(data, path))
    if not (isinstance(holder, type) and issubclass(holder, Spec)):
        return f"there is no setting {name!r} here"
    if name in holder.unsupported:
        return f"{name!r} is not supported yet; {holder.unsupported[name]}"
    known = _list_settings(holder)
    if name in holder.other_names:
        return f"there is no setting {name!r}. Did you mean {holder.other_names[name]!r}?"
    for own, described in holder.model_fields.items():
        for page in _list_union_members(described.annotation):
            if isinstance(page, type) and issubclass(page, Spec) and name in _list_settings(page):
                return f"there is no setting {name!r} here; it belongs under {described.alias or own!r}"
    place = f" for a {_list_types(holder)[0]!r} node" if _list_types(holder) else ""
    hint = did_you_mean(name, known) or f"; there is {', '.join(known)}"
    return f"there is no setting {name!r}{place}{hint}"


def _find_own_name(path: Path, spec: type[Spec], data: Any) -> str | None:
    """Find our name of the setting that the key at `path` is another client's name of; None: it is no such key."""
    holder = _choose_member(_find_annotation(path[:-1], spec, data), find_value(data, path[:-1]))
    if not (isinstance(holder, type) and issubclass(holder, Spec)):
        return None
    field = _find_field(holder, str(path[-1]))
    return next((own for own, other in holder.model_fields.items() if other is field), None)


def _list_settings(page: type[Spec]) -> list[str]:
    """List the settings of a page as files name them: a word that Python keeps for itself is an alias there."""
    return [field.alias or own for own, field in page.model_fields.items()]


def _find_annotation(path: Path, spec: type[Spec], data: Any) -> Any:
    """Return the type annotation of the spec for what is at `path`; None where it has none."""
    here: Any = spec
    for depth, step in enumerate(path):
        here = _choose_member(here, find_value(data, path[:depth]))
        if isinstance(here, type) and issubclass(here, Spec):
            described = _find_field(here, str(step))
            here = described.annotation if described is not None else None
        else:
            arguments = get_args(here)
            here = arguments[-1] if arguments else None
    return here


def _find_field(page: type[Spec], name: str) -> FieldInfo | None:
    """Find the field that a key fills, by its own name or one that other clients use."""
    for own, field in page.model_fields.items():
        if (field.alias or own) == name or (
            isinstance(field.validation_alias, AliasChoices) and name in field.validation_alias.choices
        ):
            return field
    return None


def _choose_member(annotation: Any, value: Any) -> Any:
    """Return the member of a union that fits the value: by its `type`, or else the first that is not None."""
    members = _list_union_members(annotation)
    if len(members) == 1:
        return members[0]
    tag = cast("dict[str, Any]", value).get("type") if isinstance(value, dict) else None
    return next((member for member in members if tag in _list_types(member)), members[0] if members else None)


def _list_union_members(annotation: Any) -> list[Any]:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return [
            member for each in get_args(annotation) if each is not type(None) for member in _list_union_members(each)
        ]
    return [] if annotation is None else [annotation]


def _list_types(model: Any) -> list[str]:
    if not (isinstance(model, type) and issubclass(model, Spec)):
        return []
    described = model.model_fields.get("type")
    return list(get_args(described.annotation)) if described is not None and described.is_required() else []
