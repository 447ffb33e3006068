"""What tools say of themselves counts only from trusted servers: rules that wait for it from others are mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphs.config.reader import ParsedFile
from graphs.config.source import Path
from graphs.config.spec.access import AccessSpec, RuleSpec
from graphs.config.spec.servers import ServersSpec
from graphs.errors import Problem
from graphs.expressions import Condition
from graphs.policy.patterns import could_begin


def find_unknown_hints(
    access: ParsedFile[AccessSpec], conditions: Mapping[Path, Condition], servers: ParsedFile[ServersSpec]
) -> Iterator[Problem]:
    """The rules whose condition looks at a hint that no server of theirs is trusted to give. `conditions` are those of
    the rules, by the rule's path. A server that servers.yaml does not have may be one to come.

    A question about everything (`ask: [{tool: "*", when: "!tool.read_only"}]`) is no mistake, whoever is trusted: what
    is not known is asked, which is what it is for."""
    if access.spec is None or servers.spec is None or not servers.is_complete:
        return
    trusts = {name: spec.trusted for name, spec in servers.spec.mcpServers.items()}
    for path, rule in _iter_rules(access.spec):
        condition = conditions.get(path)
        if condition is None or not condition.hints or (path[2] == "ask" and _is_about_everything(rule)):
            continue
        doubted = _find_untrusted_servers(rule, trusts)
        for name, at in condition.hints.items() if doubted else ():
            message = f"{name} is never known here: {_describe_servers(doubted)} in servers.yaml"
            yield access.source.build_text_problem((*path, "when"), at, message)


def _iter_rules(spec: AccessSpec) -> Iterator[tuple[Path, RuleSpec]]:
    for role, written in spec.roles.items():
        for decision, rules in (("allow", written.allow), ("ask", written.ask), ("deny", written.deny)):
            for at, rule in enumerate(rules):
                yield ("roles", role, decision, at), rule


def _is_about_everything(rule: RuleSpec) -> bool:
    return all(not pattern.strip("*/") for pattern in rule.tool)


def _find_untrusted_servers(rule: RuleSpec, trusts: Mapping[str, bool]) -> list[str]:
    """The servers of those patterns of the rule that speak of no trusted server."""
    doubted: list[str] = []
    for pattern in rule.tool:
        servers = [name for name in trusts if could_begin(pattern, f"{name}/")]
        if not any(trusts[name] for name in servers):
            doubted += servers
    return list(dict.fromkeys(doubted))


def _describe_servers(servers: list[str]) -> str:
    if len(servers) == 1:
        return f"server {servers[0]!r} is not trusted to say so; if it is to be, write 'trusted: true' under it"
    known = ", ".join(map(repr, servers))
    return f"none of {known} is trusted to say so; if one is to be, write 'trusted: true' under it"
