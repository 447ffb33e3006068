"""One turn: messages in, events out. A turn runs in a task of its own, can pause, be resumed and be stopped."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from graphs import history, replies
from graphs.assemble import Served, steps
from graphs.errors import InterlockError
from graphs.events import ApprovalNeeded, Event, Finished, FinishReason, ModelFinished, TextDelta, Usage
from graphs.outbox import Outbox
from graphs.policy import Caller
from graphs.state import Context
from graphs.store import AlreadyDecided, Approval, Expired, Store, TurnRow, digest_chain

log = logging.getLogger(__name__)

Status = Literal["waiting", "finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """A turn as it was asked for."""

    served: Served
    caller: Caller
    owner: str
    """Whose conversations may be continued."""
    remembers: bool = True
    """False where many people share the owner and nobody says who asks: then nothing is restored."""
    messages: Sequence[Mapping[str, Any]]
    """The client's OpenAI messages, the newest last."""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model: str | None = None
    """The LiteLLM model asked for by name; None for a graph."""
    chat: str | None = None
    message: str | None = None
    """The client's id for the answer to come."""
    parent_message: str | None = None
    """The client's id of the answer that this message follows."""


class Runner:
    """Starts turns and keeps hold of them until they have ended."""

    def __init__(self, store: Store, graph: Callable[[str], Served | None]) -> None:
        self.store = store
        self.graph = graph
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: TurnRequest) -> Run:
        """Begins a turn at once."""
        run = Run(self, request)
        run.task = self.keep(run.work())
        return run

    def keep(self, work: Any) -> asyncio.Task[None]:
        """Runs something to its end even when nobody waits for it."""
        task: asyncio.Task[None] = asyncio.create_task(work)
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


class Run:
    """One turn under way."""

    def __init__(self, runner: Runner, request: TurnRequest) -> None:
        self.id = uuid.uuid4().hex
        self.outbox = Outbox()
        self.task: asyncio.Task[None] | None = None
        self._runner = runner
        self._store = runner.store
        self._request = request
        self._answers = history.answers(request.messages)
        texts = [history.text_of(request.messages[index]) for index in self._answers]
        self._texts = texts
        self._base = digest_chain(texts)[-1]
        self._users = history.user_digests(request.messages)
        self._text: list[str] = []
        self._usage = Usage()
        self._reason: FinishReason = "stop"
        self._produced: list[AnyMessage] = []
        self._asked: ApprovalNeeded | None = None
        self._parent: str | None = None
        self._continues: str | None = None
        self._served = request.served
        self._context: Context | None = None
        self._recorded = False

    def stop(self) -> None:
        """The client left: cancels the model's stream, the tools and the rest, and records what there was."""
        if self.task is not None:
            self.task.cancel()

    async def work(self) -> None:
        """The whole turn. Its events, or its error, are in the outbox."""
        task = asyncio.current_task()
        if task is not None:
            task.set_name(f"turn-{self.id}")
        try:
            await self._turn()
        except asyncio.CancelledError:
            await self._record("stopped")
            raise
        except InterlockError as error:
            await self._record("failed")
            self.outbox.fail(error)
        except Exception as error:
            log.exception("turn %s failed", self.id)
            await self._record("failed")
            self.outbox.fail(error)

    async def _turn(self) -> None:
        request = self._request
        said = history.last_user_text(request.messages)
        reply = replies.read(said) if said is not None else None
        if reply is not None:
            await self._decided_by_text(reply)
            return
        restored: dict[int, TurnRow] = {}
        if request.remembers:
            found = await self._store.turns.find_parents(
                request.owner,
                call_ids=history.client_call_ids(request.messages),
                chat=request.chat,
                parent_message=request.parent_message,
                assistant_texts=self._texts,
                user_digests=self._users[:-1],
            )
            restored = {self._answers[index]: row for index, row in found.rows.items()}
            self._parent = found.parent.id if found.parent else None
            if found.parent is not None and found.parent.status == "waiting":
                row = found.parent
                if await self._store.turns.advance(row.id, "waiting", status="running"):
                    await self._store.approvals.supersede_turns([row.id])
                    await self._resume(row, addendum=said)
                    return
        await self._run(
            {"messages": []},
            Context(
                caller=request.caller,
                owner=request.owner,
                turn=self.id,
                thread=self.id,
                history=history.weave(request.messages, {index: row.messages for index, row in restored.items()}),
                model=request.model,
                params=request.params,
                started=time.time(),
            ),
        )

    async def _decided_by_text(self, reply: replies.Reply) -> None:
        """A message that is nothing but `approve ID` or `reject ID`."""
        approvals = self._store.approvals
        caller, owner = self._request.caller, self._request.owner
        entry = await approvals.get(reply.approval_id)
        if entry is None or not may_decide(entry, caller, owner):
            # The same words for an id that does not exist: nobody learns what others are asked.
            await self._answer(
                f"Nothing that you may decide waits under the id `{reply.approval_id}`. Nothing was run."
            )
            return
        if entry.approver is not None and caller.role != entry.approver:
            await self._answer(
                f"Only the role {entry.approver} may decide `{entry.id}`. It still waits; nothing was run."
            )
            return
        try:
            entry = await approvals.decide(entry.id, reply.decision, by=caller.user, now=time.time())
        except (AlreadyDecided, Expired) as error:
            await self._answer(f"{error} Nothing was run by this message.")
            return
        if entry.caller_owner != owner:
            await self._answer(f"`{entry.id}` is {entry.status}. It takes effect when {entry.caller} goes on.")
            return
        row = await self._store.turns.get(entry.turn)
        if row is None:
            await self._answer(f"`{entry.id}` is {entry.status}, but its conversation is gone. Nothing was run.")
            return
        others = await approvals.for_calls(history.client_call_ids(row.messages))
        open_ones = [other for other in others.values() if other.status == "pending"]
        if open_ones:
            waiting = "; ".join(f"{other.tool}: `approve {other.id}` or `reject {other.id}`" for other in open_ones)
            await self._answer(f"`{entry.id}` is {entry.status}. Still to be decided: {waiting}.")
            return
        if not await self._store.turns.advance(row.id, "waiting", status="running"):
            await self._answer(f"`{entry.id}` is {entry.status}, and its turn has already gone on.")
            return
        await self._resume(row, addendum=None)

    async def _resume(self, row: TurnRow, *, addendum: str | None) -> None:
        """Goes on with a turn that waited, whose calls are all decided by now."""
        self._parent = row.id
        self._continues = row.id
        served = self._runner.graph(row.graph)
        kept = row.request or {}
        if served is None:
            await self._answer(f"The graph {row.graph!r} is gone, so what waited here cannot go on. Nothing was run.")
            return
        self._served = served
        await self._run(
            Command(resume=True),
            Context(
                caller=self._request.caller,
                owner=self._request.owner,
                turn=self.id,
                thread=row.thread or row.id,
                history=cast("Sequence[Mapping[str, Any]]", kept.get("history", ())),
                model=kept.get("model"),
                params=self._request.params,
                addendum=addendum,
                started=time.time(),
                resumed=True,
            ),
        )

    async def _run(self, entry: Any, context: Context) -> None:
        """Runs the compiled graph and turns what it says into this run's events."""
        self._context = context
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
        except TimeoutError:
            self._take(TextDelta(f"_Stopped here: the limit of {limit:g} seconds for one turn is reached._", True))
            await self._finish("stopped")
            return
        if self._asked is not None:
            self.outbox.put(self._asked)
            self._take(TextDelta(replies.question(self._asked), True))
            await self._finish("waiting")
        else:
            await self._finish("finished")

    def _take(self, event: Event) -> None:
        match event:
            case TextDelta(text, new_paragraph):
                if new_paragraph and self._text:
                    text = f"\n\n{text}"
                self._text.append(text)
                self.outbox.put(TextDelta(text))
            case ModelFinished(usage=usage, reason=reason):
                self._usage += usage
                self._reason = reason
                self.outbox.put(event)
            case ApprovalNeeded():
                self._asked = event
            case _:
                self.outbox.put(event)

    async def _answer(self, text: str) -> None:
        """An answer of our own, without the graph."""
        self._take(TextDelta(text))
        await self._finish("finished")

    async def _finish(self, status: Status) -> None:
        await self._record(status)
        self.outbox.put(Finished("stop" if status != "finished" else self._reason, self._usage))

    async def _record(self, status: Status) -> None:
        """Keeps the turn as a row, before the client can ask for the next one; its thread is not needed any more."""
        if self._recorded:
            return
        self._recorded = True
        context = self._context
        text = "".join(self._text)
        waiting = status == "waiting"
        unanswered = history.NOT_RUN if waiting else history.CUT_OFF
        row = TurnRow(
            id=self.id,
            parent=self._parent,
            owner=self._request.owner,
            chat=self._request.chat,
            message=self._request.message,
            graph=self._served.plan.id,
            created=time.time(),
            status=status,
            base=self._base,
            digest=digest_chain([*self._texts, text])[-1],
            text=text,
            user_digest=self._users[-1],
            messages=history.kept(self._produced, self._served.parts.model, unanswered=unanswered),
            thread=context.thread if waiting and context else None,
            request={"history": list(context.history), "model": context.model} if waiting and context else None,
        )
        await self._store.turns.add(row)
        if self._continues is not None and self._produced:
            # This row holds all of the turn's messages now; the one that waited must not restore them again.
            await self._store.turns.update(self._continues, status="continued", messages=[], request=None)
        if context is not None and not waiting:
            self._runner.keep(self._store.delete_thread(context.thread))


def may_decide(entry: Approval, caller: Caller, owner: str) -> bool:
    """Whether this caller may know of the approval at all: whoever asked, and the role that approves."""
    return entry.caller_owner == owner or (entry.approver is not None and entry.approver == caller.role)
