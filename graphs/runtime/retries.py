"""Find the earlier attempt of a request: one that runs still, was stopped, failed, or whose answer did not arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphs.errors import GraphUnavailable
from graphs.events import ApprovalNeeded, Event, QuestionAsked
from graphs.llm.messages import Message
from graphs.nodes.permission import build_pending_approval
from graphs.runtime import approval_text, approvals, questions, restore
from graphs.runtime.conversation import Conversation
from graphs.runtime.departure import Departures
from graphs.runtime.execution import compute_deadline
from graphs.runtime.replay import REPLAY_KEY, list_replayed_calls, replay
from graphs.runtime.turn_request import TurnRequest, identify_request
from graphs.store.store import DEATH_PATIENCE, RETRY_WINDOW, Store
from graphs.store.turns import TurnRow

POLL_SECONDS = 0.05
"""Seconds between two looks at an attempt that has not ended: it may run in another process."""
NOTICE_SECONDS = 0.5
"""Seconds within which it is known everywhere whether a client left, or has its whole answer."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Nothing runs: an answer to this very request ended, and did not arrive."""

    row: TurnRow
    events: Sequence[Event]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The graph goes on with an earlier attempt of this very request, which this caller has taken hold of."""

    row: TurnRow


class _Unsettled(Exception):
    """What becomes of the attempt is not known yet."""


class RetryFinder:
    """Finds what one request goes on with. It counts as a retry where the client says so, by its header or by the
    same idempotency key, or where the earlier answer was not written to its end."""

    def __init__(self, store: Store, request: TurnRequest, conversation: Conversation, departures: Departures) -> None:
        self._store = store
        self._request = request
        self._conversation = conversation
        self._departures = departures
        self._question = (request.owner, *restore.build_turn_key(conversation))
        self._says_so = request.repeats or request.idempotency_key is not None
        """The client says that this may be a retry."""
        self._began = time.monotonic()

    async def find(self) -> Replay | Attempt | approvals.Resume | None:
        """Find the attempt and take it; None where this is no retry. Waits for calls that still run, since their
        results are wanted. Raises GraphUnavailable where that takes too long, and StorageError."""
        request = self._request
        if not request.remembers:
            return None
        if not self._says_so and not self._store.may_have_attempts():
            return None
        patience = compute_deadline(request.served_graph.plan)
        while time.monotonic() - self._began < patience:
            try:
                if self._says_so:
                    self._await_earlier()
                await self._await_decided_turn()
                for row in await self._load_attempts(with_delivered=self._says_so):
                    if (found := await self._try(row)) is not None:
                        return found
            except _Unsettled:
                await asyncio.sleep(POLL_SECONDS)
            else:
                return None
        raise GraphUnavailable("An earlier attempt of this request still runs. Nothing was run by this one; ask later.")

    async def find_told(self) -> list[Message]:
        """Load the tool calls, with their results, of a stopped attempt that the client names otherwise: it asks for
        another answer to the same."""
        request = self._request
        has_names = request.message is not None or request.idempotency_key is not None
        if not request.remembers or not has_names or not self._store.may_have_attempts():
            return []
        for row in await self._load_attempts(with_delivered=False):
            if row.status == "stopped" and row.messages and is_attempt(row, request):
                model = request.served_graph.services.model
                return (await restore.complete_messages(self._store, [row], model))[row.id]
        return []

    async def _load_attempts(self, *, with_delivered: bool) -> Sequence[TurnRow]:
        base, user = restore.build_turn_key(self._conversation)
        rows = await self._store.turns.find_attempts(
            self._request.owner, base, user, self._request.chat, with_delivered=with_delivered
        )
        return [row for row in rows if row.status == "running" or time.time() - row.created < RETRY_WINDOW]

    def _await_earlier(self) -> None:
        if self._departures.has_earlier(self._question, self._request):
            raise _Unsettled

    async def _await_decided_turn(self) -> None:
        """Wait for the turn that goes on from a decision which this message takes once more: as long as it runs, it
        has no row of its own."""
        row = await self._find_decided_turn()
        if row is not None and row.owner == self._request.owner and row.status == "running":
            await self._await_end(row, is_named=self._request.repeats)

    async def _find_decided_turn(self) -> TurnRow | None:
        """Find the turn that waited for what this message decides or answers."""
        request, text = self._request, self._conversation.final_user_text
        turn: str | None = None
        if (reply := approval_text.parse_reply(text) if text is not None else None) is not None:
            entry = await self._store.approvals.get(reply.approval_id)
            turn = entry.turn if entry is not None else None
        elif (panel := request.page.parse_panel_answer(request.messages)) is not None:
            turn = panel.turn
        elif (answer := request.page.parse_question_answer(request.messages)) is not None:
            turn = answer.turn
        elif self._says_so and self._conversation.closed_exchanges:
            found = await restore.find_history(self._store, request, self._conversation)
            row = found.waiting_turn or found.parent
            return row if row is not None and (row.request or {}).get(questions.QUESTION_KEY) is not None else None
        return await self._store.turns.get(turn) if turn is not None else None

    async def _try(self, row: TurnRow) -> Replay | Attempt | approvals.Resume | None:
        """Take hold of that attempt. None: this request has nothing to do with it. Raises _Unsettled."""
        if not self._is_same(row):
            return None
        is_named = self._request.repeats or self._has_same_key(row)
        if row.status == "running":
            await self._await_end(row, is_named=is_named)
            return None
        if REPLAY_KEY in (row.request or {}):
            found = await self._try_replay(row, is_named=is_named)
            return await self._follow_decisions(found) if found is not None and row.status == "waiting" else found
        if not is_named and row.delivered is not False:
            return None
        if not await self._store.take_cut(row):
            raise _Unsettled
        return Attempt(row=row)

    async def _try_replay(self, row: TurnRow, *, is_named: bool) -> Replay | None:
        store = self._store
        has_arrived = row.delivered is True or (row.worker == store.workers.id and store.deliveries.is_noted(row.id))
        if has_arrived and not is_named:
            return None
        if not has_arrived:
            if not is_named and await self._is_alive(row) and not self._is_late:
                raise _Unsettled  # it may arrive just now
            if not await store.take_delivery(row):
                raise _Unsettled
        results = await store.journal.find_outcomes(list_replayed_calls(row))
        return Replay(row=row, events=list(replay(row, results)))

    async def _follow_decisions(self, found: Replay) -> Replay | approvals.Resume:
        """Go on with a turn that waited, where all is decided or answered by now; else ask again for what is not."""
        store = self._store
        question = await questions.find_awaited(store, found.row)
        if question is not None and question.status == "pending":
            return replace(found, events=[QuestionAsked(question.build_pending()), *found.events])
        asked = await approvals.load_turn_approvals(store, found.row)
        pending = tuple(build_pending_approval(entry) for entry in asked.values() if entry.status == "pending")
        if pending:
            return replace(found, events=[ApprovalNeeded(pending), *found.events])
        if not await store.turns.advance(found.row.id, "waiting", status="running", worker=store.workers.id):
            raise _Unsettled
        return approvals.Resume(found.row)

    async def _await_end(self, row: TurnRow, *, is_named: bool) -> None:
        """Return where that turn is not for this request to wait for. Raises _Unsettled."""
        mine = row.worker == self._store.workers.id
        is_awaited = self._departures.is_awaited(row.id) if mine else row.delivered is not False and self._is_late
        if is_awaited and not is_named:
            return
        if await self._is_alive(row):
            raise _Unsettled

    @property
    def _is_late(self) -> bool:
        return time.monotonic() - self._began > NOTICE_SECONDS

    async def _is_alive(self, row: TurnRow) -> bool:
        patience = 0.0 if row.status != "running" or row.delivered is False else DEATH_PATIENCE
        return row.worker is not None and await self._store.workers.is_alive(row.worker, patience)

    def _is_same(self, row: TurnRow) -> bool:
        """Whether that turn was asked for by the same request, whatever the rules were then."""
        mine, theirs = self._request, row.request or {}
        key, other = mine.idempotency_key, theirs.get("idempotency_key")
        return (
            row.message == mine.message
            and is_attempt(row, mine)
            and theirs.get("body") == mine.digest
            and (key is None or other is None or key == other)
        )

    def _has_same_key(self, row: TurnRow) -> bool:
        key = self._request.idempotency_key
        return key is not None and (row.request or {}).get("idempotency_key") == key


def is_attempt(row: TurnRow, request: TurnRequest) -> bool:
    """Whether that turn was begun for the same last message, whatever the rules were then."""
    graph = request.served_graph
    mine: dict[str, Any] = identify_request(request, graph)
    theirs = row.request or {}
    return row.graph == graph.plan.id and all(theirs.get(name) == mine[name] for name in ("model", "asked"))
