"""Why one call of a turn was refused, what the files of now say of it, and what would have it run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from graphs.config.loader import Snapshot
from graphs.diagnostics.explain import RoleRuling, explain_roles, find_hindrance
from graphs.errors import InterlockError
from graphs.expressions import Evaluator
from graphs.llm.messages import calls_of
from graphs.nodes.judge import build_tool_facts
from graphs.policy.rules import Caller, CallFacts, Rule, ToolFacts, Verdict, build_values, combine_verdicts
from graphs.store.audit.log import AuditFilter
from graphs.store.audit.record import AuditRecord
from graphs.store.store import Store
from graphs.tools.registry import ToolRegistry


class NoRefusal(InterlockError):
    """No call of this id was refused to this caller."""


@dataclass(frozen=True, kw_only=True)
class ExplainedRefusal:
    """A refused call, explained."""

    tool: str
    """`server/tool`."""
    rule: str
    """What was said when it was refused, with the rule's place where a rule said it."""
    is_outdated: bool
    """Whether the files have changed since."""
    verdict: Verdict
    """What the files of now decide about it."""
    rulings: tuple[RoleRuling, ...]
    """What each of the caller's roles says now, rule by rule."""
    ways: tuple[str, ...]
    """What would have it run: sentences, all of which must come true."""


async def explain_refusal(
    store: Store,
    snapshot: Snapshot,
    registry: ToolRegistry,
    evaluator: Evaluator,
    caller: Caller,
    owner: str,
    call_id: str,
) -> ExplainedRefusal:
    """Explain why a call of the owner's was refused. Nothing is called. Raises NoRefusal and StorageError."""
    records = await store.audit.find(AuditFilter(owners=[owner], calls=[call_id], kind="decision"))
    if not records or records[0].verdict != "deny":
        raise NoRefusal("No call of yours with this id was refused.")
    record = records[0]
    if record.role != " & ".join(caller.roles):  # the rules of those whom a trial played, or of a role of before
        raise NoRefusal(f"This call was refused to the role {record.role}, and yours is {' & '.join(caller.roles)}.")
    facts = await _build_facts(store, snapshot, registry, owner, record)
    values = build_values(caller, facts)
    rulings = await evaluator.resolve(lambda: explain_roles(snapshot.policy, caller, facts, values), values)
    hindrance = find_hindrance(snapshot, caller, facts) if record.graph in snapshot.graphs else _describe_gone(record)
    verdict = (
        Verdict(decision="deny", rule=hindrance)
        if hindrance is not None
        else combine_verdicts([ruling.verdict for ruling in rulings])
    )
    ways = [] if hindrance is None else [f"This would have to change: {hindrance}."]
    ways += [sentence for ruling in rulings for sentence in _list_ways(snapshot, ruling, str(facts.tool))]
    return ExplainedRefusal(
        tool=record.tool,
        rule=record.rule,
        is_outdated=record.snapshot != snapshot.id,
        verdict=verdict,
        rulings=rulings,
        ways=tuple(dict.fromkeys(ways)),
    )


async def _build_facts(
    store: Store, snapshot: Snapshot, registry: ToolRegistry, owner: str, record: AuditRecord
) -> CallFacts:
    server, _, name = record.tool.partition("/")
    served = registry.find_by_people_name(record.tool)
    spec = snapshot.servers.get(server)
    before = await store.audit.find(AuditFilter(owners=[owner], turns=[record.turn], kind="decision", limit=1000))
    rows = await store.turns.find_by_owner(owner, [record.turn])
    row = rows.get(record.turn)
    args = _find_arguments(row.messages if row is not None else (), record.call_id)
    return CallFacts(
        call_id=record.call_id,
        tool=ToolFacts(server, name, trusted=spec is not None and spec.trusted)
        if served is None
        else build_tool_facts(served, snapshot.servers),
        # The audit's own copy lacks secrets and what is long.
        args=args if args is not None else record.args or {},
        graph=record.graph,
        node=record.node,
        rounds=row.story["rounds"] if row is not None and row.story is not None else 1,
        calls=len({each.call_id for each in before if each.seq < record.seq and each.verdict != "deny"}),
        now=datetime.fromtimestamp(record.time, UTC),
    )


def _find_arguments(messages: Sequence[Mapping[str, Any]], call_id: str) -> Mapping[str, Any] | None:
    """Find a call's arguments as they were written; None where they are no object, or the messages do not have it."""
    for message in messages:
        for call in calls_of(message) if message.get("role") == "assistant" else ():
            if call.get("id") == call_id:
                function = cast("Mapping[str, Any]", call.get("function") or {})
                try:
                    args = orjson.loads(str(function.get("arguments") or "{}"))
                except orjson.JSONDecodeError:
                    return None
                return cast("dict[str, Any]", args) if isinstance(args, dict) else None
    return None


def _describe_gone(record: AuditRecord) -> str:
    return f"there is no graph {record.graph!r} any more"


def _list_ways(snapshot: Snapshot, ruling: RoleRuling, tool: str) -> Iterator[str]:
    """Yield what would have to come true for the role to let the call run, in sentences."""
    outranked, unmet, unknown = (
        [trial.rule for trial in ruling.trials if trial.outcome == outcome]
        for outcome in ("outranked", "not met", "not evaluated")
    )
    source = ruling.verdict.source_rule
    if ruling.verdict.decision == "ask" and source is not None:
        yield f"{_describe_approver(source)} ({_name(source)})."
        return
    if ruling.verdict.decision == "allow":
        return
    denials = [] if source is None else [source, *(rule for rule in outranked if rule.decision == "deny")]
    for rule in denials:
        yield (
            f"{_name(rule)} would have to go, or get a condition (`when`) that is false for this call."
            if rule.when is None
            else f"The condition of {_name(rule)} would have to be false: {rule.when.text}"
        )
    grants = [rule for rule in outranked if rule.decision != "deny"]
    if any(rule.decision == "ask" for rule in grants):
        rule = next(rule for rule in grants if rule.decision == "ask")
        yield f"Then a person would still be asked ({_name(rule)})."
    elif grants:
        yield f"Then {_name(grants[0])} would let it run."
    else:
        near = [rule for rule in (*unmet, *unknown) if rule.decision != "deny"]
        for rule in near:
            condition = rule.when.text if rule.when is not None else ""
            yield f"The condition of {_name(rule)} would have to be true: {condition}"
        where = snapshot.policy.get_role(ruling.role).where
        rest = "Or the" if near else "The"
        yield f"{rest} role {ruling.role} ({where}) would need an `allow` or `ask` that matches {tool}."


def _describe_approver(rule: Rule) -> str:
    who = f"somebody with the role {rule.approver}" if rule.approver is not None else "whoever asked"
    return f"Ask for it again: it runs once {who} approves it"


def _name(rule: Rule) -> str:
    return f"`{rule.decision} {rule.pattern}` of role {rule.role} ({rule.where})"
