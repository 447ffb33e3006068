"""The worker: who gets a notice after the file changed, what it says of calls without an end, and that it goes on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.notice_receivers import Receiver, smtp_server, wait_until

from graphs.config.loader import Snapshot, load
from graphs.config.spec.notifications import NotificationsSpec
from graphs.notifications import worker
from graphs.notifications.worker import NotificationWorker
from graphs.store.approvals import Approval
from graphs.store.audit.record import AuditEntry
from graphs.store.digests import compute_call_digest
from graphs.store.store import Store
from graphs.store.tool_journal import Claim
from graphs.store.turns import TurnRow
from graphs.telemetry.metrics import Metrics

SECRET = "whsec_" + "A" * 43 + "="
DIGEST = compute_call_digest("files/write", {})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL", 0.05)
    monkeypatch.setattr(worker, "PAUSE", 0.1)
    monkeypatch.setattr(worker, "SWEEP", 0.1)
    monkeypatch.setattr(worker, "GRACE", 0.1)
    monkeypatch.setattr(worker, "WAITS", (0.1,) * len(worker.WAITS))


@pytest.fixture
async def other(store: Store, storage: str, tmp_path: Path) -> AsyncIterator[Store]:
    """The store of another process, which lives until it is closed."""
    other = await Store.open(storage, tmp_path)
    yield other
    await other.close()


class Running:
    """A worker whose file can change."""

    def __init__(self, store: Store, folder: Path, **destinations: Any) -> None:
        self._loaded = load(folder, {})
        self.snapshot = self._loaded
        self._worker = NotificationWorker(store, Metrics(), lambda: self.snapshot)
        self.change(**destinations)

    def change(self, **destinations: Any) -> None:
        self.snapshot = self._build(write_spec(**destinations))

    def _build(self, spec: NotificationsSpec) -> Snapshot:
        gateway = self._loaded.gateway.model_copy(update={"notifications": spec})
        return replace(self._loaded, gateway=gateway)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._worker.run())
        try:
            yield
            assert not task.done(), "it goes on"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def write_spec(**destinations: Any) -> NotificationsSpec:
    values = {"console": "https://interlock.example.com/console", "destinations": destinations}
    return NotificationsSpec.model_validate(values)


def webhook(receiver: Receiver, path: str = "", **more: Any) -> dict[str, Any]:
    return {"webhook": {"url": f"{receiver.url}/{path}", "secret": SECRET}, **more}


def build_approval(**fields: Any) -> Approval:
    now = time.time()
    approval = Approval(
        id="abcdefgh",
        turn="turn",
        thread="thread",
        call_id="call",
        graph="assistant",
        snapshot="s1",
        tool="files/write",
        args={},
        digest=DIGEST,
        rule="role developer",
        caller_owner="ada",
        caller="Ada",
        approver="admin",
        created=now,
        expires=now + 900,
    )
    return replace(approval, **fields)


async def begin_call(store: Store, row: TurnRow | None = None, **fields: Any) -> None:
    """An approved call that was begun long ago, and of which no end is known."""
    approval = build_approval(**fields)
    await store.approvals.request([approval], [])
    await store.approvals.decide(approval.id, "approve", "bob")
    claim = Claim(
        call_id=approval.call_id,
        thread="thread",
        tool="files/write",
        digest=DIGEST,
        needs_approval=True,
        now=time.time() - 1_000,
    )
    assert (await store.journal.claim([claim]))[approval.call_id].state == "claimed"
    if row is not None:
        await store.turns.add(row)


def build_turn(store: Store, **fields: Any) -> TurnRow:
    row = TurnRow(
        id="turn",
        owner="ada",
        graph="assistant",
        created=time.time(),
        status="running",
        base="b",
        thread="thread",
        worker=store.workers.id,
    )
    return replace(row, **fields)


async def test_an_address_that_is_refused_for_now_is_tried_again_alone(store: Store, tmp_path: Path) -> None:
    async with smtp_server() as server:
        server.refusals = {"bob@example.com": ["450 greylisted"]}
        mail = {"host": "localhost", "port": server.port, "tls": "none", "sender": "interlock@example.com"}
        destination = {"mail": {**mail, "to": ["ada@example.com", "bob@example.com"]}}
        running = Running(store, tmp_path, mail=destination)
        async with running.run():
            await store.approvals.request([build_approval()], [], write_spec(mail=destination))
            await wait_until(lambda: len(server.recipients) == 2)
            await asyncio.sleep(0.3)
    assert server.recipients == [["ada@example.com"], ["bob@example.com"]]


@pytest.mark.parametrize("change", [{"path": "elsewhere"}, {"roles": ["operator"]}, {"events": ["approval.failed"]}])
async def test_what_does_not_fit_the_file_any_more_is_not_sent(
    store: Store, tmp_path: Path, receiver: Receiver, change: dict[str, Any]
) -> None:
    await store.approvals.request([build_approval()], [], write_spec(team=webhook(receiver)))
    async with Running(store, tmp_path, team=webhook(receiver, **change)).run():
        await asyncio.sleep(0.5)
        assert await store.notifications.find_due(["team"]) == ()
    assert receiver.requests == []


async def test_an_address_that_was_added_to_a_mail_gets_nothing_from_before(store: Store, tmp_path: Path) -> None:
    async with smtp_server() as server:
        mail = {"host": "localhost", "port": server.port, "tls": "none", "sender": "interlock@example.com"}
        before = {"mail": {**mail, "to": ["ada@example.com"]}}
        await store.approvals.request([build_approval()], [], write_spec(mail=before))
        after = {"mail": {**mail, "to": ["eve@example.com", "ada@example.com"]}}
        async with Running(store, tmp_path, mail=after).run():
            await wait_until(lambda: server.recipients)
    assert server.recipients == [["ada@example.com"]]


@pytest.mark.parametrize("asked_in", ["turn", "resumed"])
async def test_a_call_is_told_as_unknown_once_its_process_is_dead_and_not_before(
    store: Store, other: Store, tmp_path: Path, receiver: Receiver, asked_in: str
) -> None:
    running = Running(store, tmp_path, team=webhook(receiver))
    async with running.run():
        await asyncio.sleep(0.3)
        # A turn that goes on has no row of its own: the one that waited stands for it.
        await begin_call(store, build_turn(other), turn=asked_in)
        await asyncio.sleep(0.5)
        assert receiver.requests == []
        await other.close()
        await receiver.wait_for(1)
        running.change(team=webhook(receiver), new=webhook(receiver, "new"))
        await asyncio.sleep(0.5)
    (got,) = receiver.requests
    assert (got.json["type"], got.json["data"]["outcome"]) == ("approval.failed", "unknown")


async def test_a_new_destination_hears_nothing_of_calls_from_before(
    store: Store, other: Store, tmp_path: Path, receiver: Receiver
) -> None:
    await begin_call(store, build_turn(other))
    await other.close()
    async with Running(store, tmp_path, team=webhook(receiver)).run():
        await asyncio.sleep(0.5)
    assert receiver.requests == []


@pytest.mark.parametrize("turn", [None, {"status": "finished"}, {"status": "waiting"}, {"worker": None}])
async def test_a_call_of_which_no_row_says_that_its_process_died_is_not_told(
    store: Store, other: Store, tmp_path: Path, receiver: Receiver, turn: dict[str, Any] | None
) -> None:
    async with Running(store, tmp_path, team=webhook(receiver)).run():
        await asyncio.sleep(0.3)
        await begin_call(store, None if turn is None else build_turn(other, **turn))
        await other.close()
        await asyncio.sleep(0.5)
    assert receiver.requests == []


async def test_an_end_that_becomes_known_is_told_after_all_and_an_unknown_one_adds_nothing(
    store: Store, other: Store, tmp_path: Path, receiver: Receiver
) -> None:
    spec = write_spec(team=webhook(receiver))
    async with Running(store, tmp_path, team=webhook(receiver)).run():
        await begin_call(store)
        for outcome in ("unknown", "failed", "unknown", "failed"):
            entry = AuditEntry(time=time.time(), kind="call", approval="abcdefgh", outcome=outcome)
            await store.notifications.report_failures(spec, [entry])
        await receiver.wait_for(2)
        await asyncio.sleep(0.3)
    assert sorted(request.json["data"]["outcome"] for request in receiver.requests) == ["failed", "unknown"]


async def test_a_fault_of_its_own_ends_no_worker(
    store: Store, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build, faults = httpx.create_ssl_context, [OSError("no certificates")]

    def fail_once(**options: Any) -> Any:
        if faults:
            raise faults.pop()
        return build(**options)

    monkeypatch.setattr(httpx, "create_ssl_context", fail_once)
    with caplog.at_level(logging.ERROR):
        async with Running(store, tmp_path, team=webhook(receiver)).run():
            await store.approvals.request([build_approval()], [], write_spec(team=webhook(receiver)))
            await receiver.wait_for(1)
    assert "notifications are held up" in caplog.text
    assert "no certificates" in caplog.text
