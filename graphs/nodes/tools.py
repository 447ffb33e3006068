"""The tools node: runs the calls that carry an allow, each at most once; every other call gets a refusal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain_core.messages import AnyMessage, InvalidToolCall, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime
from langgraph.types import Command

from graphs.errors import StorageError
from graphs.events import Event, ToolFinished, ToolProgress, ToolRefused, ToolStarted
from graphs.nodes.audit_entries import Ruling, build_audit_entry
from graphs.nodes.base import NodeSite, Services, ToolAccess, find_emitter
from graphs.nodes.judge import CallVerdict, Judge, build_verdict_record, warn_of_redefinition
from graphs.nodes.refusals import Refusal, build_refusal_message, describe_trouble, read_refusal
from graphs.nodes.state import Context, State, VerdictRecord, find_last_request
from graphs.store.approvals import Approval
from graphs.store.audit.record import AuditEntry
from graphs.store.digests import compute_call_digest
from graphs.store.tool_journal import Claim, ClaimResult
from graphs.telemetry.instrument import record_tool_call, record_tool_refusal
from graphs.tools.session import listen_to_progress
from graphs.tools.tool import ServedTool
from graphs.tools.toolset import Toolset

Execute = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]

log = logging.getLogger(__name__)

NO_VERDICT = "no permission node has allowed it"
UNREADABLE = "it cannot be read"
DRY_RUN = "this is a trial, in which no tool runs; go on without its result"
SERVER_GONE = "its server went away"
REFUSALS = {
    "refused": "its approval is used up or gone",
    "taken": "an earlier attempt of this turn made this call with other arguments, and it is not made twice",
}
"""Why a call is not claimed, by the state of the claim."""
OUTCOME_UNKNOWN = (
    "An earlier attempt of this call was cut off. Whether it took effect is unknown, so it was not repeated. "
    "Check before you try again."
)


class _Round(State):
    """The state as LangGraph's ToolNode gets it."""

    records: Mapping[str, AuditEntry]
    """By call id."""
    objections: Mapping[str, Refusal | None]
    """By call id: why it may not run; None where it may."""
    claimed: Mapping[str, ClaimResult]
    """By call id, for the calls that carry an allow."""
    tools: Toolset
    """The caller's."""


@dataclass(frozen=True, kw_only=True)
class CachedResult:
    """The result of an earlier call, as the result of the one that asks for it."""

    message: ToolMessage
    call_id: str
    """Of the earlier one."""


@dataclass(frozen=True, kw_only=True)
class AnsweredRound:
    """What came of the calls of a round."""

    messages: Sequence[AnyMessage]
    calls: int
    """Calls of the turn so far."""
    ran_by_rule: frozenset[str]
    """The ids of those that ran now, and not in an earlier attempt of the turn, and that no person had to approve."""


class ToolsNode:
    """Runs the tool calls that carry an allow in LangGraph's ToolNode, and answers the others with a refusal."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._judge = Judge(site, services)
        self._access = ToolAccess(site.plan.spec, services)
        self._tool_node = ToolNode([], name=site.name, handle_tool_errors=False, awrap_tool_call=self._handle_call)

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Answer every call of the latest round that is not the client's to run."""
        answered = await self.answer_calls(state, runtime, config)
        return {"messages": answered.messages, "calls": answered.calls}

    async def answer_calls(
        self,
        state: State,
        runtime: Runtime[Context],
        config: RunnableConfig,
        cached: CachedResult | None = None,
    ) -> AnsweredRound:
        """Answer every call of the latest round that is not the client's to run; the only one, if the rules alone allow
        it, with the result that is `cached` for it."""
        context = self._services.find_context(runtime)
        # Before a call is claimed: what does not begin needs no end.
        if context.claims is not None:
            await context.claims.pass_gate()
        if context.flow is not None and context.flow.full:
            await context.flow.wait_for_room()
        tools = await self._access.open_tools(context)
        request = find_last_request(state)
        messages: list[AnyMessage] = []
        ran_by_rule: frozenset[str] = frozenset()
        allowances = 0
        if request is not None:
            calls = [call for call in request.tool_calls if call["name"] not in context.client_names]
            objections, records = await self._rule_on_calls(calls, state, context, tools)
            unreadable = [(call, call["error"] or UNREADABLE) for call in request.invalid_tool_calls]
            await self._record_refusals(unreadable, records, state, context)
            emit = find_emitter(context, runtime.stream_writer)
            messages += [self._refuse_unreadable(call, why, emit) for call, why in unreadable]
            allowed = [record for record in records.values() if record.verdict == "allow"]
            if context.is_dry_run:
                await self._services.store.audit.append([replace(record, outcome="trial") for record in allowed])
                objections = {
                    key: why or describe_trouble(records[key].tool, DRY_RUN) for key, why in objections.items()
                }
                allowed = []
            if cached is not None and allowed and allowed[0].approval is None:
                await self._record_cached_result(allowed[0], cached)
                messages.append(cached.message)
            elif calls:
                with context.claims.hold_calls() if context.claims is not None else nullcontext():
                    claimed = await self._claim(allowed, state.get("messages", []), context, config)
                    round_state: Mapping[str, Any] = {
                        **state,
                        "messages": [request.model_copy(update={"tool_calls": calls})],
                        "records": records,
                        "claimed": claimed,
                        "tools": tools,
                        "objections": objections,
                    }
                    output: Mapping[str, list[AnyMessage]] = await self._tool_node.ainvoke(round_state, config)
                messages += output["messages"]
                ran_by_rule = frozenset(
                    record.call_id
                    for record in allowed
                    if record.approval is None and claimed[record.call_id].state == "claimed"
                )
            if calls:
                allowances = sum(verdict["decision"] == "allow" for verdict in state.get("verdicts", {}).values())
        if context.addendum is not None:
            messages.append(context.addendum)
        return AnsweredRound(messages=messages, calls=state.get("calls", 0) + allowances, ran_by_rule=ran_by_rule)

    async def _record_cached_result(self, record: AuditEntry, cached: CachedResult) -> None:
        """Record that a call was allowed and did not run, since its result was there: no journal knows of it."""
        note = f"the result of call {cached.call_id}"
        await self._services.store.audit.append([replace(record, outcome="cached", note=note)])

    async def _rule_on_calls(
        self, calls: Sequence[ToolCall], state: State, context: Context, tools: Toolset
    ) -> tuple[dict[str, Refusal | None], dict[str, AuditEntry]]:
        """Decide once more what may run: the objections, and the records for the audit, by call id."""
        judged = await self._judge.judge_round(calls, state, context)
        approvals = await self._load_approvals(judged, state, context)
        objections: dict[str, Refusal | None] = {}
        records: dict[str, AuditEntry] = {}
        for item in judged:
            refusal, ruling = rule_on(item, state, approvals.get(item.call_id), tools.find(item.call["name"]))
            objections[item.call_id] = refusal
            records[item.call_id] = self._build_entry(item.call, item.people_name, item.digest, ruling, state, context)
        return objections, records

    async def _load_approvals(
        self, judged: Sequence[CallVerdict], state: State, context: Context
    ) -> Mapping[str, Approval]:
        """Load the approvals of these calls by call id, but only where one of them may have some."""
        verdicts = state.get("verdicts", {})
        is_asked = any(
            item.verdict.decision == "ask" or "approval" in (verdicts.get(item.call_id) or {}) for item in judged
        )
        if not is_asked and context.claims is not None:
            return {}
        return await self._services.store.approvals.find_by_calls([item.call_id for item in judged])

    async def _record_refusals(
        self,
        unreadable: Sequence[tuple[InvalidToolCall, str]],
        records: Mapping[str, AuditEntry],
        state: State,
        context: Context,
    ) -> None:
        """Record the refusals of this node's own: the permission node has recorded what it refused."""
        refused: list[AuditEntry] = []
        for call, why in unreadable:
            name, ruling = call["name"] or "", Ruling(decision="deny", rule=why)
            digest = compute_call_digest(name, {"text": call["args"]})
            refused.append(self._build_entry(call, name, digest, ruling, state, context))
        refused += [
            record
            for record in records.values()
            if record.verdict == "deny" and not is_denied_by_verdict(record, state)
        ]
        await self._services.store.audit.append(refused)

    def _refuse_unreadable(self, call: InvalidToolCall, why: str, emit: Callable[[Event], None]) -> ToolMessage:
        """Answer a call whose arguments cannot be read, or that is not certain."""
        name, call_id = call["name"] or "", call["id"] or ""
        record_tool_refusal(self._services.metrics, None, None, call_id)
        refusal = describe_trouble(name, why)
        emit(ToolRefused(call_id, name, {"text": call["args"]}, refusal.notice))
        return build_refusal_message(call_id, name, name, refusal)

    async def _claim(
        self, records: Sequence[AuditEntry], messages: Sequence[AnyMessage], context: Context, config: RunnableConfig
    ) -> Mapping[str, ClaimResult]:
        """Claim all calls of a round in one transaction, together with the turn's row."""
        if not records:
            return {}
        claims = [
            Claim(
                call_id=record.call_id,
                thread=config.get("configurable", {}).get("thread_id", ""),
                tool=record.tool,
                digest=record.args_digest,
                needs_approval=record.approval is not None,
                now=record.time,
                record=record,
            )
            for record in records
        ]
        if context.claims is None:
            return await self._services.store.journal.claim(claims)
        return await context.claims.claim(claims, messages)

    async def _handle_call(self, request: ToolCallRequest, execute: Execute) -> ToolMessage | Command[Any]:
        """Run one call if it is claimed, for LangGraph's ToolNode; else answer why it does not run."""
        state = cast(_Round, request.state)
        call = request.tool_call
        call_id = call["id"] or ""
        served = state["tools"].find(call["name"])
        people_name = served.people_name if served else call["name"]
        runtime = cast("ToolRuntime[None, dict[str, Any]]", request.runtime)  # pyright: ignore[reportUnknownMemberType]
        emit = find_emitter(cast("Context | None", runtime.context), runtime.stream_writer)
        record, claimed = state["records"][call_id], state["claimed"].get(call_id)
        if served is None or claimed is None:
            refusal = state["objections"][call_id] or describe_trouble(people_name, SERVER_GONE)
            record_tool_refusal(self._services.metrics, served and served.server, served and served.name, call_id)
            emit(ToolRefused(call_id, people_name, call["args"], refusal.notice))
            is_for_model = self._site.spec.role != "caller"
            return build_refusal_message(call_id, call["name"], people_name, refusal, hints=is_for_model)
        if claimed.state != "claimed":
            return await self._answer_earlier_call(claimed, call, served, record, emit)
        return await self._execute(request, execute, served, record, emit)

    async def _answer_earlier_call(
        self,
        claimed: ClaimResult,
        call: ToolCall,
        served: ServedTool,
        record: AuditEntry,
        emit: Callable[[Event], None],
    ) -> ToolMessage:
        """Answer a call that ran, or began to run, before, or whose approval is gone."""
        call_id = call["id"] or ""
        message = build_earlier_result(claimed, call_id, call["name"])
        if claimed.state == "running":
            unknown = replace(record, kind="call", time=time.time(), outcome="unknown")
            await self._record_unknown_end(unknown)
        elif claimed.state in REFUSALS:
            await self._services.store.audit.append([replace(record, verdict="deny", rule=REFUSALS[claimed.state])])
        if claimed.state == "done":
            # It ran in an attempt of this turn of which whoever reads this stream has seen nothing.
            emit(ToolStarted(call_id, served.people_name, call["args"]))
            emit(build_tool_finished(message, served.people_name))
        else:
            record_tool_refusal(self._services.metrics, served.server, served.name, call_id)
            emit(ToolRefused(call_id, served.people_name, call["args"], str(message.content)))
        return message

    async def _execute(
        self,
        request: ToolCallRequest,
        execute: Execute,
        served: ServedTool,
        record: AuditEntry,
        emit: Callable[[Event], None],
    ) -> ToolMessage:
        """Run a claimed call, and keep its result and its end. Raises CancelledError once its stop is recorded."""
        services, people_name = self._services, served.people_name
        call_id = request.tool_call["id"] or ""
        emit(ToolStarted(call_id, people_name, request.tool_call["args"]))
        approved = record.approval is not None
        began = time.monotonic()
        # Progress arrives in the connection's own task, where the stream writer would not know its run.
        here = copy_context()
        try:
            with (
                record_tool_call(services.metrics, served.server, served.name, call_id, approved=approved) as span,
                listen_to_progress(lambda text: here.run(emit, ToolProgress(call_id, people_name, text))),
            ):
                message = await execute(request.override(tool=served.tool))
                if not isinstance(message, ToolMessage):
                    raise TypeError(f"{people_name} returned a {type(message).__name__}; an MCP tool returns a message")
                failed = span.failed = message.status == "error"
        except asyncio.CancelledError:
            seconds = time.monotonic() - began
            stopped = replace(record, kind="call", time=time.time(), outcome="stopped", seconds=seconds)
            await asyncio.shield(self._record_unknown_end(stopped))
            raise
        seconds = time.monotonic() - began
        outcome = "failed" if failed else "ok"
        ended = replace(record, kind="call", time=time.time(), outcome=outcome, seconds=seconds)
        try:
            # Whoever asked may have left, but the call took effect: what came of it is kept.
            await asyncio.shield(
                services.store.journal.finish(
                    call_id,
                    build_stored_result(message),
                    failed=failed,
                    record=ended,
                    notifications=services.snapshot.gateway.notifications,
                )
            )
        except StorageError:
            # The call took effect: the model must have its result, or it would ask for it again.
            log.exception("the result of %s could not be kept", people_name)
        emit(build_tool_finished(message, people_name, seconds))
        return message

    async def _record_unknown_end(self, record: AuditEntry) -> None:
        """Record a call of which nobody knows whether it took effect; whoever approves such calls hears of it."""
        services = self._services
        await services.store.audit.append([record])
        if (spec := services.snapshot.gateway.notifications) is not None:
            await services.store.notifications.report_failures(spec, [record])

    def _build_entry(
        self,
        call: ToolCall | InvalidToolCall,
        people_name: str,
        digest: str,
        ruling: Ruling,
        state: State,
        context: Context,
    ) -> AuditEntry:
        asker = state.get("asker", "")
        return build_audit_entry(self._site, self._services, context, asker, call, people_name, digest, ruling)


def rule_on(
    item: CallVerdict, state: State, approval: Approval | None, served: ServedTool | None
) -> tuple[Refusal | None, Ruling]:
    """Decide whether a call may run: why not, None where there is none, and the ruling for the audit.

    It runs where it carries an allow and would get one now: the state can only take rights away.
    """
    now = build_verdict_record(item, approval)
    refusal = find_objection(item, state.get("verdicts", {}).get(item.call_id), served)
    if refusal is None and now["decision"] != "allow":
        refusal = read_refusal(item.people_name, now)
        warn_of_redefinition(item, approval)
    decision = "allow" if refusal is None else "deny"
    rule = now["rule"] if refusal is None else refusal.rule
    return refusal, Ruling(decision=decision, rule=rule, approval=now.get("approval"))


def is_denied_by_verdict(record: AuditEntry, state: State) -> bool:
    """Whether the permission node refused this call itself."""
    verdict = state.get("verdicts", {}).get(record.call_id)
    return verdict is not None and verdict["decision"] != "allow"


def find_objection(item: CallVerdict, verdict: VerdictRecord | None, served: ServedTool | None) -> Refusal | None:
    """Find why this call may not run; None: it carries an allow for exactly these arguments."""
    if verdict is None:
        return describe_trouble(item.people_name, NO_VERDICT)
    if verdict["decision"] != "allow":
        return read_refusal(item.people_name, verdict)
    if verdict["digest"] != item.digest:
        return describe_trouble(item.people_name, "its arguments were changed after it was allowed")
    return describe_trouble(item.people_name, SERVER_GONE) if served is None else None


def build_earlier_result(claimed: ClaimResult, call_id: str, name: str) -> ToolMessage:
    """Build the model's answer to a call that ran, or began to run, before."""
    if claimed.state == "done" and claimed.result is not None:
        stored = claimed.result
        return ToolMessage(
            stored["content"],
            tool_call_id=call_id,
            name=name,
            status=stored["status"],
            artifact=stored.get("artifact"),
        )
    refusal = REFUSALS.get(claimed.state)
    words = OUTCOME_UNKNOWN if refusal is None else f"{name} was not run: {refusal}."
    return ToolMessage(words, tool_call_id=call_id, name=name, status="error")


def build_tool_finished(message: ToolMessage, people_name: str, seconds: float = 0.0) -> ToolFinished:
    """Build the event of a result. `seconds` is 0 where the call ran in an earlier attempt of its turn."""
    failed = message.status == "error"
    return ToolFinished(message.tool_call_id, people_name, message.text, failed, seconds, list_images(message))


def list_images(message: ToolMessage) -> tuple[str, ...]:
    """List the images of a result as addresses."""
    blocks = cast("list[dict[str, Any]]", message.content) if isinstance(message.content, list) else []
    return tuple(
        block.get("url") or f"data:{block.get('mime_type', 'image/png')};base64,{block.get('base64', '')}"
        for block in blocks
        if block.get("type") == "image"
    )


def build_stored_result(message: ToolMessage) -> dict[str, Any]:
    """Build what the journal keeps of a result."""
    return {"content": message.content, "status": message.status, "artifact": message.artifact}
