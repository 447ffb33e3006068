"""Changes of rights: the tools of each role, the rules behind them, and who holds which role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from graphs.config.loader import Snapshot
from graphs.config.spec.access import KeySpec
from graphs.diagnostics.diff.changes import Change, Mark, compare_fields, describe_field, format_value
from graphs.diagnostics.diff.reach import Reach, ReachFinder, list_tool_sets
from graphs.policy.pattern_sets import is_within
from graphs.policy.rules import Policy, Role, Rule

_HARMLESS = ("cache", "leeway")
"""Settings of identities by which nobody gets a role."""


def compare_rights(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    """Compare who may do what: first the tools, then the rules that say so."""
    tools = list_tool_sets(old, new)
    roles = list(dict.fromkeys([*new.policy.roles, *old.policy.roles]))
    before, now = (
        {(role, each): finder.find(role, each) for role in roles for each in tools}
        for finder in (ReachFinder(old), ReachFinder(new))
    )
    for role in roles:
        yield from _compare_reach(role, tools, before, now)
        yield from _compare_graphs(role, old, new)
    yield from _find_idle_questions(before.values(), now.values(), new.policy)
    for role in roles:
        yield from _compare_role(role, old.policy, new.policy)
    yield from _compare_keys(old, new)


_ReachTable = Mapping[tuple[str, str], Reach | None]


def _compare_reach(role: str, tools: Iterable[str], before: _ReachTable, now: _ReachTable) -> Iterator[Change]:
    """Compare the tools of one role; tools to which the same happened are told by their widest patterns."""
    groups: dict[tuple[Mark, str, str, bool], list[str]] = {}
    for each in tools:
        found = _describe_change(before[role, each], now[role, each])
        if found is not None:
            groups.setdefault(found, []).append(each)
    for (mark, text, position, widens_rights), patterns in groups.items():
        widest = [each for each in patterns if not any(other != each and is_within(each, other) for other in patterns)]
        yield Change(
            subject=f"role {role}",
            mark=mark,
            text=f"{', '.join(widest)} {text}",
            position=position,
            widens_rights=widens_rights,
        )


def _describe_change(old: Reach | None, new: Reach | None) -> tuple[Mark, str, str, bool] | None:
    """Describe what became of a tool for a role: mark, words, place, and whether the role may do more."""
    if old == new:
        return None
    if new is None:
        return "removed", f"can no longer be called; before: {old}", "", False
    position = new.rules[0].rule.where
    if old is None:
        graphs = f"in graph {', '.join(new.graphs)}"
        return "added", f"can be called now {graphs}: {new}", position, True
    if new.is_within(old):
        return None if old.is_within(new) else ("changed", f"is allowed less: {new}; before: {old}", position, False)
    if new.may_run_at_once and not old.may_run_at_once:
        return "changed", f"runs without asking now: {new}; before: {old}", position, True
    how = "is allowed more" if old.is_within(new) else "may be allowed more"
    return "changed", f"{how}: {new}; before: {old}", position, True


def _compare_graphs(role: str, old: Snapshot, new: Snapshot) -> Iterator[Change]:
    """Compare the graphs that a role may use, of those that both sides have."""
    for graph in new.graphs:
        if graph not in old.graphs or role not in old.policy.roles or role not in new.policy.roles:
            continue
        was, may = (each.policy.may_role_use_graph(role, graph) for each in (old, new))
        if was != may:
            words = "may use" if may else "may no longer use"
            mark: Mark = "added" if may else "removed"
            where = new.policy.get_role(role).where
            text = f"{words} graph {graph}"
            yield Change(subject=f"role {role}", mark=mark, text=text, position=where, widens_rights=may)


def _find_idle_questions(
    before: Iterable[Reach | None], now: Iterable[Reach | None], policy: Policy
) -> Iterator[Change]:
    """Find the `ask` rules that decided about a tool that somebody could call, and no longer do."""
    was_met, is_met = (
        {_build_key(each.rule) for reach in side if reach is not None for each in reach.rules} for side in (before, now)
    )
    for name in policy.roles:
        for rule in policy.get_role(name).rules:
            if rule.decision == "ask" and _build_key(rule) in was_met - is_met:
                why = "no such tool can be called, or another rule decides first"
                text = f"nobody meets the rule {_describe_rule(rule)} any more: {why}"
                yield Change(subject=f"role {name}", mark="changed", text=text, position=rule.where)


def _build_key(rule: Rule) -> tuple[str | None, ...]:
    return rule.role, rule.decision, rule.pattern, rule.when.text if rule.when is not None else None, rule.approver


def _compare_role(name: str, old: Policy, new: Policy) -> Iterator[Change]:
    """Compare a role as it is written."""
    subject = f"role {name}"
    if name not in old.roles or name not in new.roles:
        policy, mark = (new, "added") if name in new.roles else (old, "removed")
        role = policy.get_role(name)
        for rule in role.rules:
            yield Change(subject=subject, mark=mark, text=f"rule {_describe_rule(rule)}", position=rule.where)
        if not role.rules:
            yield Change(subject=subject, mark=mark, text="the role, without rules of its own", position=role.where)
        return
    before, now = old.get_role(name), new.get_role(name)
    yield from _compare_rules(subject, before, now)
    for field in ("include", "graphs", "models"):
        was, lists = getattr(before, field), getattr(now, field)
        if was != lists:
            values = (format_value(None if each is None else [*each]) for each in (was, lists))
            grows = field == "models" and not _has_no_more_models(before, now)
            yield Change(
                subject=subject,
                mark="changed",
                text=f"{field}: {' → '.join(values)}",
                position=now.where,
                widens_rights=grows,
            )
    for limit in ("requests_per_minute", "endpoint_requests_per_minute", "tool_calls", "tokens_per_day"):
        was, may = (getattr(role.limits, limit) for role in (before, now))
        values = [format_value(each.maximum) if each is not None else "none" for each in (was, may)]
        if values[0] != values[1]:
            where = may.where if may is not None else now.where
            yield Change(subject=subject, mark="changed", text=f"limits.{limit}: {' → '.join(values)}", position=where)


def _has_no_more_models(old: Role, new: Role) -> bool:
    if old.models is None:
        return True
    return new.models is not None and all(any(is_within(each, other) for other in old.models) for each in new.models)


def _compare_rules(subject: str, old: Role, new: Role) -> Iterator[Change]:
    gone = {_describe_rule(rule): rule for rule in old.rules}
    added = {_describe_rule(rule): rule for rule in new.rules}
    for text, rule in gone.items():
        if text not in added:
            yield Change(subject=subject, mark="removed", text=f"rule {text}", position=rule.where)
    for text, rule in added.items():
        if text not in gone:
            yield Change(subject=subject, mark="added", text=f"rule {text}", position=rule.where)


def _describe_rule(rule: Rule) -> str:
    """Describe a rule with its terms: two rules that read alike are the same."""
    parts = [
        f"{rule.decision} {rule.pattern}",
        f"when {rule.when.text}" if rule.when is not None else "",
        f"approver {rule.approver}" if rule.approver is not None else "",
        f"expires {rule.expires:g}s" if rule.expires is not None else "",
        f"reason {rule.reason!r}" if rule.reason is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def _compare_keys(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    """Compare who stands for a role."""
    before, now = ({key.name: key for key in snapshot.keys} for snapshot in (old, new))
    for name in dict.fromkeys([*before, *now]):
        where = (new if name in now else old).key_positions[name]
        yield from _compare_key(name, before.get(name), now.get(name), str(where))
    for change in compare_fields(old.identities, new.identities):
        grows = change.path[-1] not in _HARMLESS
        text = f"identities.{describe_field(change)}"
        yield Change(subject="access.yaml", mark="changed", text=text, widens_rights=grows)


def _compare_key(name: str, old: KeySpec | None, new: KeySpec | None, where: str) -> Iterator[Change]:
    subject = f"key {name}"
    if new is None or old is None:
        mark: Mark = "added" if new is not None else "removed"
        role = new.role if new is not None else old.role if old is not None else ""
        text = f"a key for role {role}"
        yield Change(subject=subject, mark=mark, text=text, position=where, widens_rights=new is not None)
        return
    for change in compare_fields(old, new):
        # Another value of the same key is a change of its holder's, which no file can tell.
        grows = change.name == "role" or (change.name == "forwards_users" and new.forwards_users)
        text = describe_field(change)
        yield Change(subject=subject, mark="changed", text=text, position=where, widens_rights=grows)
