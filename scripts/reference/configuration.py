"""The page on configuration keys, from the committed JSON Schemas, and on environment variables."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.reference.markdown import code, join_choices, require_same, table
from server.settings import PREFIX, Settings

Schema = Mapping[str, Any]

INTRODUCTION = """\
# Configuration

Interlock reads one folder: `configs/`, or the one that `--configs` or `INTERLOCK_CONFIGS` names. If a file is absent,
the shipped one counts. Relative paths are relative to this folder.

- An unknown key, a key that is there twice, and a value of a wrong type are mistakes; `interlock check` shows them all.
- `${NAME}` in a value is the value of the environment variable `NAME`. If it is not set, that is a mistake;
  `${NAME:-text}` is `text` then.
- A length of time is a number of seconds, or a text such as `20s`, `15m`, `2h` or `30d`.
- A size is a number of bytes, or a text such as `64KiB`, `500kB` or `20MB`.
- Texts in `{{ … }}` and conditions under `when` are [expressions](expressions.md).

Files: [gateway.yaml](#gatewayyaml), [servers.yaml](#serversyaml), [access.yaml](#accessyaml),
[graphs/NAME.yaml](#graphsnameyaml), [graphs/NAME.test.yaml](#graphsnametestyaml). Also here: [environment
variables](#environment-variables).
"""

KINDS = {
    "gateway": "gateway.yaml",
    "servers": "servers.yaml",
    "access": "access.yaml",
    "graph": "graphs/NAME.yaml",
    "test": "graphs/NAME.test.yaml",
}

ENVIRONMENT = """\
## Environment variables

If `NAME` is not set, `NAME_FILE` may name a file that holds its value.
"""
VARIABLES = {
    "LITELLM_BASE_URL": "The address of LiteLLM. Read by the shipped `gateway.yaml`.",
    "LITELLM_API_KEY": "The key for LiteLLM. Read by the shipped `gateway.yaml`.",
    "INTERLOCK_MODEL": "The model for nodes that name none. Read by the shipped `gateway.yaml`.",
    "INTERLOCK_ADMIN_KEY": "The key with the role `admin`. Read by the shipped `access.yaml`.",
    "INTERLOCK_DEVELOPER_KEY": "The key with the role `developer`. Read by the shipped `access.yaml`.",
    "INTERLOCK_KEY": "The key that `interlock chat` shows, instead of the generated one.",
    "INTERLOCK_STUDIO_ROLE": "The role of the caller `studio` in LangGraph Studio. Needed once keys are configured.",
    "INTERLOCK_STUDIO_ORIGINS": "Further origins that Studio's server answers, such as that of your own LangSmith.",
    "INTERLOCK_STUDIO_TOKEN": "The local token of Studio's server. `interlock studio` makes one.",
    "INTERLOCK_DEMO_DELAY": "Milliseconds between two pieces of an answer of the demo model.",
}
"""Variables that are no setting of the process."""
OPENTELEMETRY = """
Traces follow the standard variables of OpenTelemetry, such as `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_EXPORTER`,
`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SDK_DISABLED`. The protocol is `http/protobuf`.
"""


def build_page(root: Path) -> str:
    """The whole page. Raises ValueError where a variable has no description."""
    parts = [INTRODUCTION]
    for kind, name in KINDS.items():
        schema = json.loads((root / "configs" / "schemas" / f"{kind}.json").read_text(encoding="utf-8"))
        parts.append(f"## {name}\n\n{schema['description']}\n")
        parts.extend(describe_objects(schema))
    return "\n".join(parts) + "\n" + describe_environment(root)


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
        required = found.get("required", ())
        rows = [
            (
                code(key),
                describe_type(entry, defs),
                describe_default(entry, defs, key in required),
                describe_key(entry, defs),
            )
            for key, entry in found["properties"].items()
        ]
        yield table(("key", "value", "default", "meaning"), rows)


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
            return code(write_units(int(default), (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))))
        case "size":
            return code(write_units(default, (("MiB", 2**20), ("KiB", 2**10), ("", 1))))
        case _:
            return code(json.dumps(default, ensure_ascii=False))


def write_units(value: int, units: tuple[tuple[str, int], ...]) -> str:
    """The value with the first unit that divides it."""
    name, size = next((name, size) for name, size in units if value % size == 0)
    return f"{value // size}{name}"


def describe_key(entry: Schema, defs: Schema) -> str:
    """What a key means: its own words, or those of the mapping that it holds."""
    return entry["description"] if "description" in entry else defs[find_name(entry)]["description"]


def describe_environment(root: Path) -> str:
    """The table of variables: settings of the process first."""
    docstrings = read_docstrings(Settings)
    rows: list[tuple[str, str, str]] = []
    for name, field in Settings.model_fields.items():
        shown = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
        rows.append(
            (code(f"{PREFIX}{name.upper()}"), "" if shown in ("", None) else code(str(shown)), docstrings[name])
        )
    rows += [(code(name), "", text) for name, text in VARIABLES.items()]
    require_same("variable", find_variables(root), [row[0].strip("`") for row in rows])
    return f"{ENVIRONMENT}\n{table(('variable', 'default', 'meaning'), rows)}{OPENTELEMETRY}"


def find_variables(root: Path) -> set[str]:
    """Every variable of ours that the program or the shipped files name, and every setting."""
    files = [
        *(file for folder in ("graphs", "server") for file in (root / folder).rglob("*.py")),
        *(root / "configs").rglob("*.yaml"),
    ]
    named = {
        name
        for file in files
        for name in re.findall(r"\b(?:INTERLOCK|LITELLM)_[A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8"))
    }
    return {name for name in named if not name.endswith("_FILE")} | {
        f"{PREFIX}{name.upper()}" for name in Settings.model_fields
    }


def read_docstrings(model: type) -> dict[str, str]:
    """The texts under the fields of a class."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
            case _:
                pass
    return found
