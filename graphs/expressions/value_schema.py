"""The rules of a JSON Schema beside the kind of a value, such as `pattern`: what breaks them, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from functools import cached_property
from typing import Any, cast

from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from graphs.errors import describe_kind, list_some
from graphs.expressions.bounded_validation import BoundedValidator, TooManySteps
from graphs.text import truncate

MOST_STEPS = 30_000
"""Keywords that are looked at for one value. All of them take about a second, in which nobody else is served."""
MOST_NAMED = 5
"""Errors of one value that are put in words."""
MOST_VALUES = 10
"""Values of a choice that are named."""
FORMATS = ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid")
"""The values of `format` that are checked; any other says something to people alone."""

_LONGEST_SHOWN = 200
_FORMATS = FormatChecker(("date", "email", "ipv4", "ipv6", "uuid"))
_PATTERNS: Mapping[str, re.Pattern[str]] = {
    "date-time": re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII),
    "time": re.compile(r"\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII),
    "duration": re.compile(r"P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)", re.ASCII),
    "hostname": re.compile(
        r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*",
        re.ASCII,
    ),
    "uri": re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-\[\]_a-z~%]+", re.ASCII),
}
_READERS: Mapping[str, Callable[[str], object]] = {
    "date-time": datetime.fromisoformat,
    "time": time.fromisoformat,
}


def _build_format_check(name: str) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, str):
            return True
        if _PATTERNS[name].fullmatch(value) is None:
            return False
        if (read := _READERS.get(name)) is not None:
            read(value.upper())
        return True

    return check


for _name in _PATTERNS:  # the library checks these only with packages of their own
    _FORMATS.checks(_name, raises=ValueError)(_build_format_check(_name))


@dataclass(frozen=True, kw_only=True)
class ValueSchema:
    """What a schema says of one value. Equal ones are written alike; texts, so that they can be compared at once."""

    rules: str
    """The schema as JSON, without what is for people alone. Its references lead to `definitions`."""
    shown: str
    """What models and people are shown beside what the type says, as JSON; without references."""
    definitions: str = "{}"
    """By name, what references lead to: JSON, shared by all values of one file."""
    unsaid: str = "{}"
    """What the type does not say of it: keywords as JSON, without references."""

    description: str = ""
    """What the schema says of it to people."""

    def build_shown(self) -> dict[str, Any]:
        """Build what is shown beside what the type says."""
        return json.loads(self.shown)

    def read_unsaid(self) -> dict[str, Any]:
        """Read what the type does not say, by keyword."""
        return json.loads(self.unsaid)

    def find_mismatch(self, value: object, where: str = "") -> str | None:
        """Explain what rules a value breaks, without showing the value; None: it breaks none. `where`: `at 'order' `,
        the place of the value in a larger one."""
        try:
            errors = self._validator.list_errors(value)
        except (TooManySteps, RecursionError):
            return (
                f"{where}holds too much to check it against its schema, which looks at {MOST_STEPS:,} keywords at most"
            )
        found = [*dict.fromkeys(_describe(error, where) for error in sorted(errors, key=_find_place))]
        more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        return "; ".join(found[:MOST_NAMED]) + more or None

    @cached_property
    def _validator(self) -> BoundedValidator:
        schema = json.loads(self.rules)
        if isinstance(schema, dict):
            schema = {**cast("dict[str, Any]", schema), "$defs": json.loads(self.definitions)}
        return BoundedValidator(
            schema,
            Draft202012Validator,
            most_steps=MOST_STEPS,
            checks={"uniqueItems": _check_unique},
            formats=_FORMATS,
        )


def _check_unique(_: object, wanted: object, instance: object, __: object) -> Iterator[ValidationError]:
    """Check that no item stands twice in a list; the library takes the square of their number."""
    if not wanted or not isinstance(instance, list):
        return
    items = [json.dumps(_normalize_numbers(item), sort_keys=True) for item in cast("list[object]", instance)]
    if len({*items}) < len(items):
        yield ValidationError("is there twice")


def _normalize_numbers(value: object) -> object:
    """Write whole numbers in one way, as JSON Schema compares them."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_normalize_numbers(item) for item in cast("list[object]", value)]
        case dict():
            return {key: _normalize_numbers(item) for key, item in cast("dict[str, object]", value).items()}
        case _:
            return value


def _find_place(error: ValidationError) -> list[str]:
    return [str(step) for step in error.absolute_path]


def _describe(error: ValidationError, where: str) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    before = where.removeprefix("at '").removesuffix("' ")
    place = f"at '{(before + steps).removeprefix('.')[:200]}' " if before or steps else ""
    return f"{place}{_describe_rule(error)}"


def _describe_rule(error: ValidationError) -> str:
    word, wanted = str(error.validator), cast(Any, error.validator_value)
    given = cast(Any, error.instance)
    match word:
        case "minLength" | "maxLength":
            return f"has {'fewer' if word == 'minLength' else 'more'} than {wanted} characters"
        case "minItems" | "maxItems":
            return f"has {'fewer' if word == 'minItems' else 'more'} than {wanted} items"
        case "minProperties" | "maxProperties":
            return f"has {'fewer' if word == 'minProperties' else 'more'} than {wanted} fields"
        case "minimum" | "maximum":
            return f"is {'less' if word == 'minimum' else 'more'} than {wanted}"
        case "exclusiveMinimum" | "exclusiveMaximum":
            return f"is not {'more' if word == 'exclusiveMinimum' else 'less'} than {wanted}"
        case "multipleOf":
            return f"is no multiple of {wanted}"
        case "pattern":
            return f"does not match the pattern {wanted!r}"
        case "format":
            return f"is no {wanted}"
        case "uniqueItems":
            return "has the same item twice"
        case "type":
            wanted_types = [wanted] if isinstance(wanted, str) else wanted
            return f"is {describe_kind(given)}; expected {' or '.join(wanted_types)}"
        case "enum" | "const":
            values = wanted if word == "enum" else [wanted]
            return f"is none of its values; expected one of {list_some(map(_shorten, values), MOST_VALUES)}"
        case "additionalProperties" | "unevaluatedProperties" if wanted is False:
            return "has a field that its schema does not allow"
        case "required":
            missing = [repr(name) for name in wanted if name not in given]
            return f"has no {list_some(missing, MOST_NAMED)}, which must be there"
        case _:
            return f"is not what {word!r} of its schema asks for: {_shorten(wanted)}"


def _shorten(value: object) -> str:
    return truncate(json.dumps(value, default=str, ensure_ascii=False), _LONGEST_SHOWN)
