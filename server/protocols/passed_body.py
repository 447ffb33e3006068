"""What Interlock must know of a JSON body that it passes on: the model, and the fields that say where it goes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from server.protocols.errors import BadRequest

MOST_VALUES = 300_000
"""Commas and brackets of one body: texts as lists of tokens have many, a thousand of them some 250,000."""
MOST_FIELDS = 200
"""Fields of one body, those inside of others apart."""


def read_fields(raw: bytes) -> Mapping[str, Any]:
    """Read the fields of a body. Raises BadRequest for one that two programs could read differently, since it goes on
    as it came: what was checked here must be what is obeyed there.
    """
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MOST_VALUES:
        raise BadRequest(f"The body holds more than {MOST_VALUES:,} values; send fewer texts at a time.", status=413)
    pairs: list[tuple[str, Any]] = []

    def take(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal pairs
        pairs = found
        return dict(found)

    try:
        read = json.loads(raw.decode(), object_pairs_hook=take, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(read, dict):
        raise BadRequest("The body is not a JSON object.")
    fields = cast("dict[str, Any]", read)
    if len(pairs) > MOST_FIELDS:  # the outermost object is the last that was read
        raise BadRequest(f"The body has {len(pairs):,} fields; {MOST_FIELDS} are taken.")
    if len(fields) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise BadRequest(f"{twice[:64]}: this field stands twice in the body.", param=twice[:64])
    return fields


def take_model(fields: Mapping[str, Any]) -> str:
    """Take the name of the model out of the fields. Raises BadRequest where there is none."""
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("model: the name of a model is missing.", param="model")
    return model


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
