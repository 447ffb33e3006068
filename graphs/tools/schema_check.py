"""A check of a call's arguments against the schema of its tool, where models are shown a wider one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError, validators

from graphs.errors import list_some
from graphs.expressions import BoundedValidator, check_nothing

_LONGEST_SHOWN = 200
MOST_STEPS = 10_000
"""Keywords that are looked at for one call. Choices that name each other can be tried in more ways than there is time
for, and nobody else is served meanwhile; what takes longer is left to the server."""
_UNCHECKED = ("uniqueItems", "format")
"""Keywords that may take the square of what they are given, or that only some servers mean."""


class SchemaCheck:
    """The original schema of one tool. It comes from its server, so no pattern of it may take long, and no reference
    leads out of it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    def find_mismatch(self, args: Mapping[str, Any]) -> str | None:
        """Find why these arguments do not fit, in words for the model, without their values; None if they do.

        A schema that is none, or that takes too long, says nothing: then its server decides.
        """
        try:
            error = self._validator.find_best_error(args)
        except Exception:  # noqa: BLE001  whatever is wrong with the schema
            return None
        return None if error is None else _describe(error)

    @cached_property
    def _validator(self) -> BoundedValidator:
        dialect = cast(Any, validators).validator_for(self._schema, default=Draft202012Validator)
        left_out: dict[str, Any] = dict.fromkeys(_UNCHECKED, check_nothing)
        return BoundedValidator(self._schema, dialect, most_steps=MOST_STEPS, checks=left_out)


def _describe(error: ValidationError) -> str:
    where = ".".join(str(step) for step in error.absolute_path)
    place = f"argument {where!r}" if where else "what was given"
    word = str(error.validator)
    value, given = cast(Any, error.validator_value), cast(Any, error.instance)
    if word == "required" and isinstance(value, list) and isinstance(given, dict):
        missing = [str(name) for name in cast("list[object]", value) if name not in cast("dict[object, object]", given)]
        return f"its arguments do not fit its schema: {place} lacks {list_some(map(repr, missing), 10)}"
    shown = json.dumps(value, default=str)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
    return f"its arguments do not fit its schema: {place} is not what {word!r} asks for: {shown}"
