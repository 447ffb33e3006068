"""One turn: messages in, events out. A turn runs in a task of its own, can pause, be resumed and be stopped; what a
process left when it died is taken up by the next one that is asked for it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from graphs.errors import GraphUnavailable, InterlockError
from graphs.events import ApprovalNeeded, TextDelta, ToolStarted
from graphs.llm.messages import client_call_ids
from graphs.nodes.state import Context, find_client_calls
from graphs.nodes.tools import build_tool_finished
from graphs.runtime import approval_panel, approval_text, approvals, restore
from graphs.runtime import conversation as history
from graphs.runtime.completion import find_caller_key
from graphs.runtime.replay import list_replayed_calls, replay
from graphs.runtime.restore import RestoredHistory
from graphs.runtime.walk import Walk
from graphs.store.rows import TurnRow

log = logging.getLogger(__name__)

RETRY_WINDOW = 600.0
"""Seconds since a turn's last tool call within which the same request is taken for another attempt of it."""


class Run(Walk):
    """One turn under way."""

    async def work(self) -> None:
        """The whole turn. Stopped or failed, it is recorded with what there was."""
        try:
            await self._turn()
        except asyncio.CancelledError:
            self.outbox.fail(GraphUnavailable("This turn was stopped before its end."))
            await self._record("stopped")
            raise
        except InterlockError as error:
            await self._failed(error)
        except Exception as error:
            log.exception("turn %s failed", self.id)
            await self._failed(error)

    async def _failed(self, error: Exception) -> None:
        try:
            await self._record("failed")
        finally:  # whatever the store does, whoever waits for the answer must be told
            self.outbox.fail(error)

    async def _turn(self) -> None:
        request = self._request
        said = self._conversation.final_user_text
        if await self._replay():
            return
        if (reply := approval_text.parse_reply(said) if said is not None else None) is not None:
            await self._act(await approvals.decide_by_text(self._store, reply, request.caller, request.owner))
            return
        if (answered := approval_panel.parse_panel_answer(request.messages)) is not None:
            await self._act(await approvals.decide_by_panel(self._store, answered, request.caller, request.owner))
            return
        before = await restore.find_history(self._store, request, self._conversation)
        if (parent := before.parent) is not None:
            self._kept.parent = parent.id
            waiting = before.waiting_turn or parent
            if self._conversation.open_exchange is None and self._surely_follows(parent) and await self._hold(waiting):
                # Decided elsewhere meanwhile, or not at all: then this message takes its place.
                await self._store.approvals.supersede_turns([waiting.id])
                await self._resume(waiting, addendum=said)
                return
        woven, self._kept.earlier_messages = await restore.restore_messages(
            self._store, before, self._served.services.model
        )
        context = self._context_of(woven, request.model)
        if (attempt := await self._earlier_attempt(before)) is not None:
            self._kept.take_over(attempt)
            context = replace(context, turn=attempt.id, thread=attempt.thread or attempt.id, resumed=True)
            await self._pick_up(attempt, context, told_before=0)
            return
        await self._run({"messages": []}, context)

    async def _replay(self) -> bool:
        """Says again what was said to this very request by a process that died before the last byte was written."""
        request, store = self._request, self._store
        if not request.remembers or store.workers.is_quiet():
            return False
        base, user = restore.build_turn_key(self._conversation)
        for row in await store.turns.find_undelivered(request.owner, base, user, request.chat):
            if time.time() - row.created > RETRY_WINDOW or not self._kept.is_attempt(row):
                continue
            if await store.take_delivery(row):
                self._kept.take_over(row)
                self._recorded = self._kept.undelivered = True
                self._seen.status = "waiting" if row.status == "waiting" else "finished"
                results = await store.journal.find_outcomes(list_replayed_calls(row))
                for event in replay(row, results):
                    self.outbox.put(event)
                return True
        return False

    async def _hold(self, row: TurnRow) -> bool:
        """Makes this turn the one that goes on with a turn that waits, or with one that went on from its wait in a
        process that died: of several that try, one gets True."""
        if row.status == "waiting":
            return await self._store.turns.advance(row.id, "waiting", status="running", worker=self._store.workers.id)
        return await approvals.take_up(self._store, row)

    async def _earlier_attempt(self, before: RestoredHistory) -> TurnRow | None:
        """A turn that was begun for this very request in a process that died, and that is this process's now."""
        for row in before.attempts:
            if not self._kept.is_attempt(row):
                continue
            known = await self._store.journal.find_outcomes(client_call_ids(row.messages))
            last = max((call.since or 0.0 for call in known.values()), default=row.created)
            if time.time() - last < RETRY_WINDOW and await self._store.take_up(row):
                return row
        return None

    def _surely_follows(self, row: TurnRow) -> bool:
        """Whether this conversation surely goes on with that turn: part of its text is not enough to run its calls."""
        if row.message is not None and row.message == self._request.parent_message:
            return True
        texts = self._conversation.assistant_texts
        return bool(texts) and "".join(row.text.split()) == "".join(texts[-1].split()) != ""

    async def _act(self, outcome: approvals.DecisionOutcome) -> None:
        match outcome:
            case approvals.Resume(row, words):
                if words:
                    self._take(TextDelta(words))
                await self._resume(row, addendum=None)
            case approvals.StillPending(row, pending, words):
                # Whatever the person says next, this answer stands between it and the turn that waits.
                self._kept.parent = row.id
                if not self._request.buttons:
                    waiting = " ".join(f"{entry.tool}: {approval_text.render_instructions(entry)}" for entry in pending)
                    await self._answer(f"{words}. Still to be decided: {waiting}")
                elif (panel := approval_panel.build_panel(row.id, pending)) is not None:
                    await self._hand_over((panel,), "finished", approval_panel.render_preamble(pending))
                else:
                    await self._answer(f"{words}. {approval_text.render_question(ApprovalNeeded(pending))}")
            case approvals.Reply(words):
                await self._answer(words)

    async def _resume(self, row: TurnRow, *, addendum: str | None) -> None:
        """Goes on with a turn that waited, whose calls are all decided by now."""
        self._kept.parent = self._kept.continues = row.id
        kept = row.request or {}
        thread = row.thread or row.id
        waits = row.status == "waiting"
        if (problem := await self._turn_to_newest(row.graph, kept.get("model"), thread if waits else None)) is not None:
            await self._store.approvals.supersede_turns([row.id])
            await self._store.turns.update(row.id, status="finished", request=None)
            await self._answer(problem)
            return
        self._kept.earlier_messages = kept.get("earlier", ())
        context = self._context_of(kept.get("history", ()), kept.get("model"))
        added = None if addendum is None else HumanMessage(addendum, id=f"addendum-{row.id}")
        context = replace(context, thread=thread, addendum=added, resumed=True)
        if waits:
            await self._run(Command(resume=True), context)
        else:
            await self._pick_up(row, context, told_before=kept.get("told", 0))

    async def _pick_up(self, row: TurnRow, context: Context, *, told_before: int) -> None:
        """Goes on, from its last checkpoint, with a turn whose process died.

        What its finished steps said is said again, but for the first `told_before` messages: those stand in an answer
        that the client has.
        """
        config: RunnableConfig = {"configurable": {"thread_id": context.thread}}
        state = await self._served.graph.aget_state(config)
        messages: list[AnyMessage] = state.values.get("messages", [])
        begun = set(client_call_ids(row.messages)) - set(client_call_ids(self._kept.earlier_messages))
        sound = self._kept.has_same_rules(row) and (state.tasks or is_answered(messages, context))
        # Where the checkpoint is older than the last tool call, the model would ask for it once more.
        if not sound or not begun.issubset(client_call_ids(history.collect_tool_calls(messages))):
            await self._begin_again(row, context, told_before=told_before)
            return
        self._produced = messages
        self._tell_again(messages[told_before:])
        if state.tasks:
            await self._run(None, context)
        else:
            self._kept.context = context
            await self._close(context)

    async def _begin_again(self, row: TurnRow, context: Context, *, told_before: int) -> None:
        """The same where the checkpoint cannot be used: it is older than the last tool call, or the rules or the graph
        have changed. The graph begins again, and its model has the tool calls and their results before it."""
        known = set(client_call_ids(self._kept.earlier_messages))
        messages = (await restore.complete_messages(self._store, [row], self._served.services.model))[row.id]
        rest = [
            message
            for message in messages
            if known.isdisjoint([*client_call_ids([message]), str(message.get("tool_call_id"))])
        ]
        if not told_before and (text := self._kept.repeat_text(row)):
            self.outbox.put(TextDelta(text))
        self._kept.earlier_messages = [*self._kept.earlier_messages, *rest]
        added = [] if context.addendum is None else [{"role": "user", "content": context.addendum.text}]
        again = replace(
            context, thread=uuid.uuid4().hex, history=[*context.history, *rest, *added], addendum=None, resumed=False
        )
        await self._run({"messages": []}, again)
        await self._store.delete_thread(context.thread)

    def _tell_again(self, messages: Sequence[AnyMessage]) -> None:
        """What finished steps said and did, for a client that has nothing of it."""
        calls = {
            call["id"]: call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls
        }
        for message in messages:
            if isinstance(message, AIMessage) and message.text:
                self._take(TextDelta(message.text, new_paragraph=True))
            elif isinstance(message, ToolMessage) and (call := calls.get(message.tool_call_id)) is not None:
                people_name = self._served.services.tool_registry.get_people_name(call["name"])
                self._take(ToolStarted(message.tool_call_id, people_name, call["args"]))
                self._take(build_tool_finished(message, people_name))

    def _context_of(self, history: Sequence[Mapping[str, Any]], model: str | None) -> Context:
        request = self._request
        return Context(
            caller=request.caller,
            owner=request.owner,
            verified_user=request.owner if request.remembers else None,
            turn=self.id,
            thread=self.id,
            history=history,
            model=model,
            params=request.params,
            client_tools=request.tools,
            client_names=frozenset(str(tool["function"]["name"]) for tool in request.tools),
            started=time.time(),
            key=find_caller_key(request),
            claims=self._kept,
            token_count=request.token_count,
        )


def is_answered(messages: Sequence[AnyMessage], context: Context) -> bool:
    """Whether these messages of a turn end in an answer, or in calls of the client's own tools."""
    if find_client_calls({"messages": list(messages)}, context):
        return True
    last = messages[-1] if messages else None
    return isinstance(last, AIMessage) and not last.tool_calls and not last.invalid_tool_calls
