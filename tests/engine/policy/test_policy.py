"""Deny over ask over allow, whatever the order; nothing said means deny; what cannot be evaluated fails closed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configs import loaded

from graphs.policy.patterns import could_begin, matches
from graphs.policy.rules import Caller, CallFacts, Policy, Role, Rule, ToolFacts, Verdict

ROLES = """\
roles:
  base:
    deny: [files/delete_*, {tool: "*/drop", reason: Nothing is dropped here.}]
    graphs: [assistant]
  developer:
    include: [base]
    allow:
      - monitoring/*
      - {tool: [files/read_*, files/list_*], when: 'path_within(args.path, "/workspace")'}
      - {tool: db/query, when: sql_read_only(args.sql)}
      - files/delete_old
    ask:
      - {tool: files/write_*, approver: admin, expires: 15m}
      - {tool: db/query, when: 'args.sql.contains("salary")', reason: Salaries are private.}
  careful:
    allow: ["*"]
    ask: [{tool: "*", when: '!args.safe'}, {tool: db/*, when: args.big, approver: admin}]
    deny: [{tool: "*", when: args.evil}]
  nobody: {}
  lister: {allow: [x/y], graphs: [], models: ["gpt-*"]}
  admin: {allow: ["*"]}
keys: []
"""


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return loaded(tmp_path, {"access.yaml": ROLES}).policy


def decide(policy: Policy, role: str, tool: str, **args: Any) -> Verdict:
    server, name = tool.split("/", 1)
    facts = CallFacts(
        call_id="call_1",
        tool=ToolFacts(server, name),
        args=args,
        graph="assistant",
        node="agent",
        rounds=1,
        calls=0,
        now=datetime(2026, 8, 1, tzinfo=UTC),
    )
    return policy.decide(Caller(user="ann", role=role, key="laptop"), facts)


def test_an_allow_names_its_rule_and_line(policy: Policy) -> None:
    assert decide(policy, "developer", "monitoring/metrics") == Verdict(
        decision="allow", rule="role developer, allow 'monitoring/*' (access.yaml:8)"
    )


def test_nothing_said_means_deny_and_names_the_role(policy: Policy) -> None:
    verdict = decide(policy, "developer", "db/execute")
    assert verdict == Verdict(decision="deny", rule="role developer says nothing about it (access.yaml:5)")
    assert decide(policy, "nobody", "monitoring/metrics").decision == "deny"


def test_an_unknown_role_may_do_nothing(policy: Policy) -> None:
    assert decide(policy, "ghost", "monitoring/metrics").decision == "deny"
    assert not policy.may_role_see_tool("ghost", "monitoring", "metrics")
    assert not policy.may_role_use_graph("ghost", "assistant")
    assert not policy.may_role_use_model("ghost", "gpt-5")


def test_a_condition_that_is_not_met_is_named_in_the_refusal(policy: Policy) -> None:
    assert decide(policy, "developer", "files/read_file", path="/etc/passwd") == Verdict(
        decision="deny",
        rule="role developer, allow 'files/read_*' (access.yaml:9) holds only when"
        ' path_within(args.path, "/workspace")',
    )


def test_a_condition_of_an_allow_that_cannot_be_evaluated_denies_and_says_why(policy: Policy) -> None:
    verdict = decide(policy, "developer", "files/read_file", file="/workspace/a")
    assert verdict.decision == "deny"
    assert verdict.reason == "its condition could not be evaluated: there is no 'path' in it"


def test_an_included_role_brings_its_denies_too(policy: Policy) -> None:
    verdict = decide(policy, "developer", "files/delete_old")
    assert verdict == Verdict(decision="deny", rule="role base, deny 'files/delete_*' (access.yaml:3)")
    assert decide(policy, "developer", "any/drop").reason == "Nothing is dropped here."


def test_an_ask_stands_over_an_allow_and_carries_its_terms(policy: Policy) -> None:
    assert decide(policy, "developer", "files/write_file") == Verdict(
        decision="ask",
        rule="role developer, ask 'files/write_*' (access.yaml:13)",
        approver="admin",
        expires=900.0,
    )
    verdict = decide(policy, "developer", "db/query", sql="select salary from staff")
    assert (verdict.decision, verdict.approver, verdict.reason) == ("ask", None, "Salaries are private.")
    assert decide(policy, "developer", "db/query", sql="select name from staff").decision == "allow"


def test_an_ask_and_a_deny_match_whatever_is_not_false(policy: Policy) -> None:
    assert decide(policy, "careful", "x/y", safe=True, evil=False).decision == "allow"
    assert decide(policy, "careful", "x/y", safe=False, evil=False).decision == "ask"
    assert decide(policy, "careful", "x/y", evil=False).decision == "ask"
    assert decide(policy, "careful", "x/y", safe="yes", evil=False).decision == "ask"
    assert decide(policy, "careful", "x/y", safe=True).decision == "deny"
    assert decide(policy, "careful", "x/y", safe=True, evil=0).decision == "deny"
    assert decide(policy, "careful", "x/y", safe=True, evil="x" * 70_000).decision == "deny"
    assert decide(policy, "careful", "x/y", safe=True, evil=True).decision == "deny"


def test_of_several_asks_the_one_with_an_approver_stands(policy: Policy) -> None:
    assert decide(policy, "careful", "db/x", safe=False, big=True, evil=False).approver == "admin"
    assert decide(policy, "careful", "db/x", safe=False, big=False, evil=False).approver is None


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/workspace/../etc",
        "/workspace/%2e%2e/etc",
        "/workspace\0/x",
        "a",
        None,
        5,
        ["/workspace", "/etc"],
        {},
    ],
)
def test_hostile_paths_are_denied(policy: Policy, path: Any) -> None:
    assert decide(policy, "developer", "files/read_file", path=path).decision == "deny"


def test_tools_that_could_never_be_called_are_not_seen(policy: Policy) -> None:
    assert policy.may_role_see_tool("developer", "monitoring", "metrics")
    assert policy.may_role_see_tool("developer", "files", "read_file")
    assert policy.may_role_see_tool("developer", "files", "write_file")
    assert policy.may_role_see_tool("careful", "x", "y")
    assert not policy.may_role_see_tool("developer", "files", "delete_old")
    assert not policy.may_role_see_tool("developer", "jira", "search")
    assert not policy.may_role_see_tool("nobody", "monitoring", "metrics")


def test_graphs_and_models_are_all_allowed_unless_something_is_said(policy: Policy) -> None:
    assert policy.may_role_use_graph("admin", "anything")
    assert policy.may_role_use_model("admin", "anything")
    assert not policy.may_role_use_graph("lister", "assistant")
    assert policy.may_role_use_model("lister", "gpt-5")
    assert not policy.may_role_use_model("lister", "claude")


def test_what_an_included_role_says_of_graphs_narrows_a_role_that_says_nothing(policy: Policy) -> None:
    assert policy.may_role_use_graph("developer", "assistant")
    assert not policy.may_role_use_graph("developer", "other")


def test_many_invented_names_are_decided_alike_and_not_all_remembered(policy: Policy) -> None:
    for number in range(10_000):
        assert decide(policy, "developer", f"invented/{number}").decision == "deny"
    assert decide(policy, "developer", "monitoring/metrics").decision == "allow"


def test_a_condition_with_a_variable_in_it_is_shown_as_it_is_written(tmp_path: Path) -> None:
    text = "roles: {dev: {allow: [{tool: x/*, when: 'args.token == \"${SECRET}\"'}]}}\n"
    policy = loaded(tmp_path, {"access.yaml": text}, {"SECRET": "hush"}).policy
    assert decide(policy, "dev", "x/y", token="hush").decision == "allow"
    assert decide(policy, "dev", "x/y", token="${SECRET}").rule.endswith('holds only when args.token == "${SECRET}"')


def test_every_pattern_of_a_long_list_has_its_own_line(tmp_path: Path) -> None:
    text = "roles:\n  dev:\n    allow:\n      - tool:\n          - a/x\n          - b/x\n"
    policy = loaded(tmp_path, {"access.yaml": text}).policy
    assert decide(policy, "dev", "b/x").rule == "role dev, allow 'b/x' (access.yaml:6)"


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "files/read", True),
        ("files/*", "files/read", True),
        ("files/*", "files/a/b", True),
        ("files/*", "files/", True),
        ("files/*", "files2/read", False),
        ("*/read", "a/b/read", True),
        ("files/rea?", "files/read", True),
        ("files/rea?", "files/rea", False),
        ("files/read", "files/read_file", False),
        ("files/read", "Files/read", False),
        ("files.x/*", "filesax/y", False),
        ("a*", "b/a", False),
        ("files/*", "files/a\nb", True),
        ("files/read", "files/read\n", False),
        ("a*b*c", "a/b/b/c", True),
        ("a*b*c", "abcb", False),
        ("*ab*ab", "ab", False),
        ("*ab*ab", "aabab", True),
        ("**", "", True),
        ("?*?", "a", False),
    ],
)
def test_a_star_crosses_slashes_and_the_whole_name_must_match(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def test_a_pattern_of_many_stars_takes_no_time_to_speak_of() -> None:
    assert not matches("*a" * 30 + "/*b", "a" * 5000)


_NAMES = st.sampled_from(["a/x", "a/y", "b/x"])
_PATTERNS = st.sampled_from(["*", "a/*", "b/*", "*/x", "a/x"])
_RULES = st.lists(st.tuples(st.sampled_from(["allow", "ask", "deny"]), _PATTERNS), max_size=6)


@given(rules=_RULES, name=_NAMES, data=st.data())
def test_the_order_of_rules_never_changes_the_decision(rules: list[tuple[Any, str]], name: str, data: Any) -> None:
    def decision(written: list[tuple[Any, str]]) -> str:
        made = tuple(Rule(role="r", decision=kind, pattern=pattern, where="access.yaml:1") for kind, pattern in written)
        return decide(Policy([Role(name="r", where="access.yaml:1", rules=made)]), "r", name).decision

    said = {kind for kind, pattern in rules if matches(pattern, name)}
    expected = next((kind for kind in ("deny", "ask", "allow") if kind in said), "deny")
    assert decision(rules) == expected
    assert decision(data.draw(st.permutations(rules))) == expected


@pytest.mark.parametrize(
    ("pattern", "possible"),
    [
        ("*", True),
        ("files/*", True),
        ("files/read_?", True),
        ("f*", True),
        ("*s/x", True),
        ("f?les/x", True),
        ("*/x", True),
        ("file/*", False),
        ("files", False),
        ("other/*", False),
        ("f*x", True),
        ("?iles", False),
    ],
)
def test_whether_a_pattern_could_match_a_tool_of_a_server(pattern: str, possible: bool) -> None:
    assert could_begin(pattern, "files/") is possible


@given(st.text("ab/*?", min_size=1, max_size=8), st.text("ab", min_size=1, max_size=4), st.text("ab/", max_size=4))
def test_a_pattern_that_matches_a_tool_could_begin_with_its_server(pattern: str, server: str, tool: str) -> None:
    if matches(pattern, f"{server}/{tool}"):
        assert could_begin(pattern, f"{server}/")


def test_a_role_reaches_a_server_that_is_down_where_some_tool_of_it_could_be_called(policy: Policy) -> None:
    assert policy.may_role_reach_server("developer", "files")
    assert not policy.may_role_reach_server("developer", "elsewhere")
    assert not policy.may_role_reach_server("nobody", "files")
    assert not policy.may_role_reach_server("no such role", "files")
    assert policy.may_role_reach_server("admin", "anything")
    closed = Role(
        name="closed",
        where="access.yaml:1",
        rules=(
            Rule(role="closed", decision="allow", pattern="files/*", where="access.yaml:2"),
            Rule(role="closed", decision="deny", pattern="*", where="access.yaml:3"),
        ),
    )
    assert not Policy([closed]).may_role_reach_server("closed", "files")
