"""The tools node: runs the calls that carry an allow, each at most once; every other call gets a refusal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import Any, cast

from langchain_core.messages import AnyMessage, InvalidToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime
from langgraph.types import Command

from graphs.errors import StorageError
from graphs.events import ToolFinished, ToolProgress, ToolRefused, ToolStarted
from graphs.nodes.audit_entries import Ruling, build_audit_entry
from graphs.nodes.base import NodeFunction, NodeSite, Services, find_emitter
from graphs.nodes.permission import CallVerdict, build_judge, warn_of_redefinition
from graphs.nodes.permission import build_verdict_record as verdict_record
from graphs.nodes.reach import GraphToolAccess
from graphs.nodes.state import Context, State, VerdictRecord, find_last_request
from graphs.store.approvals import Approval
from graphs.store.audit.record import AuditEntry
from graphs.store.digests import compute_call_digest
from graphs.store.tool_journal import Claim, ClaimResult
from graphs.telemetry.instrument import record_tool_call, record_tool_refusal
from graphs.tools.progress import listen_to_progress
from graphs.tools.tool import ServedTool
from graphs.tools.toolset import Toolset

Execute = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]

log = logging.getLogger(__name__)

NO_VERDICT = "no permission node has allowed it"
SERVER_GONE = "its server went away"
APPROVAL_USED_UP = "its approval is used up or gone"
OUTCOME_UNKNOWN = (
    "An earlier attempt of this call was cut off. Whether it took effect is unknown, so it was not repeated. "
    "Check before you try again."
)


class _Round(State):
    """The state as LangGraph's node gets it."""

    records: Mapping[str, AuditEntry]
    """By call id."""
    objections: Mapping[str, str | None]
    """By call id: why it may not run; None where it may."""
    claimed: Mapping[str, ClaimResult]
    """By call id, for the calls that carry an allow."""
    tools: Toolset
    """The caller's."""


def build(site: NodeSite, services: Services) -> NodeFunction:
    """The function of one tools node: LangGraph's ToolNode behind a guard."""

    async def guard(request: ToolCallRequest, execute: Execute) -> ToolMessage | Command[Any]:
        state = cast(_Round, request.state)
        call = request.tool_call
        call_id = call["id"] or ""
        served = state["tools"].find(call["name"])
        people_name = served.people_name if served else call["name"]
        runtime = cast("ToolRuntime[None, dict[str, Any]]", request.runtime)  # pyright: ignore[reportUnknownMemberType]
        emit = find_emitter(cast("Context | None", runtime.context), runtime.stream_writer)
        record, claimed = state["records"][call_id], state["claimed"].get(call_id)
        if served is None or claimed is None:
            why = state["objections"][call_id] or SERVER_GONE
            record_tool_refusal(services.metrics, served and served.server, served and served.name, call_id)
            emit(ToolRefused(call_id, people_name, call["args"], why))
            return build_refusal(call_id, call["name"], people_name, why)

        if claimed.state != "claimed":
            message = build_earlier_result(claimed, call_id, call["name"])
            if claimed.state == "running":
                await services.store.audit.append([replace(record, kind="call", time=time.time(), outcome="unknown")])
            elif claimed.state == "refused":
                await services.store.audit.append([replace(record, verdict="deny", rule=APPROVAL_USED_UP)])
            if claimed.state == "done":
                # It ran in an attempt of this turn of which whoever reads this stream has seen nothing.
                emit(ToolStarted(call_id, people_name, call["args"]))
                emit(build_tool_finished(message, people_name))
            else:
                record_tool_refusal(services.metrics, served.server, served.name, call_id)
                emit(ToolRefused(call_id, people_name, call["args"], str(message.content)))
            return message

        emit(ToolStarted(call_id, people_name, call["args"]))
        approved = record.approval is not None
        began = time.monotonic()
        # Progress arrives in the connection's own task, where the stream writer would not know its run.
        here = copy_context()
        try:
            with (
                record_tool_call(services.metrics, served.server, served.name, call_id, approved=approved) as seen,
                listen_to_progress(lambda text: here.run(emit, ToolProgress(call_id, people_name, text))),
            ):
                message = await execute(request.override(tool=served.tool))
                if not isinstance(message, ToolMessage):
                    raise TypeError(f"{people_name} returned a {type(message).__name__}; an MCP tool returns a message")
                failed = seen.failed = message.status == "error"
        except asyncio.CancelledError:
            stopped = replace(
                record, kind="call", time=time.time(), outcome="stopped", seconds=time.monotonic() - began
            )
            await asyncio.shield(services.store.audit.append([stopped]))
            raise
        seconds = time.monotonic() - began
        outcome = "failed" if failed else "ok"
        ended = replace(record, kind="call", time=time.time(), outcome=outcome, seconds=seconds)
        try:
            # Whoever asked may have left, but the call took effect: what came of it is kept.
            await asyncio.shield(
                services.store.journal.finish([(call_id, build_stored_result(message), failed)], [ended])
            )
        except StorageError:
            # The call took effect: the model must have its result, or it would ask for it again.
            log.exception("the result of %s could not be kept", people_name)
        emit(build_tool_finished(message, people_name, seconds))
        return message

    judge_round = build_judge(site, services)
    access = GraphToolAccess(site.plan.spec, services)
    node = ToolNode([], name=site.name, handle_tool_errors=False, awrap_tool_call=guard)

    async def run_tools(state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        context = services.find_context(runtime)
        if context.flow is not None and context.flow.full:
            await context.flow.wait_for_room()  # before a call is claimed: what does not begin needs no end
        own = await access.open_tools(context)
        request = find_last_request(state)
        messages: list[AnyMessage] = []
        ran = 0
        if request is not None:
            mine = [call for call in request.tool_calls if call["name"] not in context.client_names]
            judged_now = await judge_round(mine, state, context)
            approvals = await load_approvals(judged_now, state, context)
            objections: dict[str, str | None] = {}
            records: dict[str, AuditEntry] = {}
            for item in judged_now:
                why, ruling = rule_on(item, state, approvals.get(item.call_id), own.find(item.call["name"]))
                objections[item.call_id] = why
                records[item.call_id] = build_audit_entry(
                    site, services, context, state.get("asker", ""), item.call, item.people_name, item.digest, ruling
                )
            unreadable = [(call, describe_unreadable(call)) for call in request.invalid_tool_calls]
            refused = [build_unreadable_entry(call, why, state, context) for call, why in unreadable]
            # What the permission node refused, it has recorded; here are the refusals of this node's own.
            refused += [
                record
                for record in records.values()
                if record.verdict == "deny" and not is_denied_by_verdict(record, state)
            ]
            await services.store.audit.append(refused)
            for call, why in unreadable:
                name = call["name"] or ""
                record_tool_refusal(services.metrics, None, None, call["id"] or "")
                find_emitter(context, runtime.stream_writer)(
                    ToolRefused(call["id"] or "", name, {"text": call["args"]}, why)
                )
                messages.append(build_refusal(call["id"] or "", name, name, why))
            if mine:
                asked = [request.model_copy(update={"tool_calls": mine})]
                allowed = [record for record in records.values() if record.verdict == "allow"]
                claimed = await claim(allowed, state.get("messages", []), context, config)
                only_mine = {**state, "messages": asked, "records": records, "claimed": claimed, "tools": own}
                only_mine["objections"] = objections
                output: Mapping[str, list[AnyMessage]] = await node.ainvoke(only_mine, config)
                messages += output["messages"]
                verdicts = state.get("verdicts", {})
                ran = sum(verdict["decision"] == "allow" for verdict in verdicts.values())
        if context.addendum is not None:
            messages.append(context.addendum)
        return {"messages": messages, "calls": state.get("calls", 0) + ran}

    async def claim(
        records: Sequence[AuditEntry], messages: Sequence[AnyMessage], context: Context, config: RunnableConfig
    ) -> Mapping[str, ClaimResult]:
        """Claims all calls of a round in one transaction, together with the turn's row."""
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
            return await services.store.journal.claim(claims)
        return await context.claims.claim(claims, messages)

    async def load_approvals(
        judged_now: Sequence[CallVerdict], state: State, context: Context
    ) -> Mapping[str, Approval]:
        """The approvals of these calls by call id, read only where one of them may have some."""
        verdicts = state.get("verdicts", {})
        asked = any(
            item.verdict.decision == "ask" or "approval" in (verdicts.get(item.call_id) or {}) for item in judged_now
        )
        if not asked and context.claims is not None:
            return {}
        return await services.store.approvals.find_by_calls([item.call_id for item in judged_now])

    def build_unreadable_entry(call: InvalidToolCall, why: str, state: State, context: Context) -> AuditEntry:
        name, digest = call["name"] or "", compute_call_digest(call["name"] or "", {"text": call["args"]})
        ruling = Ruling(decision="deny", rule=why)
        return build_audit_entry(site, services, context, state.get("asker", ""), call, name, digest, ruling)

    return run_tools


def rule_on(
    item: CallVerdict, state: State, approval: Approval | None, served: ServedTool | None
) -> tuple[str | None, Ruling]:
    """Why a call may not run, None where it may, and the ruling for the audit.

    It runs where it carries an allow and would get one now: the state can only take rights away.
    """
    now = verdict_record(item, approval)
    why = find_objection(state.get("verdicts", {}).get(item.call_id), item.digest, served)
    if why is None and now["decision"] != "allow":
        why = now["rule"]
        warn_of_redefinition(item, approval)
    decision = "allow" if why is None else "deny"
    return why, Ruling(decision=decision, rule=why or now["rule"], approval=now.get("approval"))


def is_denied_by_verdict(record: AuditEntry, state: State) -> bool:
    """Whether the permission node refused this call itself."""
    verdict = state.get("verdicts", {}).get(record.call_id)
    return verdict is not None and verdict["decision"] != "allow"


def describe_unreadable(call: InvalidToolCall) -> str:
    """Why a call is refused whose arguments could not be read."""
    return f"its arguments are not a JSON object ({call['error']}); send them again, corrected"


def find_objection(verdict: VerdictRecord | None, digest: str, served: ServedTool | None) -> str | None:
    """Why this call may not run; None when it carries an allow for exactly these arguments."""
    if verdict is None:
        return NO_VERDICT
    if verdict["decision"] != "allow":
        return verdict["rule"]
    if verdict["digest"] != digest:
        return "its arguments were changed after it was allowed"
    return SERVER_GONE if served is None else None


def build_refusal(call_id: str, name: str, people_name: str, why: str) -> ToolMessage:
    """What the model is told of a call that was not run."""
    return ToolMessage(f"{people_name} was not run: {why}.", tool_call_id=call_id, name=name, status="error")


def build_earlier_result(claimed: ClaimResult, call_id: str, name: str) -> ToolMessage:
    """The answer to a call that ran, or began to run, before."""
    if claimed.state == "done" and claimed.result is not None:
        stored = claimed.result
        return ToolMessage(
            stored["content"],
            tool_call_id=call_id,
            name=name,
            status=stored["status"],
            artifact=stored.get("artifact"),
        )
    words = OUTCOME_UNKNOWN if claimed.state == "running" else f"{name} was not run: {APPROVAL_USED_UP}."
    return ToolMessage(words, tool_call_id=call_id, name=name, status="error")


def build_tool_finished(message: ToolMessage, people_name: str, seconds: float = 0.0) -> ToolFinished:
    """A result as an event. `seconds` is 0 where the call ran in an earlier attempt of its turn."""
    failed = message.status == "error"
    return ToolFinished(message.tool_call_id, people_name, message.text, failed, seconds, list_images(message))


def list_images(message: ToolMessage) -> tuple[str, ...]:
    """The images of a result as addresses."""
    blocks = cast("list[dict[str, Any]]", message.content) if isinstance(message.content, list) else []
    return tuple(
        block.get("url") or f"data:{block.get('mime_type', 'image/png')};base64,{block.get('base64', '')}"
        for block in blocks
        if block.get("type") == "image"
    )


def build_stored_result(message: ToolMessage) -> dict[str, Any]:
    """A tool's result as the journal keeps it."""
    return {"content": message.content, "status": message.status, "artifact": message.artifact}
