"""`interlock access` prints who may do what; `interlock access explain` says why, for one call."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from support.configs import write_configs
from support.tool_server import Tools
from typer.testing import CliRunner, Result

from server.cli.main import app

ACCESS = """\
roles:
  base:
    deny: ["files/wri?e", {tool: "*/die", reason: Nothing dies here.}]
    graphs: [assistant]
  team:
    include: [base]
    ask: [{tool: files/order, when: 'args.item == "car"', approver: lead, expires: 15m}, files/order]
    graphs: [reader]
  developer:
    include: [team]
    allow:
      - {tool: files/echo, when: 'args.text != "secret" && turn.calls < 3'}
      - {tool: "files/*", when: 'tool.name == "add"'}
      - files/order
      - gone/query
      - jira/ticket
  lead: {allow: ["*"]}
  "=cmd|' /C calc'!A0": {allow: [files/add], graphs: [another]}
keys:
  - {name: laptop, role: developer, env: LAPTOP_KEY}
  - {name: open-webui, role: developer, env: OPENWEBUI_KEY, forwards_users: true}
identities:
  litellm: {role_from: team_id, roles: {data-team: developer}}
  oidc: [{issuer: "https://login.example.com", audience: interlock, roles: {lead: team}, default: base}]
"""
GRAPH = """\
start: agent
nodes:
  agent:
    type: model
    tools: ["*/*"]
    next: [{when: size(tool_calls) > 0, to: check}, {to: end}]
  check: {type: permission, next: act}
  act: {type: tools, next: agent}
"""
WANTED = ["echo", "add", "write", "order", "die"]


@pytest.fixture
def folder(tmp_path: Path, tools: Tools) -> Path:
    servers = f"mcpServers:\n  files: {{url: '{tools.url}'}}\n  gone: {{command: interlock-has-no-such-program}}\n"
    graphs = {
        "graphs/assistant.yaml": GRAPH,
        "graphs/reader.yaml": GRAPH.replace('"*/*"', '"*/echo"'),
        "graphs/closed.yaml": GRAPH,
    }
    return write_configs(tmp_path, {"access.yaml": ACCESS, "servers.yaml": servers, **graphs})


def run(folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Result:
    """`interlock access …`."""
    return CliRunner().invoke(app, ["access", *options, "--configs", str(folder)], env=env)


def cells(folder: Path, *options: str) -> dict[str, dict[str, Any]]:
    """The matrix by `role tool`, of the tools that matter here."""
    tools = [option for name in WANTED for option in ("--tool", f"files/{name}")]
    result = run(folder, "--format", "json", *options, *tools)
    assert result.exit_code == 0, result.output
    return {f"{cell['role']} {cell['tool']}": cell for cell in json.loads(result.stdout)}


def test_the_matrix_names_the_decision_and_the_rule_of_each_role_and_tool(folder: Path) -> None:
    found = cells(folder)
    said = {name: (cell["decision"], cell["may"], cell["rule"]) for name, cell in found.items() if "dev" in name}
    assert said == {
        "developer files/add": ("allow", ["allow"], "role developer, allow 'files/*' (access.yaml:13)"),
        "developer files/die": ("deny", ["deny"], "role base, deny '*/die' (access.yaml:3)"),
        "developer files/echo": (
            "depends",
            ["allow", "deny"],
            "role developer, allow 'files/echo' (access.yaml:12) when args.text != \"secret\" && turn.calls < 3;"
            " otherwise deny: role developer says nothing about it (access.yaml:9)",
        ),
        "developer files/order": (
            "ask",
            ["ask"],
            "role team, ask 'files/order' (access.yaml:7) when args.item == \"car\"; role team, ask 'files/order'"
            " (access.yaml:7)",
        ),
        "developer files/write": ("deny", ["deny"], "role base, deny 'files/wri?e' (access.yaml:3)"),
    }
    assert found["lead files/die"]["rule"] == "role lead, allow '*' (access.yaml:17)"
    assert found["team files/echo"]["decision"] == "deny"
    first, second = found["developer files/order"]["rules"]
    assert first == {
        "decision": "ask",
        "pattern": "files/order",
        "when": 'args.item == "car"',
        "always": False,
        "where": "access.yaml:7",
        "role": "team",
        "of": "developer",
        "approver": "lead",
        "expires": 900.0,
        "reason": None,
    }
    assert (second["always"], second["approver"]) == (True, None)


def test_it_says_who_has_which_role(folder: Path) -> None:
    keys = {cell["role"]: cell["keys"] for cell in cells(folder).values()}
    issuer = "oidc https://login.example.com"
    # The mapping is the whole list of what a field may say.
    assert keys["developer"] == ["laptop", "open-webui (forwards users)", "litellm team_id=data-team"]
    assert keys["lead"] == []
    assert keys["team"] == [f"{issuer} roles=lead"]
    assert keys["base"] == [f"{issuer}, any other"]


def test_a_persons_role_narrows_a_row_under_the_terms_of_both(folder: Path) -> None:
    found = cells(folder, "--role", "lead", "--user-role", "developer")
    assert {name: cell["may"] for name, cell in found.items()} == {
        "lead files/add": ["allow"],
        "lead files/die": ["deny"],
        "lead files/echo": ["allow", "deny"],
        "lead files/order": ["ask"],
        "lead files/write": ["deny"],
    }
    assert [(rule["of"], rule["decision"]) for rule in found["lead files/order"]["rules"]] == [
        ("lead", "allow"),
        ("developer", "ask"),
        ("developer", "ask"),
    ]


def test_of_servers_that_are_down_the_named_tools_are_shown_and_stderr_says_which_are(folder: Path) -> None:
    result = run(folder, "--format", "csv", "--role", "developer")
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if line] == [
        "gone: interlock-has-no-such-program: not found. Install it, or give its full path, or correct 'command' in"
        " servers.yaml; of its tools those are shown that rules name",
        "jira: is in rules, but not in servers.yaml; of its tools those are shown that rules name",
    ]
    rows = {row["tool"]: row["decision"] for row in csv.DictReader(io.StringIO(result.stdout))}
    assert (rows["gone/query"], rows["jira/ticket"], rows["files/add"]) == ("allow", "allow", "allow")
    assert run(folder, "--server", "files", "--role", "lead").stderr == ""
    assert run(folder, "--server", "files", "--role", "=cmd|' /C calc'!A0").stderr == (
        "role =cmd|' /C calc'!A0 may use no graph (its `graphs`), so it can call nothing\n"
    )
    unconnected = run(folder, "--no-connect", "--format", "json", "--role", "developer")
    assert {cell["tool"] for cell in json.loads(unconnected.stdout)} == {
        "files/add", "files/echo", "files/order", "gone/query", "jira/ticket",
    }  # fmt: skip


def test_a_spreadsheet_takes_nothing_for_a_formula(folder: Path) -> None:
    result = run(folder, "--format", "csv", "--no-connect")
    rows = list(csv.reader(io.StringIO(result.stdout)))
    assert rows[0] == ["role", "tool", "decision", "rule", "may", "user_role", "keys"]
    assert any(row[0] == "'=cmd|' /C calc'!A0" for row in rows)
    assert not [value for row in rows for value in row if value.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_fits_its_terminal_and_keeps_its_columns_in_line(folder: Path, width: int) -> None:
    text = (folder / "access.yaml").read_text()
    (folder / "access.yaml").write_text(text.replace("lead", "主管的名字"))
    result = run(folder, "--server", "files", "--tool", "files/*e*", env={"COLUMNS": str(width)})
    assert result.exit_code == 0, result.output
    table, keys = result.stdout.split("\nkeys of ", 1)
    lines = table.splitlines()
    assert max(cell_len(line) for line in lines) <= width
    column = cell_len(lines[0].split("decision")[0])
    starts = {
        cell_len(line.split(word)[0])
        for line in lines
        for word in ("allow  ", "deny  ", "ask  ", "depends  ")
        if word in line
    }
    assert starts == {column}
    assert "主管的名字" in table
    assert "keys of developer: laptop; open-webui (forwards users); litellm team_id=data-team" in f"keys of {keys}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--role", "develper"], "there is no role 'develper'; there is base, team, developer, lead, "),
        (["--user-role", "x"], "there is no role 'x'"),
        (["--tool", "echo"], "tools are written server/tool, so 'echo' matches none; write 'echo/*' for a whole"),
        (["--tool", "files/ecko"], "there is no tool 'files/ecko'; there is "),
        (["--server", "file"], "there is no server for 'file'; there is files, gone, jira. Did you mean 'files'?"),
        (["--server", "fi[l]es"], "the pattern 'fi[l]es' holds '['"),
        (["--role", "lead", "explain", "--tool", "files/echo"], "access explain --role"),
        (["--format", "xml"], "'xml' is not one of"),
    ],
)
def test_what_is_not_there_is_said_in_words(folder: Path, options: list[str], said: str) -> None:
    result = run(folder, *options)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", "").split())
    assert result.stdout == ""


def test_files_with_mistakes_and_folders_that_are_not_there_are_told_as_by_check(folder: Path) -> None:
    assert run(folder / "nowhere").exit_code == 2
    (folder / "access.yaml").write_text("roles: {dev: {allow: [files]}}\n")
    for options in ([], ["explain", "--role", "dev", "--tool", "files/echo"]):
        result = run(folder, *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("access.yaml:1:23: tools are written server/tool")


def test_what_a_trusted_server_says_of_its_tools_settles_rules_about_it(folder: Path) -> None:
    servers = folder / "servers.yaml"
    servers.write_text(servers.read_text().replace("mcp'}", "mcp', trusted: true}"))
    rules = "{allow: [{tool: files/*, when: tool.read_only}], ask: [{tool: files/*, when: '!tool.read_only'}]}"
    (folder / "access.yaml").write_text(f"roles: {{dev: {rules}}}\n")
    decisions = {cell["tool"].removeprefix("files/"): cell["decision"] for cell in cells(folder).values()}
    assert decisions == {"add": "allow", "echo": "allow", "die": "ask", "order": "ask", "write": "ask"}
    call = ["--role", "dev", "--tool", "files/write"]
    assert explain(folder, *call)["where"] == "access.yaml:1"
    (unknown, _) = explain(folder, *call, "--no-connect")["roles"][0]["rules"]
    assert unknown["why"] == (
        "decides: its condition could not be evaluated, and so holds: !tool.read_only (what files/write says of itself"
        " is not known)"
    )


# --- explain ---


def explain(folder: Path, *options: str) -> Any:
    """What it says, as JSON."""
    result = run(folder, "explain", "--format", "json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_explain_says_which_rule_decides_and_why_each_other_does_not(folder: Path) -> None:
    call = ["--role", "developer", "--tool", "files/order", "--args", '{"item": "pen"}']
    result = run(folder, "explain", *call, "--now", "2026-01-31T12:00:00Z", "--no-connect")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ask: role team, ask 'files/order' (access.yaml:7)",
        "  whoever asks decides",
        "",
        'call:   files/order {"item": "pen"}',
        "caller: role developer",
        "turn:   graph assistant, node agent, now 2026-01-31T12:00:00+00:00, rounds 1, calls 0",
        "model:  is shown the tool",
        "",
        "rules of role developer, the first that holds decides; it says ask:",
        "  access.yaml:3  deny 'files/wri?e', included: developer > team > base",
        "      its pattern does not match files/order",
        "  access.yaml:3  deny '*/die', included: developer > team > base",
        "      its pattern does not match files/order",
        "  access.yaml:7  ask 'files/order', included: developer > team",
        '      its condition is false: args.item == "car"',
        "> access.yaml:7  ask 'files/order', included: developer > team",
        "      decides: it has no condition",
        "  access.yaml:12  allow 'files/echo'",
        "      its pattern does not match files/order",
        "  access.yaml:13  allow 'files/*'",
        '      its condition is false: tool.name == "add"',
        "  access.yaml:14  allow 'files/order'",
        "      it has no condition; but ask stands over allow",
        "  access.yaml:15  allow 'gone/query'",
        "      its pattern does not match files/order",
        "  access.yaml:16  allow 'jira/ticket'",
        "      its pattern does not match files/order",
    ]
    assert result.stderr == "files: was not asked; whether it has a tool 'order' is not known\n"


def test_what_cannot_be_evaluated_is_told_with_its_reason(folder: Path) -> None:
    asked = explain(folder, "--role", "developer", "--tool", "files/order")
    assert (asked["decision"], asked["approver"], asked["expires"], asked["where"]) == (
        "ask", "lead", 900.0, "access.yaml:7",
    )  # fmt: skip
    assert asked["reason"] == "its condition could not be evaluated: there is no 'item' in it"
    whys = {rule["outcome"]: rule["why"] for rule in asked["roles"][0]["rules"] if rule["where"] == "access.yaml:7"}
    assert whys == {
        "decides": 'decides: its condition could not be evaluated, and so holds: args.item == "car" (there is no'
        " 'item' in it)",
        "outranked": "it has no condition; but a question with an approver of its own stands over one without",
    }
    denied = explain(folder, "--role", "developer", "--tool", "files/echo")
    assert (denied["decision"], denied["where"]) == ("deny", None)
    assert "allow 'files/echo' (access.yaml:12) holds only when" in denied["rule"]
    assert [rule["outcome"] for rule in denied["roles"][0]["rules"]].count("not evaluated") == 1


def test_every_fact_of_the_call_counts(folder: Path) -> None:
    call = ["--role", "developer", "--tool", "files/echo", "--args", '{"text": "hello"}']
    assert explain(folder, *call)["decision"] == "allow"
    assert explain(folder, *call, "--calls", "3")["decision"] == "deny"
    assert explain(folder, *call[:4], "--args", '{"text": "secret"}')["decision"] == "deny"
    text = (folder / "access.yaml").read_text()
    conditions = (
        'caller.user == "ann" && caller.email == "a@b.c" && caller.key == "open-webui" && caller.role == "developer"'
        ' && graph == "assistant" && node == "agent" && turn.rounds == 2 && turn.calls == 1'
        ' && now == timestamp("2026-01-31T11:00:00Z")'
    )
    (folder / "access.yaml").write_text(text.replace('args.text != "secret" && turn.calls < 3', conditions))
    facts = {
        "--user": "ann", "--email": "a@b.c", "--key": "open-webui", "--graph": "assistant", "--node": "agent",
        "--rounds": "2", "--calls": "1", "--now": "2026-01-31T12:00:00+01:00",
    }  # fmt: skip

    def decision(facts: Mapping[str, str]) -> str:
        options = [word for pair in facts.items() for word in pair]
        return explain(folder, "--tool", "files/echo", "--no-connect", *options)["decision"]

    assert decision(facts) == "allow"
    for name, other in (("--user", "bob"), ("--email", ""), ("--key", "laptop"), ("--rounds", "1")):
        assert decision({**facts, name: other}) == "deny", name
    assert decision({**facts, "--now": "2026-01-31T12:00:00Z"}) == "deny"


def test_a_key_gives_its_role_and_a_person_may_narrow_it(folder: Path) -> None:
    found = explain(folder, "--key", "laptop", "--tool", "files/add")
    assert found["caller"] == {"role": "developer", "user_role": None, "key": "laptop", "user": "laptop", "email": ""}
    narrowed = explain(folder, "--key", "open-webui", "--user-role", "lead", "--tool", "files/add", "--user", "Ann")
    assert (narrowed["decision"], [role["role"] for role in narrowed["roles"]]) == ("allow", ["developer", "lead"])
    narrowed = explain(folder, "--key", "open-webui", "--user-role", "team", "--tool", "files/add")
    assert (narrowed["decision"], narrowed["rule"]) == ("deny", "role team says nothing about it (access.yaml:5)")
    assert (narrowed["shown"], narrowed["hidden"]) == (
        False, "there are no arguments with which role team could call it, or ask to",
    )  # fmt: skip
    other = explain(folder, "--key", "litellm:etl", "--role", "developer", "--tool", "files/add")
    assert (other["caller"]["key"], other["decision"]) == ("litellm:etl", "allow")


def test_graph_and_node_stand_before_the_rules(folder: Path) -> None:
    call = ["--role", "developer", "--tool", "files/add"]
    closed = explain(folder, *call, "--graph", "closed")
    assert (closed["decision"], closed["rule"], closed["hidden"]) == (
        "deny",
        "role developer may not use the graph 'closed' (its `graphs`, access.yaml:9)",
        "role developer may not use the graph 'closed' (its `graphs`, access.yaml:9)",
    )
    assert closed["roles"][0]["decision"] == "allow"
    reader = explain(folder, *call, "--graph", "reader")
    assert (reader["decision"], reader["rule"]) == (
        "deny", "node 'agent' of graph 'reader' may not use files/add (its `tools`)",
    )  # fmt: skip
    # Where no graph is named, one is taken that may.
    assert explain(folder, "--role", "lead", "--tool", "files/add")["graph"] == "assistant"
    hidden = explain(folder, "--role", "developer", "--tool", "files/die")
    assert (hidden["shown"], hidden["rule"], hidden["reason"]) == (
        False, "role base, deny '*/die' (access.yaml:3)", "Nothing dies here.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--role", "lead", "--tool", "files/ecko"], "there is no tool 'files/ecko'; there is "),
        (["--role", "lead", "--tool", "files/ecko"], "Did you mean 'files/echo'?"),
        (["--role", "lead", "--tool", "file/echo"], "there is no server 'file'; there is files, gone"),
        (["--role", "lead", "--tool", "echo"], "'echo' is no tool; tools are written server/tool"),
        (["--role", "lead", "--tool", "files/*"], "'files/*' is no tool"),
        (["--role", "laed", "--tool", "files/echo"], "Did you mean 'lead'?"),
        (["--key", "labtop", "--tool", "files/echo"], "there is no key 'labtop'; there is laptop, open-webui"),
        (["--key", "laptop", "--role", "lead", "--tool", "files/echo"], "stands for the role 'developer', not for"),
        (["--key", "laptop", "--user-role", "lead", "--tool", "files/echo"], "does not say `forwards_users: true`"),
        (["--tool", "files/echo"], "say for whom: --role or --key"),
        (["--role", "lead", "--tool", "files/echo", "--graph", "asistant"], "Did you mean 'assistant'?"),
        (["--role", "lead", "--tool", "files/echo", "--node", "check"], "there is no model node 'check'"),
        (["--role", "lead", "--tool", "files/echo", "--args", "{a: 1}"], "is no JSON: Expecting property name"),
        (["--role", "lead", "--tool", "files/echo", "--args", "[1]"], "a list is no object"),
        (["--role", "lead", "--tool", "files/echo", "--args", "[" * 90000], "nested too deep"),
        (["--role", "lead", "--tool", "files/echo", "--now", "noon"], "'noon' is no time; write one such as 2026"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_in_words(folder: Path, options: list[str], said: str) -> None:
    result = run(folder, "explain", *options)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.replace("│", "").split())
    assert result.stdout == ""


def test_what_a_terminal_would_obey_is_not_printed(folder: Path) -> None:
    args = json.dumps({"text": "\x1b[2J\ud800", "\u202e": 1})
    result = run(folder, "explain", "--role", "lead", "--tool", "files/echo", "--args", args)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert explain(folder, "--role", "lead", "--tool", "files/echo", "--args", args)["args"] == json.loads(args)


def test_the_configs_may_be_named_before_explain(folder: Path) -> None:
    options = ["access", "--configs", str(folder), "explain", "--role", "lead", "--tool", "files/echo"]
    assert CliRunner().invoke(app, options).stdout.startswith("allow: role lead")
