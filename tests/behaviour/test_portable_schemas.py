"""Models are shown schemas that every endpoint takes, and a call is held against the one that its server wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from support.facade import serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel

NAMED = Path(__file__).parents[1] / "support" / "mcp_named.py"
TEXT: dict[str, Any] = {"type": "string"}
PLAIN: dict[str, Any] = {"type": "object", "properties": {"a": TEXT, "n": {"type": "integer"}}, "required": ["a"]}
SCHEMAS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "any": {"properties": {"k": TEXT}, "anyOf": [{"required": ["k", "id"]}, {"required": ["k", "name"]}]},
    "one": {
        "oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}],
        "$defs": {
            "A": {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]},
            "B": {"type": "object", "properties": {"kind": {"const": "b"}, "x": TEXT}, "required": ["kind", "x"]},
        },
    },
    "all": {"allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}}]},
    "parts": {
        "type": "object",
        "properties": {
            "list": {"type": "array"},
            "maybe": {"type": ["string", "null"]},
            "anything": {},
            "yes": True,
            "no": False,
            "number": {"enum": [1, 2]},
            "$filter": TEXT,
            "when": {"format": "uri", "pattern": "^(?=x)a"},
        },
    },
    "loop": {"type": "object", "properties": {"child": {"$ref": "#"}}},
    "text": {"type": "string"},
    "code": {"type": "object", "properties": {"code": {"type": "string", "pattern": "^(a+)+$"}}},
    "titled": {  # as pydantic writes it, whose titles are the names once more
        "type": "object",
        "title": "titledArguments",
        "properties": {
            "title": {"title": "Title", "type": "string"},
            "list": {"title": "List", "type": "array", "items": {"title": "Item", "type": "string"}},
            "place": {
                "title": "Place",
                "anyOf": [{"title": "A", "type": "object", "properties": {"x": {"title": "X", "type": "string"}}}],
                "default": {"title": "kept"},
            },
            "level": {"anyOf": [{"title": "low", "type": "string", "enum": ["1"]}, {"type": "null"}]},
            "word": {"title": "Word", "type": "string", "enum": ["title"]},
        },
        "required": ["title"],
    },
}
TITLED = {
    "title": TEXT,
    "list": {"type": "array", "items": TEXT},
    "place": {"type": "object", "properties": {"x": TEXT}, "default": {"title": "kept"}},
    "level": {"anyOf": [{"title": "low", "type": "string", "enum": ["1"]}, {"type": "null"}]},
    "word": {"type": "string", "enum": ["title"]},
}


def find_faults(schema: Any, path: str = "") -> list[str]:
    """What some vendor refuses in a schema."""
    faults: list[str] = []
    known = {"type", "properties", "required", "items", "anyOf", "enum", "description", "title", "default", "format"}
    known |= {"additionalProperties", "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength"}
    faults += [f"{path}: {word}" for word in schema.keys() - known]
    if "type" not in schema and "anyOf" not in schema:
        faults.append(f"{path}: no type")
    if not isinstance(schema.get("type", ""), str):
        faults.append(f"{path}: several types")
    if schema.get("type") == "array" and "items" not in schema:
        faults.append(f"{path}: no items")
    faults += [f"{path}: enum of others than texts" for value in schema.get("enum", ()) if not isinstance(value, str)]
    inner = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    for at, part in enumerate([*inner, *schema.get("properties", {}).values()]):
        faults += find_faults(part, f"{path}.{at}")
    return faults


async def test_every_schema_is_shown_in_a_form_that_all_take(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    log = tmp_path / "calls.log"
    entries = [{"name": name, "inputSchema": schema} for name, schema in SCHEMAS.items()]
    entries.append({"name": "long", "description": "word " * 400, "inputSchema": {"type": "object"}})
    args = [str(NAMED), str(log), *(json.dumps(entry) for entry in entries)]
    configs = write_configs(tmp_path / "configs", model.url, {"named": {"command": sys.executable, "args": args}})
    good = [
        Call("named__any", {"k": "x", "name": "n"}),
        Call("named__one", {"kind": "b", "x": "y"}),
        Call("named__loop", {"child": {"child": {}}}),
        Call("named__parts", {"maybe": None, "list": [1, "a"], "number": 2, "$filter": "f"}),
    ]
    bad = [
        Call("named__any", {"k": "secret"}),
        Call("named__one", {"kind": "b"}),
        Call("named__all", {"b": "secret"}),
        Call("named__parts", {"number": 3}),
        Call("named__loop", {"child": {"child": 4}}),
        Call("named__code", {"code": "a" * 60 + "b"}),
    ]
    model.script(Answer(calls=good), Answer(calls=bad), "Done.")
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
    shown = {tool["function"]["name"]: tool["function"] for tool in model.requests[0].body["tools"]}
    parameters = {name.removeprefix("named__"): tool["parameters"] for name, tool in shown.items()}
    assert [fault for name, schema in parameters.items() for fault in find_faults(schema, name)] == []
    assert all(schema["type"] == "object" and "anyOf" not in schema for schema in parameters.values())
    assert parameters["plain"] == PLAIN
    assert parameters["titled"] == {"type": "object", "properties": TITLED, "required": ["title"]}
    assert parameters["any"]["required"] == ["k"]
    assert set(parameters["all"]["properties"]) == {"a", "b"}
    assert "'$filter'" in parameters["parts"]["description"]
    assert len(shown["named__long"]["description"]) <= 1024
    ran = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(call["tool"] for call in ran) == ["any", "loop", "one", "parts"]
    refusals = model.requests[2].tool_results[len(good) :]
    assert len(refusals) == len(bad)
    for refusal in refusals:
        assert "its arguments do not fit its schema" in refusal
        assert "secret" not in refusal
