"""`interlock test`: the tests beside graphs, run with the engine and the rules, without a model or a network."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import NoReturn
from xml.etree import ElementTree

import pytest
from support.configs import write_configs
from support.processes import plain_environment
from typer.testing import CliRunner, Result

from graphs.config.loader import list_graph_files, load
from graphs.config.watcher import compute_signature
from graphs.studio import list_graph_names
from server.cli.main import app

CONFIGS = Path(__file__).parents[3] / "configs"
INTERLOCK = Path(sys.executable).with_name("interlock")
ASSISTANT = (CONFIGS / "graphs" / "assistant.yaml").read_text(encoding="utf-8")
ACCESS = """\
roles:
  developer:
    allow: [notes/read, {tool: shop/orders, when: args.limit < 10}, {tool: shop/prices, when: tool.read_only}]
    ask: [notes/write, {tool: shop/pay, approver: admin}]
  admin: {allow: ["*"], graphs: [other]}
keys: [{name: admin, role: admin, env: INTERLOCK_ADMIN_KEY}]
"""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - plain_environment().keys():
        monkeypatch.delenv(name, raising=False)


def write_cases(folder: Path, cases: str, head: str = "as: {role: developer, user: ada}\n", **files: str) -> Path:
    """A config folder with the shipped graph, our rules, and these cases beside it."""
    text = f"{head}cases:\n{indent(dedent(cases), '  ')}"
    named = {f"graphs/{name}.yaml": text for name, text in files.items()}
    return write_configs(
        folder,
        {
            "access.yaml": ACCESS,
            "servers.yaml": "mcpServers: {shop: {url: 'http://127.0.0.1:9/mcp', trusted: true}}\n",
            "graphs/assistant.yaml": ASSISTANT,
            "graphs/assistant.test.yaml": text,
            **named,
        },
    )


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["test", "--configs", str(folder), *options])


READS = """\
reads a note:
  say: What is in the note?
  model:
    agent:
      - {text: I look., calls: [notes/read: {name: a}]}
      - It says hello.
  tools: {notes/read: [{args: {name: a}, result: hello}]}
"""


# --- as a person uses it ---


def test_a_person_writes_tests_beside_the_shipped_graph_and_runs_them(tmp_path: Path) -> None:
    shutil.copytree(CONFIGS, tmp_path / "configs")
    (tmp_path / "configs" / "graphs" / "assistant.test.yaml").write_text(
        dedent("""\
            as: {role: developer, user: ada}
            cases:
              a write is refused:
                say: Delete all customers.
                model:
                  agent:
                    - calls: [database/query: {sql: DELETE FROM customers}]
                    - I may not.
                expect:
                  route: [agent, check, act, agent, end]
                  verdicts: {database/query: deny}
                  answer: answer.contains("not")
              a read runs:
                say: Which tables are there?
                model: {agent: [{calls: [database/list_tables]}, One table.]}
                tools: {database/list_tables: {result: [customers]}}
                expect: {calls: [], answer: answer.contains("two")}
            """)
    )
    done = subprocess.run(
        [INTERLOCK, "test"], cwd=tmp_path, env=plain_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout == dedent("""\
        ok    graphs/assistant.test.yaml:3:3: a write is refused
        FAIL  graphs/assistant.test.yaml:13:3: a read runs
              calls
                expected  nothing
                found     database/list_tables
              answer
                expected  answer.contains("two")
                found     "One table."
              way: agent → check → act → agent → end
              verdicts: database/list_tables allow: role developer, allow 'database/list_tables' (access.yaml:13)

        2 cases: 1 passed, 1 failed; 4 of 4 ways taken (100 %)
        """)
    assert done.returncode == 1
    assert not (tmp_path / "data").exists()


def test_the_shipped_graph_passes_its_tests_which_take_every_way() -> None:
    done = run(CONFIGS, "--cover", "100")
    assert done.exit_code == 0, done.output


# --- what runs ---


def test_nothing_is_started_and_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **_: object) -> NoReturn:
        raise AssertionError(f"a test went out: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    monkeypatch.setattr("anyio.open_process", refuse)
    folder = write_cases(tmp_path, READS + "  expect: {calls: [notes/read]}\n")
    servers = """\
        mcpServers:
          notes: {command: no-such-program}
          mine: {command: none, args: ["{{ caller.user }}"], per_user: true}
        """
    write_configs(folder, {"servers.yaml": servers})
    done = run(folder)
    assert done.exit_code == 0, done.output


def test_the_model_reads_what_the_tool_gives(tmp_path: Path) -> None:
    """And the tool's error too: both are results of the real call."""
    folder = write_cases(
        tmp_path,
        """\
        mended:
          say: Read it
          model:
            any:
              - calls: [notes/read: {name: a}]
              - calls: [notes/read: {name: b}]
              - Done.
          tools:
            notes/read:
              - {args: {name: a}, error: no such note}
              - {result: {text: hello, tags: [x, y]}}
          expect:
            calls: [notes/read, notes/read]
            route: [agent, check, act, ..., end]
            answer: answer == "Done." && size(calls) == 2 && verdicts["notes/read"] == "allow" && route[0] == "agent"
        """,
    )
    done = run(folder)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("args", "hints", "verdict"),
    [("{limit: 5}", "", "allow"), ("{limit: 50}", "", "deny")],
)
def test_rules_look_at_the_arguments(tmp_path: Path, args: str, hints: str, verdict: str) -> None:
    folder = write_cases(
        tmp_path,
        f"""\
        orders:
          say: Orders
          model: {{agent: [{{calls: [shop/orders: {args}]}}, Done.]}}
          tools: {{shop/orders: {{result: []}}}}
          expect: {{verdicts: {{shop/orders: {verdict}}}}}
        """,
    )
    done = run(folder)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("read_only", "verdict"), [("true", "allow"), ("false", "deny")])
def test_rules_see_what_a_tool_says_of_itself(tmp_path: Path, read_only: str, verdict: str) -> None:
    folder = write_cases(
        tmp_path,
        f"""\
        prices:
          say: Prices
          model: {{agent: [{{calls: [shop/prices]}}, Done.]}}
          tools: {{shop/prices: {{result: []}}}}
          expect: {{verdicts: {{shop/prices: {verdict}}}}}
        """,
        head=f"as: {{role: developer}}\nhints: {{shop/prices: {{read_only: {read_only}}}}}\n",
    )
    done = run(folder)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("tool", "decision", "calls"),
    [
        ("notes/write", "approve", "[notes/write]"),
        ("notes/write", "reject", "[]"),
        ("shop/pay", "approve", "[shop/pay]"),
        ("shop/pay", "reject", "[]"),
    ],
)
def test_a_person_decides_what_a_rule_asks(tmp_path: Path, tool: str, decision: str, calls: str) -> None:
    """Whoever asked, or the role that the rule names; the turn goes on from there, and no node is counted twice."""
    folder = write_cases(
        tmp_path,
        f"""\
        asked:
          say: Do it
          model: {{agent: [{{text: I try., calls: [{tool}: {{amount: 3}}]}}, That was it.]}}
          tools: {{{tool}: {{result: ok}}}}
          approvals: {{{tool}: {decision}}}
          expect:
            verdicts: {{{tool}: ask}}
            calls: {calls}
            route: [agent, check, act, agent, end]
            answer: answer == "I try.\\n\\nThat was it."
        """,
    )
    done = run(folder)
    assert done.exit_code == 0, done.output


def test_several_calls_of_one_round_are_decided_together(tmp_path: Path) -> None:
    folder = write_cases(
        tmp_path,
        """\
        two of three:
          say: Do it
          model:
            agent:
              - calls: [notes/read: {name: a}, notes/write: {name: b}, shop/pay: {amount: 3}]
              - Done.
          tools: {notes/read: {result: x}, notes/write: {result: ok}}
          approvals: {notes/write: approve, shop/pay: reject}
          expect:
            verdicts: {notes/read: allow, notes/write: ask, shop/pay: ask}
            calls: [notes/read, notes/write]
        """,
    )
    done = run(folder)
    assert done.exit_code == 0, done.output


def test_a_conversation_has_several_turns(tmp_path: Path) -> None:
    folder = write_cases(
        tmp_path,
        """\
        two turns:
          say: [Hello, And again]
          model: {agent: [One., Two.]}
          expect: {route: [agent, end, agent, end], answer: answer == "Two."}
        """,
    )
    done = run(folder)
    assert done.exit_code == 0, done.output


def test_each_node_has_its_own_answers_before_those_for_any(tmp_path: Path) -> None:
    two = """\
        start: first
        nodes:
          first:
            type: model
            next:
              - {when: text.contains("hard"), to: second}
              - {when: text.contains("easy"), to: end}
              - {to: second}
          second: {type: model, next: end}
        """
    folder = write_cases(
        tmp_path,
        """\
        hard:
          graph: two
          say: Sort
          model: {first: hard, any: solved}
          expect: {route: [first, second, end], answer: answer.endsWith("solved")}
        """,
        two=dedent(two),
    )
    done = run(folder, "two")
    assert done.exit_code == 0, done.output
    # Two ways lead from the first node to the second: only one of them was taken.
    assert done.stdout.splitlines()[2:] == [
        'no case took graphs/two.yaml:7:9: first → end, when text.contains("easy")',
        "no case took graphs/two.yaml:8:9: first → second",
        "1 case: 1 passed; 2 of 4 ways taken (50 %)",
    ]
    assert run(folder, "two", "--cover", "50").exit_code == 0
    short = run(folder, "two", "--cover", "50.1")
    assert (short.exit_code, short.stderr) == (1, "50 % of the ways are taken, and --cover wants 50.1 %\n")


TRIAGE = """\
vars:
  kind: [billing, technical, other]
  ticket: {fields: {title: string, "urgent?": bool}}
  tries: {type: int, default: 0}
start: sort
nodes:
  sort: {type: model, into: kind, next: {billing: read, technical: read, other: sorry}}
  read: {type: model, into: ticket, next: count}
  count: {type: set, set: {tries: tries + 1}, next: say}
  say: {type: reply, text: "Noted: {{ ticket.title }} ({{ kind }})", next: end}
  sorry: {type: reply, text: No idea., next: end}
"""


def test_variables_are_compared_with_their_values_at_the_end(tmp_path: Path) -> None:
    cases = """\
        a bill:
          graph: triage
          say: My bill is wrong
          model: {sort: [billing], read: [{value: {title: Bill}}]}
          expect:
            route: [sort, read, count, say, end]
            vars: {kind: billing, ticket: {title: Bill}, tries: 1}
            answer: answer.endsWith("Bill (billing)") && vars.ticket.title == "Bill" && vars.tries == 1
        wrong:
          graph: triage
          say: Hello
          model: {any: other}
          expect: {vars: {kind: other, tries: 7, ticket: {title: x}}, answer: vars.kind == "other"}
        """
    folder = write_cases(tmp_path, cases, triage=TRIAGE)
    done = run(folder, "triage")
    assert done.exit_code == 1
    assert done.stdout == dedent("""\
        ok    graphs/assistant.test.yaml:3:3: a bill
        FAIL  graphs/assistant.test.yaml:11:3: wrong
              vars.tries
                expected  7
                found     0
              vars.ticket
                expected  {"title": "x"}
                found     no value
              way: sort → sorry → end
              answer: "No idea."

        no case took graphs/triage.yaml:7:57: sort → read, for technical
        2 cases: 1 passed, 1 failed; 6 of 7 ways taken (85 %)
        """)


DIARY = """\
memory: {scope: SCOPE}
vars: {tone: {type: string, default: plain}, found: "any[]"}
start: know
nodes:
  know: {type: memory, recall: {key: tone}, into: tone, next: [{when: message == "forget", to: forget}, {to: search}]}
  search: {type: memory, recall: "{{ message }}", into: found, next: keep}
  keep: {type: memory, remember: {"said {{ message }}": message}, next: say}
  say: {type: reply, text: "{{ tone }} {{ size(found) }}", next: end}
  forget: {type: memory, forget: [tone, "said tea"], next: say_it}
  say_it: {type: reply, text: gone, next: end}
"""


@pytest.mark.parametrize("scope", ["user", "chat", "graph"])
def test_a_case_says_what_is_remembered_before_it_and_after(tmp_path: Path, scope: str) -> None:
    cases = """\
    nothing is remembered at first:
      graph: diary
      say: [tea, More tea]
      expect: {answer: answer == "plain 1", memory: {"said tea": tea, "said More tea": More tea}}
    what is remembered before is recalled:
      graph: diary
      say: tea
      memory: {tone: warm, drink: {hot: [tea, 1]}}
      expect: {answer: answer == "warm 1", memory: {drink: {hot: [tea, 1]}, "said tea": tea, tone: warm}}
    what is forgotten is gone:
      graph: diary
      say: [tea, forget]
      memory: {tone: warm}
      expect: {memory: {}}
    this one fails:
      graph: diary
      say: forget
      memory: {tone: warm, other: 1}
      expect: {memory: {tone: warm}}
    """
    folder = write_cases(tmp_path, cases)
    (folder / "graphs" / "diary.yaml").write_text(DIARY.replace("SCOPE", scope))
    result = run(folder)
    assert result.exit_code == 1, result.output
    assert "4 cases: 3 passed, 1 failed" in result.output
    assert '      memory\n        expected  {"tone": "warm"}\n        found     {"other": 1}' in result.output


def test_a_memory_that_is_embedded_is_searched_without_a_model(tmp_path: Path) -> None:
    cases = """\
        what has words in common is nearest:
          graph: finder
          say: Which TEA is mine?
          memory: {friend: A dog, drink: Green tea is mine, place: The office}
          expect: {answer: 'answer.startsWith("drink ") && answer.contains("friend") && answer.contains("place")'}
        """
    folder = write_cases(tmp_path, cases)
    (folder / "graphs" / "finder.yaml").write_text("""\
memory: {embed: text-embedding-3-small}
vars: {found: "any[]"}
start: search
nodes:
  search: {type: memory, recall: "{{ message }}", into: found, next: say}
  say: {type: reply, text: '{{ found.map(x, x.key).join(" ") }}', next: end}
""")
    result = run(folder, "finder")
    assert result.exit_code == 0, result.output


def test_a_value_that_does_not_fit_is_asked_for_once_more(tmp_path: Path) -> None:
    cases = """\
        mended:
          graph: triage
          say: My bill is wrong
          model: {sort: [money, billing], read: [{value: {titel: Bill}}, {value: {title: Bill, urgent: true}}]}
          expect: {vars: {ticket: {title: Bill, urgent: true}}, route: [sort, read, count, say, end]}
        never:
          graph: triage
          say: My bill is wrong
          model: {sort: [money, gold]}
          expect: {answer: answer.contains("'sort'"), route: [sort]}
        """
    done = run(write_cases(tmp_path, cases, triage=TRIAGE), "triage")
    assert done.exit_code == 0, done.output


FAILING = """\
vars: {kind: [easy, hard]}
start: sort
nodes:
  sort: {type: model, into: kind, on_error: sorry, next: help}
  help: {type: agent, prompt: Help, tools: ["notes/*"], next: end}
  sorry: {type: reply, text: Sorry., next: end}
"""


def test_an_agent_is_one_node_and_the_way_of_a_failure_is_a_way(tmp_path: Path) -> None:
    works = """\
        helped:
          graph: failing
          say: Help
          model: {sort: easy, help: [{calls: [notes/write: {n: 1}]}, Done.]}
          tools: {notes/write: {result: ok}}
          approvals: {notes/write: approve}
          expect: {route: [sort, help, end], calls: [notes/write], answer: answer == "Done."}
        """
    done = run(write_cases(tmp_path, works, failing=FAILING), "failing")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[2:] == [
        "no case took graphs/failing.yaml:4:35: sort → sorry, when it fails",
        "no case took graphs/failing.yaml:6:38: sorry → end",
        "1 case: 1 passed; 2 of 4 ways taken (50 %)",
    ]
    fails = """\
        not sorted:
          graph: failing
          say: Help
          model: {sort: [x, y]}
          expect: {route: [sort, sorry, end], answer: answer == "Sorry."}
        """
    done = run(write_cases(tmp_path, dedent(works) + dedent(fails), failing=FAILING), "failing", "--cover", "100")
    assert done.exit_code == 0, done.output


def test_an_end_by_a_limit_is_no_way_that_was_taken(tmp_path: Path) -> None:
    limited = ASSISTANT.replace("rounds: 12", "rounds: 1")
    folder = write_cases(
        tmp_path,
        """\
        limited:
          graph: limited
          say: Read
          model: {agent: [{calls: [notes/read]}, {text: I stop., calls: [notes/read]}]}
          tools: {notes/read: {result: x}}
          expect: {route: [agent, check, act, agent, end], calls: [notes/read], answer: answer.contains("1 rounds")}
        """,
        limited=limited,
    )
    done = run(folder, "limited")
    assert done.exit_code == 0, done.output
    assert "no case took graphs/limited.yaml:10:53: agent → end\n" in done.stdout
    assert "3 of 4 ways taken (75 %)" in done.stdout


# --- what a case lacks ---


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        (
            "model: {agent: [{calls: [notes/read]}]}\ntools: {notes/read: {result: x}}",
            "node 'agent' asks its model for the 2nd time, and no answer is left; "
            "add the next one under 'model: agent'",
        ),
        ("model: {}", "node 'agent' asks its model, and no answer is left; add what it answers under 'model: agent'"),
        (
            "model: {any: [{calls: [notes/read: {name: a}]}, Done.]}",
            """notes/read is called with {"name": "a"}, and the case does not say what it gives; """
            "add 'notes/read: [{result: …}]' under 'tools'",
        ),
        (
            "model: {any: [{calls: [notes/read: {name: a}]}, Done.]}\n"
            "tools: {notes/read: {args: {name: b}, result: x}}",
            """notes/read is called with {"name": "a"}, which none of its entries answers; """
            "add one with these 'args', or one without 'args', under 'tools: notes/read'",
        ),
        (
            "model: {any: [{calls: [notes/write]}, Done.]}\ntools: {notes/write: {result: x}}",
            "a person would be asked about notes/write (role developer, ask 'notes/write' (access.yaml:4)), and the "
            "case does not say what they decide; add 'notes/write: approve' or 'notes/write: reject' under 'approvals'",
        ),
        (
            "as: {role: admin}\nmodel: {any: Hello.}",
            "The role admin may not use the graph 'assistant' (access.yaml).",
        ),
    ],
)
def test_what_a_case_does_not_say_fails_it_and_is_named(tmp_path: Path, case: str, fault: str) -> None:
    folder = write_cases(tmp_path, "lacks:\n  say: Go\n  expect: {answer: 'true'}\n" + indent(case, "  "))
    done = run(folder)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[:2] == ["FAIL  graphs/assistant.test.yaml:3:3: lacks", f"      {fault}"]
    assert "expected" not in done.stdout


def test_one_case_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    folder = write_cases(
        tmp_path, "lacks: {say: Go, expect: {calls: []}}\n" + READS + "  expect: {calls: [notes/read]}\n"
    )
    done = run(folder)
    assert [line[:4] for line in done.stdout.splitlines() if line[:1].strip()][:2] == ["FAIL", "ok  "]


@pytest.mark.parametrize(
    ("expect", "shown"),
    [
        ("route: [agent, end]", ["route", "  expected  agent → end", "  found     agent → check → act → agent → end"]),
        ("route: [..., check, end]", ["route", "  expected  ... → check → end"]),
        ("calls: [shop/pay]", ["calls", "  expected  shop/pay", "  found     notes/read"]),
        ("verdicts: {shop/pay: deny}", ["verdicts of shop/pay", "  expected  deny", "  found     no call of it"]),
        (
            "verdicts: {notes/read: deny}",
            [
                "verdicts of notes/read",
                "  expected  deny",
                "  found     allow: role developer, allow 'notes/read' (access.yaml:3)",
            ],
        ),
        ("verdicts: {notes/read: [allow, allow]}", ["verdicts of notes/read", "  expected  allow, allow"]),
        ('answer: answer == "x"', ["answer", '  expected  answer == "x"', r'  found     "I look.\n\nIt says hello."']),
        (
            "answer: vars.rows == 1",
            [
                "answer",
                "  expected  vars.rows == 1",
                r"""  found     "I look.\n\nIt says hello." (there is no 'rows' in it)""",
            ],
        ),
    ],
)
def test_what_does_not_hold_is_shown_beside_what_happened(tmp_path: Path, expect: str, shown: list[str]) -> None:
    done = run(write_cases(tmp_path, READS + f"  expect: {{{expect}}}\n"))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "FAIL  graphs/assistant.test.yaml:3:3: reads a note"
    assert lines[1 : 1 + len(shown)] == [f"      {line}" for line in shown]


def test_nothing_that_a_file_says_reaches_the_terminal_unescaped(tmp_path: Path) -> None:
    folder = write_cases(
        tmp_path,
        '"odd \\e[31m\\n": {say: Go, model: {agent: "red \\e[31m"}, expect: {answer: answer == "x"}}\n',
    )
    done = run(folder, "--junit", str(tmp_path / "out" / "junit.xml"))
    assert "\x1b" not in done.output
    assert ElementTree.parse(tmp_path / "out" / "junit.xml").getroot().get("failures") == "1"


# --- the command ---


def test_results_are_written_as_junit_xml(tmp_path: Path) -> None:
    folder = write_cases(
        tmp_path, READS + "  expect: {calls: [notes/read]}\nfails: {say: Go, model: {any: x}, expect: {calls: [a/b]}}\n"
    )
    assert run(folder, "--junit", str(tmp_path / "junit.xml")).exit_code == 1
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "2", "1")
    (suite,) = root
    assert suite.get("name") == "graphs/assistant.test.yaml"
    first, second = suite
    assert (first.get("name"), first.get("classname"), first.get("line"), len(first)) == (
        "reads a note",
        "assistant",
        "3",
        0,
    )
    (failure,) = second
    assert failure.get("message") == "calls: expected a/b; found nothing"
    assert (failure.text or "").startswith("graphs/assistant.test.yaml:")
    away = run(folder, "--junit", str(folder / "access.yaml" / "junit.xml"))
    assert away.exit_code == 2
    assert "cannot be written" in away.stderr


def test_mistakes_are_printed_as_by_check_and_nothing_runs(tmp_path: Path) -> None:
    folder = write_cases(tmp_path, "a: {say: Go, model: {agnet: x}, expect: {calls: []}}\n")
    done = run(folder)
    assert done.exit_code == 2
    assert done.stdout.startswith("graphs/assistant.test.yaml:3:24: there is no node 'agnet'")
    assert done.stderr.endswith("no test was run: mend this first\n")


def test_without_tests_it_says_where_to_write_them(tmp_path: Path) -> None:
    folder = write_configs(tmp_path, {"graphs/support.yaml": ASSISTANT, "gateway.yaml": "default_graph: support\n"})
    done = run(folder)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"{folder}: there are no tests; write some beside a graph, such as graphs/support.test.yaml\n"


def test_graphs_are_chosen_by_name_or_file(tmp_path: Path) -> None:
    cases = (
        READS + "  expect: {calls: [notes/read]}\nelse: {graph: other, say: Go, model: {any: x}, expect: {calls: []}}\n"
    )
    folder = write_cases(tmp_path, cases, other=ASSISTANT, third=ASSISTANT)
    assert run(folder, "other").stdout.splitlines()[0].endswith("else")
    for name in ("assistant", "graphs/assistant.yaml", "graphs/assistant.test.yaml"):
        assert "2 cases: 2 passed" in run(folder, name).stdout
    untested = run(folder, "third")
    assert (untested.exit_code, untested.stderr) == (
        2,
        "there are no tests of 'third'; write them in graphs/third.test.yaml\n",
    )
    unknown = run(folder, "asistant")
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "there is no graph 'asistant'; there is assistant, other, third. Did you mean 'assistant'?\n",
    )
    assert "graphs/third.yaml: no case runs it (4 ways)\n" in run(folder).stdout


# --- beside graphs, and never one ---


def test_a_file_of_tests_is_no_graph(tmp_path: Path) -> None:
    folder = write_cases(tmp_path, READS + "  expect: {calls: []}\n")
    (folder / "graphs" / "more.test.yml").write_text("cases: {}\n")
    before = compute_signature(folder)
    assert [path.name for path in list_graph_files(folder)] == ["assistant.yaml"]
    assert list_graph_names(folder) == ["assistant"]
    # What is wrong with tests keeps no graph from being served, and saving them reloads nothing.
    snapshot = load(folder, {})
    assert [*snapshot.graphs] == ["assistant"]
    (folder / "graphs" / "more.test.yml").write_text("cases: {a: {}}\n")
    assert compute_signature(folder) == before
    assert load(folder, {}).id == snapshot.id
    checked = CliRunner().invoke(app, ["check", str(folder)])
    assert checked.exit_code == 1
    assert "graphs/more.test.yml:1:9: 'say' is missing" in checked.stdout
    alone = CliRunner().invoke(app, ["check", str(folder / "graphs" / "more.test.yml")])
    assert (alone.exit_code, alone.stdout.count("\n")) == (1, checked.stdout.count("\n"))
    drawn = CliRunner().invoke(app, ["draw", "--configs", str(folder)])
    assert drawn.stdout.count("%% ") == 1


def test_the_tests_of_a_folder_are_its_own(tmp_path: Path) -> None:
    """The shipped graph stands in where there is none; its tests would be held against rules that they do not know."""
    folder = write_configs(tmp_path, {"access.yaml": "roles: {reader: {}}\n"})
    assert load(folder, {}, with_cases=True).case_files == ()


# --- the guide ---

GUIDE = (CONFIGS.parent / "docs" / "guide" / "testing.md").read_text(encoding="utf-8")
EXAMPLES: list[str] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


GRAPHS = (CONFIGS.parent / "docs" / "guide" / "graphs.md").read_text(encoding="utf-8")
GRAPHS_OF_THE_GUIDE = {
    name: text
    for name, kind in (("mail", "type: question"), ("tone", "type: memory"))
    for text in re.findall(r"```yaml\n(.*?)```", GRAPHS, re.DOTALL)
    if kind in text
}


def run_example(folder: Path, text: str) -> Result:
    shutil.copytree(CONFIGS, folder)
    for name, graph in GRAPHS_OF_THE_GUIDE.items():
        (folder / "graphs" / f"{name}.yaml").write_text(graph, encoding="utf-8")
    (folder / "graphs" / "assistant.test.yaml").write_text(text, encoding="utf-8")
    if "cassette:" in text:  # by the demo model, and real servers
        recorded = run(folder, "--record")
        assert recorded.exit_code == 0, recorded.output
    return run(folder)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_guide_passes(example: str, tmp_path: Path) -> None:
    done = run_example(tmp_path / "configs", example)
    assert done.exit_code == 0, done.output


def test_the_failure_that_the_guide_shows_is_printed_so(tmp_path: Path) -> None:
    done = run_example(tmp_path / "configs", EXAMPLES[0].replace("calls: []   ", "calls: [database/query]", 1))
    shown = done.stdout.partition("ok  ")[0]
    assert shown.startswith("FAIL")
    assert f"```\n{shown}```" in GUIDE


MAIL = """\
vars:
  draft: string
  wish: {type: string, default: none}
  verdict: [good, change]
  stamp: {fields: {by: string, "copies?": int, urgent: bool}}
start: compose
nodes:
  compose: {type: model, prompt: "Write. {{ wish }}", into: draft, next: judge}
  judge: {type: question, question: "{{ draft }}?", into: verdict, on_error: sorry, next: {good: sign, change: how}}
  how: {type: question, question: "What should change?", into: wish, next: compose}
  sign: {type: question, question: Sign it., into: stamp, next: end}
  sorry: {type: reply, text: "{{ error.kind }}", next: end}
"""


def test_a_person_answers_what_nodes_ask(tmp_path: Path) -> None:
    """In the order of the questions, objects with all their fields; what does not fit is asked again."""
    folder = write_cases(
        tmp_path,
        """\
        changed once:
          graph: mail
          say: A mail to Ada
          model: {compose: [Dear all, Dear Ada]}
          answers: {judge: [chnge, change, 1], how: Use her name, sign: {by: Bob, urgent: false}}
          expect:
            route: [compose, judge, how, compose, judge, sign, end]
            vars: {wish: Use her name, draft: Dear Ada, verdict: good, stamp: {by: Bob, urgent: false}}
            answer: answer == ""
        never right:
          graph: mail
          say: A mail
          model: {compose: Dear all}
          answers: {judge: [a, b, c]}
          expect: {route: [compose, judge, sorry, end], answer: answer == "invalid"}
        """,
        mail=MAIL,
    )
    done = run(folder)
    assert done.exit_code == 0, done.output


def test_a_question_that_a_case_does_not_answer_says_what_to_add(tmp_path: Path) -> None:
    folder = write_cases(
        tmp_path,
        """\
        unanswered:
          graph: mail
          say: A mail
          model: {compose: Dear all}
          expect: {route: [compose, judge, how, end]}
        too few:
          graph: mail
          say: A mail
          model: {compose: Dear all}
          answers: {judge: [goood]}
          expect: {route: [compose, judge, how, end]}
        half:
          graph: mail
          say: A mail
          model: {compose: Dear all}
          answers: {judge: good, sign: {by: Bob}}
          expect: {route: [compose, judge, sign, end]}
        """,
        mail=MAIL,
    )
    done = run(folder)
    assert done.exit_code == 1
    assert "node 'judge' asks a person 'Dear all?', and the case does not say what they answer; add it under" in flat(
        done
    )
    assert (
        "asks a person 'Dear all?', once more, and no answer is left; add the next one under 'answers: judge'"
        in flat(done)
    )
    assert "asks a person for 'urgent', which the answer under 'answers: sign' does not have" in flat(done)


def flat(done: Result) -> str:
    return " ".join(done.output.split())


REVIEW = """\
input: {pull: int, style: [short, long], depth: {type: int, default: 3}}
vars: {review: string}
start: write
nodes:
  write: {type: model, prompt: "Review {{ pull }}, {{ style }}.", into: review, next: say}
  say: {type: reply, text: "{{ review }} {{ depth }}", next: end}
"""


def test_the_input_of_a_graph_is_answered_like_a_question(tmp_path: Path) -> None:
    """Before its first node, and as no node: neither the route nor the ways to cover have it."""
    folder = write_cases(
        tmp_path,
        """\
        given:
          graph: review
          say: Review it
          model: {write: Fine.}
          answers: {(input): {pull: 7, style: short}}
          expect: {route: [write, say, end], vars: {pull: 7, style: short, depth: 3}, answer: answer == "Fine. 3"}
        given at the second go:
          graph: review
          say: Review it
          model: {write: Fine.}
          answers: {(input): [{pull: many, style: short}, {pull: 7, style: short}]}
          expect: {route: [write, say, end], answer: answer == "Fine. 3"}
        never given:
          graph: review
          say: Review it
          answers: {(input): [a, b, c]}
          expect: {route: [], answer: 'answer.startsWith("The graph stopped here: its input: 3 answers did not fit.")'}
        """,
        review=REVIEW,
    )
    done = run(folder, "review", "--cover", "100")
    assert done.exit_code == 0, done.output


def test_input_that_a_case_does_not_give_says_what_to_add(tmp_path: Path) -> None:
    folder = write_cases(
        tmp_path, "a: {graph: review, say: Review it, expect: {route: [write, say, end]}}", review=REVIEW
    )
    done = run(folder)
    assert done.exit_code == 1
    assert "asks a person \"The graph 'review' needs its input first. (pull)\", and the case does not say" in flat(done)
    assert "add it under 'answers: (input)'" in flat(done)


def test_a_role_answers_what_is_asked_of_it(tmp_path: Path) -> None:
    graph = """\
vars: {go: bool, stamp: {fields: {by: string, urgent: bool}}}
start: sure
nodes:
  sure: {type: question, question: "Sure?", into: go, by: admin, next: sign}
  sign: {type: question, question: "Sign it.", into: stamp, by: admin, next: end}
"""
    folder = write_cases(
        tmp_path,
        """\
        signed:
          graph: sign
          say: Please
          answers: {sure: true, sign: {by: Bob, urgent: false}}
          expect: {route: [sure, sign, end], vars: {go: true, stamp: {by: Bob, urgent: false}}}
        """,
        sign=graph,
    )
    done = run(folder)
    assert done.exit_code == 0, done.output


def test_nothing_waits_for_its_next_attempt(tmp_path: Path) -> None:
    graph = """\
vars: {state: any, names: "string[]", found: "any[]"}
start: poll
nodes:
  poll: {type: call, tool: notes/read, retry: {times: 3, wait: 5m, until: result.ready}, into: state, next: list}
  list: {type: model, into: names, retry: {times: 2, wait: 5m}, next: each}
  each:
    type: map
    over: names
    do: {type: call, tool: notes/read, retry: {times: 2, wait: 5m, until: result.ready}}
    into: found
    next: below
  below: {type: subgraph, graph: poll, next: say}
  say: {type: reply, text: "{{ found }}", next: end}
"""
    poll = """\
start: poll
nodes:
  poll: {type: call, tool: notes/read, retry: {times: 2, wait: 5m, until: result.ready}, next: end}
"""
    folder = write_cases(
        tmp_path,
        """\
        all are ready at last:
          graph: wait
          say: Wait for it
          model: {list: [{error: too many requests}, {value: [a]}]}
          tools:
            notes/read:
              - {result: {ready: false}}
              - {result: {ready: false}}
              - {result: {ready: true}}
              - {result: {ready: false}}
              - {result: {ready: true}}
              - {result: {ready: false}}
              - {result: {ready: true}}
          expect: {route: [poll, list, each, below, say, end], vars: {found: [{ready: true}]}}
        """,
        wait=graph,
        poll=poll,
    )
    done = run(folder)
    assert done.exit_code == 0, done.output
