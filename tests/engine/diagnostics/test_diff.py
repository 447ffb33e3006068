"""What a change of the files means: two folders, compared."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from support.configs import loaded

from graphs.config.loader import Snapshot, load
from graphs.config.spec.node import NodeSpec
from graphs.config.spec.registry import NODE_SPECS
from graphs.diagnostics.diff.changes import Change, compare_words
from graphs.diagnostics.diff.compare import compare_snapshots
from graphs.diagnostics.diff.variables import NARROWER, accepts
from graphs.expressions import parse_variable
from graphs.policy.caller import Caller, CallFacts, ToolFacts
from graphs.policy.patterns import matches_any
from graphs.policy.rules import Verdict

AGENT = {"type": "model", "prompt": "Help {{ caller.user }}.", "tools": ["*"], "next": "check"}
ASSISTANT: dict[str, Any] = {
    "start": "agent",
    "nodes": {
        "agent": {**AGENT, "next": [{"when": "size(tool_calls) > 0", "to": "check"}, {"to": "end"}]},
        "check": {"type": "permission", "next": "act"},
        "act": {"type": "tools", "next": "agent"},
    },
}
SERVERS = {"files": {"url": "http://127.0.0.1:9/mcp"}, "db": {"url": "http://127.0.0.1:9/mcp"}}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCESS: dict[str, Any] = {"roles": {"dev": {"allow": ["files/*"], "ask": [{"tool": "db/write", "approver": "dev"}]}}}


def load_side(
    folder: Path,
    graph: dict[str, Any] | None = None,
    access: dict[str, Any] | None = None,
    servers: dict[str, Any] | None = None,
    **rest: str,
) -> Snapshot:
    written = {
        "graphs/assistant.yaml": ASSISTANT if graph is None else graph,
        "access.yaml": ACCESS if access is None else access,
        "servers.yaml": {"mcpServers": SERVERS if servers is None else servers},
    }
    files = {name: yaml.safe_dump(content, sort_keys=False) for name, content in written.items()}
    return loaded(folder, files | rest)


def compare(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    return compare_snapshots(load_side(folder / "old", **old), load_side(folder / "new", **new))


def compare_nodes(folder: Path, old: dict[str, Any], new: dict[str, Any], **rest: Any) -> list[str]:
    """What is said of two graphs with these nodes, of the graph alone."""
    sides = [{"graph": {"start": next(iter(nodes)), "nodes": nodes, **rest}} for nodes in (old, new)]
    return [f"{each.mark}: {each.text}" for each in compare(folder, *sides) if each.subject == "graph assistant"]


def compare_rules(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What is said of two roles `dev`; what gives more rights has a '!' before it."""
    sides = [{"access": {"roles": {"boss": {}, "dev": role}}} for role in (old, new)]
    found = [each for each in compare(folder, *sides) if not each.text.startswith("rule ")]
    return [f"{'!' * each.widens_rights}{each.text}" for each in found]


def say(text: str, to: Any = "end") -> dict[str, Any]:
    return {"type": "reply", "text": text, "next": to}


def test_files_that_mean_the_same_have_no_difference(tmp_path: Path) -> None:
    """In another folder, with other comments, and defaults written out."""
    graph = "# Another comment.\n" + yaml.safe_dump({**ASSISTANT, "limits": {"rounds": 12}})
    assert compare(tmp_path, {}, {"graphs/assistant.yaml": graph}) == []


# --- graphs ---


def test_nodes_and_ways_come_go_and_lead_elsewhere(tmp_path: Path) -> None:
    ways = [{"when": "message == 'a'", "to": "b"}, {"when": "message == 'b'", "to": "c"}, {"to": "end"}]
    old = {"a": say("x", ways), "b": say("x"), "c": say("x")}
    ways = [{"when": "message == 'a'", "to": "d"}, {"when": "message == 'c'", "to": "c"}, {"to": "end"}]
    assert compare_nodes(tmp_path, old, {"a": say("x", ways), "d": say("x", "c"), "c": say("x")}) == [
        "changed: way a → d (when message == 'a') led to b",
        "changed: way a → c is taken when message == 'c'; before: when message == 'b'",
        "removed: node b (reply)",
        "removed: way b → end",
        "added: node d (reply)",
        "added: way d → c",
    ]


def test_the_order_of_conditions_and_the_way_of_a_failure_count_too(tmp_path: Path) -> None:
    ways = [{"when": "message == 'a'", "to": "b"}, {"when": "message == 'b'", "to": "b"}]
    old = {"a": {"type": "model", "next": [*ways, {"to": "end"}]}, "b": say("x")}
    new = {"a": {"type": "model", "next": [*reversed(ways), {"to": "end"}], "on_error": "b"}, "b": say("x")}
    assert compare_nodes(tmp_path, old, new) == [
        "added: way a → b (when it fails)",
        "changed: the ways of a are tried in another order",
    ]


def test_settings_of_any_node_are_compared_field_by_field(tmp_path: Path) -> None:
    old = {"a": {"type": "model", "tools": [], "temperature": 1, "next": "end"}, "n": say("x")}
    old["a"]["next"] = "n"
    new = {"a": {"type": "agent", "tools": ["db/*"], "retry": {"times": 2, "wait": "1s"}, "next": "n"}, "n": say("x")}
    assert compare_nodes(tmp_path, old, new) == [
        "changed: model calls of a turn: at most 1 → 13",
        "changed: tool calls of a turn: at most 0 → 40",
        "changed: node a: type model → agent",
        "changed: node a: tools: + 'db/*'",
        "changed: node a: temperature: 1.0 → none",
        "changed: node a: retry.times: none → 2",
        "changed: node a: retry.wait: none → 1.0",
    ]


class StampSpec(NodeSpec, frozen=True):
    """A node type that is defined here alone."""

    type: Literal["stamp"]
    marks: dict[str, list[int]] = Field(default_factory=dict[str, list[int]])


class QuestionSpec(NodeSpec, frozen=True):
    """A question to a person."""

    type: Literal["question"]
    by: str | None = None


def test_defaults_are_said_of_the_nodes_that_they_hold_for(tmp_path: Path) -> None:
    nodes = {"a": {"type": "model", "next": "b"}, "b": {"type": "model", "timeout": "5s", "next": "n"}, "n": say("x")}
    sides = [{"graph": {"start": "a", "nodes": nodes, "defaults": {"timeout": time}}} for time in ("10s", "20s")]
    assert [each.text for each in compare(tmp_path, *sides)] == ["node a: timeout: 10.0 → 20.0"]


def test_a_node_type_of_its_own_is_compared_without_a_word_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NODE_SPECS, "stamp", StampSpec)
    old = {"a": {"type": "stamp", "marks": {"x": [1], "y": [1, 2]}, "next": "end"}}
    new = {"a": {"type": "stamp", "marks": {"y": [2, 3]}, "next": "end"}}
    assert compare_nodes(tmp_path, old, new) == [
        "changed: node a: marks.x: [1] → none",
        "changed: node a: marks.y: + 3, - 1",
    ]


def test_whose_memory_it_is_and_what_is_remembered_are_compared(tmp_path: Path) -> None:
    def build(memory: dict[str, Any], value: str, key: str) -> dict[str, Any]:
        nodes = {
            "know": {"type": "memory", "recall": {"key": key}, "into": "tone", "next": "keep"},
            "keep": {"type": "memory", "remember": {"tone": value}, "next": "end"},
        }
        tone = {"type": "string", "default": "plain"}
        return {"graph": {"memory": memory, "vars": {"tone": tone}, "start": "know", "nodes": nodes}}

    mine, shared = build({"ttl": "30d"}, "tone", "tone"), build({"scope": "graph"}, "tone + '!'", "voice")
    assert sorted(change.text for change in compare(tmp_path, mine, shared)) == [
        "memory.scope: 'user' → 'graph'",
        "memory.ttl: 2592000.0 → 7776000.0",
        "node keep: remember.tone",
        "node know: recall.key: 'tone' → 'voice'",
    ]


def test_prompts_are_compared_by_words(tmp_path: Path) -> None:
    texts = ("Answer the last question in\none word.", "Answer the question in one  word, politely.")
    nodes = [{"a": {**AGENT, "tools": [], "prompt": text, "next": "end"}} for text in texts]
    sides = [{"graph": {"start": "a", "nodes": each}} for each in nodes]
    [change] = compare(tmp_path, *sides)
    assert change.text == "node a: prompt"
    assert change.texts is not None
    assert [(each.mark, each.text) for each in compare_words(*change.texts)] == [
        (None, "Answer the "),
        ("removed", "last "),
        (None, "question in one  word"),
        ("added", ", politely"),
        (None, "."),
    ]


@given(old=st.text("ab .\n"), new=st.text("ab .\n"))
def test_the_words_of_both_texts_are_all_there(old: str, new: str) -> None:
    words = compare_words(old, new)
    assert "".join(each.text for each in words if each.mark != "removed") == new
    was = "".join(each.text for each in words if each.mark != "added")
    assert "".join(was.split()) == "".join(old.split())


def test_variables_come_go_and_take_less(tmp_path: Path) -> None:
    def compare_vars(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
        sides = [{"graph": {"vars": types, "start": "a", "nodes": {"a": say("x")}}} for types in (old, new)]
        return [each.text for each in compare(tmp_path, *sides)]

    ends = "a turn that waits with a value that no longer fits ends in words"
    assert compare_vars({"a": "int", "b": ["x", "y"], "c": "int"}, {"b": ["y"], "c": "number", "d": "any"}) == [
        "variable a (int)",
        f"variable b takes less: one of x, y → one of y; {ends}",
        "variable c takes more: int → number",
        "variable d (any)",
    ]
    assert compare_vars({"a": {"type": "int", "default": 1}, "b": "int"}, {"a": "int", "b": "string"}) == [
        "variable a: default 1 → none",
        f"variable b has another type: int → string; {ends}",
    ]
    assert compare_vars({"a": ["x", "y"]}, {"a": ["y", "x"]}) == []


TYPES = st.recursive(
    st.sampled_from(["string", "int", "number", "bool", "any", ["x", "y"], ["x"]]),
    lambda inner: st.one_of(
        inner.map(lambda item: {"list": item}),
        st.dictionaries(st.sampled_from(["a", "b", "b?"]), inner, min_size=1).map(lambda fields: {"fields": fields}),
    ),
    max_leaves=3,
)  # fmt: skip
VALUES = st.recursive(
    st.sampled_from(["x", "y", "z", 1, 1.5, True]),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["a", "b"]), inner)),
    max_leaves=3,
)


@given(one=TYPES, other=TYPES, value=VALUES)
def test_a_type_that_takes_no_less_takes_every_value(one: Any, other: Any, value: Any) -> None:
    if {"b", "b?"} <= {*str([one, other]).split("'")}:
        return  # a field is named once
    type_, was = parse_variable(one).type, parse_variable(other).type
    if not accepts(type_, was):
        return
    try:
        was.fit(value)
    except Exception:
        return
    type_.fit(value)


# --- rights ---


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ({}, {"allow": ["db/read"]}, ["!db/read can be called now in graph assistant: allow"]),
        ({"allow": ["db/read"]}, {}, ["db/read can no longer be called; before: allow"]),
        ({"allow": ["db/*"]}, {"allow": ["*"]}, ["!files/* can be called now in graph assistant: allow"]),
        (
            {"ask": ["db/write"]},
            {"allow": ["db/write"]},
            ["!db/write runs without asking now: allow; before: ask"],
        ),
        ({"allow": ["db/write"]}, {"ask": ["db/write"]}, ["db/write is allowed less: ask; before: allow"]),
        (
            {"allow": [{"tool": "db/q", "when": "args.n < 3"}]},
            {"allow": ["db/q"]},
            ["!db/q is allowed more: allow; before: allow when args.n < 3"],
        ),
        (
            {"allow": [{"tool": "db/q", "when": "args.n < 3"}]},
            {"allow": [{"tool": "db/q", "when": "args.n < 4"}]},
            ["!db/q may be allowed more: allow when args.n < 4; before: allow when args.n < 3"],
        ),
        (
            {"ask": [{"tool": "db/q", "approver": "boss"}]},
            {"ask": ["db/q"]},
            ["!db/q may be allowed more: ask; before: ask by boss"],
        ),
        (
            {"allow": ["db/*"], "deny": ["db/drop_*"]},
            {"allow": ["db/*"], "deny": ["db/drop_all"]},
            ["!db/drop_* can be called now in graph assistant: allow"],
        ),
        ({"allow": ["jira/*"]}, {"allow": ["jira/*", "jira2/*"]}, []),
    ],
)
def test_what_a_rule_opens_and_closes_is_said_of_the_tools(
    old: dict[str, Any], new: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    assert compare_rules(tmp_path, old, new) == words


def test_a_graph_and_a_server_open_tools_too(tmp_path: Path) -> None:
    narrow = {**ASSISTANT, "nodes": {**ASSISTANT["nodes"], "agent": {**ASSISTANT["nodes"]["agent"], "tools": ["db/*"]}}}
    found = [each for each in compare(tmp_path, {"graph": narrow}, {}) if each.widens_rights]
    assert [each.text for each in found] == ["files/* can be called now in graph assistant: allow"]
    found = compare(tmp_path / "two", {"servers": {"db": SERVERS["db"]}}, {})
    assert [each.text for each in found if each.widens_rights] == [
        "files/* can be called now in graph assistant: allow"
    ]
    chosen = {**SERVERS, "files": {**SERVERS["files"], "include": ["read_*"]}}
    found = compare(tmp_path / "three", {"servers": chosen}, {})
    assert [each.text for each in found if each.widens_rights] == [
        "files/* can be called now in graph assistant: allow"
    ]
    found = compare(tmp_path / "four", {}, {"servers": chosen})
    assert not any(each.widens_rights for each in found)


def test_a_question_that_nobody_meets_any_more_is_named(tmp_path: Path) -> None:
    narrow = {
        **ASSISTANT,
        "nodes": {**ASSISTANT["nodes"], "agent": {**ASSISTANT["nodes"]["agent"], "tools": ["files/*"]}},
    }
    found = [each for each in compare(tmp_path, {}, {"graph": narrow}) if each.subject == "role dev"]
    assert [each.text for each in found] == [
        "db/write can no longer be called; before: ask by dev",
        "nobody meets the rule ask db/write, approver dev any more: no such tool can be called, or another rule decides"
        " first",
    ]
    assert found[1].position == "access.yaml:6"
    assert not any(each.widens_rights for each in found)


def test_keys_graphs_and_models_of_roles_are_rights(tmp_path: Path) -> None:
    def build(key: dict[str, Any], **role: Any) -> dict[str, Any]:
        return {"access": {"roles": {"dev": {**ACCESS["roles"]["dev"], **role}, "lead": {}}, "keys": [key]}}

    key = {"name": "ada", "role": "dev", "env": "ADA_KEY"}
    old = build(key, graphs=["other"], models=["gpt-*"])
    new = build({**key, "role": "lead"}, graphs=["*"], models=["gpt-*", "large"])
    assert [(each.subject, each.text) for each in compare(tmp_path, old, new) if each.widens_rights] == [
        ("role dev", "files/* can be called now in graph assistant: allow"),
        ("role dev", "db/write can be called now in graph assistant: ask by dev"),
        ("role dev", "may use graph assistant"),
        ("role dev", "models: [\"gpt-*\"] → [\"gpt-*\", \"large\"]"),
        ("key ada", "role: 'dev' → 'lead'"),
    ]  # fmt: skip


def test_a_path_past_a_question_is_a_gate_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NODE_SPECS, "question", QuestionSpec)
    agent = {"type": "agent", "tools": ["*"], "next": "end"}
    old = {"a": say("x", "sure"), "sure": {"type": "question", "next": "agent"}, "agent": agent}
    ways = [{"when": "message == 'now'", "to": "agent"}, {"to": "sure"}]
    new = {"a": say("x", ways), "sure": {"type": "question", "next": "agent"}, "agent": agent}
    sides = [{"graph": {"start": "a", "nodes": nodes}} for nodes in (old, new)]
    [change] = [each for each in compare(tmp_path, *sides) if each.widens_rights]
    assert change.text == "a path leads to node agent past question sure"
    assert [each for each in compare(tmp_path / "back", *reversed(sides)) if each.widens_rights] == []


YES, NO = {"when": "message == 'yes'", "to": "agent"}, {"when": "message == 'no'", "to": "no"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ([YES, {"to": "no"}], [{**YES, "to": "no"}, {"to": "agent"}], ["where no way before it is taken"]),
        ([YES, {"to": "no"}], [{"when": "true", "to": "agent"}, {"to": "no"}], ["when true"]),
        ([NO, {"to": "agent"}], [{"to": "agent"}], ["where no way before it is taken"]),
        ([{"to": "agent"}], [NO, {"to": "agent"}], []),
        ([NO, YES, {"to": "no"}], [YES, NO, {"to": "no"}], ["when message == 'yes'"]),
    ],
)
def test_an_answer_that_leads_to_a_tool_is_a_gate_that_is_gone(
    old: list[dict[str, str]],
    new: list[dict[str, str]],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(NODE_SPECS, "question", QuestionSpec)
    nodes = {"agent": {"type": "agent", "tools": ["*"], "next": "no"}, "no": say("x")}
    sides = [
        {"graph": {"start": "sure", "nodes": {"sure": {"type": "question", "next": ways}, **nodes}}}
        for ways in (old, new)
    ]
    found = [each.text for each in compare(tmp_path, *sides) if each.widens_rights]
    assert found == [f"question sure leads to node agent {each}, as it did not" for each in words]


def test_another_role_that_answers_is_a_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NODE_SPECS, "question", QuestionSpec)
    sure = {"type": "question", "next": "end"}
    sides = [
        {"graph": {"start": "sure", "nodes": {"sure": {**sure, **by}}}} for by in ({"by": "lead"}, dict[str, str]())
    ]
    [change] = compare(tmp_path, *sides)
    assert (change.text, change.widens_rights) == ("node sure: by: 'lead' → none", True)


def test_a_path_past_the_permission_node_is_a_gate_that_is_gone(tmp_path: Path) -> None:
    nodes = ASSISTANT["nodes"]
    ways = [{"when": "message == 'now'", "to": "act"}, {"to": "agent"}]
    new = {"start": "first", "nodes": {"first": say("x", ways), **nodes}}
    [change] = [each for each in compare(tmp_path, {}, {"graph": new}) if each.widens_rights]
    assert change.text == "a path leads to node act past permission node check"


# --- servers, gateway, secrets ---


def test_what_may_be_secret_is_not_shown(tmp_path: Path) -> None:
    old = {"db": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer hush-hush"}}}
    new = {
        "db": {"url": "http://127.0.0.1:9/mcp?key=hush", "headers": {"Authorization": "Bearer quiet"}, "trusted": True}
    }
    found = compare(tmp_path, {"servers": old}, {"servers": new})
    assert [(each.text, each.widens_rights) for each in found if each.subject == "server db"] == [
        ("url is another", False),
        ("headers.Authorization is another", False),
        ("trusted: false → true", True),
    ]
    assert "hush" not in str(found)


def test_a_prompt_from_the_environment_is_shown_as_it_is_written(tmp_path: Path) -> None:
    texts = ["Use ${A}, please.", "Use ${B}, please."]
    files = [
        yaml.safe_dump({"start": "a", "nodes": {"a": {"type": "model", "prompt": text, "next": "end"}}})
        for text in texts
    ]
    old, new = (
        loaded(tmp_path / str(at), {"graphs/assistant.yaml": text}, {"A": "hush", "B": "quiet"})
        for at, text in enumerate(files)
    )
    [change] = compare_snapshots(old, new)
    assert "hush" not in str(change)
    assert change.texts == tuple(texts)


# --- tests ---


def test_the_tests_that_name_what_changed_are_named(tmp_path: Path) -> None:
    graph = {"start": "a", "nodes": {"a": say("x", "b"), "b": say("x"), "c": say("x")}}
    cases = {
        "as": {"role": "dev"},
        "cases": {
            "all of it": {"say": "x", "expect": {"route": ["a", "b", "end"]}},
            "the end": {"say": "x", "expect": {"route": ["...", "end"]}},
        },
    }

    def load_with_cases(name: str, to: str) -> Snapshot:
        nodes = {"a": say("x", [{"when": "message == 'c'", "to": "c"}, {"to": to}]), "b": say("x"), "c": say("x")}
        nodes["c"]["next"] = "b" if to != "b" else "end"
        folder = tmp_path / name
        load_side(folder, {**graph, "nodes": nodes})
        (folder / "graphs" / "assistant.test.yaml").write_text(yaml.safe_dump(cases, sort_keys=False))
        return load(folder, {}, with_cases=True)

    found = compare_snapshots(load_with_cases("old", "b"), load_with_cases("new", "c"))
    assert [each.text for each in found if each.subject.startswith("tests")] == [
        "one test takes what changed, a → b: 'all of it'"
    ]


# --- rights hold ---

TOOLS = ("files/read", "files/read_all", "files/write", "db/q")
PATTERNS = st.sampled_from(("*", "files/*", "files/read*", "*/read", "*_all", "db/?", *TOOLS))
CONDITIONS = st.sampled_from((None, None, "args.n > 1", "args.n > 2", 'tool.name == "q"', "tool.read_only"))


@st.composite
def build_role(draw: st.DrawFn) -> dict[str, Any]:
    role: dict[str, Any] = {}
    for decision in ("allow", "ask", "deny"):
        rules: list[dict[str, Any]] = []
        for _ in range(draw(st.integers(0, 3 if decision == "allow" else 2))):
            rule: dict[str, Any] = {"tool": draw(PATTERNS)}
            if (when := draw(CONDITIONS)) is not None and (when != "tool.read_only" or decision == "ask"):
                rule["when"] = when
            if decision == "ask" and draw(st.booleans()):
                rule["approver"] = "boss"
            rules.append(rule)
        role[decision] = rules
    return role


def decide(snapshot: Snapshot, tool: str, n: int, *, read_only: bool) -> Verdict:
    """What becomes of a call: by the rules, where a graph shows the tool."""
    server, own = tool.split("/")
    patterns = snapshot.graphs["assistant"].spec.nodes["agent"].locate_tool_patterns().values()
    if not matches_any(patterns, tool) or server not in snapshot.servers:
        return Verdict(decision="deny", rule="not shown")
    facts = CallFacts(
        call_id="1",
        tool=ToolFacts(server, own, read_only=read_only, trusted=snapshot.servers[server].trusted),
        args={"n": n},
        graph="assistant",
        node="agent",
        rounds=1,
        calls=0,
        now=NOW,
    )
    return snapshot.policy.decide(Caller(user="ada", role="dev", key="ada"), facts)


@given(roles=st.tuples(build_role(), build_role()), shown=st.tuples(PATTERNS, PATTERNS))
@settings(max_examples=150)
def test_where_no_change_gives_more_rights_no_call_is_allowed_more(
    roles: tuple[dict[str, Any], dict[str, Any]],
    shown: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("sides")
    servers = {name: {**entry, "trusted": True} for name, entry in SERVERS.items()}

    def load_one(at: int) -> Snapshot:
        agent = {**ASSISTANT["nodes"]["agent"], "tools": [shown[at]]}
        graph = {**ASSISTANT, "nodes": {**ASSISTANT["nodes"], "agent": agent}}
        access = {"roles": {"boss": {}, "dev": roles[at]}}
        return load_side(folder / str(at), graph, access, servers)

    old, new = load_one(0), load_one(1)
    assert compare_snapshots(old, old) == []
    if any(each.widens_rights for each in compare_snapshots(old, new)):
        return
    for tool in TOOLS:
        for n in (0, 2, 3):
            for read_only in (True, False):
                was, may = (decide(each, tool, n, read_only=read_only) for each in (old, new))
                if may.decision == "allow":
                    assert was.decision == "allow"
                if may.decision == "ask":
                    assert was.decision == "allow" or (was.decision, was.approver) == ("ask", may.approver)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"type": "string"}, {"type": "string", "title": "Article"}, []),
        (
            {"type": "string"},
            {"type": "string", "pattern": "^[A-Z]+$"},
            [f"has other rules in its schema for 'sku'; {NARROWER}"],
        ),
        ({"type": "string", "minLength": 2}, {"type": "string"}, ["has fewer rules in its schema for 'sku'"]),
        (
            {"type": "string"},
            {"enum": ["a", "b"]},
            [f"takes less: object with sku, with other types in it; {NARROWER}"],
        ),
        (
            {"type": "string"},
            {"type": ["string", "null"]},
            ["takes more: object with sku, with other types in it"],
        ),
    ],
)
def test_a_type_that_changed_in_its_schema_file_is_named(old: Any, new: Any, said: list[str], tmp_path: Path) -> None:
    read = {"type": "model", "into": "order", "next": "end"}
    graph = {"vars": {"order": {"schema": "./order.schema.json"}}, "start": "read", "nodes": {"read": read}}
    sides = [
        {
            "graph": graph,
            "graphs/order.schema.json": json.dumps({"type": "object", "required": ["sku"], "properties": {"sku": sku}}),
        }
        for sku in (old, new)
    ]
    changes = compare(tmp_path, *sides)
    assert [each.text for each in changes] == [f"variable order {words}" for words in said]
