"""Turns: kept, changed, found again behind the history that a client sends."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from graphs.errors import StorageError
from graphs.store import turn_lookup
from graphs.store.backends.postgres import SESSION_SETTINGS
from graphs.store.digests import build_digest_chain, compute_call_digest, extend_digest, remove_space
from graphs.store.store import Store
from graphs.store.turn_lookup import HistoryMatch
from graphs.store.turns import TurnRow, TurnStatus


def calls(*ids: str) -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": None, "tool_calls": [{"id": id, "type": "function"} for id in ids]},
        *({"role": "tool", "tool_call_id": id, "content": f"result of {id}"} for id in ids),
    ]


class Talk:
    """Writes turns the way a run does, one after another, in time."""

    def __init__(self, store: Store, owner: str = "ada", chat: str | None = None) -> None:
        self.store = store
        self.owner = owner
        self.chat = chat

    async def say(
        self,
        id: str,
        asked: str,
        before: Sequence[str],
        text: str,
        *,
        parent: str | None = None,
        status: TurnStatus = "finished",
        message: str | None = None,
        call_ids: Sequence[str] = (),
        created: float | None = None,
    ) -> TurnRow:
        base = build_digest_chain(before)[-1]
        row = TurnRow(
            id=id,
            parent=parent,
            owner=self.owner,
            chat=self.chat,
            message=message,
            graph="assistant",
            created=created if created is not None else float(int(id.strip("t"))),
            status=status,
            base=base,
            digest=extend_digest(base, text),
            text=text,
            user_digest=extend_digest("", asked),
            messages=calls(*call_ids),
        )
        await self.store.turns.add(row)
        return row


def ids(restored: HistoryMatch) -> dict[int, str]:
    return {index: row.id for index, row in restored.rows.items()}


def parent(restored: HistoryMatch) -> tuple[str | None, int | None]:
    return (restored.parent.id if restored.parent else None, restored.parent_index)


def asked(*texts: str) -> list[str]:
    return [extend_digest("", text) for text in texts]


def test_a_chain_has_one_digest_for_every_beginning_and_sees_no_white_space() -> None:
    chain = build_digest_chain(["Hello you", "Bye"])
    assert chain[0] == ""
    assert len(chain) == 3
    assert build_digest_chain(["\n Hello\u00a0you ", "B y\te\r\n"]) == chain
    assert build_digest_chain(["Hello you"]) == chain[:2]
    assert extend_digest(chain[1], "Bye") == chain[2]
    assert build_digest_chain(["Bye", "Hello you"])[2] != chain[2]


def test_a_lone_surrogate_has_a_digest() -> None:
    assert len(extend_digest("", "a\ud800b")) == 64


def test_the_digest_of_a_call_is_that_of_its_tool_and_its_arguments_in_any_order() -> None:
    digest = compute_call_digest("a/b", {"x": 1, "y": {"p": [1, 2], "q": "ü"}})
    assert compute_call_digest("a/b", {"y": {"q": "ü", "p": [1, 2]}, "x": 1}) == digest
    assert compute_call_digest("a/c", {"x": 1, "y": {"p": [1, 2], "q": "ü"}}) != digest
    assert compute_call_digest("a/b", {"x": 1, "y": {"p": [2, 1], "q": "ü"}}) != digest
    assert compute_call_digest("a/b", {"x": "1", "y": {"p": [1, 2], "q": "ü"}}) != digest


async def test_a_turn_comes_back_as_it_was_kept(store: Store) -> None:
    row = TurnRow(
        id="t1",
        parent="t0",
        owner="ada",
        chat="c",
        message="m",
        graph="assistant",
        created=12.5,
        status="waiting",
        base="b",
        digest="d",
        text="Zoë \U0001f600",
        user_digest="u",
        messages=[{"role": "tool", "content": "x\x00", "n": 2**70, "half": "\ud800"}],
        thread="th",
        request={"model": "assistant"},
    )
    await store.turns.add(row)
    assert await store.turns.get("t1") == row
    assert await store.turns.get("t2") is None


async def test_the_turns_of_a_call_are_found_newest_first_and_of_no_other_owner(store: Store) -> None:
    def call(id: str) -> dict[str, object]:
        function = {"name": "weather", "arguments": "{}"}
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "id": id, "function": function}],
        }

    for number, (owner, calls) in enumerate([("ada", ["a"]), ("ada", ["a", "b"]), ("bob", ["a"])]):
        messages = [call(id) for id in calls]
        await store.turns.add(
            TurnRow(
                id=f"t{number}",
                owner=owner,
                graph="g",
                created=float(number),
                status="finished",
                base="",
                messages=messages,
                request={"handover": calls},
            )
        )
    found = await store.turns.find_by_call("ada", "a")
    assert [(row.id, row.request) for row in found] == [("t1", {"handover": ["a", "b"]}), ("t0", {"handover": ["a"]})]
    assert [row.id for row in await store.turns.find_by_call("ada", "b")] == ["t1"]
    assert await store.turns.find_by_call("eve", "a") == ()


async def test_a_nul_is_not_kept_and_its_answer_is_found_nevertheless(store: Store) -> None:
    await Talk(store, chat="c\x00").say("t1", "q", [], "a\x00b", message="m\x00", call_ids=["c\x00"])
    kept = await store.turns.get("t1")
    assert kept is not None
    assert kept.text == "ab"
    assert (await store.turn_lookup.find_parents("ada", chat="c\x00", assistant_texts=["a\x00b"])).parent == kept
    assert (await store.turn_lookup.find_parents("ada", call_ids=["c\x00"])).parent == kept


async def test_a_text_that_utf8_cannot_say_is_kept_as_far_as_it_can(store: Store) -> None:
    await Talk(store).say("t1", "q", [], "a\ud800b")
    row = await store.turns.get("t1")
    assert row is not None
    assert row.text == "a?b"


async def test_a_turn_is_updated_field_by_field(store: Store) -> None:
    before = await Talk(store).say("t1", "q", [], "", status="running")
    assert await store.turns.update("t1", status="finished", text="done", request=None)
    after = await store.turns.get("t1")
    assert after is not None
    assert (after.status, after.text, after.created) == ("finished", "done", before.created)
    assert not await store.turns.update("t9", status="finished")


async def test_an_id_that_is_taken_is_an_error_that_tells_nothing_of_the_conversation(store: Store) -> None:
    await Talk(store).say("t1", "q", [], "secret words")
    with pytest.raises(StorageError) as caught:
        await Talk(store).say("t1", "q", [], "secret words")
    assert "secret words" not in str(caught.value)
    assert "secret words" not in str(caught.value.__cause__)


async def test_of_two_that_continue_a_waiting_turn_one_may(store: Store) -> None:
    await Talk(store).say("t1", "q", [], "wait", status="waiting")
    assert await store.turns.advance("t1", "waiting", status="continued")
    assert not await store.turns.advance("t1", "waiting", status="continued")
    row = await store.turns.get("t1")
    assert row is not None
    assert row.status == "continued"


async def test_the_turns_behind_a_resent_history_are_found_by_its_texts(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "one", call_ids=["c1"])
    await talk.say("t2", "q2", ["one"], "two", parent="t1")
    restored = await store.turn_lookup.find_parents(
        "ada", assistant_texts=["one", "two"], user_digests=asked("q1", "q2")
    )
    assert ids(restored) == {0: "t1", 1: "t2"}
    assert parent(restored) == ("t2", 1)
    assert restored.rows[0].messages[1]["content"] == "result of c1"


async def test_white_space_does_not_matter(store: Store) -> None:
    await Talk(store).say("t1", "q1", [], "a list:\n\n- one\n- two\n")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=["  a list: - one\r\n -  two"])
    assert parent(restored) == ("t1", 0)


async def test_a_history_that_nobody_here_wrote_has_no_parent(store: Store) -> None:
    await Talk(store).say("t1", "q1", [], "one")
    assert await store.turn_lookup.find_parents("ada", assistant_texts=["another"]) == HistoryMatch()
    assert await store.turn_lookup.find_parents("ada") == HistoryMatch()


async def test_two_owners_never_mix(store: Store) -> None:
    await Talk(store, "ada", chat="c").say("t1", "q1", [], "one", message="m1", call_ids=["c1"])
    for owner in ("bob", ""):
        restored = await store.turn_lookup.find_parents(
            owner,
            call_ids=["c1"],
            chat="c",
            parent_message="m1",
            assistant_texts=["one"],
            user_digests=asked("q1"),
        )
        assert restored == HistoryMatch()
    await Talk(store, "").say("t2", "q1", [], "one")
    assert await store.turn_lookup.find_parents("", assistant_texts=["one"]) == HistoryMatch()


async def test_not_even_a_wrong_parent_link_opens_the_turn_of_another(store: Store) -> None:
    await Talk(store, "bob").say("t1", "q1", [], "one")
    await Talk(store, "ada").say("t2", "q2", ["one"], "two", parent="t1")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=["one", "two"])
    assert ids(restored) == {1: "t2"}


async def test_the_longest_match_walking_back_is_the_parent(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "one")
    await talk.say("t2", "q2", ["one"], "two", parent="t1")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=["one", "two", "said by another model"])
    assert ids(restored) == {0: "t1", 1: "t2"}
    assert parent(restored) == ("t2", 1)


async def test_an_edited_question_makes_a_branch_after_the_same_parent(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "one")
    await talk.say("t2", "q2", ["one"], "two", parent="t1")
    await talk.say("t3", "q2 edited", ["one"], "two, differently", parent="t1")
    assert parent(await store.turn_lookup.find_parents("ada", assistant_texts=["one"])) == ("t1", 0)
    for text, id in (("two", "t2"), ("two, differently", "t3")):
        restored = await store.turn_lookup.find_parents("ada", assistant_texts=["one", text])
        assert ids(restored) == {0: "t1", 1: id}


async def test_of_answers_generated_again_the_one_that_the_client_shows_counts(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "first try", call_ids=["c1"])
    await talk.say("t2", "q1", [], "second try", call_ids=["c2"])
    assert parent(await store.turn_lookup.find_parents("ada", assistant_texts=["first try"])) == ("t1", 0)
    assert parent(await store.turn_lookup.find_parents("ada", assistant_texts=["second try"])) == ("t2", 0)


async def test_of_equal_answers_the_newest_to_the_same_question_counts_else_none(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "delete a", [], "Done.")
    await talk.say("t2", "delete b", [], "Done.")
    await talk.say("t3", "delete c", [], "Done.")
    found = await store.turn_lookup.find_parents("ada", assistant_texts=["Done."], user_digests=asked("delete b"))
    assert parent(found) == ("t2", 0)
    await talk.say("t4", "delete b", [], "Done.")
    found = await store.turn_lookup.find_parents("ada", assistant_texts=["Done."], user_digests=asked("delete b"))
    assert parent(found) == ("t4", 0)
    for chat in (None, "c", "c2"):
        found = await store.turn_lookup.find_parents(
            "ada", chat=chat, assistant_texts=["Done."], user_digests=asked("delete z")
        )
        assert found == HistoryMatch()


async def test_an_only_answer_is_found_though_its_question_was_rewritten(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "delete a", [], "Deleted a.")
    found = await store.turn_lookup.find_parents(
        "ada", assistant_texts=["Deleted a."], user_digests=asked("From the documents: … delete a")
    )
    assert parent(found) == ("t1", 0)


async def test_several_answers_in_a_chat_are_not_told_apart_by_one_outside_of_it(store: Store) -> None:
    await Talk(store, chat="c").say("t1", "delete a", [], "Done.")
    await Talk(store, chat="c").say("t2", "delete b", [], "Done.")
    await Talk(store).say("t3", "delete c", [], "Done.")

    async def found(question: str) -> str | None:
        restored = await store.turn_lookup.find_parents(
            "ada", chat="c", assistant_texts=["Done."], user_digests=asked(question)
        )
        return parent(restored)[0]

    assert await found("delete z") is None
    assert await found("delete a") == "t1"
    assert await found("delete c") == "t3"


async def test_an_earlier_answer_that_many_chats_know_gets_its_turn_by_the_later_one(store: Store) -> None:
    talk = Talk(store)
    for number in range(1, 6):
        await talk.say(f"t{number}", f"delete {number}", [], "Done.", call_ids=[f"c{number}"])
    await talk.say("t9", "and then?", ["Done."], "Number 3 is gone.", parent="t3")
    history = ["Done.", "Number 3 is gone."]
    restored = await store.turn_lookup.find_parents(
        "ada", assistant_texts=history, user_digests=asked("rewritten", "too")
    )
    assert ids(restored) == {0: "t3", 1: "t9"}


@pytest.mark.parametrize("status", ["stopped", "failed", "waiting", "running"])
async def test_of_several_beginnings_none_counts_where_no_question_matches(store: Store, status: TurnStatus) -> None:
    talk = Talk(store, chat="c")
    await talk.say("t1", "delete a", [], "It is under way", status=status)
    await talk.say("t2", "delete b", [], "It is gone", status=status)

    async def found(text: str, question: str) -> str | None:
        restored = await store.turn_lookup.find_parents(
            "ada", chat="c", assistant_texts=[text], user_digests=asked(question)
        )
        return parent(restored)[0]

    assert await found("It is", "delete z") is None
    assert await found("It is", "delete a") == "t1"
    assert await found("It is", "delete b") == "t2"
    assert await found("It is go", "delete z") == "t2"


async def test_of_equal_answers_the_one_in_the_same_chat_counts_first(store: Store) -> None:
    await Talk(store, chat="c1").say("t1", "go", [], "Done.")
    await Talk(store, chat="c2").say("t2", "go", [], "Done.")
    found = await store.turn_lookup.find_parents("ada", chat="c1", assistant_texts=["Done."], user_digests=asked("go"))
    assert parent(found) == ("t1", 0)


async def test_equal_answers_in_one_history_each_get_their_own_turn(store: Store) -> None:
    talk = Talk(store)
    said: list[str] = []
    for number in range(1, 5):
        above = f"t{number - 1}" if said else None
        await talk.say(f"t{number}", f"q{number}", said, "Done.", parent=above)
        said.append("Done.")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=said)
    assert ids(restored) == {0: "t1", 1: "t2", 2: "t3", 3: "t4"}


async def test_a_stopped_answer_is_found_by_the_part_that_the_client_kept(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "one")
    await talk.say("t2", "q2", ["one"], "two, and a lot that was under way", parent="t1", status="stopped")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=["one", "two, and a "])
    assert ids(restored) == {0: "t1", 1: "t2"}
    assert parent(restored) == ("t2", 1)


async def test_a_stopped_answer_is_still_known_when_the_conversation_went_on(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "one, and more", status="stopped", call_ids=["c1"])
    await talk.say("t2", "q2", ["one,"], "two", parent="t1")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=["one,", "two"])
    assert ids(restored) == {0: "t1", 1: "t2"}


async def test_a_finished_answer_is_not_found_by_a_part_of_it(store: Store) -> None:
    await Talk(store).say("t1", "q1", [], "one two three")
    assert (await store.turn_lookup.find_parents("ada", assistant_texts=["one"])).parent is None


async def test_of_several_stopped_answers_the_one_to_the_same_question_counts(store: Store) -> None:
    talk = Talk(store)
    for number in range(1, 20):
        await talk.say(f"t{number}", f"q{number}", [], "The answer is long", status="stopped")
    found = await store.turn_lookup.find_parents("ada", assistant_texts=["The answer"], user_digests=asked("q2"))
    assert parent(found) == ("t2", 0)
    assert (await store.turn_lookup.find_parents("ada", assistant_texts=["The answer"])).parent is None


async def test_a_tool_call_that_we_named_leads_to_its_turn_whatever_the_texts(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "", call_ids=["call_1"])
    restored = await store.turn_lookup.find_parents("ada", call_ids=["foreign", "call_1"], assistant_texts=["wrapped"])
    assert parent(restored) == ("t1", 0)
    assert parent(await store.turn_lookup.find_parents("ada", call_ids=["call_1"])) == ("t1", None)


async def test_the_latest_tool_call_counts_and_the_newest_turn_that_holds_it(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "a", call_ids=["call_1"])
    await talk.say("t2", "q2", ["a"], "b", call_ids=["call_2"], parent="t1")
    await talk.say("t3", "q3", ["a"], "b", call_ids=["call_2"], parent="t1")
    restored = await store.turn_lookup.find_parents("ada", call_ids=["call_1", "call_2"], assistant_texts=["a", "b"])
    assert parent(restored) == ("t3", 1)


async def test_calls_that_come_with_an_update_lead_back_too(store: Store) -> None:
    await Talk(store).say("t1", "q1", [], "", status="running")
    await store.turns.update("t1", status="finished", messages=calls("call_7"))
    await store.turns.update("t1", status="finished", messages=calls("call_7", "call_8"))
    assert parent(await store.turn_lookup.find_parents("ada", call_ids=["call_8"])) == ("t1", None)


async def test_the_messages_id_of_the_client_is_stronger_than_the_texts(store: Store) -> None:
    talk = Talk(store, chat="c")
    await talk.say("t1", "q1", [], "Done.", message="m1")
    await talk.say("t2", "q1", [], "Done.", message="m2")
    found = await store.turn_lookup.find_parents("ada", chat="c", parent_message="m1", assistant_texts=["Done."])
    assert parent(found) == ("t1", 0)
    edited = await store.turn_lookup.find_parents(
        "ada", chat="c", parent_message="m1", assistant_texts=["I edited this"]
    )
    assert parent(edited) == ("t1", 0)


async def test_a_message_id_of_another_chat_leads_nowhere(store: Store) -> None:
    await Talk(store, chat="c1").say("t1", "q1", [], "one", message="m1")
    assert (await store.turn_lookup.find_parents("ada", chat="c2", parent_message="m1")).parent is None
    assert (await store.turn_lookup.find_parents("ada", parent_message="m1")).parent is None


async def test_an_edited_answer_between_two_known_ones_keeps_its_turn(store: Store) -> None:
    talk = Talk(store, chat="c")
    await talk.say("t1", "q1", [], "one", call_ids=["c1"])
    await talk.say("t2", "q2", ["one"], "two", parent="t1", call_ids=["c2"])
    await talk.say("t3", "q3", ["one", "two"], "three", parent="t2", message="m3")
    restored = await store.turn_lookup.find_parents(
        "ada", chat="c", parent_message="m3", assistant_texts=["one", "two, corrected", "three"]
    )
    assert ids(restored) == {0: "t1", 1: "t2", 2: "t3"}
    restored = await store.turn_lookup.find_parents(
        "ada", chat="c", parent_message="m3", assistant_texts=["one, corrected", "two", "three"]
    )
    assert ids(restored) == {0: "t1", 1: "t2", 2: "t3"}


async def test_a_deleted_answer_takes_nobody_elses_place(store: Store) -> None:
    talk = Talk(store, chat="c")
    await talk.say("t1", "q1", [], "one", call_ids=["c1"])
    await talk.say("t2", "q2", ["one"], "two", parent="t1", call_ids=["c2"])
    await talk.say("t3", "q3", ["one", "two"], "three", parent="t2", message="m3")
    restored = await store.turn_lookup.find_parents(
        "ada", chat="c", parent_message="m3", assistant_texts=["one", "three"]
    )
    assert ids(restored) == {0: "t1", 1: "t3"}


async def test_a_history_cut_at_its_beginning_keeps_the_turns_of_the_rest(store: Store) -> None:
    talk = Talk(store, chat="c")
    said: list[str] = []
    for number in range(1, 31):
        above = f"t{number - 1}" if said else None
        await talk.say(f"t{number}", f"q{number}", said, f"answer {number}", parent=above, message=f"m{number}")
        said.append(f"answer {number}")
    restored = await store.turn_lookup.find_parents("ada", chat="c", parent_message="m30", assistant_texts=said[-3:])
    assert ids(restored) == {0: "t28", 1: "t29", 2: "t30"}


async def test_earlier_answers_are_found_by_their_own_digests_where_a_link_is_missing(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "one")
    await talk.say("t3", "q3", ["one", "foreign"], "three", parent="pruned")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=["one", "foreign", "three"])
    assert ids(restored) == {0: "t1", 2: "t3"}


async def test_links_that_go_in_a_circle_end(store: Store) -> None:
    talk = Talk(store)
    await talk.say("t1", "q1", [], "one", parent="t2")
    await talk.say("t2", "q2", ["one"], "two", parent="t1")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=["one", "two"])
    assert ids(restored) == {0: "t1", 1: "t2"}


async def test_a_long_history_is_restored_whole(store: Store) -> None:
    talk = Talk(store)
    said: list[str] = []
    for number in range(1, 301):
        above = f"t{number - 1}" if said else None
        await talk.say(f"t{number}", f"q{number}", said, f"answer {number}", parent=above)
        said.append(f"answer {number}")
    restored = await store.turn_lookup.find_parents("ada", assistant_texts=said)
    assert ids(restored) == {index: f"t{index + 1}" for index in range(300)}


async def test_hostile_ids_fail_nothing(store: Store) -> None:
    odd = ["\ud800", "\x00", "'; DROP TABLE turns; --", "x" * 100_000]
    assert await store.turn_lookup.find_parents("ada", call_ids=odd, assistant_texts=odd) == HistoryMatch()


LISTS = ("calls", "wanted", "starts", "others")
HISTORY: dict[str, Any] = dict.fromkeys(("owner", "chat", "message", "base", "user"), "x")
HISTORY |= dict.fromkeys(LISTS, "[]") | {"depth": 9}


@pytest.mark.parametrize("words", [turn_lookup.IDS_SQL, turn_lookup.ROWS_SQL])
async def test_no_look_up_reads_all_turns_of_an_owner(tmp_path: Path, words: str) -> None:
    store = await Store.open("", tmp_path)
    statement = words.format(**turn_lookup.DIALECT_FRAGMENTS["sqlite"])
    with closing(sqlite3.connect(store.place)) as connection:
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", HISTORY)]
    assert [step for step in steps if " turns" in step or " turn_calls" in step] != []
    assert [step for step in steps if step.startswith(("SCAN turn", "SEARCH turn")) and "(owner=?)" in step] == []
    assert [step for step in steps if step.startswith("SCAN turn")] == []
    await store.close()


MANY = """
INSERT INTO turns SELECT 't' || n, 't' || n - 1, 'ada', 'c' || n % 50, 'm' || n, 'g', n, 'finished', md5((n - 1)::text),
    md5(n::text), 'text', md5(n::text), '[]', NULL, NULL FROM generate_series(1, 5000) n;
INSERT INTO turn_calls SELECT 'c' || n, 't' || n FROM generate_series(1, 5000) n;
ANALYZE turns, turn_calls
"""


@pytest.mark.parametrize("words", [turn_lookup.IDS_SQL, turn_lookup.ROWS_SQL])
def test_no_look_up_reads_all_turns_of_an_owner_in_postgresql(postgres_url: str, words: str) -> None:
    statement = words.format(**turn_lookup.DIALECT_FRAGMENTS["postgresql"])
    values = HISTORY | {
        "owner": "ada",
        "calls": '["c1", "c2"]',
        "wanted": '[["d", "u"]]',
        "starts": '["t1"]',
        "others": '["t2"]',
    }
    for name, value in values.items():
        statement = re.sub(rf":{name}\b", f"'{value}'::text" if isinstance(value, str) else str(value), statement)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(MANY.encode())
        connection.execute(SESSION_SETTINGS.encode())
        plan = [row[0] for row in connection.execute(f"EXPLAIN {statement}".encode())]
    assert [step for step in plan if "Index" in step and "turn" in step] != []
    assert [step for step in plan if "Seq Scan on turn" in step] == []
    assert [step for step in plan if step.strip() == "Index Cond: ((owner)::text = 'ada'::text)"] == []


def test_what_counts_as_white_space_is_what_python_calls_so() -> None:
    every = "".join(map(chr, range(0x110000)))
    assert remove_space(every) == "".join(every.split()).replace("\0", "")
