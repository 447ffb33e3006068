"""A check of a call's arguments against the schema of its tool, where models are shown a wider one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError, exceptions, validators
from referencing import Registry

from graphs.errors import list_some
from graphs.expressions.functions import full_match

_LONGEST_SHOWN = 200


class SchemaCheck:
    """The original schema of one tool. It comes from its server, so no pattern of it may take long, and no reference
    leads out of it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    def find_mismatch(self, args: Mapping[str, Any]) -> str | None:
        """Find why these arguments do not fit, in words for the model, without their values; None if they do.

        A schema that is none says nothing: then its server decides.
        """
        try:
            error: ValidationError | None = cast(Any, exceptions).best_match(self._validator.iter_errors(args))
        except Exception:  # noqa: BLE001  whatever is wrong with the schema
            return None
        return None if error is None else _describe(error)

    @cached_property
    def _validator(self) -> Any:
        made = cast(Any, validators)
        kind = made.validator_for(self._schema, default=Draft202012Validator)
        return made.extend(kind, {"pattern": _check_pattern})(self._schema, registry=cast(Any, Registry)())


def _check_pattern(_: object, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    """Check a pattern in time linear in the text; one that RE2 does not know is left to the server."""
    try:
        fits = not isinstance(instance, str) or full_match(instance, f"(?s:.*)(?:{pattern})(?s:.*)")
    except ValueError:
        return
    if not fits:
        yield ValidationError("does not match")


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
