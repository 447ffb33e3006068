"""One turn: messages in, events out. A turn runs in a task of its own, can pause, be resumed and be stopped."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from graphs import buttons, decisions, history, replies
from graphs.asking import Answering, Asking, TurnRequest, key_of
from graphs.assemble import Served, steps
from graphs.chatmodel import HOP_HEADER
from graphs.errors import GraphUnavailable, InterlockError
from graphs.events import (
    ApprovalNeeded,
    ClientCall,
    ClientCalls,
    Event,
    Finished,
    FinishReason,
    ModelFinished,
    TextDelta,
    Usage,
)
from graphs.policy import Caller
from graphs.seeing import Seeing, Turn, current_turn
from graphs.state import Context, owed_by_client
from graphs.store import Store, TurnRow, digest_chain

__all__ = ["HOP_HEADER", "Answering", "Run", "Runner", "Turn", "TurnRequest", "current_turn"]

log = logging.getLogger(__name__)

POLL = 0.25
"""Seconds between two looks at an approval that a stream waits for."""

LONGEST_QUESTION = 400
"""Characters of the person's words that are kept with a turn, to tell its owner which one it is."""

Status = Literal["waiting", "finished", "stopped", "failed"]


Allowed = Callable[[str, str | None, Caller], bool]
"""Whether a caller may use a graph, and a LiteLLM model where one was asked for by name."""


class Runner:
    """Starts turns and keeps hold of them until they have ended."""

    def __init__(self, store: Store, graph: Callable[[str], Served | None], allowed: Allowed, seeing: Seeing) -> None:
        self.store = store
        self.seeing = seeing
        self.graph = graph
        self.allowed = allowed
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: TurnRequest) -> Run:
        """Begins a turn at once."""
        run = Run(self, request)
        run.task = self.keep(self.seeing.over(run.seen, run.work), name=f"turn-{run.id}")
        hold(request.served, run.task)
        return run

    def ask_model(self, request: TurnRequest) -> Answering:
        """Asks the model alone: no graph, no tools, nothing kept. For what a chat page asks on its own account."""
        asking = Asking(request)
        asking.task = self.keep(self.seeing.aside(asking.work), name=f"turn-{uuid.uuid4().hex}")
        hold(request.served, asking.task)
        return asking

    def keep(self, work: Coroutine[Any, Any, None], name: str = "") -> asyncio.Task[None]:
        """Runs something to its end even when nobody waits for it."""
        task = asyncio.create_task(work, name=name or None)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stops every turn under way and waits until each is recorded."""
        for task in list(self._tasks):
            if task.get_name().startswith("turn-"):
                task.cancel()
        while self._tasks:
            await asyncio.wait(list(self._tasks))


class Run(Answering):
    """One turn under way."""

    def __init__(self, runner: Runner, request: TurnRequest) -> None:
        super().__init__()
        self.id = uuid.uuid4().hex
        self._seen = runner.seeing.begun(self.id, request.served.plan.id, request.chat)
        self._runner = runner
        self._store = runner.store
        self._request = request
        self._conversation = history.read(request.messages)
        self._texts = [exchange.text for exchange in self._conversation.closed]
        self._users = history.user_digests(self._conversation)
        self._text: list[str] = []
        self._usage = Usage()
        self._reason: FinishReason = "stop"
        self._earlier: Sequence[Mapping[str, Any]] = ()
        self._produced: list[AnyMessage] = []
        self._asked: ApprovalNeeded | None = None
        self._parent: str | None = None
        self._continues: str | None = None
        self._served = request.served
        self._context: Context | None = None
        self._recorded = False
        self._began = time.time()
        self._rounds = 0

    @property
    def seen(self) -> Turn:
        """What is seen of it while it runs."""
        return self._seen

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
        said = self._conversation.said
        if (reply := replies.read(said) if said is not None else None) is not None:
            await self._act(await decisions.by_text(self._store, reply, request.caller, request.owner))
            return
        if (answered := buttons.read(request.messages)) is not None:
            await self._act(await decisions.by_button(self._store, answered, request.caller, request.owner))
            return
        stored: dict[int, Sequence[Mapping[str, Any]]] = {}
        if request.remembers:
            # An answer that waits for the client's results is one more text than the closed exchanges have.
            begun = self._conversation.open
            found = await self._store.turns.find_parents(
                request.owner,
                call_ids=history.client_call_ids(request.messages),
                chat=request.chat,
                parent_message=request.parent_message,
                assistant_texts=[*self._texts, begun.text] if begun else self._texts,
                user_digests=self._users if begun else self._users[:-1],
            )
            stored = {index: row.messages for index, row in found.rows.items()}
            if begun is not None and not history.share_calls(
                request.messages[begun.start : begun.end], stored.get(len(self._texts), ())
            ):
                stored.pop(len(self._texts), None)
            parent = found.parent
            if parent is not None:
                self._parent = parent.id
                if (
                    begun is None
                    and parent.status == "waiting"
                    and self._surely_follows(parent)
                    and await self._store.turns.advance(parent.id, "waiting", status="running")
                ):
                    # Decided elsewhere meanwhile, or not at all: then this message takes its place.
                    await self._store.approvals.supersede_turns([parent.id])
                    await self._resume(parent, addendum=said)
                    return
        woven, begins = history.weave(self._conversation, stored)
        self._earlier = [
            message for message in woven[begins:] if message.get("tool_calls") or message["role"] == "tool"
        ]
        await self._run({"messages": []}, self._context_of(woven, request.model))

    def _surely_follows(self, row: TurnRow) -> bool:
        """Whether this conversation surely goes on with that turn: part of its text is not enough to run its calls."""
        if row.message is not None and row.message == self._request.parent_message:
            return True
        return bool(self._texts) and "".join(row.text.split()) == "".join(self._texts[-1].split()) != ""

    async def _act(self, outcome: decisions.Outcome) -> None:
        match outcome:
            case decisions.Resume(row):
                await self._resume(row, addendum=None)
            case decisions.Still(row, pending, words):
                if self._request.buttons:
                    await self._hand_over((buttons.panel(row.id, pending),), "finished")
                    return
                waiting = "; ".join(
                    f"{entry.tool}: `approve {entry.approval_id}` or `reject {entry.approval_id}`" for entry in pending
                )
                await self._answer(f"{words}. Still to be decided: {waiting}.")
            case decisions.Say(words):
                await self._answer(words)

    async def _resume(self, row: TurnRow, *, addendum: str | None) -> None:
        """Goes on with a turn that waited, whose calls are all decided by now."""
        self._parent = self._continues = row.id
        kept = row.request or {}
        if (problem := await self._turn_to_newest(row.graph, row.thread or row.id, kept.get("model"))) is not None:
            await self._store.approvals.supersede_turns([row.id])
            await self._store.turns.update(row.id, status="finished", request=None)
            await self._answer(problem)
            return
        self._earlier = kept.get("earlier", ())
        context = self._context_of(kept.get("history", ()), kept.get("model"))
        await self._run(
            Command(resume=True), replace(context, thread=row.thread or row.id, addendum=addendum, resumed=True)
        )

    async def _turn_to_newest(self, graph: str, thread: str, model: str | None) -> str | None:
        """What waited goes on with the rules and the graph of now. Why it cannot, in words; None where it can."""
        served = self._runner.graph(graph)
        if served is None:
            return f"The graph {graph!r} is gone, so what waited here cannot go on. Nothing was run."
        if not self._runner.allowed(graph, model, self._request.caller):
            return f"You may not use the graph {graph!r} any more (access.yaml). Nothing was run."
        state = await served.graph.aget_state({"configurable": {"thread_id": thread}})
        if not state.next:
            return (
                f"The graph {graph!r} was changed while this waited, and the node that asked is not in it any more. "
                "Nothing was run."
            )
        if served is not self._served and self.task is not None:
            hold(served, self.task)
        self._served = served
        return None

    def _context_of(self, history: Sequence[Mapping[str, Any]], model: str | None) -> Context:
        request = self._request
        return Context(
            caller=request.caller,
            owner=request.owner,
            turn=self.id,
            thread=self.id,
            history=history,
            model=model,
            params=request.params,
            client_tools=request.tools,
            client_names=frozenset(str(tool["function"]["name"]) for tool in request.tools),
            started=time.time(),
            key=key_of(request),
        )

    async def _run(self, entry: Any, context: Context) -> None:
        """Runs the compiled graph to its end, or to a pause, and ends the answer accordingly."""
        self._context = context
        if not await self._walk(entry, context):
            return
        while (asked := self._asked) is not None and self._request.waits:
            self._asked = None
            self.outbox.put(asked)
            self._take(TextDelta(replies.question(asked), True))
            await self._decided_elsewhere(asked)
            graph = self._served.plan.id
            if (problem := await self._turn_to_newest(graph, context.thread, context.model)) is not None:
                await self._store.approvals.supersede_turns([context.turn])
                self._take(TextDelta(problem, True))
                await self._finish("stopped")
                return
            context = replace(context, resumed=True, started=time.time())
            if not await self._walk(Command(resume=True), context):
                return
        if self._asked is not None:
            await self._pause(self._asked)
        elif owed := owed_by_client({"messages": self._produced}, context):
            calls = tuple(ClientCall(call["id"] or "", call["name"], history.json_text(call["args"])) for call in owed)
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
                entry.status == "pending" for entry in (await self._store.approvals.for_calls(ids)).values()
            ):
                await asyncio.sleep(POLL)
        except asyncio.CancelledError:
            await self._record("waiting")
            raise

    async def _walk(self, entry: Any, context: Context) -> bool:
        """Turns what the graph says into this run's events. False where its time was up and the answer has ended."""
        served = self._served
        config: RunnableConfig = {
            "configurable": {"thread_id": context.thread},
            "recursion_limit": steps(served.plan),
        }
        limit = served.plan.spec.limits.seconds
        try:
            async with asyncio.timeout(limit + min(60.0, max(5.0, limit / 5))):
                parts = cast(
                    "AsyncIterator[tuple[str, Any]]",
                    served.graph.astream(  # pyright: ignore[reportUnknownMemberType]
                        entry, config, context=context, stream_mode=["custom", "values"], durability="async"
                    ),
                )
                async for mode, part in parts:
                    if mode == "custom":
                        self._take(part)
                    else:
                        self._produced = part.get("messages", self._produced)
                        self._rounds = part.get("rounds", self._rounds)
        except TimeoutError:
            self._take(TextDelta(f"_Stopped here: the limit of {limit:g} seconds for one turn is reached._", True))
            await self._finish("stopped")
            return False
        return True

    async def _pause(self, asked: ApprovalNeeded) -> None:
        self.outbox.put(asked)
        if self._request.buttons:
            await self._hand_over((buttons.panel(self.id, asked.pending),), "waiting")
            return
        # The turn waits before anybody can read the id and decide.
        text = self._kept_text(TextDelta(replies.question(asked), True))
        await self._record("waiting")
        self.outbox.put(TextDelta(text))
        self.outbox.put(Finished("stop", self._usage))

    async def _hand_over(self, calls: tuple[ClientCall, ...], status: Status) -> None:
        """Ends this answer with calls that the client is to run."""
        self._reason = "tool_calls"
        await self._record(status)
        self.outbox.put(ClientCalls(calls))
        self.outbox.put(Finished("tool_calls", self._usage))

    def _take(self, event: Event) -> None:
        match event:
            case TextDelta():
                self.outbox.put(TextDelta(self._kept_text(event)))
            case ModelFinished(usage=usage, reason=reason):
                self._usage += usage
                self._reason = reason
                self.outbox.put(event)
            case ApprovalNeeded():
                self._asked = event
            case _:
                self.outbox.put(event)

    def _kept_text(self, event: TextDelta) -> str:
        text = f"\n\n{event.text}" if event.new_paragraph and self._text else event.text
        self._text.append(text)
        return text

    async def _answer(self, text: str) -> None:
        """An answer of our own, without the graph."""
        self._take(TextDelta(text))
        await self._finish("finished")

    async def _finish(self, status: Status) -> None:
        await self._record(status)
        self.outbox.put(Finished("stop" if status != "finished" else self._reason, self._usage))

    async def _record(self, status: Status) -> None:
        """Keeps the turn as a row, before the client can ask for the next one; its thread is not needed any more.

        What is begun here is done to its end, also when the client leaves in the middle of it.
        """
        if self._recorded:
            return
        self._recorded = True
        self._seen.status = status
        await asyncio.shield(self._runner.keep(self._keep(status)))

    async def _keep(self, status: Status) -> None:
        context = self._context
        waiting = status == "waiting"
        request: dict[str, Any] | None = None
        if waiting and context is not None:
            request = {"history": list(context.history), "model": context.model, "earlier": list(self._earlier)}
        # The exchange that this turn goes on with is one answer to the client: its text and its calls belong here too.
        begun = self._conversation.open.text if self._conversation.open else ""
        text = begun + "".join(self._text)
        produced = history.kept(
            self._produced,
            self._served.parts.model,
            unanswered=history.NOT_RUN if waiting else history.CUT_OFF,
            open_names=context.client_names if context else (),
        )
        row = TurnRow(
            id=self.id,
            parent=self._parent,
            owner=self._request.owner,
            chat=self._request.chat,
            message=self._request.message,
            graph=self._served.plan.id,
            created=time.time(),
            status=status,
            base=digest_chain(self._texts)[-1],
            digest=digest_chain([*self._texts, text])[-1],
            text=text,
            user_digest=self._users[-1],
            messages=[*map(dict, self._earlier), *produced],
            thread=context.thread if waiting and context else None,
            request=request,
            story={
                "question": self._conversation.user[:LONGEST_QUESTION],
                "began": self._began,
                "rounds": self._rounds,
                "continues": self._continues,
            },
        )
        cut_off = status in ("stopped", "failed")
        await self._store.turns.add(row)
        if self._continues is not None and self._produced:
            # One of the two rows holds the turn's messages: this one, or, where it was cut off before any text by which
            # a client could lead to it, the one that waited.
            held = row.messages if cut_off and not text else []
            await self._store.turns.update(self._continues, status="continued", messages=held, request=None)
        if cut_off:
            await self._store.approvals.supersede_turns([self.id])
        if context is not None and not waiting:
            await self._store.delete_thread(context.thread)


def hold(served: Served, task: asyncio.Task[None]) -> None:
    """Keeps a graph's services until the task has ended."""
    served.lease.enter()
    task.add_done_callback(lambda _: served.lease.leave())
