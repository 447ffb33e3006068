"""What answers carry, put together from the pieces of streams, within bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from graphs.llm.endpoint_messages import add_note, build_endpoint_messages
from graphs.llm.provider_fields import FieldRoom, MessageFieldReader, build_portable_id


def read(*deltas: dict[str, Any], most: int = 10_000, is_whole: bool = False) -> dict[str, Any]:
    reader = MessageFieldReader(FieldRoom(most))
    for delta in deltas:
        reader.add(delta, is_whole=is_whole)
    return reader.build()


def think(text: str, **more: Any) -> dict[str, Any]:
    return {"thinking_blocks": [{"type": "thinking", "thinking": text, **more}]}


THOUGHT = {"type": "thinking", "thinking": "ab", "signature": "s"}


@pytest.mark.parametrize(
    ("deltas", "blocks"),
    [
        ([think("a", index=0), think("b", index=0), think("", signature="s", index=0)], [THOUGHT]),
        ([think("a"), think("b", signature="s"), think("ab", signature="s")], [THOUGHT, THOUGHT]),
        (
            [think("", signature="s"), think("", signature="t")],
            [{**THOUGHT, "thinking": "", "signature": s} for s in "st"],
        ),
        ([think("a", index=0), think("b", index=1)], [{"type": "thinking", "thinking": text} for text in "ab"]),
        (
            [think("ab", signature="s"), {"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}],
            [THOUGHT, {"type": "redacted_thinking", "data": "x"}],
        ),
        ([think("a", signature=None), think("b", signature=""), think("", signature="s")], [THOUGHT]),
    ],
)
def test_blocks_are_put_together(deltas: list[dict[str, Any]], blocks: list[Any]) -> None:
    assert read(*deltas) == {"thinking_blocks": blocks}


def test_a_copy_of_the_blocks_does_not_go_back() -> None:
    piece = think("ab", signature="s")
    assert read({**piece, "provider_specific_fields": piece}) == {"thinking_blocks": [THOUGHT]}
    fields = {**piece, "container": "c"}
    assert read({**piece, "provider_specific_fields": fields})["provider_specific_fields"] == {"container": "c"}


def test_what_endpoints_do_not_want_back_does_not_go_back() -> None:
    assert read({"role": "assistant", "content": "x", "token_ids": [1], "stop_reason": None, "reasoning": None}) == {}


def test_a_whole_message_goes_back_as_it_came() -> None:
    details = [{"type": "reasoning.text", "text": text} for text in "ab"]
    assert read({"reasoning_details": details}, is_whole=True) == {"reasoning_details": details}


def test_more_than_there_is_room_for_is_dropped_with_all_before_it_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert read({"reasoning": "a" * 50}, {"reasoning": "a" * 50}, most=150) == {"reasoning": "a" * 100}
    assert caplog.messages == []
    assert read(*[{"reasoning": "a" * 50}] * 100, most=150) == {}
    assert caplog.messages == [
        "an answer held more of the endpoint's own fields than are kept, so none of them go back to it"
    ]


def test_values_that_cannot_be_written_cost_no_answer() -> None:
    assert read({"reasoning": "a\ud800"}, {"reasoning": "b"}) == {"reasoning": "a?b"}
    assert read({"extra_content": {"x": ["\ud800"]}}) == {"extra_content": {"x": ["?"]}}
    assert read({"extra_content": {"x": 2**70}, "reasoning": "a"}) == {"reasoning": "a"}
    deep = json.loads("[" * 400 + "]" * 400)
    assert read({"reasoning_details": deep, "reasoning": "a"}) == {"reasoning": "a"}


def test_an_id_that_every_endpoint_takes_is_always_the_same() -> None:
    ids = {build_portable_id(f"call_{number}") for number in range(1000)}
    assert len(ids) == 1000
    assert all(len(id) == 9 and id.isalnum() and id.isascii() for id in ids)
    assert build_portable_id("call_1") == build_portable_id("call_1")


def test_ids_of_ours_that_nothing_is_known_of_are_made_portable() -> None:
    minted = f"call_{'0' * 32}"
    asked = {"role": "assistant", "content": None, "tool_calls": [{"id": minted}, {"id": "theirs"}]}
    results = [{"role": "tool", "tool_call_id": id, "content": "r"} for id in (minted, "theirs")]
    sent, *answered = build_endpoint_messages([asked, *results], "m")
    assert [call["id"] for call in sent["tool_calls"]] == [build_portable_id(minted), "theirs"]
    assert [message["tool_call_id"] for message in answered] == [build_portable_id(minted), "theirs"]


@pytest.mark.parametrize("last", [{"role": "assistant", "content": "x"}, None])
def test_a_note_stands_alone_where_nobody_can_say_it(last: dict[str, Any] | None) -> None:
    messages = [last] if last else []
    assert add_note(messages, "n") == [*messages, {"role": "user", "content": "[Interlock: n]"}]


def test_a_note_is_added_to_parts() -> None:
    (noted,) = add_note([{"role": "user", "content": [{"type": "text", "text": "a"}]}], "n")
    assert [part["text"] for part in noted["content"]] == ["a", "\n\n[Interlock: n]"]
