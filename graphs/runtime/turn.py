"""One turn: messages in, events out. It runs in a task of its own, can pause, go on and be stopped, and it is recorded
however it ends; what a process left when it died is taken up by the next one that is asked for it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.errors import NodeTimeoutError
from langgraph.types import Command

from graphs.config.graph_plan import GraphPlan
from graphs.errors import GraphUnavailable, InterlockError, NodeFailure
from graphs.events import ApprovalNeeded, ClientCall, Pause, PendingApproval, QuestionAsked, TextDelta, ToolStarted
from graphs.llm.messages import Message
from graphs.nodes.failures import describe_timeout
from graphs.nodes.question import is_question
from graphs.nodes.state import Context, find_client_calls, find_origin
from graphs.nodes.tools import build_tool_finished
from graphs.nodes.values import build_first_state
from graphs.policy.rules import Caller
from graphs.runtime import approval_text, client_results, restore
from graphs.runtime.answer import AnswerWriter
from graphs.runtime.approvals import STATUS_BY_DECISION, Reply, Resume, StillPending
from graphs.runtime.client_results import Continue, Handover, build_handover
from graphs.runtime.compiler import ServedGraph, describe_stop
from graphs.runtime.conversation import parse_conversation
from graphs.runtime.departure import Departure, Departures
from graphs.runtime.event_queue import EventQueue
from graphs.runtime.execution import compute_deadline, stream_states
from graphs.runtime.pauses import build_panel, render_pause, render_preamble, wait_until_settled
from graphs.runtime.pending_tasks import find_vain_tasks
from graphs.runtime.questions import StillAsked
from graphs.runtime.retries import Replay
from graphs.runtime.stale_values import explain_stale_value
from graphs.runtime.tasks import TaskSet
from graphs.runtime.turn_entry import (
    Checkpointed,
    Entry,
    Fresh,
    Recover,
    Restarted,
    begin_afresh,
    choose_entry,
    read_resume_request,
    recover,
)
from graphs.runtime.turn_recorder import TRIAL_KEY, TurnOutcome, TurnPlace, TurnRecord, TurnRecorder
from graphs.runtime.turn_request import TurnRequest, find_caller_key
from graphs.store.store import Store
from graphs.store.tool_journal import Claim, ClaimResult
from graphs.store.turns import TurnRow
from graphs.telemetry.instrument import Instrumentation
from graphs.text import dump_json

log = logging.getLogger(__name__)

TURN_ANSWER_FACTOR = 2
"""How many times the longest answer of a model the answer of a turn, with all its rounds, may be."""

NOTHING_SAID = "_The graph came to its end without a word._"

MayUse = Callable[[str, str | None, Caller], bool]
"""Whether a caller may use a graph, and a LiteLLM model where one was asked for by name."""


@dataclass(frozen=True, kw_only=True)
class TurnServices:
    """What turns need that outlives each of them."""

    store: Store
    instrumentation: Instrumentation
    find_graph: Callable[[str], ServedGraph | None]
    """The graph of this name, as it is served now."""
    may_use: MayUse
    records: TaskSet
    """Writes to the store, which end although their turn is cancelled."""
    departures: Departures = field(default_factory=Departures)


class Turn:
    """One turn under way."""

    def __init__(self, services: TurnServices, request: TurnRequest, events: EventQueue) -> None:
        self._services = services
        self._store = services.store
        self._request = request
        self._events = events
        self._graph = request.served_graph
        self._conversation = parse_conversation(request.messages, request.page)
        self._place = TurnPlace(id=uuid.uuid4().hex, began=time.time())
        self._recorder = TurnRecorder(services.store, request, self._conversation)
        longest = TURN_ANSWER_FACTOR * self._graph.services.snapshot.gateway.models.max_answer
        self._answer = AnswerWriter(events, longest=longest)
        self._context: Context | None = None
        self._messages: Sequence[AnyMessage] = ()
        self._rounds = 0
        self.state: Mapping[str, Any] = {}
        """The graph's state after its latest step."""
        self._pause_for: Pause | None = None
        """What the turn waits for, or waited for last."""
        self._handover: Handover | None = None
        self._is_recorded = False
        self._is_undelivered = False
        self._held_graphs = ExitStack()
        base, asked = restore.build_turn_key(self._conversation)
        # A trial is no earlier attempt of any request.
        self._question = (request.owner, base if request.trial is None else f"trial {self._place.id}", asked)
        grace = self._graph.services.snapshot.gateway.leave_grace
        self._departure = Departure(grace, self._note_departure)
        self.span = services.instrumentation.begin_turn(self._place.id, self._graph.plan.id, request.chat)

    async def run(self) -> None:
        """Run the whole turn. Stopped or failed, it is recorded with what there was."""
        with self._held_graphs, self._services.departures.count(self._question, self._departure, self._request):
            self._held_graphs.enter_context(self._graph.in_flight.hold())
            try:
                await self._start_to_end()
            except asyncio.CancelledError:
                self._answer.fail(GraphUnavailable("This turn was stopped before its end."))
                await self._record("stopped")
                raise
            except InterlockError as error:
                await self._fail(error)
            except Exception as error:
                log.exception("turn %s failed", self._place.id)
                await self._fail(error)
            finally:
                self._departure.end()

    def mark_delivered(self) -> None:
        """Note that the last byte of the answer went to the client: from now on the same request is another turn."""
        if self._is_undelivered:
            self._is_undelivered = False
            self._store.deliveries.note(self._place.id)

    def leave(self, task: asyncio.Task[None]) -> None:
        """Note that the client has left the answer that this task makes. No model call and no tool call begins any
        more; calls that were claimed may end within the grace."""
        if not task.done():
            self._store.note_cut()
            self._departure.leave(task)
        elif self._is_undelivered:
            self._store.note_cut()

    def hold_calls(self) -> AbstractContextManager[None]:
        """Let calls be claimed and run to their end while the block lasts."""
        return self._departure.hold_calls()

    async def pass_gate(self) -> None:
        """Go on where the client is still there; else the turn ends here."""
        await self._departure.pass_gate()

    async def claim(self, calls: Sequence[Claim], messages: Sequence[AnyMessage]) -> Mapping[str, ClaimResult]:
        """Claim tool calls for this turn. See `nodes.state.Claims`. Raises TurnTakenUp."""
        return await self._recorder.claim(calls, replace(self._build_record(), messages=messages))

    async def _start_to_end(self) -> None:
        """Run the turn; a node that cannot do its part ends it in words."""
        try:
            await self._start()
        except NodeFailure as failure:
            await self._finish("finished", describe_stop(str(failure)))
        except NodeTimeoutError as error:
            await self._finish("finished", describe_stop(describe_timeout(error)))

    async def _start(self) -> None:
        self._services.departures.enter(self._place.id, self._departure)
        await self._services.departures.show_closed_sockets(self._question)
        match await self._choose_entry():
            case Fresh() as fresh:
                await self._execute_afresh(self._begin(fresh))
            case Recover(fresh=fresh, row=row) as recovery:
                context = self._begin(fresh, recovered=row)
                self._place = replace(self._place, told=recovery.told)
                added = build_addendum(row, recovery.addendum)
                context = replace(context, thread=row.thread or row.id, addendum=added, resumed=True)
                await self._go_on(row, context, delivered=recovery.told)
            case Continue() as continued:
                await self._continue(continued)
            case Resume() as resume:
                await self._resume(resume)
            case StillPending(row, pending, notice):
                await self._ask_again(row, pending, notice)
            case StillAsked(row, question, notice):
                self._place = replace(self._place, parent=row.id)
                self._answer.announce(QuestionAsked(question))
                await self._finish("finished", notice)
            case Reply(text, parent):
                self._place = replace(self._place, parent=parent)
                await self._finish("finished", text)
            case Replay() as stored:
                self._replay(stored)

    async def _choose_entry(self) -> Entry:
        if self._request.trial is not None:
            return Fresh(parent=None, history=self._conversation.messages, earlier=())
        return await choose_entry(self._store, self._request, self._conversation, self._services.departures)

    def _begin(self, fresh: Fresh, recovered: TurnRow | None = None) -> Context:
        self._place = replace(self._place, parent=fresh.parent, earlier=fresh.earlier)
        if recovered is not None:
            self._place = _take_place(self._place, recovered)
            self._services.departures.enter(recovered.id, self._departure)
        return self._build_context(fresh.history, self._request.model)

    def _replay(self, stored: Replay) -> None:
        """Say again what was said to this very request."""
        self._place = _take_place(self._place, stored.row)
        self._is_recorded = self._is_undelivered = True
        self.span.set_status("waiting" if stored.row.status == "waiting" else "finished")
        self._answer.repeat_all(stored.events)

    async def _ask_again(self, row: TurnRow, pending: tuple[PendingApproval, ...], notice: str) -> None:
        # Whatever the person says next, this answer stands between it and the turn that waits.
        self._place = replace(self._place, parent=row.id)
        self._answer.announce(ApprovalNeeded(pending))
        page, pause, caller = self._request.page, ApprovalNeeded(pending), self._request.caller
        if not self._request.buttons:
            waiting = " ".join(
                f"{entry.tool}: {approval_text.render_instructions(entry, self._request.reader)}" for entry in pending
            )
            await self._finish("finished", f"{notice}. Still to be decided: {waiting}")
        elif (panel := build_panel(pause, row.id, page, caller)) is not None:
            await self._finish("finished", render_preamble(pause, page, caller), (panel,))
        else:
            await self._finish("finished", f"{notice}. {render_pause(pause, self._request.reader)}")

    async def _resume(self, resume: Resume) -> None:
        """Go on with a turn that waited, whose calls are all decided by now."""
        row, kept = resume.row, read_resume_request(resume.row)
        if kept.get(TRIAL_KEY):
            await self._end_trial(row)
            return
        if resume.addendum is not None and await self._is_withdrawn(row):
            await self._store.turns.update(row.id, status="finished", thread=None, request=None)
            await self._store.delete_thread(row.thread or row.id)
            await self._execute_afresh(self._begin(await begin_afresh(self._store, self._request, self._conversation)))
            return
        self._place = replace(self._place, parent=row.id, continues=row.id, told=kept.get("told", 0))
        self._services.departures.enter(row.id, self._departure)
        if resume.notice:
            self._answer.add(TextDelta(resume.notice))
        thread, waits = row.thread or row.id, row.status == "waiting"
        if (
            problem := await self._use_newest_graph(row.graph, kept.get("model"), thread if waits else None)
        ) is not None:
            await self._store.approvals.supersede_turns([row.id])
            await self._store.questions.close_threads([thread])
            await self._store.turns.update(row.id, status="finished", request=None)
            await self._finish("finished", problem)
            return
        self._place = replace(self._place, earlier=kept.get("earlier", ()))
        late = [] if resume.late is None else [{"role": "user", "content": resume.late}]
        context = self._build_context([*kept.get("history", ()), *late], kept.get("model"))
        context = replace(context, thread=thread, addendum=build_addendum(row, resume.addendum), resumed=True)
        if waits:
            self._count_earlier_tokens(kept.get("tokens", 0), context)
            await self._execute(build_resume_entry(self._graph.plan), context)
        else:
            await self._go_on(row, context, delivered=kept.get("told", 0))

    async def _end_trial(self, row: TurnRow) -> None:
        """End a trial whose process died while it waited: whoever decides now is not bound by the role."""
        await self._store.approvals.supersede_turns([row.id])
        await self._store.questions.close_threads([row.thread or row.id])
        await self._store.turns.update(row.id, status="stopped", thread=None, request=None)
        await self._store.delete_thread(row.thread or row.id)
        await self._finish("finished", "This was asked in a trial, which is over. Nothing was run.")

    async def _continue(self, continued: Continue) -> None:
        """Go on with the results of the client's own tools, where the graph was when it called them."""
        row, kept = continued.row, read_resume_request(continued.row)
        self._place = replace(self._place, parent=row.id)
        source = await client_results.read_checkpoint(self._store.checkpoints, continued)
        if source is None:
            await self._execute_afresh(self._begin(await begin_afresh(self._store, self._request, self._conversation)))
            return
        if (problem := client_results.explain_changed_graph(continued, self._graph.plan, source)) is not None:
            await self._finish("finished", problem)
            return
        self._place = replace(self._place, earlier=kept["earlier"], told=kept["told"], is_continued=True)
        await self._continue_from(source, continued, self._build_context(continued.history, self._request.model))

    async def _continue_from(self, source: CheckpointTuple, continued: Continue, context: Context) -> None:
        """Go on from that checkpoint in the thread of this context."""
        self._context = context
        await client_results.copy_checkpoint(self._store.checkpoints, source, context.thread)
        self._count_earlier_tokens(read_resume_request(continued.row)["tokens"], context)
        values = source.checkpoint["channel_values"]
        await self._execute(client_results.build_entry(continued, self._graph.plan, values), context)

    async def _continue_again(self, row: TurnRow, context: Context, later: Sequence[Message]) -> bool:
        """Go on once more where a turn that was cut off went on with results. False where that cannot be."""
        before = await self._store.turns.get(row.parent or "")
        continued = client_results.build_continued(before, self._conversation) if before is not None else None
        if continued is None:
            return False
        source = await client_results.read_checkpoint(self._store.checkpoints, continued)
        if source is None:
            return False
        if (problem := client_results.explain_changed_graph(continued, self._graph.plan, source)) is not None:
            await self._finish("finished", problem)
            return True
        added = [] if context.addendum is None else [{"role": "user", "content": context.addendum.text}]
        again = replace(context, thread=build_further_thread(context.thread), addendum=None, resumed=False)
        await self._continue_from(source, replace(continued, later=[*later, *added]), again)
        return True

    async def _is_withdrawn(self, row: TurnRow) -> bool:
        """Whether that turn has no way on where its person says something else instead of deciding: a graph waits in it
        for a call of its own that nobody has decided, and no `on_error` leads on from there."""
        graph = self._services.find_graph(row.graph)
        if graph is None or not graph.plan.calls_tools:
            return False
        asked = [*(await self._store.approvals.find_by_turn(row.id)).values()]
        if not asked or asked[-1].status in STATUS_BY_DECISION.values():
            return False
        state = await graph.graph.aget_state({"configurable": {"thread_id": row.thread or row.id}})
        plan = graph.plan
        return any(
            each in plan.nodes and plan.nodes[each].role == "caller" and outer not in plan.error_ways
            for name in state.next
            for outer in [name.partition(".")[0]]
            for each in (outer, name)
        )

    async def _go_on(self, row: TurnRow, context: Context, *, delivered: int) -> None:
        """Go on with a turn whose process died. What its finished steps said is said again, but for the first
        `delivered` messages: those stand in an answer that the client has."""
        match await recover(self._store, self._request, self._graph, row, context, self._place.earlier):
            case Checkpointed(values=values, messages=messages, is_over=is_over, tokens=tokens):
                self._messages = messages
                self._count_earlier_tokens(max(tokens, read_resume_request(row).get("tokens", 0)), context)
                self._repeat_steps(messages[delivered:])
                if is_over:
                    self.state, self._context = values, context
                    await self._close(context)
                else:
                    await self._execute(None, context)
            case Restarted(context=again, earlier=earlier, later=later, state=state):
                if not delivered or self._place.is_continued:
                    self._answer.repeat(row.text.removeprefix(self._recorder.earlier_text))
                if self._place.is_continued and await self._continue_again(row, context, later):
                    await self._store.delete_thread(context.thread)
                    return
                self._place = replace(self._place, earlier=earlier)
                await self._execute(state, replace(again, thread=build_further_thread(context.thread)))
                await self._store.delete_thread(context.thread)

    def _repeat_steps(self, messages: Sequence[AnyMessage]) -> None:
        """Repeat what finished steps said and did, for a client that has nothing of it."""
        calls = {
            call["id"]: call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls
        }
        for message in messages:
            if isinstance(message, AIMessage) and message.text and not is_question(message):
                self._answer.add(TextDelta(message.text, new_paragraph=True))
            elif isinstance(message, ToolMessage) and (call := calls.get(message.tool_call_id)) is not None:
                people_name = self._graph.services.tool_registry.get_people_name(call["name"])
                self._answer.add(ToolStarted(message.tool_call_id, people_name, call["args"]))
                self._answer.add(build_tool_finished(message, people_name))

    async def _execute_afresh(self, context: Context) -> None:
        """Run the compiled graph from its start."""
        self._context = context
        await self._execute(build_first_state(self._graph.plan, context), context)

    async def _execute(self, entry: Any, context: Context) -> None:
        """Run the compiled graph to its end, or to a pause, and ends the answer accordingly."""
        self._context = context
        if not await self._run_to_pause(entry, context):
            return
        while self._request.waits and (pause := self._answer.take_pause()) is not None:
            await self._wait_in_stream(pause)
            if (
                problem := await self._use_newest_graph(self._graph.plan.id, context.model, context.thread)
            ) is not None:
                await self._store.approvals.supersede_turns([context.turn])
                await self._store.questions.close_threads([context.thread])
                await self._finish("stopped", problem)
                return
            context = replace(context, resumed=True, started=time.time())
            if not await self._run_to_pause(build_resume_entry(self._graph.plan), context):
                return
        await self._close(context)

    async def _run_to_pause(self, entry: Any, context: Context) -> bool:
        """Run the graph until it ends or somebody has to decide; what waits in vain is withdrawn. False where its time
        was up and the answer has ended."""
        while await self._run_graph(entry, context):
            waiting = self._answer.pause
            if waiting is None or not (vain := await self._find_vain_tasks(context)):
                return True
            self._answer.take_pause()
            if isinstance(waiting, ApprovalNeeded):
                await self._store.approvals.supersede([approval.call_id for approval in waiting.pending])
            await self._store.questions.close_threads([context.thread])
            entry, context = build_resume_entry(self._graph.plan), replace(context, resumed=True, withdrawn=vain)
        return False

    async def _find_vain_tasks(self, context: Context) -> frozenset[str]:
        graph = self._graph
        if not graph.plan.has_groups:
            return frozenset()
        return find_vain_tasks(
            graph.plan, await graph.graph.aget_state({"configurable": {"thread_id": context.thread}})
        )

    def _count_earlier_tokens(self, tokens: int, context: Context) -> None:
        """Begin to count with what was used before, also by tasks whose end is in no state yet."""
        if tokens and self._graph.plan.spec.limits.tokens is not None:
            context.turn_tokens.begin(tokens)

    async def _run_graph(self, entry: Any, context: Context) -> bool:
        """Run steps of the graph until none is left. False where its time was up and the answer has ended."""
        graph = self._graph
        self._store.checkpoints.hold(context.thread, is_new=not context.resumed)
        context = replace(context, listener=self._answer.add, flow=self._events)
        try:
            with graph.services.tool_registry.hold_open(context.verified_user):
                async with asyncio.timeout(compute_deadline(graph.plan)):
                    async for state in stream_states(graph, entry, context):
                        self.state = state
                        self._messages = state.get("messages", self._messages)
                        self._rounds = state.get("rounds", self._rounds)
        except TimeoutError:
            limit = graph.plan.spec.limits.seconds
            await self._finish("stopped", f"_Stopped here: the limit of {limit:g} seconds for one turn is reached._")
            return False
        return True

    async def _wait_in_stream(self, pause: Pause) -> None:
        """Keep the answer open until all is decided. A client that leaves meanwhile leaves a turn that waits."""
        self._pause_for = pause
        self._answer.announce(pause)
        self._answer.add(TextDelta(render_pause(pause, self._request.reader), new_paragraph=True))
        try:
            await self._recorder.pause(self._build_record())
            await wait_until_settled(self._store, pause)
        except asyncio.CancelledError:
            await self._record("waiting" if self._request.trial is None else "stopped")
            raise

    async def _use_newest_graph(self, name: str, model: str | None, thread: str | None) -> str | None:
        """Go on with the rules and the graph of now. Returns why that cannot be, in words; None where it can.

        `thread`: where it paused.
        """
        graph = self._services.find_graph(name)
        if graph is None:
            return f"The graph {name!r} is gone, so what waited here cannot go on. Nothing was run."
        if not self._services.may_use(name, model, self._request.caller):
            return f"You may not use the graph {name!r} any more (access.yaml). Nothing was run."
        if thread is not None:
            snapshot = await graph.graph.aget_state({"configurable": {"thread_id": thread}})
            if not snapshot.next:
                return (
                    f"The graph {name!r} was changed while this waited, and the node that asked is not in it any more. "
                    "Nothing was run."
                )
            if (why := explain_stale_value(graph.plan, snapshot.values)) is not None:
                return why
        if graph is not self._graph:
            self._held_graphs.enter_context(graph.in_flight.hold())
            self._graph = graph
        return None

    async def _close(self, context: Context) -> None:
        """End the answer where the graph has come to its end or to a pause."""
        if (pause := self._answer.take_pause()) is not None:
            await self._pause(pause)
            return
        owed = find_client_calls({"messages": list(self._messages)}, context)
        calls = tuple(ClientCall(call["id"] or "", call["name"], dump_json(call["args"])) for call in owed)
        # A model that is asked to speak always says something, be it a refusal; a graph without one may not.
        is_silent = not self._answer.text and not any(isinstance(message, AIMessage) for message in self._messages)
        self._handover = build_handover(self._graph.plan, self.state, [call["id"] or "" for call in owed])
        await self._finish("finished", NOTHING_SAID if is_silent else "", calls)

    async def _pause(self, pause: Pause) -> None:
        """End the answer with a question; the turn waits."""
        self._pause_for = pause
        self._answer.announce(pause)
        page = self._request.page
        if self._request.buttons and (panel := build_panel(pause, self._place.id, page, self._request.caller)):
            await self._finish("waiting", render_preamble(pause, page, self._request.caller), (panel,))
        else:
            await self._finish("waiting", render_pause(pause, self._request.reader))

    async def _finish(self, outcome: TurnOutcome, text: str = "", calls: tuple[ClientCall, ...] = ()) -> None:
        """Record the turn, then ends its answer with a text and the calls that the client is to run: nobody can read
        the id of an approval, or ask on, before the row is there."""
        text = self._answer.compose(text) if text else ""
        reason = "tool_calls" if calls else self._answer.reason if outcome == "finished" else "stop"
        await self._record(outcome, self._answer.close_script(reason, calls))
        self._answer.end(reason, text, calls)

    async def _fail(self, error: Exception) -> None:
        try:
            await self._record("failed")
        finally:  # whatever the store does, whoever waits for the answer must be told
            self._answer.fail(error)

    async def _record(self, outcome: TurnOutcome, script: Mapping[str, Any] | None = None) -> None:
        """Record the turn, once. What is begun here is done to its end, also when the client leaves in the middle."""
        if self._is_recorded:
            return
        self._is_recorded = True
        self.span.set_status(outcome)
        if outcome == "waiting":
            script = script or self._answer.close_script("stop", ())
        write = self._recorder.finish(self._build_record(), outcome, script)
        self._is_undelivered = await asyncio.shield(self._services.records.start(write))

    def _note_departure(self) -> None:
        """Let a retry know, in any process, that this turn ends as soon as its calls have."""
        self._services.records.start(self._recorder.note_departure(self._place))

    def _build_record(self) -> TurnRecord:
        return TurnRecord(
            place=self._place,
            graph=self._graph,
            context=self._context,
            text=self._answer.text,
            rounds=self._rounds,
            messages=self._messages,
            has_begun=bool(self.state),
            question=self._pause_for.question.question_id if isinstance(self._pause_for, QuestionAsked) else None,
            path=self.span.path.build_record(),
            handover=self._handover,
        )

    def _build_context(self, history: Sequence[Message], model: str | None) -> Context:
        request = self._request
        return Context(
            caller=request.caller,
            owner=request.owner,
            verified_user=request.owner if request.remembers else None,
            turn=self._place.id,
            thread=self._place.id,
            chat=self._request.chat,
            parent=self._place.parent,
            history=history,
            model=model,
            params=request.params,
            client_tools=request.tools,
            client_names=frozenset(str(tool["function"]["name"]) for tool in request.tools),
            started=time.time(),
            key=find_caller_key(request),
            claims=self,
            token_count=request.token_count,
            trial=request.trial,
        )


def build_further_thread(thread: str) -> str:
    """Build the id of the thread in which a turn of this thread begins again: both begin alike (`find_origin`)."""
    return f"{find_origin(thread)}-{uuid.uuid4().hex[:8]}"


def build_resume_entry(plan: GraphPlan) -> Command[Any] | None:
    """Build what a paused graph goes on with. What it is worth, the tables of approvals and questions say; where
    several nodes may wait, LangGraph takes no value for all of them, and goes on from its checkpoint without one."""
    return None if plan.may_wait_twice else Command(resume=True)


def build_addendum(row: TurnRow, text: str | None) -> HumanMessage | None:
    """Build what the person said instead of deciding on the calls of that turn."""
    return None if text is None else HumanMessage(text, id=f"addendum-{row.id}")


def _take_place(place: TurnPlace, row: TurnRow) -> TurnPlace:
    """Return the place of a turn that goes on as that one."""
    began = row.story["began"] if row.story else place.began
    waited = row.story["continues"] if row.story else None
    path = row.story.get("path") if row.story else None
    is_continued = bool(read_resume_request(row).get(client_results.CONTINUED_KEY))
    place = replace(place, id=row.id, began=began, is_recovered=True, waited=waited, earlier_path=path)
    return replace(place, is_continued=is_continued)
