"""Running a turn's graph: what it says becomes the answer's events, and how it ends becomes how the turn is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol, cast

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from graphs.errors import ModelError
from graphs.events import (
    ApprovalNeeded,
    ClientCall,
    ClientCalls,
    Event,
    Finished,
    FinishReason,
    ModelFinished,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
)
from graphs.llm.messages import json_text
from graphs.nodes.state import Context, find_client_calls
from graphs.policy.rules import Caller
from graphs.runtime import approval_panel, approval_text, conversation
from graphs.runtime.compiler import ServedGraph, compute_step_limit
from graphs.runtime.completion import Answering, TurnRequest
from graphs.runtime.turn_recorder import TurnOutcome, TurnRecorder
from graphs.store.store import Store
from graphs.telemetry.instrument import Instrumentation, TurnSpan

TURN_ANSWER_FACTOR = 2
"""How many times the longest answer of a model the answer of a turn, with all its rounds, may be."""
POLL_SECONDS = 0.25
"""Seconds between two looks at an approval that a stream waits for."""

MayUse = Callable[[str, str | None, Caller], bool]
"""Whether a caller may use a graph, and a LiteLLM model where one was asked for by name."""


class Home(Protocol):
    """What a turn needs of whoever started it."""

    store: Store
    seeing: Instrumentation
    graph: Callable[[str], ServedGraph | None]
    allowed: MayUse

    def keep(self, work: Coroutine[Any, Any, None], name: str = "") -> asyncio.Task[None]:
        """Runs something to its end even when nobody waits for it."""
        ...


class Walk(Answering):
    """The way of one turn through its graph."""

    def __init__(self, home: Home, request: TurnRequest) -> None:
        super().__init__()
        self._home = home
        self._store = home.store
        self._request = request
        self._conversation = conversation.parse_conversation(request.messages)
        self._kept = TurnRecorder(home.store, request, self._conversation)
        self._usage = TokenUsage()
        self._reason: FinishReason = "stop"
        self._produced: list[AnyMessage] = []
        self._asked: ApprovalNeeded | None = None
        self._recorded = False
        self._calls: tuple[ClientCall, ...] = ()
        self._length = 0
        self._longest = TURN_ANSWER_FACTOR * request.served_graph.services.snapshot.gateway.models.max_answer
        self._seen = home.seeing.begin_turn(self.id, request.served_graph.plan.id, request.chat)

    @property
    def id(self) -> str:
        """Id of the turn's row."""
        return self._kept.id

    @property
    def _served(self) -> ServedGraph:
        return self._kept.served_graph

    @property
    def seen(self) -> TurnSpan:
        """What is seen of it while it runs."""
        return self._seen

    async def _run(self, entry: Any, context: Context) -> None:
        """Runs the compiled graph to its end, or to a pause, and ends the answer accordingly."""
        self._kept.context = context
        if not await self._walk(entry, context):
            return
        while (asked := self._asked) is not None and self._request.waits:
            self._asked = None
            self.outbox.put(asked)
            self._take(TextDelta(approval_text.render_question(asked), True))
            await self._kept.pause(self._produced)
            await self._decided_elsewhere(asked)
            graph = self._served.plan.id
            if (problem := await self._turn_to_newest(graph, context.model, context.thread)) is not None:
                await self._store.approvals.supersede_turns([context.turn])
                self._take(TextDelta(problem, True))
                await self._finish("stopped")
                return
            context = replace(context, resumed=True, started=time.time())
            if not await self._walk(Command(resume=True), context):
                return
        await self._close(context)

    async def _turn_to_newest(self, graph: str, model: str | None, thread: str | None) -> str | None:
        """What waited goes on with the rules and the graph of now. Why it cannot, in words; None where it can.

        `thread`: where it paused.
        """
        served = self._home.graph(graph)
        if served is None:
            return f"The graph {graph!r} is gone, so what waited here cannot go on. Nothing was run."
        if not self._home.allowed(graph, model, self._request.caller):
            return f"You may not use the graph {graph!r} any more (access.yaml). Nothing was run."
        if thread is not None and not (await served.graph.aget_state({"configurable": {"thread_id": thread}})).next:
            return (
                f"The graph {graph!r} was changed while this waited, and the node that asked is not in it any more. "
                "Nothing was run."
            )
        if served is not self._served and self.task is not None:
            hold_services(served, self.task)
        self._kept.served_graph = served
        return None

    async def _close(self, context: Context) -> None:
        """Ends the answer where the graph has come to its end or to a pause."""
        if self._asked is not None:
            await self._pause(self._asked)
        elif owed := find_client_calls({"messages": self._produced}, context):
            calls = tuple(ClientCall(call["id"] or "", call["name"], json_text(call["args"])) for call in owed)
            await self._hand_over(calls, "finished")
        else:
            await self._finish("finished")

    async def _decided_elsewhere(self, asked: ApprovalNeeded) -> None:
        """Waits until none of these is pending. The client leaving meanwhile leaves them pending, in a turn that waits.

        The store is asked again and again: the decision may come to another process.
        """
        ids = [entry.call_id for entry in asked.pending]
        try:
            while any(  # noqa: ASYNC110  the event may happen in another process
                entry.status == "pending" for entry in (await self._store.approvals.find_by_calls(ids)).values()
            ):
                await asyncio.sleep(POLL_SECONDS)
        except asyncio.CancelledError:
            await self._record("waiting")
            raise

    async def _walk(self, entry: Any, context: Context) -> bool:
        """The same as `_step_through`, while which the person's own connections stay open."""
        with self._served.services.tool_registry.hold_open(context.verified_user):
            return await self._step_through(entry, context)

    async def _step_through(self, entry: Any, context: Context) -> bool:
        """Turns what the graph says into this run's events. False where its time was up and the answer has ended."""
        served = self._served
        self._store.checkpoints.hold(context.thread, is_new=not context.resumed)
        config: RunnableConfig = {
            "configurable": {"thread_id": context.thread},
            "recursion_limit": compute_step_limit(served.plan),
        }
        limit = served.plan.spec.limits.seconds
        try:
            async with asyncio.timeout(limit + min(60.0, max(5.0, limit / 5))):
                states = cast(
                    "AsyncIterator[dict[str, Any]]",
                    served.graph.astream(  # pyright: ignore[reportUnknownMemberType]
                        entry,
                        config,
                        context=replace(context, listener=self._take, flow=self.outbox),
                        stream_mode="values",
                        durability="async",
                    ),
                )
                async for state in states:
                    self._produced = state.get("messages", self._produced)
                    self._kept.rounds = state.get("rounds", self._kept.rounds)
        except TimeoutError:
            self._take(TextDelta(f"_Stopped here: the limit of {limit:g} seconds for one turn is reached._", True))
            await self._finish("stopped")
            return False
        return True

    async def _pause(self, asked: ApprovalNeeded) -> None:
        self.outbox.put(asked)
        if self._request.buttons and (panel := approval_panel.build_panel(self.id, asked.pending)) is not None:
            await self._hand_over((panel,), "waiting", approval_panel.render_preamble(asked.pending))
            return
        # The turn waits before anybody can read the id and decide.
        text = self._kept.add_text(TextDelta(approval_text.render_question(asked), True))
        await self._record("waiting")
        self.outbox.put(TextDelta(text))
        self.outbox.put(Finished("stop", self._usage))

    async def _hand_over(self, calls: tuple[ClientCall, ...], status: TurnOutcome, words: str = "") -> None:
        """Ends this answer with calls that the client is to run, and with these words above them."""
        self._reason = "tool_calls"
        self._calls = calls
        text = self._kept.add_text(TextDelta(words, True)) if words else ""
        await self._record(status, "tool_calls")
        if text:
            self.outbox.put(TextDelta(text))
        self.outbox.put(ClientCalls(calls))
        self.outbox.put(Finished("tool_calls", self._usage))

    def _take(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._count(text)
                self.outbox.put(TextDelta(self._kept.add_text(event)))
            case ReasoningDelta(text):
                self._count(text)
                self.outbox.put(event)
            case ModelFinished(usage=usage, reason=reason):
                self._usage += usage
                self._reason = reason
                self.outbox.put(event)
            case ApprovalNeeded():
                self._asked = event
            case _:
                self._kept.script.add(event)
                self.outbox.put(event)

    def _count(self, text: str) -> None:
        """Ends a turn whose rounds together say more than anybody reads. Raises ModelError."""
        self._length += len(text)
        if self._length > self._longest:
            raise ModelError(
                f"The answer of this turn is longer than {self._longest:,} characters, so it was ended there. Where "
                "such answers are meant, raise `models.max_answer` in gateway.yaml.",
                kind="interrupted",
            )

    async def _answer(self, text: str) -> None:
        """An answer of our own, without the graph."""
        self._take(TextDelta(text))
        await self._finish("finished")

    async def _finish(self, status: TurnOutcome) -> None:
        reason = "stop" if status != "finished" else self._reason
        await self._record(status, reason)
        self.outbox.put(Finished(reason, self._usage))

    def delivered(self) -> None:
        """See Answering: from now on the same request is another turn."""
        if self._kept.undelivered:
            self._kept.undelivered = False
            self._store.deliveries.note(self.id)

    async def _record(self, status: TurnOutcome, reason: FinishReason = "stop") -> None:
        """Keeps the turn as a row, before the client can ask for the next one; its thread is not needed any more.

        What is begun here is done to its end, also when the client leaves in the middle of it.
        """
        if self._recorded:
            return
        self._recorded = True
        self._seen.status = status
        script = self._kept.script.close(reason, self._usage, self._calls)
        await asyncio.shield(self._home.keep(self._kept.finish(status, self._produced, script)))


def hold_services(served: ServedGraph, task: asyncio.Task[None]) -> None:
    """Keeps a graph's services until the task has ended."""
    served.in_flight.enter()
    task.add_done_callback(lambda _: served.in_flight.leave())
