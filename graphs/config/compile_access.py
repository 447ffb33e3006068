"""Compile `access.yaml` into a policy, and find the mistakes that need more than one entry to be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from graphs.config.reader import ParsedFile
from graphs.config.source import Path, Source
from graphs.config.spec.access import AccessSpec, RoleLimitsSpec, RoleSpec, RuleSpec
from graphs.config.spec.servers import ServersSpec
from graphs.errors import Problem, did_you_mean
from graphs.expressions import Condition, ExpressionError, compile_rule_condition
from graphs.policy import patterns
from graphs.policy.limits import Limit, Limits
from graphs.policy.rules import Policy, Role, Rule

_Decision = Literal["allow", "ask", "deny"]
_DECISIONS: tuple[_Decision, ...] = ("allow", "ask", "deny")


@dataclass(frozen=True)
class CompiledAccess:
    """The policy of `access.yaml`, or what is wrong with the file."""

    policy: Policy | None
    """None if there are problems."""
    problems: list[Problem]
    conditions: Mapping[Path, Condition]
    """The condition of each rule that has one, by the rule's path."""


def compile_access(reading: ParsedFile[AccessSpec]) -> CompiledAccess:
    """Compile and check the roles, keys and identities of the file."""
    if reading.spec is None:
        return CompiledAccess(None, [], {})
    builder = _AccessCompiler(reading.spec, reading.source, reading.list_names("roles"))
    roles = [builder.build_role(name, role) for name, role in reading.spec.roles.items()]
    builder.check_includes()
    builder.check_keys()
    builder.check_identities()
    policy = Policy(roles) if reading.is_complete and not builder.problems else None
    return CompiledAccess(policy, builder.problems, builder.conditions)


@dataclass
class _AccessCompiler:
    spec: AccessSpec
    source: Source
    role_names: list[str]
    """The names of all roles, of those too that could not be read."""
    problems: list[Problem] = field(default_factory=list[Problem])
    conditions: dict[Path, Condition] = field(default_factory=dict[Path, Condition])
    condition_cache: dict[tuple[str, str | None], Condition] = field(
        default_factory=dict[tuple[str, str | None], Condition]
    )
    """By text: rules that say the same share one condition, which a call evaluates once."""

    def _report(self, path: Path, message: str) -> None:
        if not self.source.is_broken(path):
            self.problems.append(self.source.build_problem(path, message))

    def _locate(self, path: Path) -> str:
        return f"{self.source.file}:{self.source.find_position(path).line}"

    def build_role(self, name: str, spec: RoleSpec) -> Role:
        path: Path = ("roles", name)
        rules: list[Rule] = []
        lists: Sequence[tuple[_Decision, list[RuleSpec]]] = (
            ("deny", spec.deny), ("ask", spec.ask), ("allow", spec.allow)
        )  # fmt: skip
        for decision, written in lists:
            for at, rule in enumerate(written):
                rules += self._build_rules((*path, decision, at), name, decision, rule)
        for kind, named in (("graphs", spec.graphs), ("models", spec.models)):
            for at, pattern in enumerate(named or ()):
                # Models of LiteLLM may hold `/` and `:`; only what is no pattern at all is refused.
                if (wrong := patterns.find_fault(pattern)) is not None:
                    self._report((*path, kind, at), wrong)
        return Role(
            name=name,
            where=self._locate(path),
            include=tuple(spec.include),
            rules=tuple(rules),
            graphs=None if spec.graphs is None else tuple(spec.graphs),
            models=None if spec.models is None else tuple(spec.models),
            limits=self._build_limits(path, name, spec.limits),
        )

    def _build_limits(self, path: Path, role: str, spec: RoleLimitsSpec) -> Limits:
        written: dict[str, int] = spec.model_dump(exclude_none=True)
        return Limits(
            **{
                kind: Limit(maximum=most, role=role, where=self._locate((*path, "limits", kind)))
                for kind, most in written.items()
            }
        )

    def _build_rules(self, path: Path, role: str, decision: _Decision, spec: RuleSpec) -> Iterable[Rule]:
        when = self._compile_condition((*path, "when"), spec.when)
        if when is not None:
            self.conditions[path] = when
        if decision != "ask":
            for name in ("approver", "expires"):
                if getattr(spec, name) is not None:
                    self._report(
                        (*path, name), f"{name!r} belongs to rules under 'ask'; this one stands under {decision!r}"
                    )
        elif spec.approver is not None and spec.approver not in self.role_names:
            self._report((*path, "approver"), self._describe_unknown_role(spec.approver))
        for at, pattern in enumerate(spec.tool):
            wrong = patterns.find_tool_fault(pattern)
            if wrong is not None:
                self._report((*path, "tool", at), wrong)
                continue
            yield Rule(
                role=role,
                decision=decision,
                pattern=pattern,
                where=self._locate((*path, "tool", at) if (*path, "tool") in self.source.positions else path),
                when=when,
                approver=spec.approver,
                expires=spec.expires,
                reason=spec.reason,
            )

    def _compile_condition(self, path: Path, text: str | None) -> Condition | None:
        if text is None:
            return None
        shown = self.source.raw_texts.get(path)
        try:
            if (text, shown) not in self.condition_cache:
                self.condition_cache[text, shown] = compile_rule_condition(text, shown=shown)
            return self.condition_cache[text, shown]
        except ExpressionError as error:
            if not self.source.is_broken(path):
                self.problems.append(self.source.build_text_problem(path, error.offset, str(error)))
            return None

    def _describe_unknown_role(self, name: str) -> str:
        choices = f"there is {', '.join(self.role_names)}" if self.role_names else "there is no role at all"
        return f"there is no role {name!r}; {choices}{did_you_mean(name, self.role_names)}"

    def check_includes(self) -> None:
        said: set[frozenset[str]] = set()
        for name, role in self.spec.roles.items():
            for at, other in enumerate(role.include):
                path: Path = ("roles", name, "include", at)
                if other not in self.role_names:
                    self._report(path, self._describe_unknown_role(other))
                elif (circle := self._find_cycle(name, other)) and frozenset(circle) not in said:
                    said.add(frozenset(circle))
                    self._report(path, f"roles include each other in a circle: {' → '.join(circle)}")

    def _find_cycle(self, name: str, other: str) -> list[str]:
        """Return the path from `name` by `other` back to `name`; empty if there is none."""
        before: dict[str, str] = {other: name}
        waiting = [other]
        while waiting:
            here = waiting.pop(0)
            if here == name:
                way = [name]
                while (here := before[here]) != name:
                    way.append(here)
                return [name, *reversed(way[1:]), name]
            for following in self.spec.roles[here].include if here in self.spec.roles else ():
                if following not in before:
                    before[following] = here
                    waiting.append(following)
        return []

    def check_keys(self) -> None:
        seen: dict[tuple[str, str], int] = {}
        for at, key in enumerate(self.spec.keys):
            path: Path = ("keys", at)
            if key.role not in self.role_names:
                self._report((*path, "role"), self._describe_unknown_role(key.role))
            for kind, value in (("name", key.name), ("env", key.env), ("sha256", key.sha256)):
                if value is None:
                    continue
                if (kind, value) in seen:
                    line = self.source.find_position(("keys", seen[kind, value], kind)).line
                    self._report((*path, kind), f"two keys have this {kind!r}; the other is on line {line}")
                else:
                    seen[kind, value] = at

    def check_identities(self) -> None:
        spec = self.spec.identities
        sources = [(("identities", "litellm"), spec.litellm)] if spec.litellm is not None else []
        every = [*sources, *((("identities", "oidc", at), issuer) for at, issuer in enumerate(spec.oidc))]
        for path, source in every:
            for value, role in source.roles.items():
                if role not in self.role_names:
                    self._report((*path, "roles", value), self._describe_unknown_role(role))
            if source.default is not None and source.default not in self.role_names:
                self._report((*path, "default"), self._describe_unknown_role(source.default))
        issuers = [issuer.issuer for issuer in spec.oidc]
        for at, issuer in enumerate(issuers):
            if issuer in issuers[:at]:
                self._report(("identities", "oidc", at, "issuer"), "two entries have this issuer; keep one")


def find_unknown_hints(
    access: ParsedFile[AccessSpec], conditions: Mapping[Path, Condition], servers: ParsedFile[ServersSpec]
) -> Iterator[Problem]:
    """Find the rules whose condition looks at a hint (`tool.read_only`) that no server of theirs is trusted to give.

    What tools say of themselves counts only from trusted servers. A server that servers.yaml does not have may be one
    to come. `conditions` are those of the rules, by the rule's path.

    A question about everything (`ask: [{tool: "*", when: "!tool.read_only"}]`) is no mistake, whoever is trusted: what
    is not known is asked, which is what it is for.
    """
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
    """Return the servers of those patterns of the rule that match tools of no trusted server."""
    doubted: list[str] = []
    for pattern in rule.tool:
        servers = [name for name in trusts if patterns.could_begin(pattern, f"{name}/")]
        if not any(trusts[name] for name in servers):
            doubted += servers
    return list(dict.fromkeys(doubted))


def _describe_servers(servers: list[str]) -> str:
    if len(servers) == 1:
        return f"server {servers[0]!r} is not trusted to say so; if it is to be, write 'trusted: true' under it"
    known = ", ".join(map(repr, servers))
    return f"none of {known} is trusted to say so; if one is to be, write 'trusted: true' under it"
