"""The permission node: a verdict for each call that the model asked for, a person's where a rule says `ask`."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from langchain_core.messages import ToolCall
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from graphs.config.spec.servers import ServerSpec
from graphs.events import ApprovalNeeded, PendingApproval
from graphs.nodes.audit_entries import Ruling, build_audit_entry
from graphs.nodes.base import NodeFunction, NodeSite, Services, find_emitter
from graphs.nodes.reach import GraphToolAccess
from graphs.nodes.state import Context, State, VerdictRecord, find_last_request
from graphs.policy.caller import build_values
from graphs.policy.limits import limit_turn_calls
from graphs.policy.patterns import matches_any
from graphs.policy.rules import CallFacts, ToolFacts, Verdict
from graphs.store.approvals import AlreadyDecided, Approval, ApprovalExpired, generate_approval_id
from graphs.store.audit.record import AuditEntry
from graphs.store.digests import compute_call_digest
from graphs.text import format_exact_json
from graphs.tools.names import may_belong_to_server
from graphs.tools.tool import ServedTool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """One call and what the rules say of it."""

    call: ToolCall
    call_id: str
    digest: str
    people_name: str
    verdict: Verdict
    definition: str | None = None
    """Digest of the tool's definition as it is now; None where there is no such tool."""


JudgeRound = Callable[[Sequence[ToolCall], State, Context], Awaitable[list[CallVerdict]]]


def build_judge(site: NodeSite, services: Services) -> JudgeRound:
    """What decides about the calls of one round, by the rules and by the limit of a turn's calls. The permission node
    asks it for verdicts, and the tools node once more before it runs anything: verdicts travel in the state, which
    whoever may use LangGraph's API can write.
    """

    nodes = site.plan.spec.nodes.items()
    usable = {name: tuple(node.locate_tool_patterns().values()) for name, node in nodes}
    model_nodes = [name for name, node in nodes if node.role == "model"]

    policy = services.snapshot.policy

    servers = services.snapshot.servers
    everywhere_strict = services.snapshot.gateway.tools.strict

    async def judge(call: ToolCall, state: State, context: Context, calls: int, now: datetime) -> CallVerdict:
        call_id = call["id"] or ""
        asker = state.get("asker", "")
        tools = services.find_tools(context)
        served = tools.find(call["name"])
        digest = compute_call_digest(served.people_name if served else call["name"], call["args"])
        if served is None:
            troubles = (
                f"the server {name} {why}"
                for name, why in tools.troubles.items()
                if may_belong_to_server(call["name"], name)
            )
            unknown = f"there is no tool {call['name']!r}; use only the tools that you were given"
            verdict = build_denial(next(troubles, unknown))
            return CallVerdict(call, call_id, digest, call["name"], verdict)
        if not matches_any(usable.get(asker, ()), served.people_name):
            verdict = build_denial(
                f"node {asker!r} of graph {site.plan.id!r} may not use {served.people_name} (its `tools`)"
            )
            return CallVerdict(call, call_id, digest, served.people_name, verdict)
        strict = everywhere_strict or servers[served.server].strict
        objection = served.arguments.find_objection(call["args"], strict=strict)
        if objection is not None:
            return CallVerdict(call, call_id, digest, served.people_name, build_denial(objection))
        facts = CallFacts(
            call_id=call_id,
            tool=build_tool_facts(served, servers),
            args=call["args"],
            graph=site.plan.id,
            node=asker,
            rounds=state.get("rounds", 0),
            calls=calls,
            now=now,
        )
        values = build_values(context.caller, facts)
        verdict = await services.evaluator.resolve(partial(policy.decide, context.caller, facts, values), values)
        return CallVerdict(call, call_id, digest, served.people_name, verdict, served.definition)

    async def judge_in_order(calls: Iterable[ToolCall], state: State, context: Context) -> list[CallVerdict]:
        """Each call is judged as if those before it in the round, unless they are refused, had run: a rule that counts
        calls is not passed by asking for many at once."""
        now, ran = datetime.now(UTC), state.get("calls", 0)
        judged: list[CallVerdict] = []
        for call in calls:
            judged.append(await judge(call, state, context, ran, now))
            ran += judged[-1].verdict.decision != "deny"
        return judged

    async def judge_round(calls: Sequence[ToolCall], state: State, context: Context) -> list[CallVerdict]:
        if context.claims is None:
            state = await services.attest_state(state, site.plan.id, calls, context, model_nodes)
        judged = await judge_in_order(calls, state, context)
        most, whose = limit_turn_calls(
            site.plan.spec.limits.tool_calls, policy.find_turn_call_limit(context.caller.roles)
        )
        room = max(0, most - state.get("calls", 0))
        return [
            item
            if index < room
            else replace(item, verdict=build_denial(f"the turn's limit of {most} tool calls{whose}"))
            for index, item in enumerate(judged)
        ]

    return judge_round


def build(site: NodeSite, services: Services) -> NodeFunction:
    """The function of one permission node."""

    judge_round = build_judge(site, services)
    access = GraphToolAccess(site.plan.spec, services)

    async def run_permission(state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        message = find_last_request(state)
        if message is None:
            return {"verdicts": {}}
        context = services.find_context(runtime)
        tools = await access.open_tools(context)
        calls = [call for call in message.tool_calls if call["name"] not in context.client_names]
        judged = await judge_round(calls, state, context)
        asked = [item for item in judged if item.verdict.decision == "ask"]
        approvals: Mapping[str, Approval] = {}
        # What is allowed is recorded when it begins, in the transaction that claims the call.
        said = [
            build_entry(
                item, Ruling(decision=item.verdict.decision, rule=describe_refusal(item.verdict)), state, context
            )
            for item in judged
            if item.verdict.decision != "allow"
        ]
        if asked:
            wished = [build_approval(item, context, site, services) for item in asked]
            for entry, stored in zip(wished, await services.store.approvals.request(wished, said), strict=True):
                if stored.id == entry.id:  # else it was asked for before
                    services.metrics.count_verdict(entry.graph, entry.tool, "ask")
        elif said:
            await services.store.audit.append(said)
        if asked or context.resumed:
            approvals = await wait_for_decisions(judged, context, runtime, services)
        for item in judged:
            tool = item.people_name if tools.find(item.call["name"]) else None
            services.metrics.count_verdict(site.plan.id, tool, find_outcome(item, approvals.get(item.call_id)))
        verdicts = {item.call_id: build_verdict_record(item, approvals.get(item.call_id)) for item in judged}
        for verdict in verdicts.values():
            verdict["snapshot"] = services.snapshot.id
        await record_refusals(judged, verdicts, approvals, state, context)
        return {"verdicts": verdicts}

    def build_entry(item: CallVerdict, ruling: Ruling, state: State, context: Context) -> AuditEntry:
        asker = state.get("asker", "")
        return build_audit_entry(site, services, context, asker, item.call, item.people_name, item.digest, ruling)

    async def record_refusals(
        judged: Sequence[CallVerdict],
        verdicts: Mapping[str, VerdictRecord],
        approvals: Mapping[str, Approval],
        state: State,
        context: Context,
    ) -> None:
        """Records what the rules left to a person and is refused now; and that nobody decided in time."""
        entries: list[AuditEntry] = []
        late: list[str] = []
        for item in judged:
            verdict, approval = verdicts[item.call_id], approvals.get(item.call_id)
            if item.verdict.decision == "deny" or verdict["decision"] == "allow":
                continue
            if approval is not None and approval.status == "expired":
                late.append(item.call_id)
            warn_of_redefinition(item, approval)
            ruling = Ruling(decision="deny", rule=verdict["rule"], approval=approval.id if approval else None)
            entries.append(build_entry(item, ruling, state, context))
        await services.store.approvals.supersede(late)
        await services.store.audit.append(entries)

    return run_permission


async def wait_for_decisions(
    judged: Sequence[CallVerdict], context: Context, runtime: Runtime[Context], services: Services
) -> Mapping[str, Approval]:
    """The approvals of these calls, by call id, none of them pending any more.

    Pauses the graph while some are. LangGraph lets one interrupt be resumed many times and keeps its first value, so
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
    """Studio's resume value as decisions: `"approve"` or `"reject"` for all, or `{approval id: "approve", …}`.

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


def is_redefined(item: CallVerdict, approval: Approval | None) -> bool:
    """Whether its server changed the tool's definition since the approval was asked for."""
    return approval is not None and approval.status == "approved" and approval.definition not in (None, item.definition)


def warn_of_redefinition(item: CallVerdict, approval: Approval | None) -> None:
    """Tells the operator of a server that got a call approved under one definition and serves another."""
    if approval is not None and is_redefined(item, approval):
        server, _, tool = item.people_name.partition("/")
        words = "server %s changed its tool %s while the approval %s waited: what was approved is not run"
        log.warning(words, server, tool, approval.id)


def build_verdict_record(item: CallVerdict, approval: Approval | None) -> VerdictRecord:
    """The verdict as the state keeps it: the rules' own, or the person's where the rules left it to one."""
    verdict = item.verdict
    if verdict.decision == "deny" or approval is None:
        # An `ask` that got here without an approval was never put to anybody: closed.
        decision = "allow" if verdict.decision == "allow" else "deny"
        rule = describe_refusal(verdict)
        rule = f"nobody has approved it ({rule})" if verdict.decision == "ask" else rule
        return VerdictRecord(decision=decision, digest=item.digest, rule=rule)
    if verdict.decision == "ask" and verdict.approver != approval.approver:
        who = verdict.approver or "whoever asked"
        rule = f"the rules changed meanwhile: it must now be approved by {who} ({describe_refusal(verdict)}); ask again"
        return VerdictRecord(decision="deny", digest=item.digest, rule=rule)
    if is_redefined(item, approval):
        rule = f"{item.people_name} is not the tool that was approved: its server changed its definition; ask again"
        return VerdictRecord(decision="deny", digest=item.digest, rule=rule)
    if approval.status == "approved" and approval.digest == item.digest:
        return VerdictRecord(decision="allow", digest=item.digest, rule=verdict.rule, approval=approval.id)
    who = f" by {approval.decided_by}" if approval.decided_by else ""
    note = f": {approval.note}" if approval.note else ""
    words = {
        "rejected": f"rejected{who}{note}",
        "expired": "the approval expired before anybody decided",
        "superseded": "nobody approved it; the person went on with another message instead",
    }.get(approval.status, "the approval is for other arguments")
    return VerdictRecord(decision="deny", digest=item.digest, rule=f"{words} (asked for by {approval.rule})")


def find_outcome(item: CallVerdict, approval: Approval | None) -> str:
    """What became of a call, in one word: `allow`, `deny`, or what came of its approval."""
    if item.verdict.decision == "deny" or approval is None:
        return "allow" if item.verdict.decision == "allow" else "deny"
    return approval.status


def build_tool_facts(served: ServedTool, servers: Mapping[str, ServerSpec]) -> ToolFacts:
    """The tool as rules know it."""
    spec = servers.get(served.server)
    return ToolFacts(
        served.server,
        served.name,
        read_only=served.read_only,
        destructive=served.destructive,
        trusted=spec is not None and spec.trusted,
    )


def describe_refusal(verdict: Verdict) -> str:
    """The deciding rule, and the reason its author gave."""
    return f"{verdict.rule}: {verdict.reason}" if verdict.reason else verdict.rule


def build_denial(rule: str) -> Verdict:
    """A denial that no access rule gave."""
    return Verdict(decision="deny", rule=rule, approver=None, expires=None, reason=None)


def build_approval(item: CallVerdict, context: Context, site: NodeSite, services: Services) -> Approval:
    """The approval to ask for; the store keeps an existing one for the same call."""
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
        rule=describe_refusal(item.verdict),
        caller_owner=context.owner,
        caller=context.caller.user,
        approver=item.verdict.approver,
        created=now,
        expires=now + item.verdict.expires if item.verdict.expires is not None else None,
        definition=item.definition,
    )


def build_pending_approval(entry: Approval) -> PendingApproval:
    """A pending approval for whoever reads the run's events."""
    return PendingApproval(
        approval_id=entry.id,
        call_id=entry.call_id,
        tool=entry.tool,
        args=entry.args,
        rule=entry.rule,
        approver=entry.approver,
        expires=entry.expires,
    )


def build_interrupt_payload(entry: Approval, context: Context) -> dict[str, Any]:
    """A pending approval as the interrupt shows it in Studio."""
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
        "rule": entry.rule,
        "approver": entry.approver,
        "expires": entry.expires,
        "answer": answer,
    }
