"""Check that the calls which graphs make themselves can be made by those who may use the graphs."""

from __future__ import annotations

from collections.abc import Iterator

from graphs.config.compile_graph import GraphPlan
from graphs.config.source import Source
from graphs.errors import Problem
from graphs.policy.patterns import matches
from graphs.policy.rules import Policy


def find_denied_calls(plan: GraphPlan, source: Source, policy: Policy) -> Iterator[tuple[bool, Problem]]:
    """Find the calls of a graph's own that a role which may use it can never make; whether none of these roles can, and
    what to say of it."""
    roles = [role for role in policy.roles if policy.may_role_use_graph(role, plan.id)]
    for name, node in plan.spec.nodes.items():
        if node.role != "caller":
            continue
        for path, tool in node.locate_tool_patterns().items():
            reasons = {role: why for role in roles if (why := _explain_denial(policy, role, tool)) is not None}
            place = ("nodes", name, *path)
            if reasons and len(reasons) == len(roles):
                why = "; ".join(reasons.values())
                message = f"nobody who may use this graph can ever call {tool}: {why}; allow it in access.yaml"
                yield True, source.build_problem(place, message)
                continue
            for role, why in reasons.items():
                message = f"{role} may use this graph, and can never call {tool}: {why}"
                yield False, source.build_problem(place, message)


def _explain_denial(policy: Policy, role: str, tool: str) -> str | None:
    """Explain why a role can never call a tool, whatever the arguments; None: it may be able to."""
    rules = [rule for rule in policy.list_rules(role) if matches(rule.pattern, tool)]
    always = next((rule for rule in rules if rule.decision == "deny" and rule.when is None), None)
    if always is not None:
        return str(always)
    return None if any(rule.decision != "deny" for rule in rules) else policy.build_default_verdict(role).rule
