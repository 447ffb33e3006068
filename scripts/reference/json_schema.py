"""Tables of what may stand in a config file, from its JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from scripts.reference.markdown import code, join_choices, table

Schema = Mapping[str, Any]

DURATIONS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
SIZES = (("MiB", 2**20), ("KiB", 2**10), ("", 1))


def describe_objects(schema: Schema) -> Iterator[str]:
    """Each kind of mapping in a file once, under all the places where it may stand."""
    defs = schema.get("$defs", {})
    places: dict[str, list[str]] = {}
    objects: dict[str, Schema] = {}
    waiting: list[tuple[str, str, Schema]] = [("", "", schema)]
    while waiting:
        name, place, found = waiting.pop(0)
        places.setdefault(name, []).append(place)
        if name in objects:
            continue
        objects[name] = found
        below = [
            (child, f"{place}.{key}".lstrip(".") + suffix, select_mapping(defs[child]))
            for key, entry in found["properties"].items()
            for child, suffix in find_children(entry)
        ]
        waiting = below + waiting
    for name, found in objects.items():
        if name:
            kind = found["properties"].get("type", {}).get("const")
            heading = ", ".join(map(code, dict.fromkeys(places[name]))) + (f" with `type: {kind}`" if kind else "")
            yield f"### {heading}\n\n{found['description']}\n"
        yield build_table(found, defs)


def build_table(mapping: Schema, defs: Schema, *, without: Collection[str] = ()) -> str:
    """The keys of one mapping, but those in `without`."""
    required = mapping.get("required", ())
    rows = [
        (
            code(key),
            describe_type(entry, defs),
            describe_default(entry, defs, key in required),
            describe_key(entry, defs),
        )
        for key, entry in mapping["properties"].items()
        if key not in without
    ]
    return table(("key", "value", "default", "meaning"), rows)


def find_children(entry: Schema) -> Iterator[tuple[str, str]]:
    """The mappings that may stand in a value: the name of each, and what its place adds to the key."""
    if "$ref" in entry:
        yield find_name(entry), ""
    for other in (*entry.get("anyOf", ()), *entry.get("oneOf", ())):
        yield from find_children(other)
    for name, suffix in (("items", "[]"), ("additionalProperties", ".NAME")):
        inner = entry.get(name)
        if isinstance(inner, Mapping):
            for child, more in find_children(inner):
                yield child, suffix + more


def find_name(entry: Schema) -> str:
    """The name of the mapping that a `$ref` leads to."""
    return entry["$ref"].rpartition("/")[2]


def select_mapping(schema: Schema) -> Schema:
    """The long form of what may also be written in a short one."""
    return next((form for form in schema.get("anyOf", ()) if "properties" in form), schema)


def describe_type(entry: Schema, defs: Schema) -> str:
    """What may stand for a value, in words."""
    if "$ref" in entry:
        return describe_type(defs[find_name(entry)], defs)
    if "const" in entry:
        return code(entry["const"])
    if "enum" in entry:
        return join_choices(map(code, entry["enum"]))
    if "properties" in entry or "oneOf" in entry:
        return "mapping"
    if "anyOf" in entry:
        patterns = "".join(form.get("pattern", "") for form in entry["anyOf"])
        if "ms|s|m" in patterns:
            return "length of time"
        if "[bB]" in patterns:
            return "size"
        if "string|int" in patterns:
            return "type"
        if {form.get("type") for form in entry["anyOf"]} == {"string", "integer", "number", "boolean"}:
            return "CEL"
        return join_choices(describe_type(form, defs) for form in entry["anyOf"] if form.get("type") != "null")
    match entry.get("type"):
        case "array":
            return f"list of {write_plural(describe_type(entry['items'], defs))}"
        case "object" if entry["additionalProperties"] is True:
            return "mapping"
        case "object":
            return f"mapping of {write_plural(describe_type(entry['additionalProperties'], defs))}"
        case "boolean":
            return "`true` or `false`"
        case "string":
            return "text"
        case None:
            return "any value"
        case kind:
            return f"{'whole number' if kind == 'integer' else 'number'}{describe_range(entry)}"


def write_plural(words: str) -> str:
    """The words for several such values."""
    return re.sub(r"\b(text|mapping|list|type)\b", r"\1s", words)


def describe_range(entry: Schema) -> str:
    """The bounds of a number, if it has any."""
    least, most = entry.get("minimum"), entry.get("maximum")
    if least is not None and most is not None:
        return f", {least:,} to {most:,}"
    return f", at least {least:,}" if least is not None else ""


def describe_default(entry: Schema, defs: Schema, required: bool) -> str:
    """The default in the form in which it would be written; empty where a mapping has its own."""
    if required:
        return "required"
    default = entry.get("default")
    if default is None or isinstance(default, Mapping):
        return ""
    match describe_type(entry, defs):
        case "length of time":
            return code(write_units(round(default * 1000), DURATIONS))
        case "size":
            return code(write_units(default, SIZES))
        case _:
            return code(json.dumps(default, ensure_ascii=False))


def write_units(value: int, units: tuple[tuple[str, int], ...]) -> str:
    """The value with the first unit that divides it."""
    name, size = next((name, size) for name, size in units if value % size == 0)
    return f"{value // size}{name}"


def describe_key(entry: Schema, defs: Schema) -> str:
    """What a key means: its own words, or those of the mapping that it holds."""
    return entry["description"] if "description" in entry else defs[find_name(entry)]["description"]
