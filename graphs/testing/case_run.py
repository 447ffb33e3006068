"""Run cases: each in a turn of the engine, with its graph, its rules, its approvals and its store."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from graphs.config.compile_cases import CaseFile, CasePlan
from graphs.config.compile_cassettes import Cassette
from graphs.config.graph_plan import GraphPlan
from graphs.config.loader import Snapshot
from graphs.config.spec.node import END
from graphs.config.spec.node_types import CallNodeSpec
from graphs.errors import InterlockError
from graphs.events import ApprovalNeeded, Finished, Pause, PendingApproval, QuestionAsked, TextDelta, ToolStarted
from graphs.expressions import Evaluator
from graphs.nodes.question import format_answer
from graphs.nodes.state import Context
from graphs.policy.rules import Caller
from graphs.runtime.approvals import decide_by_api
from graphs.runtime.compiler import ServedGraph
from graphs.runtime.questions import answer_by_api
from graphs.runtime.revision import Revision
from graphs.runtime.runner import Runner, TurnRequest
from graphs.store.audit.log import AuditFilter
from graphs.store.audit.record import AuditRecord
from graphs.store.store import Store
from graphs.telemetry.instrument import Instrumentation
from graphs.telemetry.metrics import Metrics
from graphs.telemetry.path import GraphPath, record_path
from graphs.telemetry.tracing import Tracing
from graphs.testing.cassette_script import CassetteScript
from graphs.testing.live import LiveServices
from graphs.testing.memory import open_case_memory
from graphs.testing.recorder import CaseRecorder
from graphs.testing.script import CaseScript
from graphs.testing.services import CaseServices, open_live_services, open_scripted_services

log = logging.getLogger(__name__)

_KEY = "test"
"""The name of the key that the callers of tests show."""


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """What the rules said of one call."""

    tool: str
    verdict: str
    """allow, ask or deny; `ask` whatever the person decided."""
    rule: str


@dataclass(kw_only=True)
class CaseRun:
    """What happened in one case."""

    case: CasePlan
    answer: str = ""
    """What was said in the last turn, without the words that ask for a decision."""
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Those that have a value at the end."""
    memory: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What is remembered at the end, by key."""
    calls: list[str] = field(default_factory=list[str])
    """The tools that ran, in order."""
    verdicts: list[CallRecord] = field(default_factory=list[CallRecord])
    route: list[str] = field(default_factory=list[str])
    """The nodes that ran, and `end` after each turn that came to it."""
    path: GraphPath = field(default_factory=GraphPath)
    faults: list[str] = field(default_factory=list[str])
    """Why it could not run to its end."""
    seconds: float = 0.0


@asynccontextmanager
async def open_case_runner(snapshot: Snapshot) -> AsyncGenerator[CaseRunner]:
    """Open what cases run in, with a store of its own that is gone afterwards. Raises StorageError."""
    with tempfile.TemporaryDirectory(prefix="interlock-test-") as folder:
        store = await Store.open("", Path(folder))
        evaluator = Evaluator()
        runner = CaseRunner(snapshot, store, evaluator)
        try:
            yield runner
        finally:
            await runner.close()
            await evaluator.close()
            await store.close()


class CaseRunner:
    """Runs cases one after the other. Make one with `open_case_runner`."""

    def __init__(self, snapshot: Snapshot, store: Store, evaluator: Evaluator) -> None:
        self._snapshot = snapshot
        self._store = store
        self._evaluator = evaluator
        self._metrics = Metrics()
        self._revision: Revision[None] | None = None
        self._runner = Runner(store, self._find_graph, self._may_use, Instrumentation(self._metrics, Tracing()))
        self._count = 0

    async def run(self, file: CaseFile, case: CasePlan, cassette: Cassette | None = None) -> CaseRun:
        """Run one case with what it, or its cassette, has the model and the tools say. What keeps it from its end is a
        fault of it. `cassette`: in place of the one that the case names."""
        script = CaseScript(case, file.hints)
        if case.cassette is None:
            return await self._run(script, open_scripted_services(script, self._snapshot), self.make_owner())
        cassette = cassette or self._snapshot.cassettes.get(case.cassette)
        if cassette is None:
            fault = f"{case.cassette} is not there yet; record it: {describe_recording(case)}"
            return CaseRun(case=case, faults=[fault])
        tape = CassetteScript(
            cassette, describe_recording(case), list_own_tools(self._snapshot.graphs[case.graph]), script.faults
        )
        run = await self._run(script, open_scripted_services(tape, self._snapshot), self.make_owner())
        run.faults += [] if run.faults else tape.list_leftovers()
        return run

    def make_owner(self) -> str:
        """Make the owner of the conversation of one run: no other's is ever continued."""
        self._count += 1
        return f"case-{self._count}"

    async def run_live(self, case: CasePlan, live: LiveServices, recorder: CaseRecorder, owner: str) -> CaseRun:
        """Run one case on the real model and the real tools, noting what they say."""
        run = await self._run(CaseScript(case, {}), open_live_services(live, self._snapshot, recorder), owner)
        run.faults += recorder.list_failures()
        return run

    async def _run(self, script: CaseScript, opening: AbstractAsyncContextManager[CaseServices], owner: str) -> CaseRun:
        began = perf_counter()
        with record_path() as path:
            run = CaseRun(case=script.case, path=path, faults=script.faults)
            try:
                async with opening as services:
                    await self._hold_conversation(script, run, services, owner)
            except InterlockError as error:
                # What the case does not say is why, where it is known.
                run.faults += [] if run.faults else [str(error)]
            except Exception as error:
                # The outermost layer of a case: the others run all the same.
                log.exception("case %s failed", script.case.name)
                run.faults.append(f"the engine failed ({type(error).__name__}: {error})")
        run.seconds = perf_counter() - began
        return run

    async def _hold_conversation(self, script: CaseScript, run: CaseRun, services: CaseServices, owner: str) -> None:
        self._revision = Revision(
            services.snapshot,
            services.tool_registry,
            services.model,
            self._store,
            self._metrics,
            self._evaluator,
            None,
            # One after another, so that what a case has for a node comes to its tasks in their order.
            most_tasks=1,
        )
        try:
            await _Conversation(self._revision, self._runner, self._store, script, run, owner).hold()
        finally:
            self._revision = None

    async def close(self) -> None:
        """Stop what still runs."""
        await self._runner.close()

    def _find_graph(self, name: str) -> ServedGraph | None:
        return self._revision.served_graphs.get(name) if self._revision is not None else None

    def _may_use(self, graph: str, model: str | None, caller: Caller) -> bool:
        return self._revision is not None and self._revision.may_use(graph, model, caller)


class _Conversation:
    """The conversation of one case, held as a client holds it: every turn with all texts before it."""

    def __init__(
        self, revision: Revision[None], runner: Runner, store: Store, script: CaseScript, run: CaseRun, owner: str
    ) -> None:
        self._revision = revision
        self._runner = runner
        self._store = store
        self._script = script
        self._run = run
        self._caller = build_caller(run.case)
        self._owner = owner
        self._messages: list[dict[str, str]] = []
        self._call_ids: set[str] = set()
        """The calls that were noted: after a pause some show again."""

    async def hold(self) -> None:
        """Say what the case says, decide what it decides, and note what comes of it. Raises InterlockError."""
        run = self._run
        graph, _ = await self._revision.resolve(run.case.graph, self._caller)
        memory = await open_case_memory(graph.plan, self._build_context(), self._store, run.case.spec.memory)
        for text in run.case.spec.say:
            await self._say(graph, text)
            if run.faults:
                break
        run.memory = await memory.list()
        records = await self._store.audit.find(AuditFilter(owners=[self._owner], limit=None), oldest_first=True)
        run.verdicts += list_verdicts(records)

    def _build_context(self) -> Context:
        """Build what a node sees of who asks."""
        owner = self._owner
        return Context(caller=self._caller, owner=owner, verified_user=owner, turn=owner, thread=owner, chat=owner)

    async def _say(self, graph: ServedGraph, text: str) -> None:
        """Run one turn to its end, through all its pauses."""
        said: list[str] = []
        message: str | None = text
        try:
            while message is not None:
                message = await self._react(await self._run_turn(graph, message, said))
        finally:
            self._run.answer = "\n\n".join(piece for piece in said if piece)

    async def _run_turn(self, graph: ServedGraph, text: str, said: list[str]) -> Pause | None:
        """Run the graph until it ends or pauses; return what it waits for."""
        run = self._run
        self._messages.append({"role": "user", "content": text})
        request = TurnRequest(
            served_graph=graph, caller=self._caller, owner=self._owner, messages=[*self._messages], chat=self._owner
        )
        entered = len(run.path.nodes)
        answer = self._runner.start(request)
        shown, own = "", ""
        pause: Pause | None = None
        try:
            while True:
                events = await answer.events.take(60.0)
                for event in events:
                    match event:
                        case TextDelta(piece):
                            shown += piece
                            # What follows the question is the question in words.
                            own += "" if pause else piece
                        case ToolStarted(call_id=call_id, tool=tool) if call_id not in self._call_ids:
                            self._call_ids.add(call_id)
                            run.calls.append(tool)
                        case ApprovalNeeded() | QuestionAsked():
                            pause = event
                        case _:
                            pass
                if events and isinstance(events[-1], Finished):
                    break
            answer.mark_delivered()
        finally:
            said.append(own)
            plan = graph.plan
            # The form of the input is no node of the file.
            run.route += [node for where, node in run.path.nodes[entered:] if where == plan.id and node in plan.nodes]
            if answer.turn is not None:
                run.variables = list_variables(graph.plan, answer.turn.state)
        await answer.task
        self._messages.append({"role": "assistant", "content": shown})
        if pause is None and not run.path.is_broken_off:
            run.route.append(END)
        return pause

    async def _react(self, pause: Pause | None) -> str | None:
        """Answer what a turn waits for; return the message with which the conversation goes on from there, None where
        nothing waits or the case does not say how."""
        match pause:
            case ApprovalNeeded(pending):
                return await self._decide(pending)
            case QuestionAsked(question):
                reply = self._script.take_reply(question)
                if reply is None or question.role is None:
                    return None if reply is None else format_answer(reply)
                other = Caller(user=question.role, role=question.role, key=_KEY)
                await answer_by_api(self._store, question.question_id, reply, other, question.role)
                return "go on"
            case None:
                return None

    async def _decide(self, pending: Sequence[PendingApproval]) -> str | None:
        """Decide as the case says; return the message with which the conversation goes on from there, None where
        nothing waits or the case does not decide all of it."""
        message: str | None = None
        for entry in pending:
            decision = self._script.take_decision(entry.tool, entry.rule)
            if decision is None:
                return None
            caller, owner = self._caller, self._owner
            if entry.approver is not None:
                caller, owner = Caller(user=entry.approver, role=entry.approver, key=_KEY), entry.approver
            await decide_by_api(self._store, entry.approval_id, decision, caller, owner, "")
            message = f"{decision} {entry.approval_id}"
        return message


def build_caller(case: CasePlan) -> Caller:
    """Build who asks in a case."""
    tester = case.tester
    return Caller(user=tester.user, email=tester.email, role=tester.role, key=_KEY)


def describe_recording(case: CasePlan) -> str:
    """Write the command that records a case."""
    return f"interlock test {case.graph} --record"


def list_own_tools(plan: GraphPlan) -> list[str]:
    """List the tools that a graph calls itself."""
    return [node.tool for node in plan.spec.nodes.values() if isinstance(node, CallNodeSpec)]


def list_variables(plan: GraphPlan, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """List the variables of a graph that have a value: what the state holds, else their default."""
    defaults = {name: variable.default for name, variable in plan.variables.items() if variable.has_default}
    return {**defaults, **{name: state[name] for name in plan.variables if name in state}}


def list_verdicts(records: Sequence[AuditRecord]) -> list[CallRecord]:
    """List what the rules said of each call, in the order in which they first did: the audit's own records."""
    first: dict[str, CallRecord] = {}
    for record in records:
        if record.kind == "decision" and record.call_id not in first:
            first[record.call_id] = CallRecord(tool=record.tool, verdict=record.verdict, rule=record.rule)
    return [*first.values()]
