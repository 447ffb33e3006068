"""docs/security.md names the tests of each promise: they are there, and so is what the page says of the limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.vitals import MOST_MEMORY, SLOWEST_HEALTH

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))))
def test_a_named_test_exists(file: str) -> None:
    assert "def test_" in (ROOT / file).read_text()


def test_every_promise_says_what_it_does_not_cover_and_names_its_tests() -> None:
    assert len(ROWS) > 25
    for row in ROWS:
        promise, limits, tests = (cell.strip() for cell in row.strip("|").split(" | "))
        assert promise, row
        assert limits, row
        assert re.fullmatch(r"(`tests/[\w/]+\.py`(, )?)+", tests), row


def test_the_bounds_of_the_attacked_gateway_are_those_of_the_tests() -> None:
    assert f"{MOST_MEMORY // 2**20} MB" in PAGE
    assert f"{SLOWEST_HEALTH * 1000:.0f} ms" in PAGE
