"""Patterns as sets of names: held against matching itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.policy.pattern_sets import build_example, close_intersections, intersect, is_within
from graphs.policy.patterns import matches

PATTERNS = st.text("ab/*?", min_size=1, max_size=6)
NAMES = st.text("ab/", max_size=8)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("*", "files/*", {"files/*"}),
        ("files/read_*", "*", {"files/read_*"}),
        ("files/*", "db/*", set()),
        ("files/read_*", "files/*_all", {"files/read_*_all", "files/read_all"}),
        ("files/read", "files/rea?", {"files/read"}),
    ],
)
def test_what_two_patterns_have_in_common(one: str, other: str, common: set[str]) -> None:
    assert intersect(one, other) == common
    assert intersect(other, one) == common


@given(one=PATTERNS, other=PATTERNS, name=NAMES)
def test_a_name_is_in_both_exactly_if_it_is_in_what_they_have_in_common(one: str, other: str, name: str) -> None:
    both = matches(one, name) and matches(other, name)
    assert both == any(matches(common, name) for common in intersect(one, other))


@given(one=PATTERNS, other=PATTERNS, name=NAMES)
def test_what_is_within_another_has_no_name_outside_it(one: str, other: str, name: str) -> None:
    if is_within(one, other) and matches(one, name):
        assert matches(other, name)


def test_each_combination_has_an_example_of_its_own() -> None:
    patterns = ["f/*", "f/read_*", "f/*_all"]
    found = close_intersections(patterns, most=100)
    described = {frozenset(each for each in patterns if matches(each, build_example(one))) for one in found}
    assert {
        frozenset(patterns),
        frozenset(patterns[:2]),
        frozenset({"f/*", "f/*_all"}),
        frozenset({"f/*"}),
    } == described
