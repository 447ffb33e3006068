"""Schema files beside graphs: what type comes of them, what fits it, and what models are shown of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from support.configs import loaded, problems

from graphs.config.schema_files import MAX_BYTES, SchemaFiles
from graphs.config.spec.schemas import build_schemas
from graphs.expressions import TypeFault, TypeMismatch, VarType
from graphs.nodes.state_types import build_annotation

ORDER: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.com/order.schema.json",
    "type": "object",
    "required": ["sku", "count", "customer"],
    "additionalProperties": False,
    "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$", "description": "The article."},
        "count": {"type": "integer", "minimum": 1},
        "urgency": {"enum": ["low", "high"]},
        "note": {"type": ["string", "null"], "minLength": 3},
        "day": {"type": "string", "format": "date"},
        "ship": {"$ref": "#/$defs/address"},
        "customer": {"anyOf": [{"$ref": "#/$defs/address"}, {"type": "null"}]},
        "lines": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"$ref": "line.schema.json"}},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "either": {"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 4}]},
        "before": {"$ref": "#"},
        "size": {"type": "integer", "enum": [1, 2]},
        "pair": {
            "type": ["object", "string"],
            "required": ["a"],
            "properties": {"a": {}},
            "additionalProperties": False,
        },
    },
    "$defs": {
        "address": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
    },
}
LINE = {"type": "object", "required": ["price"], "properties": {"price": {"type": "number", "exclusiveMinimum": 0}}}
FITTING = {"sku": "ABC-1", "count": 2, "customer": None}


def read(folder: Path, schema: object, written: str = "./order.schema.json") -> VarType:
    (folder / "graphs").mkdir(exist_ok=True)
    for name, document in (("order", schema), ("line", LINE)):
        (folder / "graphs" / f"{name}.schema.json").write_text(json.dumps(document))
    return SchemaFiles(folder).read_type(written)


def test_a_schema_becomes_a_type_as_far_as_there_is_one(tmp_path: Path) -> None:
    found = read(tmp_path, ORDER)
    assert {field.name + "?" * field.is_optional: field.type.describe() for field in found.fields} == {
        "sku": "string",
        "count": "int",
        "urgency?": "one of low, high",
        "note?": "string",
        "day?": "string",
        "ship?": "object with city",
        "customer": "object with city or null",
        "lines?": "list of object with price",
        "counts?": "object",
        "either?": "any",
        "before?": "any",
        "size?": "int",
        "pair?": "any",
    }


@pytest.mark.parametrize(
    ("more", "stored"),
    [
        ({"note": None, "count": 2.0}, {"count": 2}),
        ({"customer": {"city": "x", "zip": 1}}, {"customer": {"city": "x", "zip": 1}}),
        ({"lines": [{"price": 1}, {"price": True * 2}]}, {"lines": [{"price": 1}, {"price": 2}]}),
        ({"counts": {"a": 1}, "either": "four"}, {"counts": {"a": 1}, "either": "four"}),
        ({"before": {**FITTING, "sku": "XYZ-2"}}, {"before": {**FITTING, "sku": "XYZ-2"}}),
    ],
)
def test_a_value_that_fits_is_stored(more: Any, stored: Any, tmp_path: Path) -> None:
    assert read(tmp_path, ORDER).fit({**FITTING, **more}) == {**FITTING, **stored}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sku": "abc"}, "at 'sku' does not match the pattern '^[A-Z]{3}-[0-9]+$'"),
        ({"sku": "abc", "count": 0}, "at 'count' is less than 1; at 'sku' does not match the pattern"),
        ({"count": "many"}, "at 'count' is a text; expected a whole number"),
        ({"note": "ab"}, "at 'note' has fewer than 3 characters"),
        ({"day": "tomorrow"}, "at 'day' is no date"),
        ({"lines": []}, "at 'lines' has fewer than 1 items"),
        ({"lines": [{"price": 1}, {"price": 1.0}]}, "at 'lines' has the same item twice"),
        ({"lines": [{"price": 0}]}, "at 'lines[0].price' is not more than 0"),
        ({"counts": {"a": "b"}}, "at 'counts.a' is a text; expected integer"),
        ({"size": 3}, "at 'size' is none of its values; expected one of 1, 2"),
        ({"pair": {"b": 1}}, "at 'pair' has no 'a', which must be there; at 'pair' has a field that its schema"),
        ({"either": "fives"}, "at 'either' has more than 4 characters"),
        ({"before": {"sku": "ABC-1"}}, "at 'before' has no 'count', 'customer', which must be there"),
        ({"other": 1}, "has no field 'other'; there is sku, count"),
        ({"customer": 1}, "at 'customer' is a number; expected a mapping"),
    ],
)
def test_a_value_that_breaks_a_rule_is_told_in_words(more: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeMismatch) as caught:
        read(tmp_path, ORDER).fit({**FITTING, **more})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("format", "fitting", "other"),
    [
        ("date-time", "2026-01-31T12:00:00Z", "2026-01-31 noon"),
        ("date-time", "2026-01-31t12:00:00.5+02:00", "2026-13-31T12:00:00Z"),
        ("time", "12:00:00Z", "25:00:00Z"),
        ("duration", "P1DT2H", "P"),
        ("email", "a@example.com", "a"),
        ("hostname", "a.example.com", "-a"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "::g"),
        ("uri", "https://example.com/?a=1#b", "example.com"),
        ("uuid", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "f81d4fae"),
    ],
)
def test_formats_are_checked_without_further_packages(format: str, fitting: str, other: str, tmp_path: Path) -> None:
    found = read(tmp_path, {"type": "string", "format": format})
    assert found.fit(fitting) == fitting
    with pytest.raises(TypeMismatch, match=f"is no {format}"):
        found.fit(other)


def test_models_are_shown_a_strict_schema_with_what_endpoints_take_and_the_rest_in_words(tmp_path: Path) -> None:
    names = ("sku", "count", "note")
    schema = {**ORDER, "properties": {name: ORDER["properties"][name] for name in names}, "required": ["sku", "count"]}
    found = read(tmp_path, schema)
    assert not found.has_any
    assert found.build_schema() == {
        "type": "object",
        "properties": {
            "sku": {"type": "string", "description": "The article.", "pattern": "^[A-Z]{3}-[0-9]+$"},
            "count": {"type": "integer", "minimum": 1},
            "note": {"anyOf": [{"type": "string", "description": 'Must also fit: {"minLength":3}'}, {"type": "null"}]},
        },
        "required": ["sku", "count", "note"],
        "additionalProperties": False,
    }


def test_a_part_of_a_file_can_be_named_and_a_file_can_be_yaml(tmp_path: Path) -> None:
    assert read(tmp_path, ORDER, "order.schema.json#/$defs/address").describe() == "object with city"
    (tmp_path / "types").mkdir()
    (tmp_path / "types" / "line.schema.yaml").write_text("type: array\nitems: {$ref: ../graphs/line.schema.json}\n")
    assert SchemaFiles(tmp_path).read_type("../types/line.schema.yaml").describe() == "list of object with price"


@pytest.mark.parametrize(
    ("schema", "described"),
    [
        ({"allOf": [{"$ref": "line.schema.json"}], "description": "x"}, "object with price"),
        ({"type": "object", "properties": {"a": True}, "allOf": [{"properties": {"b": True}}]}, "any"),
        ({"type": "object", "properties": {"a": True}, "anyOf": [{"required": ["a"]}, {"minProperties": 2}]}, "object"),
        ({"enum": ["a", "b", None]}, "one of a, b or null"),
        ({"const": "a"}, "one of a"),
        ({"type": "integer", "enum": [1, 2]}, "int"),
        ({"type": ["string", "integer"]}, "any"),
        ({"type": "array"}, "any[]"),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, "any[]"),
        ({}, "any"),
    ],
)
def test_what_does_not_fit_our_types_is_anything(schema: Any, described: str, tmp_path: Path) -> None:
    assert read(tmp_path, schema).describe().startswith(described)


def test_references_that_multiply_are_a_mistake(tmp_path: Path) -> None:
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for at in range(1, 20):
        again = {"$ref": f"#/$defs/d{at - 1}"}
        defs[f"d{at}"] = {"type": "object", "properties": {"a": again, "b": again}}
    with pytest.raises(TypeFault, match=r"graphs/order.schema.json: it has more than 10,000 parts"):
        read(tmp_path, {"$ref": "#/$defs/d19", "$defs": defs})


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("#/allOf/x", "graphs/order.schema.json has nothing at #/allOf/x"),
        ("#/title/a", "graphs/order.schema.json has nothing at #/title/a"),
        ("#nowhere", "graphs/order.schema.json has nothing at #nowhere"),
        ("http://[", "'http://[' is no path"),
        ("//example.com/a.schema.json", "'//example.com/a.schema.json' is an address"),
        ("file:///etc/a.schema.json", "'file:///etc/a.schema.json' is an address"),
        ("%00.schema.json", "'%00.schema.json' is no path"),
        ("..%2f..%2fx.schema.json", "'..%2f..%2fx.schema.json' leads out of the config folder"),
        ("../../x.schema.json", "'../../x.schema.json' leads out of the config folder"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_mistake(reference: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeFault) as caught:
        read(tmp_path, {"title": "Order", "allOf": [True], "properties": {"x": {"$ref": reference}}})
    assert str(caught.value).startswith(f"graphs/order.schema.json#/properties/x/$ref: {message}")


UNCHECKED = [
    ({"minimum": "5"}, "/minimum is no JSON Schema: '5' is not of type 'number'"),
    ({"type": "objekt"}, "/type is no JSON Schema: 'objekt' is no type; choose one of"),
    ({"items": [{}]}, "/items is no JSON Schema: [{}] is not of type"),
    ({"properties": ["a"]}, "/properties is no JSON Schema: ['a'] is not of type 'object'"),
    ({"enum": 5}, "/enum is no JSON Schema: 5 is not of type 'array'"),
    ({"anyOf": 5}, "/anyOf is no JSON Schema: 5 is not of type 'array'"),
    ({"required": "ab"}, "/required is no JSON Schema: 'ab' is not of type 'array'"),
]


@pytest.mark.parametrize(("part", "message"), UNCHECKED)
def test_a_part_under_a_keyword_of_others_is_checked_where_it_is_named(part: Any, message: str, tmp_path: Path) -> None:
    document = {"components": {"schemas": {"O": part}}, "$defs": {"p": {"$ref": "#/components/schemas/O"}}}
    for fragment in ("/components/schemas/O", "/$defs/p"):
        with pytest.raises(TypeFault) as caught:
            read(tmp_path, document, f"./order.schema.json#{fragment}")
        assert f"graphs/order.schema.json#/components/schemas/O{message}" in str(caught.value)
    read(tmp_path, document, "./line.schema.json")


def test_a_part_of_an_openapi_document_is_a_type(tmp_path: Path) -> None:
    schemas = {"O": {"type": "object", "properties": {"line": {"$ref": "#/components/schemas/L"}}}, "L": LINE}
    document = {"openapi": "3.1.0", "components": {"schemas": schemas}}
    found = read(tmp_path, document, "./order.schema.json#/components/schemas/O")
    assert [field.type.describe() for field in found.fields] == ["object with price"]


def build_chain(length: int, step: Callable[[Any], Any]) -> dict[str, Any]:
    """A schema whose definitions lead to each other, one behind the other."""
    defs = {f"d{at}": step({"$ref": f"#/$defs/d{at + 1}"}) for at in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{length}": {}}}


def test_references_that_lead_on_through_very_many_parts_are_a_mistake(tmp_path: Path) -> None:
    for schema in (
        build_chain(200, lambda inner: {"properties": {"a": inner}}),
        build_chain(200, lambda inner: {"allOf": [{"properties": {"a": True}}, inner]}),
    ):
        with pytest.raises(TypeFault, match=r"^graphs/order.schema.json: it has more than 64 levels"):
            read(tmp_path, schema)
    assert read(tmp_path, build_chain(200, lambda inner: inner)).kind == "any"


def test_a_link_that_leads_to_itself_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "order.schema.json").symlink_to("order.schema.json")
    with pytest.raises(TypeFault, match=r"^'./order.schema.json' is a link that leads to itself; save the file"):
        SchemaFiles(tmp_path).read_type("./order.schema.json")


def test_a_value_of_very_many_parts_is_checked_in_bounded_time(tmp_path: Path) -> None:
    found = read(tmp_path, {"type": "array", "items": {"type": "integer", "minimum": 1}})
    assert len(found.fit([1] * 10_000)) == 10_000
    with pytest.raises(TypeMismatch, match="holds too much to check it against its schema"):
        found.fit([1] * 20_000)


def test_a_place_inside_a_larger_value_is_named_whole(tmp_path: Path) -> None:
    found = VarType(kind="list", item=read(tmp_path, ORDER))
    with pytest.raises(TypeMismatch, match=r"^at '\[1\].count' is less than 1; at '\[1\].sku' does not match"):
        found.fit([FITTING, {**FITTING, "sku": "a", "count": 0}])


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    inside = tmp_path / "configs" / "graphs"
    (inside / "..data").mkdir(parents=True)
    (inside / "own.schema.json").symlink_to("..data/own.schema.json")
    (inside / "..data" / "own.schema.json").write_text('{"type": "integer"}')
    assert SchemaFiles(tmp_path / "configs").read_type("./own.schema.json").kind == "int"


# --- in a folder ---

GRAPH = """\
vars: {order: {schema: ./order.schema.json}}
start: read
nodes:
  read: {type: model, prompt: Read it., into: order, next: say}
  say: {type: reply, text: "{{ order.sku }}", next: end}
"""


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    files = {"graphs/assistant.yaml": GRAPH, "graphs/order.schema.json": json.dumps({"title": "x" * MAX_BYTES})}
    assert problems(tmp_path, files) == [
        "graphs/assistant.yaml:1:16: graphs/order.schema.json has 250,013 bytes; at most 250,000 are read; split it, or"
        " leave some out"
    ]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.schema.json").write_text("{}")
    (tmp_path / "configs" / "graphs").mkdir(parents=True)
    (tmp_path / "configs" / "graphs" / "order.schema.json").symlink_to(tmp_path / "secret.schema.json")
    assert problems(tmp_path / "configs", {"graphs/assistant.yaml": GRAPH}) == [
        "graphs/assistant.yaml:1:16: './order.schema.json' is a link out of the config folder; save the file itself in"
        " it"
    ]


def test_fields_are_checked_where_expressions_name_them(tmp_path: Path) -> None:
    files = {
        "graphs/assistant.yaml": GRAPH.replace("order.sku", "order.skew"),
        "graphs/order.schema.json": json.dumps(ORDER),
        "graphs/line.schema.json": json.dumps(LINE),
    }
    [problem] = problems(tmp_path, files)
    assert problem.startswith("graphs/assistant.yaml:5:37: this object has no field 'skew'; it has sku, count,")


def test_a_change_of_a_schema_file_is_a_change_of_the_version(tmp_path: Path) -> None:
    files = {"graphs/assistant.yaml": GRAPH, "graphs/order.schema.json": json.dumps(ORDER)}
    before = loaded(tmp_path, {**files, "graphs/line.schema.json": json.dumps(LINE)}).id
    assert loaded(tmp_path, {"graphs/line.schema.json": json.dumps(LINE, indent=1)}).id == before
    assert loaded(tmp_path, {"graphs/line.schema.json": json.dumps({**LINE, "title": "Line"})}).id != before


def test_a_yaml_schema_beside_graphs_is_no_graph(tmp_path: Path) -> None:
    files = {"graphs/assistant.yaml": GRAPH.replace(".json", ".yaml")}
    files["graphs/order.schema.yaml"] = "properties: {sku: {type: string}}\nrequired: [sku]\n"
    assert [*loaded(tmp_path, files).graphs] == ["assistant"]


def test_studio_is_shown_the_rules_in_the_schema_of_its_forms(tmp_path: Path) -> None:
    files = {"graphs/order.schema.json": json.dumps(ORDER), "graphs/line.schema.json": json.dumps(LINE)}
    plan = loaded(tmp_path, {"graphs/assistant.yaml": GRAPH, **files}).graphs["assistant"]
    schema = TypeAdapter(build_annotation("order", plan.variables["order"].type)).json_schema()
    assert schema["required"] == ["sku", "count", "customer"]
    shown = {name: schema["properties"][name] for name in ("sku", "count", "customer", "counts")}
    assert shown == {
        "sku": {"title": "Sku", "type": "string", "description": "The article.", "pattern": "^[A-Z]{3}-[0-9]+$"},
        "count": {"title": "Count", "type": "integer", "minimum": 1},
        "customer": {"anyOf": [{"$ref": "#/$defs/order_customer"}, {"type": "null"}]},
        "counts": {"title": "Counts", "type": "object", "additionalProperties": {"type": "integer"}},
    }


def test_an_editor_takes_a_schema_file_for_a_type_and_no_other_file() -> None:
    editor = Draft202012Validator(build_schemas()["graph"])
    assert editor.is_valid(yaml.safe_load(GRAPH))
    assert not editor.is_valid(yaml.safe_load(GRAPH.replace("order.schema.json", "order.json")))
