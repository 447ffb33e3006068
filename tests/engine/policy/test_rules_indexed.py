"""A call meets only rules that speak of its tool; its values are made ready once, and no condition is asked twice."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configs import loaded

from graphs.expressions import Condition, PreparedValues, compile_rule_condition
from graphs.policy.patterns import PatternIndex, matches
from graphs.policy.rules import Caller, CallFacts, Policy, ToolFacts, Verdict


def decide(
    policy: Policy, tool: ToolFacts | str, role: str = "dev", narrowed_by: str | None = None, **args: Any
) -> Verdict:
    facts = CallFacts(
        call_id="call_1",
        tool=tool if isinstance(tool, ToolFacts) else ToolFacts(*tool.split("/", 1)),
        args=args,
        graph="assistant",
        node="agent",
        rounds=1,
        calls=0,
        now=datetime(2026, 8, 1, tzinfo=UTC),
    )
    return policy.decide(Caller(user="ann", role=role, key="laptop", narrowed_by=narrowed_by), facts)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each condition was evaluated, and `made` how often the values were made ready."""
    counted: Counter[str] = Counter()
    evaluate, make = Condition._evaluate_rule, PreparedValues._activate  # pyright: ignore[reportPrivateUsage]

    def evaluated(self: Condition, prepared: PreparedValues) -> Any:
        counted[self.text] += 1
        return evaluate(self, prepared)

    def made(self: PreparedValues, args: Any) -> Any:
        counted["made"] += 1
        return make(self, args)

    monkeypatch.setattr(Condition, "_evaluate_rule", evaluated)
    monkeypatch.setattr(PreparedValues, "_activate", made)
    return counted


@given(
    patterns=st.lists(st.text("ab/*?", min_size=1, max_size=6), max_size=8),
    name=st.builds("{}/{}".format, st.text("ab", min_size=1, max_size=3), st.text("ab/", max_size=3)),
)
def test_the_index_finds_what_trying_every_pattern_finds(patterns: list[str], name: str) -> None:
    index = PatternIndex((pattern, at) for at, pattern in enumerate(patterns))
    assert index.find_matches(name) == [at for at, pattern in enumerate(patterns) if matches(pattern, name)]


def test_only_conditions_of_rules_that_speak_of_the_tool_are_evaluated(tmp_path: Path, seen: Counter[str]) -> None:
    rules = "\n".join(f"      - {{tool: 'server-{n}/*', when: args.n == {n}}}" for n in range(200))
    policy = loaded(tmp_path, {"access.yaml": f"roles:\n  dev:\n    deny:\n{rules}\n    allow: ['*']\n"}).policy
    assert decide(policy, "server-7/read", n=1).decision == "allow"
    assert seen == {"args.n == 7": 1, "made": 1}


SHARED = """\
roles:
  base: {deny: [{tool: "*", when: args.big > 5}]}
  dev:
    include: base
    deny: [{tool: [files/*, "*/read", files/read], when: args.big > 5}, {tool: "*", when: args.path == "/etc"}]
    ask: [{tool: files/*, when: args.big > 5}, {tool: files/*, when: args.path == "/b"}]
    allow: [{tool: files/read, when: args.path == "/c"}, {tool: "*", when: args.big > 5}, "*/read"]
  narrow: {include: dev}
"""


def test_a_condition_that_stands_in_many_rules_is_evaluated_once(tmp_path: Path, seen: Counter[str]) -> None:
    policy = loaded(tmp_path, {"access.yaml": SHARED}).policy
    assert decide(policy, "files/read", big=1, path="/a").decision == "allow"
    assert seen == {
        "args.big > 5": 1,
        'args.path == "/etc"': 1,
        'args.path == "/b"': 1,
        'args.path == "/c"': 1,
        "made": 1,
    }


def test_two_roles_of_a_caller_share_what_is_made_ready(tmp_path: Path, seen: Counter[str]) -> None:
    policy = loaded(tmp_path, {"access.yaml": SHARED}).policy
    assert decide(policy, "files/read", narrowed_by="narrow", big=1, path="/a").decision == "allow"
    assert set(seen.values()) == {1}


def test_without_conditions_nothing_is_made_ready(tmp_path: Path, seen: Counter[str]) -> None:
    policy = loaded(tmp_path, {"access.yaml": "roles: {dev: {allow: [files/*, {tool: db/*, when: args.x}]}}\n"}).policy
    assert decide(policy, "files/read").decision == "allow"
    assert not seen


def test_an_argument_that_is_not_sound_spoils_only_the_conditions_that_look_at_it(tmp_path: Path) -> None:
    text = """\
roles:
  dev:
    allow:
      - {tool: a/*, when: args.path == "/w"}
      - {tool: b/*, when: args.text == "x"}
      - {tool: c/*, when: size(args) > 0}
    ask: [{tool: a/*, when: args.text == "x"}]
"""
    policy = loaded(tmp_path, {"access.yaml": text}).policy
    asked = decide(policy, "a/x", path="/w", text="x\0")
    assert (asked.decision, asked.reason) == (
        "ask",
        "its condition could not be evaluated: the arguments hold a NUL character",
    )
    assert decide(policy, "a/x", path="/w", text="y", other="\0").decision == "allow"
    assert decide(policy, "b/x", path="\0", text="x").decision == "allow"
    assert decide(policy, "c/x", path="\0").decision == "deny"


def test_of_arguments_that_are_not_known_nothing_is_said() -> None:
    known = {"tool": {"server": "files", "name": "read"}}
    for text, expected in {
        "has(args.path)": None, "size(args) == 0": None, "'path' in args": None, "caller.user == 'ann'": None,
        "tool.server == 'files' || has(args.path)": True, "tool.name == 'write' && size(args) > 0": False,
    }.items():  # fmt: skip
        assert compile_rule_condition(text).evaluate(known) is expected, text


HINTED = """\
roles:
  dev:
    allow: [{tool: "*", when: tool.read_only}]
    ask: [{tool: "*", when: "!tool.read_only && !tool.destructive"}]
    deny: [{tool: "*", when: "!tool.read_only && tool.destructive"}]
"""
TRUSTING = {"servers.yaml": "mcpServers: {files: {url: 'http://127.0.0.1:1/mcp', trusted: true}}\n"}


@pytest.mark.parametrize(
    ("read_only", "destructive", "decision"), [(True, False, "allow"), (False, False, "ask"), (False, True, "deny")]
)
def test_what_a_tool_says_of_itself_counts_where_its_server_is_trusted(
    tmp_path: Path, read_only: bool, destructive: bool, decision: str
) -> None:
    policy = loaded(tmp_path, {"access.yaml": HINTED, **TRUSTING}).policy
    tool = ToolFacts("files", "x", read_only=read_only, destructive=destructive, trusted=True)
    assert decide(policy, tool).decision == decision


def test_what_a_tool_of_another_server_says_is_unknown_and_fails_closed(tmp_path: Path) -> None:
    only_allow = (
        'roles: {dev: {allow: [{tool: "*", when: tool.read_only}, {tool: x/y, when: tool.read_only || args.ok}]}}\n'
    )
    policy = loaded(tmp_path, {"access.yaml": only_allow, **TRUSTING}).policy
    verdict = decide(policy, ToolFacts("files", "x", read_only=True, destructive=False))
    assert verdict.decision == "deny"
    assert verdict.reason == (
        "its condition could not be evaluated: server files is not trusted to say what tool.read_only is;"
        " write 'trusted: true' under it in servers.yaml"
    )
    assert decide(policy, ToolFacts("x", "y", read_only=True), ok=True).decision == "allow"
    denies = loaded(tmp_path, {"access.yaml": HINTED, **TRUSTING}).policy
    assert decide(denies, ToolFacts("files", "x", read_only=True, destructive=False)).decision == "deny"
    asks = 'roles: {dev: {allow: ["*"], ask: [{tool: "*", when: tool.destructive}]}}\n'
    asking = loaded(tmp_path, {"access.yaml": asks, **TRUSTING}).policy
    assert decide(asking, ToolFacts("files", "x", read_only=True, destructive=False)).decision == "ask"


def test_a_trusted_server_of_which_nothing_is_known_is_not_blamed(tmp_path: Path) -> None:
    policy = loaded(tmp_path, {"access.yaml": HINTED, **TRUSTING}).policy
    verdict = decide(policy, ToolFacts("files", "x", trusted=True))
    assert verdict.reason == "its condition could not be evaluated: what files/x says of itself is not known"
