"""A name that is another one's twin is refused, wherever it stands; `strict` refuses what is not declared."""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.tools.arguments import Arguments, fold_name

PATH: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}, "limit": {"type": "integer"}}}


def objection(schema: dict[str, Any], args: dict[str, Any], *, strict: bool = False) -> str | None:
    return Arguments(schema).find_objection(args, strict=strict)


TWINS = [
    "Path", "PATH", "pAth", "ｐａｔｈ", "𝐩𝐚𝐭𝐡", "ⓟⓐⓣⓗ", "pa\u200bth", "\ufeffpath", "path\u200d", "pa\u00adth",
    "path\u2060", "path\U000e0041", "pat\ufe0fh", "pa\u034fth", "path\x00", "path\u202e", "path ", "\u00a0path",
    "pa\u3164th",
]  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_of_a_declared_name_is_refused_beside_it_and_alone(name: str) -> None:
    for args in ({"path": "/srv/a", name: "/etc/shadow"}, {name: "/etc/shadow"}):
        found = objection(PATH, args)
        assert found is not None
        assert "not declared" in found
        assert "declared there: 'path', 'limit'" in found
        assert found.isprintable()


@pytest.mark.parametrize(
    ("declared", "twin"),
    [
        ("file", "fıle"),
        ("FILE", "fıle"),
        ("file", "FİLE"),
        ("strasse", "straße"),
        ("key", "\u212aey"),
        ("size", "ſize"),
    ],
)
def test_twins_of_other_alphabets(declared: str, twin: str) -> None:
    assert objection({"properties": {declared: {}}}, {declared: 1, twin: 2}) is not None


def test_two_undeclared_twins_are_refused() -> None:
    found = objection(PATH, {"path": "/a", "mode": 1, "Mode": 2})
    assert found is not None
    assert "'mode' and 'Mode'" in found


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"path": "/a"},
        {"path": "/a", "limit": 3},
        {"path": "/a", "pa_th": 1, "pa-th": 2, "paths": 3, "encoding": "x"},
    ],
)
def test_other_names_pass(args: dict[str, Any]) -> None:
    assert objection(PATH, args) is None


def test_what_is_declared_twice_is_the_servers_own_matter() -> None:
    assert objection({"properties": {"a": {}, "A": {}}}, {"a": 1, "A": 2}) is None


INNER = {"type": "object", "properties": {"path": {"type": "string"}}}
NESTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"properties": {"file": INNER}}, {"file": {"path": 1, "Path": 2}}),
    ({"properties": {"files": {"items": INNER}}}, {"files": [{"path": 1}, {"Path": 2}]}),
    ({"properties": {"files": {"prefixItems": [INNER]}}}, {"files": [{"Path": 2}]}),
    ({"properties": {"files": {"items": [{}, INNER]}}}, {"files": [{}, {"Path": 2}]}),
    ({"properties": {"f": {"$ref": "#/$defs/F"}}, "$defs": {"F": INNER}}, {"f": {"Path": 2}}),
    ({"properties": {"f": {"$ref": "#/definitions/a~1b"}}, "definitions": {"a/b": INNER}}, {"f": {"Path": 2}}),
    ({"properties": {"f": {"$ref": "#F"}}, "$defs": {"F": {"$anchor": "F", **INNER}}}, {"f": {"Path": 2}}),
    ({"properties": {"f": {"$dynamicRef": "#F"}}, "$defs": {"x": [{"$dynamicAnchor": "F", **INNER}]}},
     {"f": {"Path": 2}}),
    ({"properties": {"f": {"anyOf": [{}, {"$ref": "#/$defs/F"}]}}, "$defs": {"F": INNER}}, {"f": {"Path": 2}}),
    ({"properties": {"f": {"oneOf": [INNER, {"type": "string"}]}}}, {"f": {"Path": 2}}),
    ({"properties": {"f": {"allOf": [INNER]}}}, {"f": {"Path": 2}}),
    ({"properties": {"f": {"if": {}, "then": INNER}}}, {"f": {"Path": 2}}),
    ({"properties": {"f": {"dependentSchemas": {"x": INNER}}}}, {"f": {"Path": 2}}),
    ({"properties": {"m": {"additionalProperties": INNER}}}, {"m": {"one": {"path": 1, "Path": 2}}}),
    ({"properties": {"m": {"patternProperties": {"^o": INNER}}}}, {"m": {"one": {"path": 1, "Path": 2}}}),
    ({"$ref": "#/$defs/F", "$defs": {"F": INNER}}, {"Path": 2}),
    ({"properties": {"t": {"$ref": "#/$defs/T"}}, "$defs": {"T": {"properties": {"t": {"$ref": "#/$defs/T"}}}}},
     {"t": {"t": {"t": {"T": 1}}}}),
    ({"properties": {"options": {"type": "object"}}}, {"options": {"path": 1, "Path": 2}}),
    ({"properties": {"options": {}}}, {"options": [[{"path": 1, "Path": 2}]]}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "args"), NESTED)
def test_twins_inside_are_refused(schema: dict[str, Any], args: dict[str, Any]) -> None:
    assert objection({"type": "object", **schema}, args) is not None


def test_a_map_whose_values_have_a_schema_holds_data() -> None:
    words = {"properties": {"words": {"additionalProperties": {"type": "integer"}}}}
    assert objection(words, {"words": {"The": 1, "the": 2}}, strict=True) is None


@pytest.mark.parametrize(
    ("schema", "args", "fits"),
    [
        (PATH, {"path": "/a"}, True),
        (PATH, {"path": "/a", "encoding": "x"}, False),
        ({"type": "object", "properties": {}}, {"a": 1}, False),
        ({**PATH, "additionalProperties": True}, {"encoding": "x"}, False),
        ({**PATH, "additionalProperties": {"type": "string"}}, {"encoding": "x"}, True),
        ({**PATH, "patternProperties": {"^x_": {}}}, {"x_a": 1}, True),
        ({**PATH, "patternProperties": {"^x_": {}}}, {"y": 1}, False),
        ({**PATH, "patternProperties": {"(?=y)": {}}}, {"y": 1}, False),
        ({"properties": {"file": INNER}}, {"file": {"path": 1, "mode": 2}}, False),
        ({"properties": {"options": {"type": "object"}}}, {"options": {"anything": 1}}, True),
        ({"properties": {"f": {"$ref": "#F"}}, "$defs": {"F": {"$anchor": "F", **INNER}}}, {"f": {"path": 1}}, True),
        ({"properties": {"f": {"$ref": "#F"}}, "$defs": {"F": {"$anchor": "F", **INNER}}}, {"f": {"f": 1}}, False),
        ({"anyOf": [PATH, {"properties": {"url": {}}}]}, {"url": "x", "path": "y"}, True),
    ],
)
def test_strict_refuses_what_is_not_declared(schema: dict[str, Any], args: dict[str, Any], fits: bool) -> None:
    assert objection(schema, args) is None
    found = objection(schema, args, strict=True)
    assert (found is None) is fits
    assert fits or "is not declared" in str(found)


def test_a_name_that_shows_something_else_is_shown_as_it_is() -> None:
    found = objection(PATH, {"x\u202e\x1b[2J": 1}, strict=True)
    assert found is not None
    assert "'x\\u{202e}\\x1b[2J'" in found
    assert len(str(objection(PATH, {"y" * 100_000: 1}, strict=True))) < 300


def test_a_hostile_schema_costs_no_time() -> None:
    loops: dict[str, Any] = {f"D{i}": {"allOf": [{"$ref": f"#/$defs/D{j}"} for j in range(60)]} for i in range(60)}
    schema = {"$ref": "#/$defs/D0", "$defs": loops, "patternProperties": {"(a+)+$": {}, "(": {}}}
    arguments = Arguments(schema)
    nested: dict[str, Any] = {}
    for _ in range(3_000):
        nested = {"a": nested}
    began = time.perf_counter()
    assert arguments.find_objection({"a" * 40 + "!": 1}, strict=True) is not None
    assert "nested" in str(arguments.find_objection(nested, strict=False))
    assert time.perf_counter() - began < 1
    for odd in ({"properties": 7, "items": "x", "$ref": 3, "anyOf": {"a": 1}}, {"$ref": "#"}, {"$ref": "#/a/b"}):
        assert Arguments(odd).find_objection({"a": {"b": [1]}}, strict=False) is None


@given(st.text(min_size=1, max_size=12))
def test_every_change_of_case_or_form_is_a_twin(name: str) -> None:
    folded = fold_name(name)
    for twin in (name.upper(), name.lower(), name.casefold(), name.title(), name.swapcase(), name + "\u200b"):
        assert fold_name(twin) == folded
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert fold_name(unicodedata.normalize(form, name)) == folded
    assert fold_name(folded) == folded
