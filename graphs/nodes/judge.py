"""Verdicts on tool calls, by the rules and by people: the permission node gives them, the tools node checks them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from langchain_core.messages import ToolCall

from graphs.config.spec.node import MODEL_ROLES
from graphs.config.spec.servers import ServerSpec
from graphs.errors import FailureKind
from graphs.events import RoleVerdict
from graphs.nodes.base import NodeSite, Services
from graphs.nodes.refusals import Refusal, describe_denial, describe_rule, describe_undecided
from graphs.nodes.state import Context, State, VerdictRecord
from graphs.policy.caller import build_values
from graphs.policy.limits import limit_turn_calls
from graphs.policy.patterns import matches_any
from graphs.policy.rules import Caller, CallFacts, ToolFacts, Verdict, combine_verdicts
from graphs.store.approvals import Approval
from graphs.store.digests import compute_call_digest
from graphs.tools.names import may_belong_to_server
from graphs.tools.tool import ServedTool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """A tool call and what the rules say of it."""

    call: ToolCall
    call_id: str
    digest: str
    people_name: str
    verdict: Verdict
    definition: str | None = None
    """Digest of the tool's definition as it is now; None where there is no such tool."""
    denial: FailureKind = "denied"
    """What a denial is, to a graph that calls the tool itself."""
    by_role: tuple[RoleVerdict, ...] = ()
    """In a trial, what the rules of each role say."""

    @property
    def is_denied_by_access(self) -> bool:
        """Whether the rights of the caller deny it: not that there is no such tool, its arguments or a limit."""
        return self.verdict.decision == "deny" and self.denial == "denied" and self.definition is not None


class Judge:
    """Decides the calls of one round, by the rules and by the limit of a turn's calls.

    The permission node asks it for verdicts, and the tools node once more before it runs anything: verdicts travel in
    the state, which whoever may use LangGraph's API can write.
    """

    def __init__(self, site: NodeSite, services: Services) -> None:
        nodes = site.plan.nodes.items()
        self._asker = site.name if site.spec.role in ("agent", "caller") else None
        """Who asks for all calls that come here; None: the state says it."""
        self._graph = site.plan.id
        self._most_calls = site.plan.spec.limits.tool_calls
        self._patterns = {name: tuple(node.locate_tool_patterns().values()) for name, node in nodes}
        self._model_nodes = [name for name, node in nodes if node.role in MODEL_ROLES]
        self._services = services
        self._policy = services.snapshot.policy
        self._servers = services.snapshot.servers
        self._is_strict = services.snapshot.gateway.tools.strict

    async def judge_round(self, calls: Sequence[ToolCall], state: State, context: Context) -> list[CallVerdict]:
        """Decide each call as if those before it, unless they are refused, had run: a rule that counts calls is not
        passed by asking for many at once."""
        if context.claims is None:
            state = await self._services.attest_state(state, self._graph, calls, context, self._model_nodes)
        if self._asker is not None:
            state = {**state, "asker": self._asker}
        now, before = datetime.now(UTC), state.get("calls", 0)
        limit = self._most_calls if context.limits is None else context.limits.tool_calls
        most, whose = limit_turn_calls(limit, self._policy.find_turn_call_limit(context.caller.roles))
        room = max(0, min(most, state.get("most_calls", most)) - before)
        judged: list[CallVerdict] = []
        ran = before
        for call in calls:
            judged.append(await self._judge(call, state, context, ran, now))
            ran += judged[-1].verdict.decision != "deny"
        why = f"the turn's limit of {most} tool calls{whose}"
        if state.get("most_calls", most) < most:
            why = "the tool calls that this part of the turn may have are used up"
        denial = build_denial(why)
        return [
            item if index < room else replace(item, verdict=denial, denial="limit") for index, item in enumerate(judged)
        ]

    async def _judge(self, call: ToolCall, state: State, context: Context, calls: int, now: datetime) -> CallVerdict:
        """Decide one call; `calls` are those of the turn before it."""
        call_id = call["id"] or ""
        asker = state.get("asker", "")
        tools = self._services.find_tools(context)
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
            return CallVerdict(call, call_id, digest, call["name"], verdict, denial="tool")
        if not matches_any(self._patterns.get(asker, ()), served.people_name):
            verdict = build_denial(
                f"node {asker!r} of graph {self._graph!r} may not use {served.people_name} (its `tools`)"
            )
            return CallVerdict(call, call_id, digest, served.people_name, verdict)
        strict = self._is_strict or self._servers[served.server].strict
        objection = served.arguments.find_objection(call["args"], strict=strict)
        if objection is None and served.schema_check is not None:
            objection = served.schema_check.find_mismatch(call["args"])
        if objection is not None:
            return CallVerdict(call, call_id, digest, served.people_name, build_denial(objection), denial="invalid")
        facts = CallFacts(
            call_id=call_id,
            tool=build_tool_facts(served, self._servers),
            args=call["args"],
            graph=self._graph,
            node=asker,
            rounds=state.get("rounds", 0),
            calls=calls,
            now=now,
        )
        if context.trial is None:
            verdict = await self._decide(facts, digest, context.caller, context)
            return CallVerdict(call, call_id, digest, served.people_name, verdict, served.definition)
        verdicts = {each.role: await self._decide(facts, digest, each, context) for each in context.trial.judges}
        by_role = tuple(RoleVerdict(role, each.decision, describe_rule(each)) for role, each in verdicts.items())
        verdict = combine_verdicts([*verdicts.values()])
        return CallVerdict(call, call_id, digest, served.people_name, verdict, served.definition, by_role=by_role)

    async def _decide(self, facts: CallFacts, digest: str, caller: Caller, context: Context) -> Verdict:
        """Decide one call by the rules. What they came to in this run is not worked out once more for the same facts,
        unless time may have changed it."""
        tool = facts.tool
        hints = (tool.read_only, tool.destructive, tool.trusted)
        place = (facts.call_id, facts.graph, facts.node, facts.rounds, facts.calls)
        key = (self._services.snapshot.id, caller, tool, hints, digest, place)
        known = context.decided.get(key)
        if known is None:
            values = build_values(caller, facts)
            decide = partial(self._policy.decide, caller, facts, values)
            known = await self._services.evaluator.resolve(decide, values)
            if self._policy.is_lasting(caller, tool):
                context.decided[key] = known
        return known


def build_verdict_record(item: CallVerdict, approval: Approval | None) -> VerdictRecord:
    """Build the verdict that the state keeps: the rules' own, or the person's where the rules left it to one."""
    record = _build_record(item, approval)
    if record["decision"] == "deny" and (kind := _find_denial(item, approval)) != "denied":
        record["denial"] = kind
    return record


def _find_denial(item: CallVerdict, approval: Approval | None) -> FailureKind:
    if item.verdict.decision == "deny" or approval is None:
        return item.denial
    if approval.status == "expired":
        return "expired"
    return "rejected" if approval.status in ("rejected", "superseded") else "denied"


def _build_record(item: CallVerdict, approval: Approval | None) -> VerdictRecord:
    verdict = item.verdict
    if verdict.decision == "deny" or approval is None:
        # An `ask` that got here without an approval was never put to anybody: closed.
        decision = "allow" if verdict.decision == "allow" else "deny"
        rule = describe_rule(verdict)
        if item.is_denied_by_access:
            return _refuse(item, describe_denial(item.people_name, verdict, find_reason(verdict)))
        rule = f"nobody has approved it ({rule})" if verdict.decision == "ask" else rule
        return VerdictRecord(decision=decision, digest=item.digest, rule=rule)
    if verdict.decision == "ask" and verdict.approver != approval.approver:
        who = verdict.approver or "whoever asked"
        rule = f"the rules changed meanwhile: it must now be approved by {who} ({describe_rule(verdict)}); ask again"
        return VerdictRecord(decision="deny", digest=item.digest, rule=rule)
    if is_redefined(item, approval):
        rule = f"{item.people_name} is not the tool that was approved: its server changed its definition; ask again"
        return VerdictRecord(decision="deny", digest=item.digest, rule=rule)
    if approval.status == "approved" and approval.digest == item.digest:
        return VerdictRecord(decision="allow", digest=item.digest, rule=verdict.rule, approval=approval.id)
    return _refuse(item, describe_undecided(item.people_name, approval))


def _refuse(item: CallVerdict, refusal: Refusal) -> VerdictRecord:
    return VerdictRecord(
        decision="deny",
        digest=item.digest,
        rule=refusal.rule,
        answer=refusal.answer,
        notice=refusal.notice,
        hint=refusal.hint,
    )


def is_redefined(item: CallVerdict, approval: Approval | None) -> bool:
    """Whether its server changed the tool's definition since the approval was asked for."""
    return approval is not None and approval.status == "approved" and approval.definition not in (None, item.definition)


def warn_of_redefinition(item: CallVerdict, approval: Approval | None) -> None:
    """Tell the operator of a server that got a call approved under one definition and serves another."""
    if approval is not None and is_redefined(item, approval):
        server, _, tool = item.people_name.partition("/")
        words = "server %s changed its tool %s while the approval %s waited: what was approved is not run"
        log.warning(words, server, tool, approval.id)


def build_tool_facts(served: ServedTool, servers: Mapping[str, ServerSpec]) -> ToolFacts:
    """Build what rules know of a tool."""
    spec = servers.get(served.server)
    return ToolFacts(
        served.server,
        served.name,
        read_only=served.read_only,
        destructive=served.destructive,
        trusted=spec is not None and spec.trusted,
    )


def find_reason(verdict: Verdict) -> str | None:
    """Find the sentence that the deciding rule's author wrote for people."""
    return verdict.reason if verdict.source_rule is None else verdict.source_rule.reason


def build_denial(rule: str) -> Verdict:
    """Build a denial that no access rule gave."""
    return Verdict(decision="deny", rule=rule, approver=None, expires=None, reason=None)
