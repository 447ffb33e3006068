"""How a turn begins: afresh, from a decision, from the last checkpoint of an attempt that was cut off, or from a stored
end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage

from graphs.llm.messages import Message, client_call_ids
from graphs.nodes.state import Context, TokenUse, find_client_calls
from graphs.nodes.values import build_first_state
from graphs.runtime import approval_text, approvals, questions, restore
from graphs.runtime.approvals import Reply, Resume, StillPending
from graphs.runtime.client_results import CONTINUED_KEY, Continue, find_continued
from graphs.runtime.compiler import ServedGraph
from graphs.runtime.conversation import Conversation, collect_tool_calls
from graphs.runtime.departure import Departures
from graphs.runtime.pending_tasks import find_used_tokens
from graphs.runtime.question_text import render_question
from graphs.runtime.questions import StillAsked
from graphs.runtime.restore import RestoredHistory
from graphs.runtime.retries import Attempt, Replay, RetryFinder, is_attempt
from graphs.runtime.turn_request import TurnRequest, identify_request
from graphs.store.audit.log import AuditFilter
from graphs.store.store import RETRY_WINDOW, Store
from graphs.store.turns import TurnRow


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """The graph starts."""

    parent: str | None
    """The turn that this one answers after."""
    history: Sequence[Message]
    """The conversation for the model."""
    earlier: Sequence[Message]
    """Tool messages of the exchange that the turn goes on with."""


@dataclass(frozen=True, kw_only=True)
class Recover:
    """The graph goes on with an earlier attempt of this very request, whose process died or whose client left."""

    fresh: Fresh
    row: TurnRow
    told: int = 0
    """Messages of it that stand in an answer that the client has."""
    addendum: str | None = None
    """What the person said instead of deciding on calls of it."""


Entry = Fresh | Recover | Continue | Replay | Resume | StillPending | StillAsked | Reply


async def choose_entry(store: Store, request: TurnRequest, conversation: Conversation, departures: Departures) -> Entry:
    """Find out how a turn begins, and take what it goes on with: of several that try, one gets it.

    Raises StorageError, and GraphUnavailable where an earlier attempt does not end.
    """
    retries = RetryFinder(store, request, conversation, departures)
    match await retries.find():
        case Replay() | Resume() as found:
            return found
        case Attempt(row=row):
            return await _build_recovery(store, request, conversation, row)
        case None:
            pass
    text = conversation.final_user_text
    if (reply := approval_text.parse_reply(text) if text is not None else None) is not None:
        outcome = await approvals.decide_by_text(
            store, reply, request.caller, request.owner, console=request.reader.console
        )
        return await _keep_asking(store, request, conversation, outcome) if isinstance(outcome, Reply) else outcome
    if (answer := request.page.parse_panel_answer(request.messages)) is not None:
        return await approvals.decide_by_panel(
            store, answer, request.page, request.caller, request.owner, console=request.reader.console
        )
    take = partial(_take_waiting, store)
    if (panel := request.page.parse_question_answer(request.messages)) is not None:
        return await questions.answer_by_panel(store, panel, request.page, request.caller, request.owner, take)
    found = await restore.find_history(store, request, conversation)
    if (waiting := await _find_waiting(store, request, conversation, found)) is not None:
        if (question := await questions.find_awaited(store, waiting)) is not None:
            return await questions.answer_by_text(store, waiting, question, text or "", request.caller, take)
        if await take(waiting):
            # Decided elsewhere meanwhile, or not at all: then this message takes its place.
            await store.approvals.supersede_turns([waiting.id])
            return Resume(waiting, addendum=text)
    if (attempt := await _take_attempt(store, request, found)) is not None:
        if read_resume_request(attempt).get(CONTINUED_KEY):
            return await _build_recovery(store, request, conversation, attempt)
        return Recover(fresh=await _build_fresh(store, request, found), row=attempt)
    if request.remembers and not request.served_graph.plan.is_tool_loop:
        graph = request.served_graph.plan.id
        if (continued := await find_continued(store, request.owner, graph, conversation)) is not None:
            kept = read_resume_request(continued.row)
            if kept["earlier"]:  # the graph began in the middle of this exchange
                return replace(continued, history=kept["history"])
            before = await restore.restore_before(store, found, request.served_graph.services.model)
            return replace(continued, history=before)
    fresh = await _build_fresh(store, request, found)
    told = await retries.find_told()
    return replace(fresh, history=[*fresh.history, *told], earlier=[*fresh.earlier, *told]) if told else fresh


async def begin_afresh(store: Store, request: TurnRequest, conversation: Conversation) -> Fresh:
    """Build what a turn of its own begins with, where the turn before it does not go on."""
    return await _build_fresh(store, request, await restore.find_history(store, request, conversation))


async def _build_fresh(store: Store, request: TurnRequest, found: RestoredHistory) -> Fresh:
    history, earlier = await restore.restore_messages(store, found, request.served_graph.services.model)
    return Fresh(parent=found.parent.id if found.parent else None, history=history, earlier=earlier)


async def _build_recovery(store: Store, request: TurnRequest, conversation: Conversation, row: TurnRow) -> Recover:
    """Build what going on with a turn needs that was stopped or failed."""
    kept = read_resume_request(row)
    if "history" not in kept:
        found = await restore.find_history(store, request, conversation)
        return Recover(fresh=await _build_fresh(store, request, found), row=row)
    fresh = Fresh(parent=row.parent, history=kept["history"], earlier=kept["earlier"])
    return Recover(fresh=fresh, row=row, told=kept["told"], addendum=kept["addendum"])


async def _keep_asking(store: Store, request: TurnRequest, conversation: Conversation, reply: Reply) -> Entry:
    """Ask once more what this conversation is asked: words that decide a call are no answer, whatever came of them."""
    found = await restore.find_history(store, request, conversation)
    waiting = await _find_waiting(store, request, conversation, found)
    question = await questions.find_awaited(store, waiting) if waiting is not None else None
    if waiting is None or question is None or question.status != "pending":
        return reply
    pending = question.build_pending()
    return StillAsked(waiting, pending, f"{reply.text}\n\n{render_question(pending)}")


async def _find_waiting(
    store: Store, request: TurnRequest, conversation: Conversation, found: RestoredHistory
) -> TurnRow | None:
    """Find the turn that waits, or that went on from its wait, if this request follows it."""
    parent = found.parent
    if parent is None or conversation.open_exchange is not None or not _surely_follows(request, conversation, parent):
        return None
    row = found.waiting_turn or parent
    if row.status == "continued":
        return await store.turns.find_same_waiting(row)
    return row if row.status in ("waiting", "running") else None


async def _take_waiting(store: Store, row: TurnRow) -> bool:
    """Take hold of a turn that waits, or that went on from its wait in a process that died."""
    if row.status == "waiting":
        return await store.turns.advance(row.id, "waiting", status="running", worker=store.workers.id)
    return await approvals.take_up(store, row)


async def _take_attempt(store: Store, request: TurnRequest, found: RestoredHistory) -> TurnRow | None:
    """Take a turn that was begun for this very request in a process that died."""
    for row in found.attempts:
        if not is_attempt(row, request):
            continue
        outcomes = await store.journal.find_outcomes(client_call_ids(row.messages))
        last = max((call.since or 0.0 for call in outcomes.values()), default=row.created)
        # Calls that the graph made itself stand in no message.
        last = max([last, *(record.time for record in await store.audit.find(AuditFilter(turns=[row.id], limit=1)))])
        if time.time() - last < RETRY_WINDOW and await store.take_up(row):
            return row
    return None


def _surely_follows(request: TurnRequest, conversation: Conversation, row: TurnRow) -> bool:
    """Whether this conversation surely goes on with that turn: part of its text is not enough to run its calls."""
    if row.message is not None and row.message == request.parent_message:
        return True
    texts = conversation.assistant_texts
    return bool(texts) and "".join(row.text.split()) == "".join(texts[-1].split()) != ""


@dataclass(frozen=True, kw_only=True)
class Checkpointed:
    """What the last checkpoint of a turn that was cut off holds, fit to go on from."""

    values: Mapping[str, Any]
    """The graph's state."""
    messages: list[AnyMessage]
    """The turn's own so far."""
    is_over: bool
    """No step is left: only the end of the answer is missing."""
    tokens: int
    """Those that are known to be used."""


@dataclass(frozen=True, kw_only=True)
class Restarted:
    """The graph starts again; its model has the tool calls that were made, and their results, before it."""

    context: Context
    earlier: Sequence[Message]
    later: Sequence[Message]
    """What the turn did before it was cut off: its tool calls with their results."""
    state: Mapping[str, Any]
    """What the turn's state begins with."""


async def recover(
    store: Store, request: TurnRequest, graph: ServedGraph, row: TurnRow, context: Context, earlier: Sequence[Message]
) -> Checkpointed | Restarted:
    """Find out how a turn goes on whose process died or whose client left.

    Its checkpoint serves unless it is older than the last tool call (then the model would ask for it once more), or the
    rules or the graph have changed since. `earlier`: tool messages of the exchange from before that turn.
    """
    state = await graph.graph.aget_state({"configurable": {"thread_id": context.thread}})
    messages: list[AnyMessage] = state.values.get("messages", [])
    made = set(client_call_ids(row.messages)) - set(client_call_ids(earlier))
    has_same_rules = (row.request or {}).get("rules") == identify_request(request, graph)["rules"]
    # A graph with variables may come to its end without a model's answer.
    is_at_end = bool(graph.plan.variables and state.values and not state.next)
    is_sound = has_same_rules and (state.tasks or is_at_end or is_answered(messages, context))
    if is_sound and made.issubset(client_call_ids(collect_tool_calls(messages))):
        tokens = find_used_tokens(state)
        return Checkpointed(values=state.values, messages=messages, is_over=not state.tasks, tokens=tokens)
    return await _restart(store, graph, row, context, earlier, find_used_tokens(state))


async def _restart(
    store: Store,
    graph: ServedGraph,
    row: TurnRow,
    context: Context,
    earlier: Sequence[Message],
    tokens: int,
) -> Restarted:
    stored = (await restore.complete_messages(store, [row], graph.services.model))[row.id]
    before = set(client_call_ids(earlier))
    rest = [
        message
        for message in stored
        if before.isdisjoint([*client_call_ids([message]), str(message.get("tool_call_id"))])
    ]
    added = [] if context.addendum is None else [{"role": "user", "content": context.addendum.text}]
    again = replace(context, history=[*context.history, *rest, *added], addendum=None, resumed=False)
    # What was spent was spent, whatever has to be done anew.
    is_limited = graph.plan.spec.limits.tokens is not None and tokens > 0
    kept = {"token_use": TokenUse(tokens=tokens, has_last_answer=False)} if is_limited else {}
    return Restarted(
        context=again, earlier=[*earlier, *rest], later=rest, state={**build_first_state(graph.plan, again), **kept}
    )


def is_answered(messages: Sequence[AnyMessage], context: Context) -> bool:
    """Whether these messages of a turn end in an answer, or in calls of the client's own tools."""
    if find_client_calls({"messages": list(messages)}, context):
        return True
    last = messages[-1] if messages else None
    return isinstance(last, AIMessage) and not last.tool_calls and not last.invalid_tool_calls


def read_resume_request(row: TurnRow) -> dict[str, Any]:
    """Read what the row of a turn that waits keeps for going on: `history`, `earlier`, `model`, `told`."""
    return row.request or {}
