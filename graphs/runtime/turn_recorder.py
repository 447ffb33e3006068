"""Record a turn: its row, and the messages by which the next turn knows what this one did.

A turn's row is made with its first tool calls, in the same transaction that claims them: from then on another process
can find it, whatever becomes of this one. A turn without tool calls gets its row at its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import AnyMessage, ToolMessage

from graphs.errors import StorageError
from graphs.llm.messages import Message
from graphs.nodes.state import Context
from graphs.runtime.admission import build_token_spend
from graphs.runtime.client_results import CONTINUED_KEY, HANDOVER_KEY, Handover
from graphs.runtime.compiler import ServedGraph
from graphs.runtime.conversation import (
    INTERRUPTED_RESULT,
    UNAPPROVED_RESULT,
    Conversation,
    collect_tool_calls,
    collect_tool_messages,
)
from graphs.runtime.questions import QUESTION_KEY
from graphs.runtime.replay import REPLAY_KEY
from graphs.runtime.turn_request import TurnRequest, identify_request
from graphs.store.batches import Batches
from graphs.store.digests import extend_digest
from graphs.store.store import Store
from graphs.store.tool_journal import MAX_BRIEF_CALLS, Claim, ClaimResult
from graphs.store.turns import TurnEnd, TurnFields, TurnProgress, TurnRow, TurnSummary, TurnTakenUp
from graphs.telemetry.path import PathRecord, join_paths

log = logging.getLogger(__name__)

LONGEST_QUESTION = 400
"""Characters of the person's words that are kept with a turn, to tell its owner which one it is."""

TRIAL_KEY = "trial"
"""The field of a waiting turn's request that says that the turn is a trial."""

TurnOutcome = Literal["waiting", "finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class TurnPlace:
    """Where a turn stands among the turns of its conversation."""

    id: str
    began: float
    """Seconds since the epoch."""
    parent: str | None = None
    """The turn that this one answers after."""
    continues: str | None = None
    """The turn that waited, and that this one goes on with."""
    earlier: Sequence[Message] = ()
    """Tool messages of the exchange that this turn goes on with."""
    is_recovered: bool = False
    """It goes on as a turn whose process died, or whose client left, and that has a row."""
    told: int = 0
    """Messages of it that stand in an answer that the client has."""
    is_continued: bool = False
    """It goes on behind calls that an earlier turn handed to the client."""
    waited: str | None = None
    """The turn that waited, where this one was recovered after it went on with that."""
    earlier_path: PathRecord | None = None
    """The way that it took before its process died, or its client left."""


@dataclass(frozen=True, kw_only=True)
class TurnRecord:
    """A turn as it is at one moment, to be written down."""

    place: TurnPlace
    graph: ServedGraph
    context: Context | None
    """What the graph runs with; None as long as it does not run."""
    text: str
    """What the answer says so far."""
    rounds: int
    """Model calls so far."""
    messages: Sequence[AnyMessage] = field(default=())
    """The turn's own messages so far."""
    has_begun: bool = True
    """Whether a step of the graph is known to have been done."""
    question: str | None = None
    """The id of the question that the turn waits for."""
    path: PathRecord | None = None
    """The way that it took, as far as this process knows."""
    handover: Handover | None = None
    """What is handed to the client where the graph goes on behind it."""


class TurnRecorder:
    """Writer of one turn into the store."""

    def __init__(self, store: Store, request: TurnRequest, conversation: Conversation) -> None:
        self._store = store
        self._request = request
        self._conversation = conversation
        self._has_row = False
        self._has_claimed = False
        """Whether a tool call was claimed."""
        self._may_have_row = False
        """Whoever began to add the row may have been cancelled meanwhile."""
        # Tasks of a `map` claim at the same time, and only the first of them adds the row.
        self._claims = Batches(self._write_claims, most=MAX_BRIEF_CALLS)

    @property
    def earlier_text(self) -> str:
        """What the assistant said in the exchange that this turn goes on with."""
        return self._conversation.open_exchange.text if self._conversation.open_exchange else ""

    async def claim(self, calls: Sequence[Claim], record: TurnRecord) -> Mapping[str, ClaimResult]:
        """Claim tool calls together with the turn's row: by call id, whether to run it. Raises TurnTakenUp."""
        return await self._claims.add((calls, record), *(call.call_id for call in calls))

    async def _write_claims(self, claims: Sequence[tuple[Sequence[Claim], TurnRecord]]) -> Mapping[str, ClaimResult]:
        _, newest = claims[-1]
        progress = self._build_progress(newest)
        self._may_have_row = True
        claimed = await self._store.journal.claim([call for calls, _ in claims for call in calls], progress)
        self._has_claimed = self._has_claimed or any(answer.state == "claimed" for answer in claimed.values())
        self._has_row = self._has_row or self._has_claimed
        return claimed

    async def pause(self, record: TurnRecord) -> None:
        """Note that the turn waits for a decision with its answer left open: should this process die, another can go
        on. Raises TurnTakenUp."""
        if record.place.continues is None:
            progress = self._build_progress(record, self._build_resume_request(record, len(record.messages)))
            self._may_have_row = True
            await self._store.turns.save_progress(progress)
            self._has_row = True
        elif record.context is not None:
            await self._store.checkpoints.save(record.context.thread)

    async def note_departure(self, place: TurnPlace) -> None:
        """Note that the turn's client has left, and that the turn ends as soon as its calls have."""
        try:
            await self._store.turns.leave(place.continues or place.id, self._store.workers.id)
        except StorageError as error:
            log.warning("that the client of turn %s has left could not be noted: %s", place.id, error)

    async def finish(self, record: TurnRecord, outcome: TurnOutcome, script: Mapping[str, Any] | None) -> bool:
        """Record how the turn ended, or that it waits. Its checkpoints are not needed any more once it ended, unless
        its client left in the middle: then a retry goes on from there.

        `script` is what was said, closed, so that it can be said again; None where the answer was cut off. An answer
        without tool calls is not kept for that, since asking the model again does no harm, unless a person was asked.

        Returns:
            Whether the script is kept until the answer is delivered.

        Raises:
            TurnTakenUp: The turn would wait, and another process has taken it up.
        """
        await self._claims.drain()
        place, context, is_waiting = record.place, record.context, outcome == "waiting"
        messages = collect_tool_messages(
            record.messages,
            record.graph.services.model,
            unanswered=UNAPPROVED_RESULT if is_waiting else INTERRUPTED_RESULT,
            open_names=context.client_names if context else (),
        )
        was_cut_off = script is None
        # Calls of the graph itself stand in no message.
        has_calls = self._has_claimed or place.is_recovered or any("tool_calls" in message for message in messages)
        # A person's answer is taken once: asked again, the graph would ask anew.
        is_kept = has_calls or is_waiting or place.continues is not None
        if self._request.trial is not None:
            is_kept = is_waiting
        is_undelivered = script is not None and is_kept
        can_go_on = was_cut_off and is_kept
        request = None
        hands_over = outcome == "finished" and record.handover is not None and self._request.remembers
        if is_waiting or hands_over or (can_go_on and (place.continues or place.waited or place.is_continued)):
            request = self._build_resume_request(record, told=place.told if was_cut_off else len(record.messages))
        if hands_over and request is not None and not place.earlier:
            request["history"] = []  # the client sends it with the results
        if is_kept:
            request = request or identify_request(self._request, record.graph)
        if is_undelivered:
            request = {**(request or {}), REPLAY_KEY: script}
        keeps_checkpoint = is_waiting or hands_over or (can_go_on and outcome == "stopped")
        row = self._build_row(
            record,
            outcome,
            messages,
            thread=context.thread if keeps_checkpoint and context else None,
            request=request,
            delivered=False if is_undelivered or keeps_checkpoint else None,
        )
        left = TurnFields()
        if place.continues is not None and (record.messages or record.has_begun):
            # One of the two rows holds the turn's messages: this one, or, where it was cut off before any text by which
            # a client could lead to it, the one that waited.
            held = row.messages if was_cut_off and not row.text else []
            left = TurnFields(status="continued", messages=held, request=None)
        checkpoints = self._store.checkpoints
        also = None
        if context is not None:
            also = (
                checkpoints.prepare_save(context.thread)
                if keeps_checkpoint
                else checkpoints.prepare_delete(context.thread)
            )
            checkpoints.release(context.thread)
        end = TurnEnd(
            row=row,
            may_exist=self._may_have_row or place.is_recovered,
            continues=place.continues,
            continued_fields=left,
            spend=build_token_spend(self._request.token_count),
            transaction_work=also,
        )
        if not await self._store.turns.end(end):
            # Another process goes on with it, and with its checkpoints.
            if is_waiting:
                raise TurnTakenUp
        elif outcome in ("stopped", "failed"):
            await self._store.approvals.supersede_turns([place.id])
            if context is not None and not keeps_checkpoint:
                await self._store.questions.close_threads([context.thread])
        return is_undelivered

    def _build_progress(self, record: TurnRecord, request: dict[str, Any] | None = None) -> TurnProgress:
        place, context = record.place, record.context
        worker = self._store.workers.id
        made = collect_tool_calls(record.messages)
        also = self._store.checkpoints.prepare_save(context.thread) if context else None
        produced = [message.content for message in record.messages]
        produced += [message.artifact for message in record.messages if isinstance(message, ToolMessage)]
        produced += [message.additional_kwargs for message in record.messages]
        if place.continues is not None:
            # Until this turn ends, the row that waited stands for both: a client can lead to it.
            fields = TurnFields(messages=[*map(dict, place.earlier), *made])
            return TurnProgress(
                id=place.continues, worker=worker, fields=fields, transaction_work=also, checkpoint_values=produced
            )
        thread = context.thread if context else place.id
        asked = request
        if asked is None and place.is_continued:  # the request alone would not lead to where the graph went on
            asked = self._build_resume_request(record, place.told)
        row = self._build_row(
            record, "running", made, thread=thread, request=asked or identify_request(self._request, record.graph)
        )
        fields = TurnFields(text=row.text, messages=row.messages, thread=thread, message=row.message, story=row.story)
        if request is not None:
            fields["request"] = request
        new = None if self._has_row or place.is_recovered else row
        return TurnProgress(
            id=row.id, worker=worker, row=new, fields=fields, transaction_work=also, checkpoint_values=produced
        )

    def _build_row(
        self,
        record: TurnRecord,
        status: Literal["running"] | TurnOutcome,
        messages: Sequence[dict[str, Any]],
        *,
        thread: str | None,
        request: dict[str, Any] | None,
        delivered: bool | None = None,
    ) -> TurnRow:
        place = record.place
        # The exchange that this turn goes on with is one answer to the client: its text and its calls belong here too.
        text = self.earlier_text + record.text
        base = self._conversation.chain[-1]
        digest = "" if status == "running" else extend_digest(base, text)
        if self._request.trial is not None:
            base, digest = f"trial {place.id}", ""  # no history leads to it
        return TurnRow(
            id=place.id,
            parent=place.parent,
            owner=self._request.owner,
            chat=self._request.chat,
            message=self._request.message,
            graph=record.graph.plan.id,
            created=time.time(),
            status=status,
            base=base,
            # What was said so far may have been said in many conversations: no proof that this is the one.
            digest=digest,
            text=text,
            user_digest=self._conversation.user_digests[-1],
            messages=[*map(dict, place.earlier), *messages],
            thread=thread,
            request=request,
            worker=self._store.workers.id,
            delivered=delivered,
            story=self._build_summary(record),
        )

    def _build_summary(self, record: TurnRecord) -> TurnSummary:
        place = record.place
        summary = TurnSummary(
            question=self._conversation.last_user_text[:LONGEST_QUESTION],
            began=place.began,
            rounds=record.rounds,
            continues=place.continues or place.waited,
        )
        if self._request.trial is not None:
            summary["trial"] = self._request.trial.role
        paths = [path for path in (place.earlier_path, record.path) if path is not None and path["steps"]]
        if paths:
            summary["path"] = paths[0] if len(paths) == 1 else join_paths(paths)
        return summary

    def _build_resume_request(self, record: TurnRecord, told: int) -> dict[str, Any] | None:
        """Build what going on needs where the request does not bring it, because it is a decision.

        `told`: how many of the turn's messages stand in an answer that the client has.
        """
        context = record.context
        if context is None:
            return None
        handover = {} if record.handover is None else {HANDOVER_KEY: record.handover}
        return (
            identify_request(self._request, record.graph)
            | handover
            | {
                "tokens": context.turn_tokens.tokens,
                "history": list(context.history),
                "earlier": list(record.place.earlier),
                "model": context.model,
                "addendum": None if context.addendum is None else context.addendum.text,
                "told": told,
                CONTINUED_KEY: record.place.is_continued,
                TRIAL_KEY: self._request.trial is not None,
                QUESTION_KEY: record.question,
            }
        )
