"""Several processes on one database: they make it together, and no call runs twice."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from graphs.store.approvals import AlreadyDecided, Approval
from graphs.store.audit.record import AuditEntry
from graphs.store.digests import compute_call_digest
from graphs.store.store import Store
from graphs.store.tool_journal import Claim
from graphs.store.turns import TurnRow

PROCESSES = 4
TOOL = "filesystem/write_file"
DIGEST = compute_call_digest(TOOL, {})


def question(number: int) -> Approval:
    return Approval(
        id=f"aaaaaaa{'abcdefghij'[number]}",
        turn="t",
        thread="t",
        call_id=f"call{number}",
        graph="g",
        snapshot="s",
        tool=TOOL,
        args={},
        digest=DIGEST,
        rule="r",
        caller_owner="ada",
        caller="Ada",
        created=1.0,
    )


def claim(call_id: str, needs_approval: bool) -> Claim:
    return Claim(
        call_id=call_id,
        thread="t",
        tool=TOOL,
        digest=DIGEST,
        needs_approval=needs_approval,
        now=2.0,
        record=said(call_id, "allow"),
    )


def said(call_id: str, verdict: str) -> AuditEntry:
    return AuditEntry(time=2.0, kind="decision", call_id=call_id, verdict=verdict, args={"ä": [0.1, None]})


async def work(storage: str, worker: int, start: Callable[[], object]) -> Counter[str]:
    """What one process does, at the same moment as the others: everything that a run does, for the same calls."""
    start()
    store = await Store.open(storage, Path())
    counts: Counter[str] = Counter()

    async def one(number: int) -> None:
        await store.turns.add(
            TurnRow(id=f"{worker}.{number}", owner="ada", graph="g", created=1.0, status="running", base="")
        )
        (asked,) = await store.approvals.request([question(number)], [said(f"call{number}", "ask")])
        try:
            await store.approvals.decide(asked.id, "approve", f"p{worker}")
            counts["decided"] += 1
        except AlreadyDecided:
            counts["too late"] += 1
        for call, needed in ((f"call{number}", True), (f"free{number}", False)):
            claimed = (await store.journal.claim([claim(call, needed)]))[call]
            counts[claimed.state] += 1
            if claimed.state == "claimed":
                end = AuditEntry(time=3.0, kind="call", call_id=call, outcome="ok")
                await store.journal.finish(call, {"by": worker}, failed=False, record=end)
        await store.turns.update(f"{worker}.{number}", status="finished", text="done")
        await store.delete_thread("none")

    await asyncio.gather(*(one(number) for number in range(10)))
    await store.close()
    return counts


start_line: Barrier


def wait_at(barrier: Barrier) -> None:
    global start_line
    start_line = barrier


def run(storage: str, worker: int) -> Counter[str]:
    return asyncio.run(work(storage, worker, start_line.wait))


@pytest.mark.timeout(120)
def test_processes_that_start_at_once_share_one_new_store_and_run_each_call_once(new_storage: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, wait_at, (barrier,)) as pool:
        futures = [pool.submit(run, new_storage, worker) for worker in range(PROCESSES)]
        counts = sum((future.result(timeout=100) for future in futures), Counter[str]())
    assert counts["decided"] == 10
    assert counts["too late"] == 10 * (PROCESSES - 1)
    assert counts["claimed"] == 20
    assert counts["running"] + counts["done"] == 20 * (PROCESSES - 1)
    assert counts["refused"] == 0
    assert asyncio.run(finished(new_storage)) == 10 * PROCESSES
    # 10 questions, 10 approvals, 20 claims, 20 results: in one chain, whoever wrote them.
    assert asyncio.run(recorded(new_storage)) == (60, None)


async def recorded(storage: str) -> tuple[int, object]:
    store = await Store.open(storage, Path())
    found = await store.audit.verify()
    await store.close()
    return found.records, found.flaw


async def finished(storage: str) -> int:
    store = await Store.open(storage, Path())
    rows = [await store.turns.get(f"{worker}.{number}") for worker in range(PROCESSES) for number in range(10)]
    await store.close()
    return sum(row is not None and row.status == "finished" for row in rows)
