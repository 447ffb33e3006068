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
from graphs.runtime.admission import spent
from graphs.runtime.completion import TurnRequest
from graphs.runtime.replay import KEY, Script
from graphs.store.digests import extend_digest
from graphs.store.rows import Story, TurnRow
from graphs.store.store import Store
from graphs.store.tool_journal import Claim, Claimed
from graphs.store.turns import Ended, Progress, TakenUp, TurnFields

LONGEST_QUESTION = 400
"""Characters of the person's words that are kept with a turn, to tell its owner which one it is."""

Outcome = Literal["waiting", "finished", "stopped", "failed"]


class Record:
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
        self.earlier: Sequence[Mapping[str, Any]] = ()
        """Tool messages of the exchange that this turn goes on with."""
        self.context: Context | None = None
        """What the turn runs with; None as long as it does not run."""
        self.served = request.served
        """The graph that it runs."""
        self.rounds = 0
        """Model calls so far."""
        self._began = time.time()
        self._text = StringIO()
        self.script = Script()
        self.undelivered = False
        """Its answer ended, and is to be said again should nobody get it."""
        self._told_again = False
        """All of the text is that of an earlier attempt."""
        self._added = False
        """The turn has a row."""
        self._adding = False
        """It may have one: whoever began to add it may have been cancelled meanwhile."""

    @property
    def _begun(self) -> str:
        """What the assistant said in the exchange that this turn goes on with."""
        return self._conversation.open.text if self._conversation.open else ""

    def say(self, event: TextDelta) -> str:
        """The piece as the client gets it: the answer's parts are kept apart."""
        apart = self._text.tell() and (event.new_paragraph or self._told_again)
        text = f"\n\n{event.text}" if apart else event.text
        self._told_again = False
        self._text.write(text)
        self.script.add_text(text)
        return text

    def say_again(self, row: TurnRow) -> str:
        """What an earlier attempt had said when its last tool calls began."""
        text = row.text.removeprefix(self._begun)
        if text:
            self._text.write(text)
            self.script.add_text(text)
            self._told_again = True
        return text

    def take_over(self, row: TurnRow) -> None:
        """This turn goes on as one whose process died."""
        self.id = row.id
        self._began = row.story["began"] if row.story else self._began
        self._added = self._adding = True

    def is_attempt(self, row: TurnRow) -> bool:
        """Whether that turn was begun for this very request."""
        request = row.request or {}
        return (
            row.graph == self.served.plan.id
            and request.get("model") == self._request.model
            and request.get("asked") == asked_digest(self._request)
        )

    def under_same_rules(self, row: TurnRow) -> bool:
        """Whether the files and the caller's roles are as they were, so that verdicts and steps of that turn hold."""
        return (row.request or {}).get("rules") == self._rules()

    async def claim(self, calls: Sequence[Claim], messages: Sequence[AnyMessage]) -> Mapping[str, Claimed]:
        """See Claims. Raises TakenUp."""
        progress = self._progress(messages)
        self._adding = True
        claimed = await self._store.journal.claim(calls, progress)
        self._added = self._added or any(answer.state == "claimed" for answer in claimed.values())
        return claimed

    async def waits(self, messages: Sequence[AnyMessage]) -> None:
        """The turn waits for a decision with its answer left open: should this process die, another can go on.
        Raises TakenUp."""
        if self.continues is None:
            progress = self._progress(messages, self._for_resuming(messages))
            self._adding = True
            await self._store.turns.progress(progress)
            self._added = True
        elif self.context is not None:
            await self._store.checkpoints.save(self.context.thread)

    async def end(self, outcome: Outcome, produced: Sequence[AnyMessage], script: Mapping[str, Any]) -> None:
        """Keeps how the turn ended, or that it waits. Its checkpoints are not needed any more once it ended.

        `script` is what was said, closed: needed until it is known to have arrived. An answer without tool calls is not
        kept for that, since asking the model again does no harm.

        Raises TakenUp where it would wait and another process has taken it up.
        """
        context, waiting = self.context, outcome == "waiting"
        messages = history.kept(
            produced,
            self.served.parts.model,
            unanswered=history.NOT_RUN if waiting else history.CUT_OFF,
            open_names=context.client_names if context else (),
        )
        request = self._for_resuming(produced) if waiting else None
        self.undelivered = outcome in ("finished", "waiting") and bool(messages)
        if self.undelivered:
            request = {**(request or self._for_retrying()), KEY: script}
        row = self._row(
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
            also = checkpoints.unsaved(context.thread) if waiting else checkpoints.forgotten(context.thread)
            checkpoints.release(context.thread)
        used = spent(self._request.tally)
        ended = Ended(row=row, begun=self._adding, continues=self.continues, left=left, spent=used, also=also)
        if not await self._store.turns.end(ended):
            # Another process goes on with it, and with its checkpoints.
            if waiting:
                raise TakenUp
            return
        if cut_off:
            await self._store.approvals.supersede_turns([self.id])

    def _progress(self, messages: Sequence[AnyMessage], request: dict[str, Any] | None = None) -> Progress:
        worker = self._store.workers.id
        made = history.calls_made(messages)
        also = self._store.checkpoints.unsaved(self.context.thread) if self.context else None
        produced = [message.content for message in messages]
        produced += [message.artifact for message in messages if isinstance(message, ToolMessage)]
        if self.continues is not None:
            # Until this turn ends, the row that waited stands for both: a client can lead to it.
            fields = TurnFields(messages=[*map(dict, self.earlier), *made])
            return Progress(id=self.continues, worker=worker, fields=fields, also=also, produced=produced)
        thread = self.context.thread if self.context else self.id
        row = self._row("running", made, thread=thread, request=request or self._for_retrying())
        fields = TurnFields(text=row.text, messages=row.messages, thread=thread, message=row.message, story=row.story)
        if request is not None:
            fields["request"] = request
        new = None if self._added else row
        return Progress(id=row.id, worker=worker, row=new, fields=fields, also=also, produced=produced)

    def _row(
        self,
        status: Literal["running"] | Outcome,
        messages: Sequence[dict[str, Any]],
        *,
        thread: str | None,
        request: dict[str, Any] | None,
        delivered: bool | None = None,
    ) -> TurnRow:
        # The exchange that this turn goes on with is one answer to the client: its text and its calls belong here too.
        text = self._begun + self._text.getvalue()
        base = self._conversation.chain[-1]
        return TurnRow(
            id=self.id,
            parent=self.parent,
            owner=self._request.owner,
            chat=self._request.chat,
            message=self._request.message,
            graph=self.served.plan.id,
            created=time.time(),
            status=status,
            base=base,
            # What was said so far may have been said in many conversations: no proof that this is the one.
            digest="" if status == "running" else extend_digest(base, text),
            text=text,
            user_digest=self._conversation.users[-1],
            messages=[*map(dict, self.earlier), *messages],
            thread=thread,
            request=request,
            worker=self._store.workers.id,
            delivered=delivered,
            story=Story(
                question=self._conversation.user[:LONGEST_QUESTION],
                began=self._began,
                rounds=self.rounds,
                continues=self.continues,
            ),
        )

    def _for_retrying(self) -> dict[str, Any]:
        """What tells the request apart; whoever repeats it brings the rest."""
        return {"model": self._request.model, "asked": asked_digest(self._request), "rules": self._rules()}

    def _rules(self) -> list[str]:
        return [self.served.parts.snapshot.id, *self._request.caller.roles]

    def _for_resuming(self, messages: Sequence[AnyMessage]) -> dict[str, Any] | None:
        """What going on needs where the request does not bring it, because it is a decision."""
        if self.context is None:
            return None
        return self._for_retrying() | {
            "history": list(self.context.history),
            "earlier": list(self.earlier),
            "model": self.context.model,
            "told": len(messages),
        }


def asked_digest(request: TurnRequest) -> str:
    """Tells what was asked apart from other questions with the same words: the last message, whole."""
    return hashlib.sha256(json_text(request.messages[-1]).encode()).hexdigest()
