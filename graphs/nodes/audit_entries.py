"""Audit entries for tool calls: who asked for a call, where, with which arguments, and what the rules said."""

from __future__ import annotations

import time
from dataclasses import dataclass

from langchain_core.messages import InvalidToolCall, ToolCall

from graphs.nodes.base import NodeSite, Services
from graphs.nodes.state import Context
from graphs.policy.rules import Decision
from graphs.store.audit.record import AuditEntry

LONGEST_NAME = 200
"""Characters of a tool's name: it may be one that the model made up."""
LONGEST_RULE = 1500


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """The decision on one call."""

    decision: Decision
    rule: str
    approval: str | None = None
    snapshot: str | None = None
    """Id of the configuration that decided; None: the one that runs."""


def build_audit_entry(
    site: NodeSite,
    services: Services,
    context: Context,
    asker: str,
    call: ToolCall | InvalidToolCall,
    people_name: str,
    digest: str,
    ruling: Ruling,
) -> AuditEntry:
    """Build the record of a decision, without secrets."""
    redaction = services.snapshot.redaction
    served = services.find_tools(context).find(call["name"] or "")
    args = call["args"]
    return AuditEntry(
        time=time.time(),
        kind="decision",
        turn=context.turn,
        thread=context.thread,
        user=context.caller.user,
        owner=context.owner,
        key=context.caller.key,
        role=" & ".join(context.caller.roles),
        graph=site.plan.id,
        snapshot=ruling.snapshot or services.snapshot.id,
        node=asker,
        tool=people_name if served is not None else redaction.redact_text(people_name, LONGEST_NAME),
        call_id=call["id"] or "",
        args_digest=digest,
        args=redaction.copy(args if isinstance(args, dict) else {"text": args}, served and served.secrets),
        verdict=ruling.decision,
        rule=redaction.redact_text(ruling.rule, LONGEST_RULE),
        approval=ruling.approval,
        note=None if context.trial is None else f"a trial as the role {context.trial.role}",
    )
