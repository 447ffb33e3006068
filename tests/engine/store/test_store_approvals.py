"""Approvals and the journal: decided once, used once, run once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphs.store.approvals import AlreadyDecided, Approval, ApprovalExpired, ApprovalNotFound, generate_approval_id
from graphs.store.digests import compute_call_digest
from graphs.store.store import Store
from graphs.store.tool_journal import Claim

TOOL = "filesystem/write_file"
ARGS = {"path": "/workspace/notes.txt", "content": "hello"}
NOW = 1_000_000.0


def question(id: str = "abcdefgh", call_id: str = "call", **fields: Any) -> Approval:
    approval = Approval(
        id=id,
        turn="turn",
        thread="thread",
        call_id=call_id,
        graph="assistant",
        snapshot="s1",
        tool=TOOL,
        args=ARGS,
        digest=compute_call_digest(TOOL, ARGS),
        rule="role developer, ask 'filesystem/write_file' (access.yaml:12)",
        caller_owner="ada",
        caller="Ada",
        approver="admin",
        created=NOW,
        expires=NOW + 900,
    )
    return replace(approval, **fields)


def claim(call_id: str = "call", args: dict[str, Any] = ARGS, needs_approval: bool = True) -> Claim:
    digest = compute_call_digest(TOOL, args)
    return Claim(
        call_id=call_id, thread="thread", tool=TOOL, digest=digest, needs_approval=needs_approval, now=NOW + 20
    )


async def states(store: Store, claims: Sequence[Claim]) -> dict[str, str]:
    return {call_id: claimed.state for call_id, claimed in (await store.journal.claim(claims)).items()}


def test_an_id_is_short_and_easy_to_type() -> None:
    ids = {generate_approval_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("[a-z2-7]{8}", id) for id in ids)


async def test_a_question_comes_back_as_it_was_asked(store: Store) -> None:
    assert await store.approvals.request([question()]) == (replace(question(), status="expired"),)
    assert await store.approvals.get("abcdefgh", now=NOW) == question()
    assert await store.approvals.get("nothing2", now=NOW) is None
    assert await store.approvals.find_by_calls(["call", "other"], now=NOW) == {"call": question()}


async def test_the_oldest_that_waits_is_found_and_neither_a_decided_nor_an_expired_one(store: Store) -> None:
    assert await store.approvals.find_oldest_wait(now=NOW) == 0
    asked = [
        question(),
        question("bbbbbbbb", "call2", created=NOW + 60),
        question("cccccccc", "call3", created=NOW + 70),
    ]
    await store.approvals.request(asked)
    assert await store.approvals.find_oldest_wait(now=NOW + 100) == 100
    await store.approvals.decide("abcdefgh", "approve", "root", now=NOW + 100)
    assert await store.approvals.find_oldest_wait(now=NOW + 100) == 40
    assert await store.approvals.find_oldest_wait(now=NOW + 900) == 0


async def test_a_call_asked_for_again_keeps_its_first_question(store: Store) -> None:
    await store.approvals.request([question()])
    await store.approvals.decide("abcdefgh", "approve", "root", now=NOW)
    again = await store.approvals.request([question("hgfedcba"), question("bbbbbbbb", "call2")])
    assert [(a.id, a.call_id, a.decided_by) for a in again] == [
        ("abcdefgh", "call", "root"),
        ("bbbbbbbb", "call2", None),
    ]
    assert await store.approvals.get("hgfedcba") is None


async def test_an_id_that_is_taken_is_replaced(store: Store) -> None:
    await store.approvals.request([question("abcdefgh", "call1")])
    (second,) = await store.approvals.request([question("abcdefgh", "call2")])
    assert second.call_id == "call2"
    assert second.id != "abcdefgh"


@pytest.mark.parametrize(("decision", "status"), [("approve", "approved"), ("reject", "rejected")])
async def test_a_decision_is_kept_with_who_and_why(store: Store, decision: Any, status: str) -> None:
    await store.approvals.request([question()])
    decided = await store.approvals.decide("abcdefgh", decision, "root", "looks \ud800 fine\x00", now=NOW + 1)
    assert (decided.status, decided.decided, decided.decided_by) == (status, NOW + 1, "root")
    stored = await store.approvals.get("abcdefgh", now=NOW + 9999)
    assert stored is not None
    assert (stored.status, stored.decided_by, stored.note) == (status, "root", "looks ? fine")


async def test_a_second_decision_is_refused_and_names_the_first(store: Store) -> None:
    await store.approvals.request([question()])
    await store.approvals.decide("abcdefgh", "reject", "root", now=NOW)
    with pytest.raises(AlreadyDecided, match="already rejected by root") as caught:
        await store.approvals.decide("abcdefgh", "approve", "eve", now=NOW)
    assert caught.value.approval.status == "rejected"


async def test_an_unknown_id_is_not_found(store: Store) -> None:
    with pytest.raises(ApprovalNotFound, match="no approval 'abcdefgh'"):
        await store.approvals.decide("abcdefgh", "approve", "root")


async def test_nobody_decides_after_the_time_is_over_not_even_if_the_clock_goes_back(store: Store) -> None:
    await store.approvals.request([question()])
    for now in (NOW + 900, NOW + 1):
        with pytest.raises(ApprovalExpired) as caught:
            await store.approvals.decide("abcdefgh", "approve", "root", now=now)
        assert caught.value.approval.status == "expired"
    assert await states(store, [claim()]) == {"call": "refused"}


async def test_expiry_shows_in_every_reading(store: Store) -> None:
    await store.approvals.request([question(), question("bbbbbbbb", "call2", expires=None)])
    late = NOW + 901
    assert [a.id for a in await store.approvals.list("pending", now=late)] == ["bbbbbbbb"]
    assert [a.id for a in await store.approvals.list("expired", now=late)] == ["abcdefgh"]
    assert {a.id: a.status for a in await store.approvals.list(now=late)} == {
        "abcdefgh": "expired",
        "bbbbbbbb": "pending",
    }
    assert (await store.approvals.find_by_calls(["call"], now=late))["call"].status == "expired"


async def test_the_list_is_newest_first_and_can_be_one_callers(store: Store) -> None:
    await store.approvals.request(
        [
            question("aaaaaaaa", "c1", created=1.0),
            question("bbbbbbbb", "c2", created=3.0),
            question("cccccccc", "c3", created=2.0, caller_owner="bob"),
        ]
    )
    assert [a.id for a in await store.approvals.list(now=NOW)] == ["bbbbbbbb", "cccccccc", "aaaaaaaa"]
    assert [a.id for a in await store.approvals.list("pending", "bob", now=NOW)] == ["cccccccc"]
    assert [a.id for a in await store.approvals.list(limit=1, now=NOW)] == ["bbbbbbbb"]
    assert await store.approvals.list("approved", "ada", now=NOW) == ()


async def test_a_conversation_that_goes_on_supersedes_what_is_pending_and_nothing_else(store: Store) -> None:
    await store.approvals.request(
        [question("aaaaaaaa", "c1"), question("bbbbbbbb", "c2"), question("cccccccc", "c3", expires=NOW + 1)]
    )
    await store.approvals.decide("bbbbbbbb", "approve", "root", now=NOW)
    after = await store.approvals.supersede(["c1", "c2", "c3", "c4"], now=NOW + 2)
    assert {call: a.status for call, a in after.items()} == {"c1": "superseded", "c2": "approved", "c3": "expired"}
    with pytest.raises(AlreadyDecided, match="already superseded"):
        await store.approvals.decide("aaaaaaaa", "approve", "root", now=NOW + 3)
    assert await states(store, [claim("c1")]) == {"c1": "refused"}


async def test_a_call_without_a_question_runs_once(store: Store) -> None:
    assert await states(store, [claim(needs_approval=False)]) == {"call": "claimed"}
    assert await states(store, [claim(needs_approval=False)]) == {"call": "running"}


async def test_a_call_that_ran_gives_its_result_again(store: Store) -> None:
    await store.journal.claim([claim("c1", needs_approval=False), claim("c2", needs_approval=False)])
    await asyncio.gather(
        store.journal.finish("c1", {"text": "one", "big": 2**70}, failed=False),
        store.journal.finish("c2", {"text": "two"}, failed=True),
    )
    await store.journal.finish("c1", {"text": "later"}, failed=True)
    both = await store.journal.claim([claim("c1", needs_approval=False), claim("c2", needs_approval=False)])
    assert both["c1"].state == both["c2"].state == "done"
    assert (both["c1"].result, both["c1"].failed) == ({"text": "one", "big": 2**70}, False)
    assert (both["c2"].result, both["c2"].failed) == ({"text": "two"}, True)


async def test_an_id_that_belongs_to_another_call_is_refused(store: Store) -> None:
    await store.journal.claim([claim(needs_approval=False)])
    assert await states(store, [claim(args={"path": "/etc/passwd"}, needs_approval=False)]) == {"call": "taken"}


async def test_two_claims_with_one_id_are_a_mistake(store: Store) -> None:
    with pytest.raises(ValueError, match="one id"):
        await store.journal.claim([claim(), claim()])


async def test_a_call_that_needs_a_yes_runs_only_with_one(store: Store) -> None:
    assert await states(store, [claim()]) == {"call": "refused"}
    await store.approvals.request([question()])
    assert await states(store, [claim()]) == {"call": "refused"}
    await store.approvals.decide("abcdefgh", "approve", "root", now=NOW)
    assert await states(store, [claim(args={"path": "/workspace/notes.txt", "content": "other"})]) == {
        "call": "refused"
    }
    assert await states(store, [claim()]) == {"call": "claimed"}
    assert await states(store, [claim()]) == {"call": "running"}
    used = await store.approvals.get("abcdefgh")
    assert used is not None
    assert used.used == NOW + 20


async def test_a_rejected_call_never_runs(store: Store) -> None:
    await store.approvals.request([question()])
    await store.approvals.decide("abcdefgh", "reject", "root", now=NOW)
    assert await states(store, [claim()]) == {"call": "refused"}


async def test_a_yes_that_was_used_is_used_up_even_if_the_journal_forgot(store: Store) -> None:
    await store.approvals.request([question()])
    await store.approvals.decide("abcdefgh", "approve", "root", now=NOW)
    await store.journal.claim([claim()])
    assert await store.journal.prune(NOW + 100) == 1
    assert await states(store, [claim()]) == {"call": "refused"}


async def test_of_ten_at_once_one_decides_and_one_runs(store: Store, storage: str, tmp_path: Path) -> None:
    await store.approvals.request([question()])
    others = [await Store.open(storage, tmp_path) for _ in range(3)]
    stores = [store, *others]
    decided = await asyncio.gather(
        *(stores[n % 4].approvals.decide("abcdefgh", "approve", f"p{n}", now=NOW) for n in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(item, Approval) for item in decided) == 1
    assert sum(isinstance(item, AlreadyDecided) for item in decided) == 9
    claimed = await asyncio.gather(*(states(stores[n % 4], [claim()]) for n in range(10)))
    assert sorted(item["call"] for item in claimed) == ["claimed"] + ["running"] * 9
    for other in others:
        await other.close()


async def test_a_cancelled_claim_leaves_the_store_usable(store: Store) -> None:
    task = asyncio.create_task(store.journal.claim([claim("c1", needs_approval=False)]))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):  # SQLite may have been quicker
        await task
    assert await states(store, [claim("c2", needs_approval=False)]) == {"c2": "claimed"}
