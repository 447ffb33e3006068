"""The values of a turn that waited, where its graph was changed meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.configs import loaded

from graphs.runtime.stale_values import explain_stale_value

GRAPH = """\
vars:
  count: int
  style: {type: [short, long], default: short}
  order: {schema: ./order.schema.json}
start: ask
nodes:
  ask: {type: question, question: "How many?", into: count, next: read}
  read: {type: model, prompt: Read it., into: order, next: say}
  say: {type: reply, text: "{{ count }} {{ style }} {{ order }}", next: end}
"""
ORDER = {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, None),
        ({"messages": [], "count": 3, "order": {"sku": "ABC", "more": 1}, "gone": 1}, None),
        ({"count": "three"}, "'count' no longer fits: it is a text; expected a whole number. Nothing was run."),
        ({"style": "none"}, "'style' no longer fits: it is none of its values; expected one of short, long."),
        ({"count": 1, "order": {"sku": "abc"}}, "'order' no longer fits: it at 'sku' does not match the pattern"),
        ({"order": {}}, "'order' no longer fits: it has no 'sku', which must be there. Nothing was run."),
    ],
)
def test_a_value_that_its_type_takes_no_more_is_named(
    values: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    files = {"graphs/assistant.yaml": GRAPH, "graphs/order.schema.json": json.dumps(ORDER)}
    plan = loaded(tmp_path, files).graphs["assistant"]
    said = explain_stale_value(plan, values)
    if message is None:
        assert said is None
    else:
        start = "The graph 'assistant' was changed while this waited, and the value of its variable "
        assert said is not None
        assert said.startswith(start + message)
