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


class Spec(BaseModel):
    """Base of everything a user may write: an unknown key is an error, a value never shows in one."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    unsupported: ClassVar[Mapping[str, str]] = {}
    """Keys of the config language that are not built yet, each with the sentence that refuses it."""

    other_names: ClassVar[Mapping[str, str]] = {}
    """What other programs call a setting of ours, for a better guess at what was meant."""


def parse_duration(value: Any) -> Any:
    """Parse `"15m"`, `"20s"`, `"30d"` or a plain number of seconds into seconds.

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


Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d|w)?$"},
                {"type": "string", "pattern": r"\$\{"},
            ]
        }
    ),
]
"""Seconds as a float; written `20s`, `15m`, `2h`, `30d` or as a plain number."""


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
