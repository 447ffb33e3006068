"""Tool calls out of the pieces of streams, as endpoints really write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.llm.call_pieces import CallAssembler, RawCall
from graphs.llm.provider_fields import FieldRoom


def piece(
    index: int | None = None, id: str | None = None, name: str | None = None, args: str | None = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", args)) if value is not None}
    delta = {"index": index, "id": id, "function": function}
    return {key: value for key, value in delta.items() if value is not None}


def assemble(*pieces: dict[str, Any], is_whole: bool = False) -> list[RawCall]:
    assembler = CallAssembler(FieldRoom(10_000))
    for each in pieces:
        assembler.add(each, is_whole=is_whole)
    return assembler.build_calls()


def list_calls(*pieces: dict[str, Any], is_whole: bool = False) -> list[tuple[str, str]]:
    calls = assemble(*pieces, is_whole=is_whole)
    assert [call.problem for call in calls if call.problem] == []
    return [(call.name, call.arguments) for call in calls]


ONE, TWO = '{"x": 1}', '{"x": 2}'
BOTH = [("a", ONE), ("b", TWO)]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([piece(0, "c1", "a", ONE), piece(1, "c2", "b", TWO)], id="OpenAI, in one piece each"),
        pytest.param(
            [piece(0, "c1", "a", ""), piece(1, "c2", "b", ""), piece(0, args=ONE), piece(1, args=TWO)], id="interleaved"
        ),
        pytest.param(
            [piece(0, "c1", "a"), piece(0, args=ONE), piece(0, "c2", "b"), piece(0, args=TWO)], id="one index for all"
        ),
        pytest.param(
            [piece(0, "c1", "a"), piece(0, "c2", "b"), piece(0, "c1", args=ONE), piece(0, "c2", args=TWO)],
            id="one index, ids on every piece",
        ),
        pytest.param([piece(None, "c1", "a", ONE), piece(None, "c2", "b", TWO)], id="no index"),
        pytest.param([piece(0, "", "a", ONE), piece(0, "", "b", TWO)], id="empty ids"),
        pytest.param([piece(0, None, "a", ONE), piece(0, None, "b", TWO)], id="no ids"),
        pytest.param([piece(None, None, "a", ONE), piece(None, None, "b", TWO)], id="neither"),
        pytest.param(
            [piece(None, "", "a"), piece(args='{"x"'), piece(args=": 1}"), piece(None, "", "b"), piece(args=TWO)],
            id="neither, in pieces",
        ),
        pytest.param(
            [piece(0, "c1", "a", '{"x"'), piece(0, "c1", "a", ": 1}"), piece(1, "c2", "b", TWO)],
            id="name and id on every piece",
        ),
        pytest.param(
            [piece(0, None, "a"), piece(0, None, "a", '{"x"'), piece(0, None, "a", ": 1}"), piece(1, None, "b", TWO)],
            id="name on every piece",
        ),
        pytest.param([piece(0, "same", "a", ONE), piece(0, "same", "b", TWO)], id="one id for all"),
        pytest.param(
            [piece(0, "same", "a", ONE), piece(0, "same", "b"), piece(0, "same", args=TWO)],
            id="one id for all, in pieces",
        ),
        pytest.param([piece(0, "same", "a", ONE), piece(1, "same", "b", TWO)], id="one id for all, with indexes"),
        pytest.param(
            [piece(0, "same", "a"), piece(1, "same", "b"), piece(0, args=ONE), piece(1, args=TWO)],
            id="one id for all, interleaved",
        ),
        pytest.param(
            [piece(0, "c1", "a"), piece(1, "c2", "b"), piece(0, "c1", args=ONE), piece(0, "c2", args=TWO)],
            id="the place in its chunk for an index",
        ),
        pytest.param(
            [piece(0, "c1", "a"), piece(0, "c2", "b"), piece(0, "c1", args=ONE), piece(1, "c2", args=TWO)],
            id="the place in its chunk, one that is new",
        ),
        pytest.param(
            [piece(0, "c1", "a", ""), piece(0, "c2", "b", ""), piece(0, "c1", "a", ONE), piece(1, "c2", "b", TWO)],
            id="the place in its chunk, names on every piece",
        ),
        pytest.param(
            [piece(0, "c1", "a"), piece(1, "c2", "b"), piece(None, "c1", args=ONE), piece(None, "c2", args=TWO)],
            id="no index after the first piece",
        ),
        pytest.param(
            [piece(None, "c1", "a"), piece(None, "c2", "b"), piece(0, "c1", args=ONE), piece(1, "c2", args=TWO)],
            id="no index in the first piece",
        ),
    ],
)
def test_two_calls_are_two_calls(pieces: list[dict[str, Any]]) -> None:
    assert list_calls(*pieces) == BOTH


def test_the_same_tool_twice_without_ids() -> None:
    assert list_calls(piece(0, None, "a", ONE), piece(0, None, "a", TWO)) == [("a", ONE), ("a", TWO)]


def test_names_that_are_really_split() -> None:
    assert list_calls(piece(0, "c1", "get_"), piece(0, None, "weather"), piece(0, args=ONE)) == [("get_weather", ONE)]


def test_a_whole_answer_has_a_call_in_each_piece() -> None:
    assert list_calls(piece(name="a", args=""), piece(name="a", args=""), is_whole=True) == [("a", ""), ("a", "")]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [piece(0, None, "a", '{"x"'), piece(0, None, "b", TWO), piece(0, args=": 1}")], id="in the middle"
        ),
        pytest.param([piece(0, None, "get"), piece(0, None, "get_weather", ONE)], id="a name that grows"),
    ],
)
def test_what_is_not_certain_has_a_problem(pieces: list[dict[str, Any]]) -> None:
    calls = assemble(*pieces)
    assert [call for call in calls if not call.problem] == []


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [piece(0, "c1", "a"), piece(1, "c2", "b"), piece(0, args=ONE), piece(0, args=TWO)], id="at another"
        ),
        pytest.param(
            [piece(0, "c1", "a"), piece(1, "c2", "b"), piece(0, args=ONE + TWO)], id="at another, in one piece"
        ),
        pytest.param([piece(0, "c1", "b"), piece(1, args=ONE)], id="at none"),
        pytest.param([piece(0, "c1", "b"), piece(0, "c9", args=ONE)], id="of an id that has no name"),
    ],
)
def test_a_call_without_arguments_is_not_certain_where_some_went_astray(pieces: list[dict[str, Any]]) -> None:
    (call,) = [call for call in assemble(*pieces) if call.name == "b"]
    assert (call.arguments, bool(call.problem)) == ("", True)


def test_a_call_without_arguments_beside_one_with_some_is_certain() -> None:
    pieces = [piece(0, "c1", "a"), piece(1, "c2", "b"), piece(0, args=ONE + "\n"), piece(0, args=" ")]
    assert list_calls(*pieces) == [("a", ONE + "\n "), ("b", "")]


def test_a_second_object_after_the_first_is_no_json() -> None:
    (call,) = assemble(piece(0, "c1", "a", ONE), piece(0, args=TWO))
    with pytest.raises(ValueError, match="Extra data"):
        json.loads(call.arguments)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
CALLS = st.lists(
    st.tuples(st.sampled_from(["a", "t__b", "look"]), st.dictionaries(st.text(), VALUES, min_size=1)), max_size=4
)


@given(calls=CALLS, data=st.data(), has_ids=st.booleans(), has_index=st.booleans(), repeats=st.booleans())
def test_calls_one_after_the_other_come_out_as_they_went_in(
    calls: list[tuple[str, dict[str, Any]]], data: st.DataObject, has_ids: bool, has_index: bool, repeats: bool
) -> None:
    pieces: list[dict[str, Any]] = []
    for number, (name, args) in enumerate(calls):
        text = json.dumps(args, ensure_ascii=data.draw(st.booleans()))
        cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=4)))
        parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        for at, part in enumerate(parts):
            is_first = at == 0
            pieces.append(
                piece(
                    0 if has_index else None,
                    f"c{number}" if has_ids and is_first else None,
                    name if is_first or repeats else None,
                    part,
                )
            )
    expected = [(name, json.loads(json.dumps(args))) for name, args in calls]
    found = [(name, json.loads(arguments)) for name, arguments in list_calls(*pieces)]
    assert found == expected
