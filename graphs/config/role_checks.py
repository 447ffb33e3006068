"""Check graphs against the roles of access.yaml: those that nodes name are there, and calls can be made by somebody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphs.config.graph_plan import GraphPlan
from graphs.config.reader import ParsedFile
from graphs.config.source import Path, Source
from graphs.config.spec.access import AccessSpec
from graphs.config.spec.gateway import GatewaySpec
from graphs.config.spec.graph import GraphSpec
from graphs.errors import Problem, did_you_mean
from graphs.policy.patterns import matches
from graphs.policy.rules import Policy


def find_unknown_roles(access: ParsedFile[AccessSpec], graphs: Sequence[ParsedFile[GraphSpec]]) -> Iterator[Problem]:
    """Find the roles that no entry of access.yaml has; where its roles cannot be read, nothing is held against any."""
    known = access.list_names("roles")
    for reading in graphs if known else ():
        for name, node in reading.spec.nodes.items() if reading.spec is not None else ():
            for where, role in node.locate_roles().items():
                path: Path = ("nodes", name, *where)
                if role not in known and not reading.source.is_broken(path):
                    listed = f"access.yaml has {', '.join(known)}{did_you_mean(role, known)}"
                    yield reading.source.build_problem(path, f"there is no role {role!r}; {listed}")


def find_unknown_notified_roles(access: ParsedFile[AccessSpec], gateway: ParsedFile[GatewaySpec]) -> Iterator[Problem]:
    """Find the roles of notifications that no entry of access.yaml has."""
    known = access.list_names("roles")
    spec = gateway.spec.notifications if gateway.spec is not None else None
    for name, destination in spec.destinations.items() if spec is not None and known else ():
        for at, role in enumerate(destination.roles or ()):
            path: Path = ("notifications", "destinations", name, "roles", at)
            if role not in known and not gateway.source.is_broken(path):
                listed = f"access.yaml has {', '.join(known)}{did_you_mean(role, known)}"
                yield gateway.source.build_problem(path, f"there is no role {role!r}; {listed}")


def find_denied_calls(plan: GraphPlan, source: Source, policy: Policy) -> Iterator[tuple[bool, Problem]]:
    """Find the calls of a graph's own that a role which may use it can never make; whether none of these roles can, and
    what to say of it."""
    roles = [role for role in policy.roles if policy.may_role_use_graph(role, plan.id)]
    for name, node in plan.nodes.items():
        if node.role != "caller":
            continue
        for path, tool in node.locate_tool_patterns().items():
            reasons = {role: why for role in roles if (why := _explain_denial(policy, role, tool)) is not None}
            place = (*plan.spec.locate_node(name), *path)
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
