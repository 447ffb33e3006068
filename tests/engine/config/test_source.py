"""YAML text becomes plain data with positions; every surprise of YAML is an error in words."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.config.source import MAX_ALIASES, Source, parse_yaml
from graphs.errors import Position


def data(text: str, **env: str) -> Any:
    source = parse_yaml(text, "f.yaml", env)
    assert source.problems == ()
    return source.data


def problems(text: str, **env: str) -> list[str]:
    return [str(problem) for problem in parse_yaml(text, "f.yaml", env).problems]


def test_plain_yaml_becomes_plain_data() -> None:
    text = """
a: [1, -2, 0x1F, 1.5, 1e3, true, false, null, ~, text]
b: {c: "0755", d: 'on', e: 1.2.3, f: a_b, g: 10:ab, h: -, i: v1}
c:
d: |
  two
  lines
"""
    assert data(text.replace("h: -, ", "")) == {
        "a": [1, -2, 31, 1.5, 1000.0, True, False, None, None, "text"],
        "b": {"c": "0755", "d": "on", "e": "1.2.3", "f": "a_b", "g": "10:ab", "i": "v1"},
        "c": None,
        "d": "two\nlines\n",
    }


def test_an_empty_file_and_one_of_comments_hold_nothing() -> None:
    assert data("") is None
    assert data("# only words\n") is None


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert data("\ufeffa: 1") == {"a": 1}


@pytest.mark.parametrize(
    "value",
    [
        *("on", "On", "OFF", "yes", "No", "0755", "0o17", "007", "0b11", "1_000", "1:30", "12:30:45", "2024-01-01"),
        *("2024-01-01T10:00:00Z", "2024-01-01 10:00:00", "01.5", "0x_ff", ".inf", "-.Inf", ".nan", "9" * 19),
    ],
)
def test_a_value_that_readers_of_yaml_disagree_about_is_refused_and_fine_in_quotes(value: str) -> None:
    found = problems(f"a:\n  b: {value}\n")
    assert len(found) == 1
    assert found[0].startswith("f.yaml:2:6: ")
    assert "in quotes" in found[0] or "finite" in found[0]
    assert data(f"a: '{value}'") == {"a": value}


@pytest.mark.parametrize("key", ["on", "yes", "off", "1", "1.5", "null", "~", "true", "0755", "2024-01-01"])
def test_a_key_that_is_no_text_to_every_reader_is_refused_and_fine_in_quotes(key: str) -> None:
    assert problems(f"a:\n  {key}: 1\n") == [
        f"f.yaml:2:3: the key {key} is not a text to every reader of YAML; write '{key}' in quotes, or another name"
    ]
    assert data(f"'{key}': 1") == {key: 1}


def test_a_key_written_twice_is_refused_at_the_second_and_names_the_first() -> None:
    assert problems("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n") == [
        "f.yaml:4:3: 'c' is written twice; the first is on line 3",
        "f.yaml:5:1: 'a' is written twice; the first is on line 1",
    ]


def test_positions_are_of_the_key_and_of_the_item() -> None:
    source = parse_yaml("a:\n  - b: 1\n  -   c\n", "f.yaml", {})
    assert source.find_position(("a",)) == Position("f.yaml", 1, 1)
    assert source.find_position(("a", 0)) == Position("f.yaml", 2, 5)
    assert source.find_position(("a", 0, "b")) == Position("f.yaml", 2, 5)
    assert source.find_position(("a", 1)) == Position("f.yaml", 3, 7)


def test_the_position_of_what_is_not_there_is_that_of_what_is_around_it() -> None:
    source = parse_yaml("a:\n  b: {c: 1}\n", "f.yaml", {})
    assert source.find_position(("a", "b", "missing", 3)) == Position("f.yaml", 2, 3)
    assert source.find_position(("missing",)) == Position("f.yaml", 1, 1)


def at(text: str, path: tuple[str | int, ...], piece: str, **env: str) -> tuple[int, int]:
    source: Source = parse_yaml(text, "f.yaml", env)
    problem = source.build_text_problem(path, source.find_value(path).index(piece), "here")
    return problem.line, problem.column


def test_an_offset_into_a_text_becomes_a_place_in_the_file() -> None:
    assert at("a: some words", ("a",), "words") == (1, 9)
    assert at("a: 'some words'", ("a",), "words") == (1, 10)
    assert at('a:\n  - "some words"', ("a", 0), "words") == (2, 11)
    assert at("a: |\n  some\n   words\n", ("a",), "words") == (3, 4)
    assert at("a: |-\n    some words\n", ("a",), "words") == (2, 10)


def test_an_offset_into_a_text_that_is_written_otherwise_becomes_its_begin() -> None:
    assert at("a: 'it''s some words'", ("a",), "words") == (1, 5)
    assert at('a: "\\u0041 words"', ("a",), "words") == (1, 5)
    assert at("a: some\n  words", ("a",), "words") == (1, 4)
    assert at("a: >\n  some\n  words", ("a",), "words") == (1, 4)
    assert at("a: ${X} words", ("a",), "words", X="1") == (1, 4)


def test_variables_fill_values() -> None:
    text = "a: ${X}\nb: ${X}-${Y:-2}-${EMPTY}\nc: ${EMPTY:-3}\nd: ['${X:-9}', \"${Y:-}\"]\n"
    assert data(text, X="1", EMPTY="") == {"a": "1", "b": "1-2-", "c": "3", "d": ["1", ""]}


def test_a_dollar_without_braces_is_a_dollar() -> None:
    assert data("a: pa$$word $HOME $5 {x}", HOME="/root") == {"a": "pa$$word $HOME $5 {x}"}


def test_two_dollars_before_braces_stand_for_one_and_for_the_braces() -> None:
    assert data("a: $${X} ${X}", X="1") == {"a": "${X} 1"}


def test_a_value_from_the_environment_is_no_yaml_and_no_variable() -> None:
    value = "x, b: 1]\n# ${OTHER} &a *b !!python/object"
    assert data("a: ['${X}']", X=value) == {"a": [value]}
    assert data("a: ${X}", X="on") == {"a": "on"}


def test_an_unset_variable_is_an_error_where_it_stands() -> None:
    assert problems("a: 1\nb:\n  - x ${NOPE} y\n") == [
        "f.yaml:3:7: the environment variable NOPE is not set; set it, or write ${NOPE:-default}"
    ]


def test_every_unset_variable_is_named() -> None:
    assert len(problems("a: ${ONE} ${TWO}\nb: ${THREE}\n")) == 3


@pytest.mark.parametrize("text", ["${}", "${1X}", "${X:?needed}", "${X", "${X-1}", "${X:-a{b}}", "${ X }"])
def test_a_malformed_variable_is_an_error(text: str) -> None:
    found = problems(f"a: '{text}'", X="1")
    assert len(found) == 1
    assert found[0].startswith("f.yaml:1:5: '${' begins a variable")


def test_variables_do_not_fill_keys() -> None:
    assert problems("a:\n  '${X}': 1", X="b") == ["f.yaml:2:3: variables fill values, not keys; write the key out"]


def test_what_variables_went_into_is_remembered_as_it_is_written() -> None:
    source = parse_yaml("a: x ${SECRET}\nb: ${Y:-2}\n", "f.yaml", {"SECRET": "hush"})
    assert source.raw_texts == {("a",): "x ${SECRET}"}


@pytest.mark.parametrize(
    "value", ["!!python/object:os.system x", "!!str 5", "!mine x", "!!map {a: 1}", "!!binary YQ==", "! x"]
)
def test_tags_are_refused(value: str) -> None:
    found = problems(f"a: {value}")
    assert len(found) == 1
    assert found[0].startswith("f.yaml:1:4: tags such as !")


def test_anchors_aliases_and_merge_keys_are_read() -> None:
    text = """
base: &base {a: 1, b: 2}
list: [*base, *base]
one: {<<: *base, b: 3}
two: {b: 4, <<: *base}
three:
  <<: [{a: 5}, *base]
"""
    found = data(text)
    assert found["list"] == [{"a": 1, "b": 2}] * 2
    assert found["one"] == {"a": 1, "b": 3}
    assert found["two"] == {"a": 1, "b": 4}
    assert found["three"] == {"a": 5, "b": 2}


def test_what_is_written_out_has_its_own_position_beside_a_merge() -> None:
    source = parse_yaml("x: &x {a: 1, b: 2}\ny:\n  a: 3\n  <<: *x\n", "f.yaml", {})
    assert source.find_position(("y", "a")) == Position("f.yaml", 3, 3)
    assert source.find_position(("y", "b")) == Position("f.yaml", 1, 14)


def test_a_merge_of_something_that_is_no_mapping_is_refused() -> None:
    assert problems("a:\n  <<: 3\n") == [
        "f.yaml:2:7: '<<' merges a mapping, or a list of mappings, such as '<<: *defaults'"
    ]


def aliases(count: int) -> str:
    return "a: &a 1\nb: [" + ", ".join(["*a"] * count) + "]\n"


def test_a_thousand_aliases_are_fine_and_one_more_is_not() -> None:
    assert len(data(aliases(MAX_ALIASES))["b"]) == MAX_ALIASES
    found = problems(aliases(MAX_ALIASES + 1))
    assert found == ["f.yaml:2:4005: more than 1,000 aliases are expanded here; write the values out"]


def test_aliases_of_aliases_count_each_time_they_are_expanded() -> None:
    text = "a: &a [1, 1]\n" + "".join(
        f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}]\n"
        for before, name in zip("abcdefghijklm", "bcdefghijklmo", strict=True)
    )
    assert problems(text)[0].endswith("more than 1,000 aliases are expanded here; write the values out")


def test_few_aliases_of_something_large_are_refused_too() -> None:
    text = "a: &a [" + "1, " * 1000 + "]\nb: [" + "*a, " * 900 + "]\n"
    assert problems(text)[0].endswith("the file holds more than 100,000 values")


def test_an_alias_of_what_it_is_part_of_is_refused() -> None:
    assert problems("a: &x {b: [*x]}") == ["f.yaml:1:12: this alias stands for something that it is itself a part of"]


@pytest.mark.parametrize("text", ["[" * 3000, "{a: " * 3000, "- " * 3000, "[" * 70 + "]" * 70])
def test_deep_nesting_is_refused(text: str) -> None:
    assert "nested too deeply" in problems(text)[0]


def test_a_huge_file_is_refused() -> None:
    assert "at most 500,000 are read" in problems("a: " + "x" * 500_001)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n\t- b", "f.yaml:2:1: this is no YAML: a tab is used to indent; use spaces"),
        ("a: 'open\nb: 1\n", "f.yaml:1:4: this is no YAML: a quote is opened here and never closed"),
        ("a: [${X}]", 'f.yaml:1:6: this is no YAML: between [ ] or { } a variable stands in quotes: "${NAME}"'),
        (
            "a: *x",
            "f.yaml:1:4: this is no YAML: found undefined alias 'x'; an alias needs its anchor '&name' before it",
        ),
        ("a: 1\n---\nb: 1\n", "f.yaml:2:1: this is no YAML: the file holds several documents; keep one, without '---'"),
        ("a: b: c", "f.yaml:1:5: this is no YAML: a second ': ' on this line; put the text"),
        ("a: \x01", "f.yaml:1:4: the character U+0001 may not stand in a YAML file; remove it"),
        ("? [a]\n: 1\n", "f.yaml:1:3: a key is a text; this is a list or a mapping"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_cure(text: str, expected: str) -> None:
    (found,) = problems(text)
    assert found.startswith(expected)


def test_all_problems_of_a_file_are_found_at_once() -> None:
    found = problems("a: on\nb: ${X}\nc: !t 1\nc: 2\n1: 3\n")
    assert [line.split(":")[1] for line in found] == ["1", "2", "3", "4", "5"]
