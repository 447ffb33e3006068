"""How much work a body is, told before it is parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.protocols import body_structure
from server.protocols.body_structure import check_structure
from server.protocols.errors import BadRequest

texts = st.text(st.sampled_from('a"\\,[]{}:\n\u00e9'), max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    texts | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=6),
    max_leaves=40,
)


def count(value: Any) -> int:
    """Values of a document as the check counts them: one for each list or object, and one for each comma."""
    if isinstance(value, dict | list):
        inner = list(value.values()) if isinstance(value, dict) else value
        return 1 + max(len(inner) - 1, 0) + sum(map(count, inner))
    return 0


async def is_passed(raw: bytes) -> bool:
    try:
        await check_structure(raw)
    except BadRequest as error:
        return error.status != 413
    return True


@given(values, st.integers(3, 40), st.booleans())
@settings(max_examples=300, deadline=None)
async def test_values_are_counted_wherever_the_slices_end(value: Any, size: int, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_structure, "SMALL", 0)
        patch.setattr(body_structure, "SLICE", size)
        patch.setattr(body_structure, "MOST_VALUES", count(value) + 50)
        assert await is_passed(raw)
        patch.setattr(body_structure, "MOST_VALUES", count(value))
        enough = raw.count(b'"') - raw.count(b'\\"') <= 4 * count(value)
        assert await is_passed(raw) or not enough
        if count(value):
            patch.setattr(body_structure, "MOST_VALUES", count(value) - 1)
            assert not await is_passed(raw)


async def test_a_long_text_is_cheap_and_many_values_are_not() -> None:
    assert await is_passed(json.dumps({"content": 'if (a[0] == "b") { c, d }\n' * 20_000}).encode())
    assert not await is_passed(json.dumps([{}] * 50_000).encode())
    assert not await is_passed(b'"' + b"\\u0041" * 1_100_000 + b'"')
    assert not await is_passed(b'"' * 1_000_000)
    assert await is_passed(b"[" * 30_000)  # small, and the parser's to refuse
