"""Schema files of any JSON: each is a type or a mistake in words, and what is a type takes or refuses any value."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from graphs.config.schema_files import SchemaFiles
from graphs.expressions import TypeFault, TypeMismatch, find_asking_fault, list_question_fields

KEYWORDS = [*Draft202012Validator.VALIDATORS, "$defs", "$anchor", "$id", "description", "nullable"]
TYPES = ["string", "integer", "number", "array", "object", "null"]
WORDS = ["string", "a", "date", "(", "\0", "\ud800"]
REFERENCES = ["#", "#/$defs/a", "#/x/a", "#/items", "./o.schema.json#/x/a"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([10**400, 2**64, 1e-320, 0.5, 1e308, float("inf"), -0.0]),
    st.sampled_from(WORDS + REFERENCES),
    st.text(max_size=3),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", ""]), inner),
    max_leaves=6,
)


def build_schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Build schemas whose keywords have what they may have."""
    named = st.dictionaries(st.sampled_from(["a", "b", "$ref", "type"]), inner, max_size=3)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "$ref": st.sampled_from(REFERENCES),
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, unique=True),
        "enum": st.lists(VALUES, max_size=3),
        "const": VALUES,
        "required": st.lists(st.sampled_from(["a", "b"]), unique=True),
        "multipleOf": st.sampled_from([1, 0.5, 1e-320, 10**300]),
        "minimum": st.integers(-1, 2),
        "maxLength": st.integers(0, 2),
        "pattern": st.sampled_from(["^a+$", "a"]),
        "format": st.sampled_from(["date", "date-time", "duration", "uri", "regex", "time"]),
        "uniqueItems": st.booleans(),
        **dict.fromkeys(("properties", "dependentSchemas"), named),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), st.lists(inner, min_size=1, max_size=3)),
        **dict.fromkeys(("items", "not", "if", "then", "contains", "additionalProperties"), inner),
        **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems", "propertyNames"), inner),
    }
    return st.fixed_dictionaries({}, optional=keywords)


VALID = st.recursive(st.booleans() | build_schemas(st.booleans()), build_schemas, max_leaves=6)
ODD = st.dictionaries(
    st.sampled_from(KEYWORDS), SCALARS | st.lists(SCALARS, max_size=2) | VALUES, min_size=1, max_size=2
)
PARTS = st.builds(lambda x, a: {"x": {"a": x}, "$defs": {"a": a}, "items": a}, VALID | ODD, VALID)


@settings(max_examples=300, deadline=None)
@given(
    schema=PARTS | ODD | VALUES,
    fragment=st.sampled_from(["", "#/x/a", "#/$defs/a", "#/$defs"]),
    values=st.lists(VALUES, max_size=4),
)
def test_any_schema_is_a_type_or_a_mistake_and_takes_or_refuses_any_value(
    schema: Any, fragment: str, values: list[Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "graphs").mkdir()
        (Path(folder) / "graphs" / "o.schema.json").write_text(json.dumps(schema))
        try:
            found = SchemaFiles(Path(folder)).read_type(f"./o.schema.json{fragment}")
        except TypeFault:
            return
    json.dumps(found.build_schema(), ensure_ascii=False, allow_nan=False).encode()
    if find_asking_fault(found) is None:
        list_question_fields(found)
    for value in values:
        try:
            found.fit(value)
        except TypeMismatch as mismatch:
            str(mismatch).encode()
