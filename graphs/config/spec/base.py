"""The base of every page of the spec, and how a length of time or a size is written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from graphs.errors import describe_kind

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d|w|)", re.ASCII)
_LONGEST = 100 * 365 * 86400.0
MOST_BARE_SECONDS = 600.0
"""Seconds up to which a number needs no unit: other programs write milliseconds, and nobody means 60,000 seconds."""


class Spec(BaseModel):
    """Base of everything a user may write: an unknown key is an error, a value never shows in one."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    unsupported: ClassVar[Mapping[str, str]] = {}
    """Keys of the config language that are not built yet, each with the sentence that refuses it."""

    other_names: ClassVar[Mapping[str, str]] = {}
    """What other programs call a setting of ours, for a better guess at what was meant."""

    @classmethod
    def find_stand_in(cls, path: tuple[str | int, ...]) -> str | None:
        """Find what stands in for a required key that a file of this kind leaves out, so that the rest of it can be
        checked too; None: nothing can."""
        return None


def refuse_switch(value: Any) -> Any:
    """Return the value. Raises ValueError for true and false, which Pydantic takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("is true or false; expected a number")  # noqa: TRY004
    return value


def parse_switch(value: Any) -> Any:
    """Return true or false, also where a variable filled it in as a text. Raises ValueError for all else: Pydantic
    takes 1, "on" and "y" for true."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError(f"is {describe_kind(value)}; expected true or false")


NO_SWITCH = BeforeValidator(refuse_switch)
"""Of a number: behind its bounds, which are then in the JSON Schema too."""
Switch = Annotated[bool, BeforeValidator(parse_switch)]
"""True or false."""


def parse_duration(value: Any) -> Any:
    """Parse `"15m"`, `"20s"`, `"30d"` or a plain number of seconds, at most `MOST_BARE_SECONDS`, into seconds.

    Raises ValueError with the message for the user.
    """
    seconds = parse_seconds(value)
    is_bare = not isinstance(value, str) or value.strip()[-1].isdigit()
    if is_bare and seconds > MOST_BARE_SECONDS:
        number = str(value).strip()
        milliseconds = f"{number}ms" if seconds % 1000 else f"{seconds / 1000:.15g}s"
        raise ValueError(
            f"{number} may mean seconds, which is {describe_duration(seconds)}, or milliseconds, as other programs "
            f"write it; write {number}s for the first, {milliseconds} for the second"
        )
    return seconds


def describe_duration(seconds: float) -> str:
    """Describe a length of time in its largest unit that is not a fraction below one: `16.7 hours`."""
    for name, length in (("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {name}"
    return f"{seconds / 60:.3g} minutes"


def parse_seconds(value: Any) -> Any:
    """Parse a length of time; a plain number is seconds, whatever it is: for a setting whose name says so.

    Raises ValueError with the message for the user.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"found {describe_kind(value)}; expected a length of time such as 20s, 15m, 2h or 30d")  # noqa: TRY004
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("this is no length of time; write one such as 20s, 15m, 2h or 30d")
        value = float(match[1]) * _UNITS[match[2]]
    if not (math.isfinite(value) and 0 < value <= _LONGEST):
        raise ValueError("a length of time is more than nothing and at most a hundred years")
    return value


def _build_duration_schema(**bound: float) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, **bound},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d|w)?$"},
                {"type": "string", "pattern": r"\$\{"},
            ]
        }
    )


Duration = Annotated[float, BeforeValidator(parse_duration), _build_duration_schema(maximum=MOST_BARE_SECONDS)]
"""Seconds as a float; written `20s`, `15m`, `2h`, `30d`, or as a plain number of seconds up to 600."""

Seconds = Annotated[float, BeforeValidator(parse_seconds), _build_duration_schema()]
"""Seconds as a float, for a setting that is named so; written as a plain number, or as `20s`, `15m`, `2h`, `30d`."""


_SIZE_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(b|kb|mb|gb|kib|mib|gib|)", re.ASCII | re.IGNORECASE)
_LARGEST = 2**40


def parse_size(value: Any) -> Any:
    """Parse `"32KiB"`, `"20MB"` or a plain number of bytes into whole bytes.

    Raises ValueError with the message for the user.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"found {describe_kind(value)}; expected a size such as 64KiB, 500kB or 20MB")  # noqa: TRY004
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError("this is no size; write one such as 64KiB, 500kB or 20MB")
        value = int(float(match[1]) * _SIZE_UNITS[match[2].lower()])
    if not 0 < value <= _LARGEST:
        raise ValueError("a size is more than nothing and at most 1024GiB")
    return value


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKmMgG]?i?[bB])?$"},
                {"type": "string", "pattern": r"\$\{"},
            ]
        }
    ),
]
"""Bytes; written `64KiB`, `500kB`, `20MB` or as a plain number."""


def parse_one_or_many(value: Any) -> Any:
    """Return a list: a single text stands for a list of one."""
    return [value] if isinstance(value, str) else value
