"""Where schemas stand inside a JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

DEFINITIONS = ("$defs", "definitions")
ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"),
        *("contentEncoding", "contentMediaType", "contentSchema"),
    )
)
"""Keywords that say nothing about which values fit."""

_BY_NAME = ("properties", "patternProperties", "dependentSchemas", *DEFINITIONS)
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    *("items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    *("not", "if", "then", "else", "contentSchema"),
)

Change = Callable[[tuple[str, ...], Any], Any]
"""Takes where a schema stands in the one around it, and that schema."""


def change_subschemas(schema: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """Return a copy of a schema with each schema right inside it changed."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME and isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", value)
            found[key] = {name: change((key, name), each) for name, each in inner.items()}
        elif key in _LISTED and isinstance(value, list):
            found[key] = [change((key, str(at)), each) for at, each in enumerate(cast("list[Any]", value))]
        else:
            found[key] = change((key,), value) if key in _SINGLE else value
    return found


def remove_annotations(schema: Any) -> Any:
    """Return a copy of a schema that only says which values fit."""
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in cast("Mapping[str, Any]", schema).items() if key not in ANNOTATIONS}
    return change_subschemas(kept, lambda _, inner: remove_annotations(inner))
