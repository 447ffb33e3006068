"""What is kept of one turn: its row, and the messages by which the next turn knows what this one did.

A turn's row is made with its first tool calls, in the same transaction that claims them: from then on another process
can find it, whatever becomes of this one. A turn without tool calls gets its row at its end.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, Literal

from langchain_core.messages import AnyMessage, ToolMessage

from graphs.events import TextDelta
from graphs.llm.messages import json_text
from graphs.nodes.state import Context
from graphs.runtime import conversation as history
from graphs.runtime.admission import build_token_spend
from graphs.runtime.completion import TurnRequest
from graphs.runtime.replay import REPLAY_KEY, ReplayScript
from graphs.store.digests import extend_digest
from graphs.store.rows import TurnRow, TurnSummary
from graphs.store.store import Store
from graphs.store.tool_journal import Claim, ClaimResult
from graphs.store.turns import TurnEnd, TurnFields, TurnProgress, TurnTakenUp

LONGEST_QUESTION = 400
"""Characters of the person's words that are kept with a turn, to tell its owner which one it is."""

TurnOutcome = Literal["waiting", "finished", "stopped", "failed"]


class TurnRecorder:
    """One turn as it is kept."""

    def __init__(self, store: Store, request: TurnRequest, conversation: history.Conversation) -> None:
        self.id = uuid.uuid4().hex
        self._store = store
        self._request = request
        self._conversation = conversation
        self.parent: str | None = None
        """The turn that this one answers after."""
        self.continues: str | None = None
        """The turn that waited, and that this one goes on with."""
        self.earlier_messages: Sequence[Mapping[str, Any]] = ()
        """Tool messages of the exchange that this turn goes on with."""
        self.context: Context | None = None
        """What the turn runs with; None as long as it does not run."""
        self.served_graph = request.served_graph
        """The graph that it runs."""
        self.rounds = 0
        """Model calls so far."""
        self._started_at = time.time()
        self._text = StringIO()
        self.script = ReplayScript()
        self.undelivered = False
        """Its answer ended, and is to be said again should nobody get it."""
        self._is_repeated = False
        """All of the text is that of an earlier attempt."""
        self._has_row = False
        """The turn has a row."""
        self._may_have_row = False
        """It may have one: whoever began to add it may have been cancelled meanwhile."""

    @property
    def _earlier_text(self) -> str:
        """What the assistant said in the exchange that this turn goes on with."""
        return self._conversation.open_exchange.text if self._conversation.open_exchange else ""

    def add_text(self, event: TextDelta) -> str:
        """The piece as the client gets it: the answer's parts are kept apart."""
        apart = self._text.tell() and (event.new_paragraph or self._is_repeated)
        text = f"\n\n{event.text}" if apart else event.text
        self._is_repeated = False
        self._text.write(text)
        self.script.add_text(text)
        return text

    def repeat_text(self, row: TurnRow) -> str:
        """What an earlier attempt had said when its last tool calls began."""
        text = row.text.removeprefix(self._earlier_text)
        if text:
            self._text.write(text)
            self.script.add_text(text)
            self._is_repeated = True
        return text

    def take_over(self, row: TurnRow) -> None:
        """This turn goes on as one whose process died."""
        self.id = row.id
        self._started_at = row.story["began"] if row.story else self._started_at
        self._has_row = self._may_have_row = True

    def is_attempt(self, row: TurnRow) -> bool:
        """Whether that turn was begun for this very request."""
        request = row.request or {}
        return (
            row.graph == self.served_graph.plan.id
            and request.get("model") == self._request.model
            and request.get("asked") == digest_request(self._request)
        )

    def has_same_rules(self, row: TurnRow) -> bool:
        """Whether the files and the caller's roles are as they were, so that verdicts and steps of that turn hold."""
        return (row.request or {}).get("rules") == self._list_rules()

    async def claim(self, calls: Sequence[Claim], messages: Sequence[AnyMessage]) -> Mapping[str, ClaimResult]:
        """See Claims. Raises TakenUp."""
        progress = self._build_progress(messages)
        self._may_have_row = True
        claimed = await self._store.journal.claim(calls, progress)
        self._has_row = self._has_row or any(answer.state == "claimed" for answer in claimed.values())
        return claimed

    async def pause(self, messages: Sequence[AnyMessage]) -> None:
        """The turn waits for a decision with its answer left open: should this process die, another can go on.
        Raises TakenUp."""
        if self.continues is None:
            progress = self._build_progress(messages, self._build_resume_request(messages))
            self._may_have_row = True
            await self._store.turns.save_progress(progress)
            self._has_row = True
        elif self.context is not None:
            await self._store.checkpoints.save(self.context.thread)

    async def finish(self, outcome: TurnOutcome, produced: Sequence[AnyMessage], script: Mapping[str, Any]) -> None:
        """Keeps how the turn ended, or that it waits. Its checkpoints are not needed any more once it ended.

        `script` is what was said, closed: needed until it is known to have arrived. An answer without tool calls is not
        kept for that, since asking the model again does no harm.

        Raises TakenUp where it would wait and another process has taken it up.
        """
        context, waiting = self.context, outcome == "waiting"
        messages = history.collect_tool_messages(
            produced,
            self.served_graph.services.model,
            unanswered=history.UNAPPROVED_RESULT if waiting else history.INTERRUPTED_RESULT,
            open_names=context.client_names if context else (),
        )
        request = self._build_resume_request(produced) if waiting else None
        self.undelivered = outcome in ("finished", "waiting") and bool(messages)
        if self.undelivered:
            request = {**(request or self._build_retry_request()), REPLAY_KEY: script}
        row = self._build_row(
            outcome,
            messages,
            thread=context.thread if waiting and context else None,
            request=request,
            delivered=False if self.undelivered else None,
        )
        cut_off = outcome in ("stopped", "failed")
        left = TurnFields()
        if self.continues is not None and produced:
            # One of the two rows holds the turn's messages: this one, or, where it was cut off before any text by which
            # a client could lead to it, the one that waited.
            held = row.messages if cut_off and not row.text else []
            left = TurnFields(status="continued", messages=held, request=None)
        checkpoints = self._store.checkpoints
        also = None
        if context is not None:
            also = checkpoints.prepare_save(context.thread) if waiting else checkpoints.prepare_delete(context.thread)
            checkpoints.release(context.thread)
        used = build_token_spend(self._request.token_count)
        ended = TurnEnd(
            row=row,
            may_exist=self._may_have_row,
            continues=self.continues,
            continued_fields=left,
            spend=used,
            transaction_work=also,
        )
        if not await self._store.turns.end(ended):
            # Another process goes on with it, and with its checkpoints.
            if waiting:
                raise TurnTakenUp
            return
        if cut_off:
            await self._store.approvals.supersede_turns([self.id])

    def _build_progress(self, messages: Sequence[AnyMessage], request: dict[str, Any] | None = None) -> TurnProgress:
        worker = self._store.workers.id
        made = history.collect_tool_calls(messages)
        also = self._store.checkpoints.prepare_save(self.context.thread) if self.context else None
        produced = [message.content for message in messages]
        produced += [message.artifact for message in messages if isinstance(message, ToolMessage)]
        if self.continues is not None:
            # Until this turn ends, the row that waited stands for both: a client can lead to it.
            fields = TurnFields(messages=[*map(dict, self.earlier_messages), *made])
            return TurnProgress(
                id=self.continues, worker=worker, fields=fields, transaction_work=also, checkpoint_values=produced
            )
        thread = self.context.thread if self.context else self.id
        row = self._build_row("running", made, thread=thread, request=request or self._build_retry_request())
        fields = TurnFields(text=row.text, messages=row.messages, thread=thread, message=row.message, story=row.story)
        if request is not None:
            fields["request"] = request
        new = None if self._has_row else row
        return TurnProgress(
            id=row.id, worker=worker, row=new, fields=fields, transaction_work=also, checkpoint_values=produced
        )

    def _build_row(
        self,
        status: Literal["running"] | TurnOutcome,
        messages: Sequence[dict[str, Any]],
        *,
        thread: str | None,
        request: dict[str, Any] | None,
        delivered: bool | None = None,
    ) -> TurnRow:
        # The exchange that this turn goes on with is one answer to the client: its text and its calls belong here too.
        text = self._earlier_text + self._text.getvalue()
        base = self._conversation.chain[-1]
        return TurnRow(
            id=self.id,
            parent=self.parent,
            owner=self._request.owner,
            chat=self._request.chat,
            message=self._request.message,
            graph=self.served_graph.plan.id,
            created=time.time(),
            status=status,
            base=base,
            # What was said so far may have been said in many conversations: no proof that this is the one.
            digest="" if status == "running" else extend_digest(base, text),
            text=text,
            user_digest=self._conversation.user_digests[-1],
            messages=[*map(dict, self.earlier_messages), *messages],
            thread=thread,
            request=request,
            worker=self._store.workers.id,
            delivered=delivered,
            story=TurnSummary(
                question=self._conversation.last_user_text[:LONGEST_QUESTION],
                began=self._started_at,
                rounds=self.rounds,
                continues=self.continues,
            ),
        )

    def _build_retry_request(self) -> dict[str, Any]:
        """What tells the request apart; whoever repeats it brings the rest."""
        return {"model": self._request.model, "asked": digest_request(self._request), "rules": self._list_rules()}

    def _list_rules(self) -> list[str]:
        return [self.served_graph.services.snapshot.id, *self._request.caller.roles]

    def _build_resume_request(self, messages: Sequence[AnyMessage]) -> dict[str, Any] | None:
        """What going on needs where the request does not bring it, because it is a decision."""
        if self.context is None:
            return None
        return self._build_retry_request() | {
            "history": list(self.context.history),
            "earlier": list(self.earlier_messages),
            "model": self.context.model,
            "told": len(messages),
        }


def digest_request(request: TurnRequest) -> str:
    """Tells what was asked apart from other questions with the same words: the last message, whole."""
    return hashlib.sha256(json_text(request.messages[-1]).encode()).hexdigest()
