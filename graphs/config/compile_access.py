"""`access.yaml`, checked against the rest of the folder and compiled into a policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from graphs.config.reader import Reading
from graphs.config.source import Path, Source
from graphs.config.spec.access import AccessSpec, RoleLimitsSpec, RoleSpec, RuleSpec
from graphs.errors import Problem, did_you_mean
from graphs.expressions import Condition, ExpressionError, compile_access
from graphs.policy import patterns
from graphs.policy.limits import Limit, Limits
from graphs.policy.rules import Policy, Role, Rule

_Decision = Literal["allow", "ask", "deny"]
_DECISIONS: tuple[_Decision, ...] = ("allow", "ask", "deny")


@dataclass(frozen=True)
class Rights:
    """`access.yaml`, compiled."""

    policy: Policy | None
    """None if there are problems."""
    problems: list[Problem]
    conditions: Mapping[Path, Condition]
    """The condition of each rule that has one, by the rule's path."""


def rights(reading: Reading[AccessSpec]) -> Rights:
    """Compiles and checks the rules."""
    if reading.spec is None:
        return Rights(None, [], {})
    builder = _Builder(reading.spec, reading.source, reading.names("roles"))
    roles = [builder.role(name, role) for name, role in reading.spec.roles.items()]
    builder.check_includes()
    builder.check_keys()
    builder.check_identities()
    policy = Policy(roles) if reading.whole and not builder.problems else None
    return Rights(policy, builder.problems, builder.conditions)


@dataclass
class _Builder:
    spec: AccessSpec
    source: Source
    known: list[str]
    """The names of all roles, of those too that could not be read."""
    problems: list[Problem] = field(default_factory=list[Problem])
    conditions: dict[Path, Condition] = field(default_factory=dict[Path, Condition])
    compiled: dict[tuple[str, str | None], Condition] = field(default_factory=dict[tuple[str, str | None], Condition])
    """What rules have in common is one condition, which a call evaluates once."""

    def _say(self, path: Path, message: str) -> None:
        if not self.source.is_broken(path):
            self.problems.append(self.source.problem(path, message))

    def _where(self, path: Path) -> str:
        return f"{self.source.file}:{self.source.position(path)[0]}"

    def role(self, name: str, spec: RoleSpec) -> Role:
        path: Path = ("roles", name)
        rules: list[Rule] = []
        lists: Sequence[tuple[_Decision, list[RuleSpec]]] = (
            ("deny", spec.deny), ("ask", spec.ask), ("allow", spec.allow)
        )  # fmt: skip
        for decision, written in lists:
            for at, rule in enumerate(written):
                rules += self._rules((*path, decision, at), name, decision, rule)
        for kind, named in (("graphs", spec.graphs), ("models", spec.models)):
            for at, pattern in enumerate(named or ()):
                # Models of LiteLLM may hold `/` and `:`; only what is no pattern at all is refused.
                if (wrong := patterns.fault(pattern)) is not None:
                    self._say((*path, kind, at), wrong)
        return Role(
            name=name,
            where=self._where(path),
            include=tuple(spec.include),
            rules=tuple(rules),
            graphs=None if spec.graphs is None else tuple(spec.graphs),
            models=None if spec.models is None else tuple(spec.models),
            limits=self._limits(path, name, spec.limits),
        )

    def _limits(self, path: Path, role: str, spec: RoleLimitsSpec) -> Limits:
        written: dict[str, int] = spec.model_dump(exclude_none=True)
        return Limits(
            **{
                kind: Limit(most=most, role=role, where=self._where((*path, "limits", kind)))
                for kind, most in written.items()
            }
        )

    def _rules(self, path: Path, role: str, decision: _Decision, spec: RuleSpec) -> Iterable[Rule]:
        when = self._condition((*path, "when"), spec.when)
        if when is not None:
            self.conditions[path] = when
        if decision != "ask":
            for name in ("approver", "expires"):
                if getattr(spec, name) is not None:
                    self._say(
                        (*path, name), f"{name!r} belongs to rules under 'ask'; this one stands under {decision!r}"
                    )
        elif spec.approver is not None and spec.approver not in self.known:
            self._say((*path, "approver"), self._no_role(spec.approver))
        for at, pattern in enumerate(spec.tool):
            wrong = patterns.tool_fault(pattern)
            if wrong is not None:
                self._say((*path, "tool", at), wrong)
                continue
            yield Rule(
                role=role,
                decision=decision,
                pattern=pattern,
                where=self._where((*path, "tool", at) if (*path, "tool") in self.source.positions else path),
                when=when,
                approver=spec.approver,
                expires=spec.expires,
                reason=spec.reason,
            )

    def _condition(self, path: Path, text: str | None) -> Condition | None:
        if text is None:
            return None
        shown = self.source.written.get(path)
        try:
            if (text, shown) not in self.compiled:
                self.compiled[text, shown] = compile_access(text, shown=shown)
            return self.compiled[text, shown]
        except ExpressionError as error:
            if not self.source.is_broken(path):
                self.problems.append(self.source.problem_in_text(path, error.offset, str(error)))
            return None

    def _no_role(self, name: str) -> str:
        choices = f"there is {', '.join(self.known)}" if self.known else "there is no role at all"
        return f"there is no role {name!r}; {choices}{did_you_mean(name, self.known)}"

    def check_includes(self) -> None:
        said: set[frozenset[str]] = set()
        for name, role in self.spec.roles.items():
            for at, other in enumerate(role.include):
                path: Path = ("roles", name, "include", at)
                if other not in self.known:
                    self._say(path, self._no_role(other))
                elif (circle := self._circle(name, other)) and frozenset(circle) not in said:
                    said.add(frozenset(circle))
                    self._say(path, f"roles include each other in a circle: {' → '.join(circle)}")

    def _circle(self, name: str, other: str) -> list[str]:
        """The way from `name` by `other` back to `name`; empty if there is none."""
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
            if key.role not in self.known:
                self._say((*path, "role"), self._no_role(key.role))
            for kind, value in (("name", key.name), ("env", key.env), ("sha256", key.sha256)):
                if value is None:
                    continue
                if (kind, value) in seen:
                    line, _ = self.source.position(("keys", seen[kind, value], kind))
                    self._say((*path, kind), f"two keys have this {kind!r}; the other is on line {line}")
                else:
                    seen[kind, value] = at

    def check_identities(self) -> None:
        spec = self.spec.identities
        sources = [(("identities", "litellm"), spec.litellm)] if spec.litellm is not None else []
        every = [*sources, *((("identities", "oidc", at), issuer) for at, issuer in enumerate(spec.oidc))]
        for path, source in every:
            for value, role in source.roles.items():
                if role not in self.known:
                    self._say((*path, "roles", value), self._no_role(role))
            if source.default is not None and source.default not in self.known:
                self._say((*path, "default"), self._no_role(source.default))
        issuers = [issuer.issuer for issuer in spec.oidc]
        for at, issuer in enumerate(issuers):
            if issuer in issuers[:at]:
                self._say(("identities", "oidc", at, "issuer"), "two entries have this issuer; keep one")
