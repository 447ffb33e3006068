"""The permission node: a verdict for each call that the model asked for, a person's where a rule says `ask`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from langgraph.runtime import Runtime
from langgraph.types import interrupt

from graphs.events import ApprovalNeeded, CallJudged, PendingApproval
from graphs.nodes.audit_entries import Ruling, build_audit_entry
from graphs.nodes.base import NodeSite, Services, ToolAccess, find_emitter
from graphs.nodes.judge import (
    CallVerdict,
    Judge,
    build_verdict_record,
    find_reason,
    warn_of_redefinition,
)
from graphs.nodes.refusals import describe_rule
from graphs.nodes.state import Context, State, VerdictRecord, find_last_request
from graphs.store.approvals import AlreadyDecided, Approval, ApprovalExpired, generate_approval_id
from graphs.store.audit.record import AuditEntry
from graphs.text import format_exact_json


class PermissionNode:
    """Writes a verdict for each call into the state; a call runs only with one that allows it."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._judge = Judge(site, services)
        self._access = ToolAccess(site.plan.spec, services)

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Decide the calls of the latest round, waiting for people where a rule leaves it to them."""
        services = self._services
        message = find_last_request(state)
        if message is None:
            return {"verdicts": {}}
        context = services.find_context(runtime)
        tools = await self._access.open_tools(context)
        calls = [call for call in message.tool_calls if call["name"] not in context.client_names]
        judged = await self._judge.judge_round(calls, state, context)
        if context.trial is not None:
            emit = find_emitter(context, runtime.stream_writer)
            for item in judged:
                emit(build_call_judged(item))
        if context.is_dry_run:
            return {"verdicts": await self._rule_in_dry_run(judged, state, context)}
        is_asked = await self._record_verdicts(judged, state, context)
        approvals: Mapping[str, Approval] = {}
        if is_asked or context.resumed:
            approvals = await wait_for_decisions(judged, context, runtime, services)
        for item in judged:
            tool = item.people_name if tools.find(item.call["name"]) else None
            outcome = find_outcome(item, approvals.get(item.call_id))
            services.metrics.count_verdict(self._site.plan.id, tool, outcome)
        verdicts = {item.call_id: build_verdict_record(item, approvals.get(item.call_id)) for item in judged}
        for verdict in verdicts.values():
            verdict["snapshot"] = services.snapshot.id
        await self._record_refusals(judged, verdicts, approvals, state, context)
        return {"verdicts": verdicts}

    async def _rule_in_dry_run(
        self, judged: Sequence[CallVerdict], state: State, context: Context
    ) -> dict[str, VerdictRecord]:
        """Record what the rules say, and build the verdicts: nobody is asked, so what a person would decide does not
        run."""
        verdicts: dict[str, VerdictRecord] = {}
        entries: list[AuditEntry] = []
        for item in judged:
            rule = describe_rule(item.verdict)
            if item.verdict.decision == "ask":
                why = f"this is a trial, in which nobody is asked ({rule}); go on without its result"
                record = VerdictRecord(decision="deny", digest=item.digest, rule=why)
            else:
                record = build_verdict_record(item, None)
            verdicts[item.call_id] = {**record, "snapshot": self._services.snapshot.id}
            if item.verdict.decision != "allow":
                entry = self._build_entry(item, Ruling(decision=item.verdict.decision, rule=rule), state, context)
                entries.append(replace(entry, outcome="trial") if item.verdict.decision == "ask" else entry)
        await self._services.store.audit.append(entries)
        return verdicts

    async def _record_verdicts(self, judged: Sequence[CallVerdict], state: State, context: Context) -> bool:
        """Request the approvals, and record these and the refusals; returns whether people are asked.

        What is allowed is recorded when it begins, in the transaction that claims the call.
        """
        services = self._services
        rulings = [
            (item, Ruling(decision=item.verdict.decision, rule=describe_rule(item.verdict)))
            for item in judged
            if item.verdict.decision != "allow"
        ]
        entries = [self._build_entry(item, ruling, state, context) for item, ruling in rulings]
        requests = [
            build_approval(item, context, self._site, services) for item in judged if item.verdict.decision == "ask"
        ]
        if requests:
            found = await services.store.approvals.request(requests, entries, services.snapshot.gateway.notifications)
            for request, stored in zip(requests, found, strict=True):
                if stored.id == request.id:  # else it was asked for before
                    services.metrics.count_verdict(request.graph, request.tool, "ask")
        elif entries:
            await services.store.audit.append(entries)
        return bool(requests)

    async def _record_refusals(
        self,
        judged: Sequence[CallVerdict],
        verdicts: Mapping[str, VerdictRecord],
        approvals: Mapping[str, Approval],
        state: State,
        context: Context,
    ) -> None:
        """Record the calls that the rules left to a person and that are refused now, and those that nobody decided in
        time."""
        entries: list[AuditEntry] = []
        expired: list[str] = []
        for item in judged:
            verdict, approval = verdicts[item.call_id], approvals.get(item.call_id)
            if item.verdict.decision == "deny" or verdict["decision"] == "allow":
                continue
            if approval is not None and approval.status == "expired":
                expired.append(item.call_id)
            warn_of_redefinition(item, approval)
            ruling = Ruling(decision="deny", rule=verdict["rule"], approval=approval.id if approval else None)
            entries.append(self._build_entry(item, ruling, state, context))
        await self._services.store.approvals.supersede(expired)
        await self._services.store.audit.append(entries)

    def _build_entry(self, item: CallVerdict, ruling: Ruling, state: State, context: Context) -> AuditEntry:
        return build_audit_entry(
            self._site,
            self._services,
            context,
            state.get("asker", ""),
            item.call,
            item.people_name,
            item.digest,
            ruling,
        )


async def wait_for_decisions(
    judged: Sequence[CallVerdict], context: Context, runtime: Runtime[Context], services: Services
) -> Mapping[str, Approval]:
    """Wait until no approval of these calls is pending any more, and return them by call id.

    Pauses the graph meanwhile. LangGraph lets one interrupt be resumed many times and keeps its first value, so
    what it is resumed with decides nothing: the table does, which is read again after each resume.
    """
    ids = [item.call_id for item in judged]
    while True:
        approvals = await services.store.approvals.find_by_calls(ids)
        pending = tuple(approvals[key] for key in ids if key in approvals and approvals[key].status == "pending")
        if not pending:
            return approvals
        find_emitter(context, runtime.stream_writer)(
            ApprovalNeeded(tuple(build_pending_approval(entry) for entry in pending))
        )
        answer = interrupt([build_interrupt_payload(entry, context) for entry in pending])
        if context.interactive:
            await decide_by_value(answer, pending, context, services)


async def decide_by_value(answer: object, pending: Iterable[Approval], context: Context, services: Services) -> None:
    """Decide approvals by Studio's resume value: `"approve"` or `"reject"` for all, or `{approval id: "approve", …}`.

    It decides what the caller's role may decide; the rest waits on, and the next interrupt says for whom.
    """
    for entry in pending:
        word = cast("Mapping[str, object]", answer).get(entry.id) if isinstance(answer, Mapping) else answer
        if word not in ("approve", "reject") or not may_decide(entry, context):
            continue
        try:
            await services.store.approvals.decide(
                entry.id,
                "approve" if word == "approve" else "reject",
                by=context.caller.user,
                now=time.time(),
                key=context.caller.key,
                role=context.caller.role,
            )
        except (AlreadyDecided, ApprovalExpired):
            continue


def may_decide(entry: Approval, context: Context) -> bool:
    """Whether the caller of this run may decide it: whoever asked, or the role that the rule names."""
    return entry.approver is None or context.caller.has_role(entry.approver)


def build_call_judged(item: CallVerdict) -> CallJudged:
    """Build what the admin who tries a graph sees of a verdict."""
    verdict = item.verdict
    rule = describe_rule(verdict)
    return CallJudged(item.call_id, item.people_name, item.call["args"], verdict.decision, rule, item.by_role)


def find_outcome(item: CallVerdict, approval: Approval | None) -> str:
    """Find what became of a call, in one word: `allow`, `deny`, or what came of its approval."""
    if item.verdict.decision == "deny" or approval is None:
        return "allow" if item.verdict.decision == "allow" else "deny"
    return approval.status


def build_approval(item: CallVerdict, context: Context, site: NodeSite, services: Services) -> Approval:
    """Build the approval to ask for; the store keeps an existing one for the same call."""
    now = time.time()
    return Approval(
        id=generate_approval_id(),
        turn=context.turn,
        thread=context.thread,
        call_id=item.call_id,
        graph=site.plan.id,
        snapshot=services.snapshot.id,
        tool=item.people_name,
        args=dict(item.call["args"]),
        digest=item.digest,
        rule=describe_rule(item.verdict),
        caller_owner=context.owner,
        caller=context.caller.user,
        approver=item.verdict.approver,
        created=now,
        expires=now + item.verdict.expires if item.verdict.expires is not None else None,
        definition=item.definition,
        reason=find_reason(item.verdict),
    )


def build_pending_approval(entry: Approval) -> PendingApproval:
    """Build what the run's events say of a pending approval."""
    return PendingApproval(
        approval_id=entry.id,
        call_id=entry.call_id,
        tool=entry.tool,
        args=entry.args,
        rule=entry.rule,
        approver=entry.approver,
        expires=entry.expires,
        reason=entry.reason,
    )


def build_interrupt_payload(entry: Approval, context: Context) -> dict[str, Any]:
    """Build what Studio shows of a pending approval in an interrupt."""
    answer = 'resume with "approve" or "reject", or {approval id: "approve" | "reject"}'
    if not may_decide(entry, context):
        answer = (
            f"only the role {entry.approver} may decide it, and this is {' & '.join(context.caller.roles)}: "
            f"POST /v1/approvals/{entry.id} of an Interlock that serves this store, with a key of that role"
        )
    return {
        "approval": entry.id,
        "tool": entry.tool,
        "args": dict(entry.args),
        # As text, since the page shows no character that is not seen.
        "exactly": format_exact_json(dict(entry.args)),
        "reason": entry.reason,
        "rule": entry.rule,
        "approver": entry.approver,
        "expires": entry.expires,
        "answer": answer,
    }
