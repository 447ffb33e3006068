"""The matrix and the explanation say what the rules decide: held against every decision that there can be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.diagnostics.access_matrix import build_cell
from graphs.diagnostics.explain import explain_roles
from graphs.expressions import compile_rule_condition
from graphs.policy.rules import Caller, CallFacts, Policy, Role, Rule, ToolFacts

NAMES = ["one", "two", "base"]
ARGUMENTS = "abcdef"
TOOL = ToolFacts("files", "read")

PATTERNS = st.sampled_from(["*", "files/*", "*/read", "files/read?"])
RULES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(NAMES),
        "decision": st.sampled_from(["ask", "allow", "deny"]),
        "pattern": PATTERNS,
        "conditional": st.booleans(),
        "approver": st.sampled_from([None, "one", "two"]),
    }
)


def policy_of(drawn: list[Mapping[str, Any]], condition: Any) -> Policy:
    """`base` is included by the two others; `condition` gives the text of each rule's, or None."""
    rules = [
        Rule(
            role=one["role"],
            decision=one["decision"],
            pattern=one["pattern"],
            where=f"access.yaml:{at}",
            when=None if (text := condition(one)) is None else compile_rule_condition(text),
            approver=one["approver"] if one["decision"] == "ask" else None,
        )
        for at, one in enumerate(drawn)
    ]
    return Policy(
        Role(
            name=name,
            where=f"access.yaml:{name}",
            include=() if name == "base" else ("base",),
            rules=tuple(rule for rule in rules if rule.role == name),
        )
        for name in NAMES
    )


def facts(args: Mapping[str, Any]) -> CallFacts:
    now = datetime(2026, 8, 1, tzinfo=UTC)
    return CallFacts(
        call_id="call_1", tool=TOOL, args=args, graph="assistant", node="agent", rounds=1, calls=0, now=now
    )


@settings(max_examples=300)
@given(
    drawn=st.lists(RULES, min_size=3, max_size=8),
    args=st.dictionaries(st.sampled_from("ab"), st.booleans()),
    narrowed_by=st.sampled_from([None, "two", "one"]),
    conditions=st.lists(st.sampled_from(["args.a", "!args.a", "args.b"]), min_size=8, max_size=8),
)
def test_an_explanation_is_what_was_decided_and_its_trials_leave_no_other_rule_to_decide(
    drawn: list[Mapping[str, Any]], args: Mapping[str, Any], narrowed_by: str | None, conditions: list[str]
) -> None:
    texts = iter(conditions)
    policy = policy_of(drawn, lambda one: next(texts) if one["conditional"] else None)
    caller = Caller(user="ann", role="one", key="laptop", narrowed_by=narrowed_by)
    said = explain_roles(policy, caller, facts(args))
    assert [one.role for one in said] == list(caller.roles)
    decided = policy.decide(caller, facts(args))
    assert decided.decision in {one.verdict.decision for one in said} or "two roles want different" in decided.rule
    for one in said:
        assert one.verdict == policy.decide_as(one.role, caller, facts(args))
        holding = [trial.rule for trial in one.trials if trial.outcome in ("decides", "outranked")]
        assert one.verdict.source_rule == next(iter(holding), None)
        assert [trial.rule for trial in one.trials if trial.outcome == "decides"] == holding[:1]
        assert one.verdict.decision == (holding[0].decision if holding else "deny")
        for trial in one.trials:
            assert trial.include_path == ((one.role,) if trial.rule.role == one.role else (one.role, "base"))


@settings(max_examples=300)
@given(drawn=st.lists(RULES, max_size=len(ARGUMENTS)), narrowed_by=st.sampled_from([None, "two"]))
def test_a_cell_says_exactly_what_can_be_decided_over_all_arguments(
    drawn: list[Mapping[str, Any]], narrowed_by: str | None
) -> None:
    numbers = count()
    policy = policy_of(drawn, lambda one: f"args.{ARGUMENTS[next(numbers)]}" if one["conditional"] else None)
    caller = Caller(user="ann", role="one", key="laptop", narrowed_by=narrowed_by)
    shown = build_cell(policy, "one", narrowed_by, TOOL)
    used = [name for name, one in zip(ARGUMENTS, [one for one in drawn if one["conditional"]], strict=False)]
    decided = [
        policy.decide(caller, facts(dict(zip(used, values, strict=True))))
        for values in product((True, False), repeat=len(used))
    ]
    assert set(shown.possible_decisions) == {verdict.decision for verdict in decided}
    assert shown.decision == (shown.possible_decisions[0] if len(shown.possible_decisions) == 1 else "depends")
    candidates = {candidate.rule.where for candidate in shown.candidates}
    assert {verdict.source_rule.where for verdict in decided if verdict.source_rule is not None} <= candidates
    if len(shown.candidates) + shown.has_default_deny == 1:
        assert {verdict.rule for verdict in decided} == {shown.rule}
    assert policy.may_role_see_tool("one", "files", "read") or "allow" not in shown.possible_decisions


def test_what_is_known_before_the_call_settles_conditions() -> None:
    def shown(*rules: tuple[str, str]) -> Any:
        made = [
            Rule(
                role="one", decision=decision, pattern="*", where=f"access.yaml:{at}", when=compile_rule_condition(text)
            )  # type: ignore[arg-type]
            for at, (decision, text) in enumerate(rules)
        ]
        found = build_cell(Policy([Role(name="one", where="access.yaml:9", rules=tuple(made))]), "one", None, TOOL)
        return found.decision, found.possible_decisions, [candidate.rule.where for candidate in found.candidates]

    assert shown(("allow", 'tool.server == "files"')) == ("allow", ("allow",), ["access.yaml:0"])
    assert shown(("allow", 'tool.name.startsWith("write")')) == ("deny", ("deny",), [])
    assert shown(("allow", 'caller.role == "one" || args.x == 1')) == ("allow", ("allow",), ["access.yaml:0"])
    assert shown(("allow", 'tool.name == "read" && args.x == 1')) == ("depends", ("allow", "deny"), ["access.yaml:0"])
    assert shown(("allow", "true"), ("deny", 'graph == "x"'))[1] == ("allow", "deny")
    assert shown(("deny", "turn.calls > 3"), ("ask", "!has(args.x)"), ("allow", "true"))[1] == ("allow", "ask", "deny")
