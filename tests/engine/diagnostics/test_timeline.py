"""Timelines of turns, on every database: whose they are, which come first, and what belongs together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphs.diagnostics.timeline import MOST_CALLS, load_timeline
from graphs.store.approvals import Approval
from graphs.store.store import Store
from graphs.store.tool_journal import Claim
from graphs.store.turns import TurnRow, TurnStatus, TurnSummary


def row(
    id: str,
    created: float,
    *,
    owner: str = "ada",
    status: TurnStatus = "finished",
    continues: str | None = None,
    calls: list[str] | None = None,
    **more: Any,
) -> TurnRow:
    messages: list[dict[str, Any]] = [
        {
            "role": "assistant",
            "tool_calls": [{"id": id, "function": {"name": "files__read", "arguments": "{}"}} for id in calls or ()],
        },
        *({"role": "tool", "tool_call_id": id, "content": f"result of {id}"} for id in calls or ()),
    ]
    story = TurnSummary(question=f"question {id}", began=created - 1, rounds=2, continues=continues)
    values: dict[str, Any] = {"graph": "assistant", "base": "", "messages": messages if calls else [], **more}
    return TurnRow(id=id, owner=owner, created=created, status=status, story=story, **values)


def people(name: str) -> str:
    return name.replace("__", "/")


async def test_the_newest_come_first_and_nobody_elses(store: Store) -> None:
    for at in range(5):
        await store.turns.add(row(f"t{at}", float(at)))
    await store.turns.add(row("u1", 9.0, owner="ben"))
    told = await load_timeline(store, "ada", 3, people)
    assert [(turn.id, turn.question, turn.began, turn.ended) for turn in told] == [
        ("t4", "question t4", 3.0, 4.0),
        ("t3", "question t3", 2.0, 3.0),
        ("t2", "question t2", 1.0, 2.0),
    ]
    assert await load_timeline(store, "eve", 3, people) == ()


async def test_a_turn_that_waited_twice_is_one_with_all_that_belongs_to_it(store: Store) -> None:
    await store.turns.add(row("t1", 1.0, status="continued"))
    await store.turns.add(row("t2", 5.0, status="continued", parent="t1", continues="t1"))
    await store.turns.add(row("t3", 9.0, parent="t2", continues="t2", calls=["c1", "c2", "c3"]))
    asked = Approval(
        id="abcdefgh",
        turn="t1",
        thread="t1",
        call_id="c1",
        graph="assistant",
        snapshot="s",
        tool="files/read",
        args={},
        digest="d",
        rule="the rule",
        caller_owner="ada",
        caller="Ada",
        created=1.0,
    )
    await store.approvals.request([asked])
    await store.approvals.decide("abcdefgh", "approve", by="Ben", now=2.0)
    claims = [
        Claim(call_id=id, thread="t1", tool="files/read", digest="d", needs_approval=id == "c1", now=3.0)
        for id in ("c1", "c2")
    ]
    await store.journal.claim(claims)
    await store.journal.finish("c1", {"content": "x", "status": "success", "artifact": None}, failed=False)

    (turn,) = await load_timeline(store, "ada", 10, people)
    assert (turn.id, turn.question, turn.later) == ("t3", "question t1", ["question t2", "question t3"])
    assert (turn.began, turn.ended) == (0.0, 9.0)
    assert [(call.tool, call.verdict, call.outcome, call.began) for call in turn.calls] == [
        ("files/read", "ask", "done", 3.0),
        ("files/read", "allow", "unknown", 3.0),
        ("files/read", None, "skipped", None),
    ]
    approval = turn.calls[0].approval
    assert approval is not None
    assert (approval.status, approval.asked, approval.decided, approval.by) == ("approved", 1.0, 2.0, "Ben")


async def test_a_story_that_names_anothers_turn_does_not_open_it(store: Store) -> None:
    await store.turns.add(row("t1", 1.0, owner="ben", status="continued", calls=["secret"]))
    await store.turns.add(row("t2", 2.0, continues="t1"))
    (turn,) = await load_timeline(store, "ada", 10, people)
    assert (turn.question, turn.later, turn.calls) == ("question t2", [], [])


async def test_calls_that_the_turn_before_told_of_are_not_told_again(store: Store) -> None:
    await store.turns.add(row("t1", 1.0, calls=["c1"]))
    await store.turns.add(row("t2", 2.0, parent="t1", calls=["c1", "c2"]))
    newer, older = await load_timeline(store, "ada", 10, people)
    assert [[call.id for call in turn.calls] for turn in (newer, older)] == [["c2"], ["c1"]]


async def test_a_turn_whose_process_died_is_interrupted_and_one_of_this_process_runs(store: Store) -> None:
    calls = {"t1": ["c1", "c2"], "t2": ["c3", "c4"]}
    workers = {"t1": "0" * 32, "t2": store.workers.id}
    for at, id in enumerate(calls):
        made = row(id, float(at), status="running", worker=workers[id], calls=calls[id])
        await store.turns.add(replace(made, messages=made.messages[:1]))
        claim = Claim(call_id=calls[id][0], thread=id, tool="files/read", digest="d", needs_approval=False, now=3.0)
        await store.journal.claim([claim])
    running, interrupted = await load_timeline(store, "ada", 10, people)
    assert (running.status, interrupted.status) == ("running", "interrupted")
    assert [call.outcome for call in running.calls] == ["running", "next"]
    assert [call.outcome for call in interrupted.calls] == ["unknown", "skipped"]
    assert running.ended is interrupted.ended is None


async def test_long_things_say_that_they_are_shortened(store: Store) -> None:
    calls = [f"c{at}" for at in range(MOST_CALLS + 3)]
    await store.turns.add(row("t1", 1.0, text=f"begin{'x' * 9000}end", calls=calls))
    (turn,) = await load_timeline(store, "ada", 10, people)
    assert turn.answer.startswith("beginx")
    assert turn.answer.endswith("xend")
    assert "(7,008 characters left out)" in turn.answer
    assert ([turn.calls[0].id, turn.calls[-1].id], turn.left_out) == (["c3", "c102"], 3)


async def test_a_turn_from_before_stories_were_kept_is_told_as_far_as_it_goes(store: Store) -> None:
    older = TurnRow(id="t1", owner="ada", graph="assistant", created=1.0, status="finished", base="", text="Yes.")
    await store.turns.add(older)
    (turn,) = await load_timeline(store, "ada", 10, people)
    assert (turn.question, turn.began, turn.ended, turn.answer) == ("", None, 1.0, "Yes.")
