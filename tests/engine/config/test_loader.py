"""A folder becomes one checked snapshot, or every problem in it at its place."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from support.configs import MINIMAL_GRAPH, loaded, problems, write_configs

from graphs.config.loader import load
from graphs.errors import ConfigError


def test_an_empty_folder_is_the_shipped_defaults(tmp_path: Path) -> None:
    snapshot = load(tmp_path, {})
    assert list(snapshot.graphs) == ["assistant"]
    assert list(snapshot.servers) == ["filesystem", "database", "monitoring"]
    assert snapshot.policy.roles == ("admin", "developer")
    assert [key.name for key in snapshot.keys] == ["admin", "developer"]
    assert snapshot.gateway.models.base_url == ""


def test_only_what_is_absent_is_the_default(tmp_path: Path) -> None:
    snapshot = loaded(tmp_path, {"servers.yaml": "mcpServers: {}\n", "graphs/assistant.yaml": MINIMAL_GRAPH})
    assert dict(snapshot.servers) == {}
    assert list(snapshot.graphs["assistant"].spec.nodes) == ["agent"]
    assert snapshot.policy.roles == ("admin", "developer")


def test_a_file_of_comments_alone_is_present_and_says_nothing(tmp_path: Path) -> None:
    snapshot = loaded(tmp_path, {"servers.yaml": "# none yet\n", "access.yaml": "", "gateway.yaml": ""})
    assert dict(snapshot.servers) == {}
    assert snapshot.policy.roles == ()
    assert snapshot.gateway.default_graph == "assistant"


def test_graphs_of_the_folder_replace_the_shipped_one(tmp_path: Path) -> None:
    files = {"gateway.yaml": "default_graph: one\n", "graphs/one.yaml": MINIMAL_GRAPH, "graphs/two.yml": MINIMAL_GRAPH}
    assert list(loaded(tmp_path, files).graphs) == ["one", "two"]


def test_the_shipped_graph_stays_where_the_shipped_gateway_names_it(tmp_path: Path) -> None:
    snapshot = loaded(tmp_path, {"graphs/one.yaml": MINIMAL_GRAPH})
    assert list(snapshot.graphs) == ["one", "assistant"]
    assert "graphs/assistant.yaml" in snapshot.shipped_files
    assert "shipped default graphs/assistant.yaml" in snapshot.texts


def test_hidden_files_folders_and_other_kinds_of_files_are_no_graphs(tmp_path: Path) -> None:
    files = {
        "graphs/assistant.yaml": MINIMAL_GRAPH,
        "graphs/.assistant.yaml.swp": "x",
        "graphs/.hidden.yaml": "x",
        "graphs/readme.md": "x",
        "graphs/drafts/later.yaml": "x",
        "docker-compose.yaml": "services: {}\n",
    }
    assert list(loaded(tmp_path, files).graphs) == ["assistant"]


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: no such folder; .*interlock init"):
        load(tmp_path / "nowhere", {})


def test_every_mistake_of_all_files_is_found_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        {
            "gateway.yaml": "models: {bas_url: x}\ndefault_graph: asistant\n",
            "servers.yaml": """\
                mcpServers:
                  files: {command: npx, url: "http://x"}
                  web: {url: "ftp://x"}
                """,
            "access.yaml": """\
                roles:
                  dev:
                    allow: [{tool: files/*, when: 'path_withn(args.path, "/w")'}]
                    alow: [files/*]
                keys:
                  - {name: dev, role: dve, env: DEV_KEY}
                """,
            "graphs/assistant.yaml": """\
                start: agnt
                nodes:
                  agent: {type: model, temprature: 1, next: end}
                  check: {type: permision, next: agent}
                """,
            "graphs/broken.yaml": "start: [\n",
        },
    )
    assert found == [
        "access.yaml:3:36: there is no function 'path_withn'. Did you mean 'path_within'?",
        "access.yaml:4:5: there is no setting 'alow'. Did you mean 'allow'?",
        "access.yaml:6:17: there is no role 'dve'; there is dev. Did you mean 'dev'?",
        "gateway.yaml:1:10: there is no setting 'bas_url'. Did you mean 'base_url'?",
        "gateway.yaml:2:1: there is no graph 'asistant'; there is assistant, broken. Did you mean 'assistant'?",
        "graphs/assistant.yaml:1:1: there is no node 'agnt'; there is agent, check. Did you mean 'agent'?",
        "graphs/assistant.yaml:3:24: there is no setting 'temprature' for a 'model' node. Did you mean 'temperature'?",
        "graphs/assistant.yaml:4:3: 'permision' is not a node type; choose one of: model, permission, tools, agent,"
        " call, reply, set, question, parallel, map, subgraph, memory, python. Did you mean 'permission'?",
        "graphs/broken.yaml:1:8: this is no YAML: a '[' is opened here and never closed",
        "servers.yaml:2:3: 'files' has both 'command' and 'url'; a server is either started here or reached there",
        "servers.yaml:3:9: 'url': an address begins with http:// or https:// and names a host",
    ]


def test_an_unset_variable_is_one_problem_not_two(tmp_path: Path) -> None:
    found = problems(tmp_path, {"servers.yaml": 'mcpServers:\n  a: {url: "${NOPE}", headers: {X: "${ALSO}"}}\n'})
    assert found == [
        "servers.yaml:2:13: the environment variable NOPE is not set; set it, or write ${NOPE:-default}",
        "servers.yaml:2:37: the environment variable ALSO is not set; set it, or write ${ALSO:-default}",
    ]


def test_no_problem_shows_what_a_variable_held(tmp_path: Path) -> None:
    files = {
        "gateway.yaml": "models: {base_url: '${SECRET}', api_key: [1], timeout: '${SECRET}'}\n",
        "servers.yaml": "mcpServers: {a: {url: '${SECRET}', headers: {X: ['${SECRET}']}, type: '${SECRET}'}}\n",
        "access.yaml": "keys: [{name: a, role: b, env: '${SECRET}', sha256: '${SECRET}'}]\n",
    }
    found = problems(tmp_path, files, {"SECRET": "hush-hush"})
    assert len(found) >= 8
    assert "hush" not in "\n".join(found)


def test_the_repr_of_a_snapshot_shows_no_secret(tmp_path: Path) -> None:
    files = {
        "gateway.yaml": "models: {api_key: '${SECRET}'}\n",
        "servers.yaml": """\
            mcpServers:
              a: {url: 'http://x', headers: {X: '${SECRET}'}}
              b: {command: c, env: {X: '${SECRET}'}}
            """,
    }
    snapshot = loaded(tmp_path, files, {"SECRET": "hush-hush"})
    assert snapshot.servers["a"].headers == {"X": "hush-hush"}
    assert snapshot.gateway.models.api_key.get_secret_value() == "hush-hush"
    assert "hush" not in repr(snapshot)


def test_a_file_whose_name_is_nearly_right_is_not_passed_over(tmp_path: Path) -> None:
    assert problems(tmp_path, {"acess.yaml": "", "servers.yml": "", "gateways.yaml": ""}) == [
        "acess.yaml:0:0: no file of this name is read. Did you mean 'access.yaml'?",
        "gateways.yaml:0:0: no file of this name is read. Did you mean 'gateway.yaml'?",
        "servers.yml:0:0: no file of this name is read. Did you mean 'servers.yaml'?",
    ]


def test_a_file_that_is_no_text_or_no_file_is_a_problem_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_bytes(b"a: 1\nb: \xff\n")
    (tmp_path / "access.yaml").mkdir()
    found = problems(tmp_path, {"graphs/assistant.yaml": MINIMAL_GRAPH, "servers.yaml": "- 1\n"})
    assert found == [
        "access.yaml:0:0: the file cannot be read: Is a directory",
        "gateway.yaml:2:4: the file is not UTF-8 from here on; save it as UTF-8",
        "servers.yaml:1:1: the file holds a list; expected a mapping",
    ]


def test_two_files_for_one_graph_and_a_name_that_is_no_model_id_are_problems(tmp_path: Path) -> None:
    files = {f"graphs/{name}": MINIMAL_GRAPH for name in ("assistant.yaml", "assistant.yml", "my graph.yaml")}
    assert problems(tmp_path, files) == [
        "graphs/assistant.yml:0:0: there are two files for graph 'assistant'; keep one",
        "graphs/my graph.yaml:0:0: 'my graph' is no name for a graph; use letters, digits, '.', '_' and '-'",
    ]


# --- servers ---


def test_paths_of_servers_are_relative_to_the_folder_and_disabled_ones_are_left_out(tmp_path: Path) -> None:
    text = """\
        mcpServers:
          a: {command: python}
          b: {command: ./bin/run, cwd: sub}
          c: {command: /usr/bin/run, cwd: /tmp}
          d: {command: run, disabled: true}
          e: {url: "http://host/mcp"}
        """
    servers = loaded(tmp_path, {"servers.yaml": text}).servers
    assert {name: (spec.command, spec.cwd) for name, spec in servers.items()} == {
        "a": ("python", str(tmp_path)),
        "b": (str(tmp_path / "bin/run"), str(tmp_path / "sub")),
        "c": ("/usr/bin/run", "/tmp"),
        "e": (None, None),
    }


def test_a_relative_folder_makes_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_configs(tmp_path / "mine", {"servers.yaml": "mcpServers: {a: {command: x}}\n"})
    monkeypatch.chdir(tmp_path)
    assert load(Path("mine"), {}).servers["a"].cwd == str(tmp_path / "mine")


@pytest.mark.parametrize("name", ["a__b", "a b", "a/b", "é", "-a", "x" * 49, "a."])
def test_a_name_of_a_server_that_could_not_be_told_apart_is_refused(tmp_path: Path, name: str) -> None:
    (found,) = problems(tmp_path, {"servers.yaml": f"mcpServers:\n  '{name}': {{command: x}}\n"})
    assert found.startswith("servers.yaml:2:3: ")
    assert "is no name for a server" in found


# --- graphs ---


def graph_problems(folder: Path, text: str) -> list[str]:
    found = problems(folder, {"graphs/assistant.yaml": text})
    return [line.removeprefix("graphs/assistant.yaml:") for line in found]


def test_a_plan_holds_what_is_compiled_and_where_it_is_written(tmp_path: Path) -> None:
    plan = load(tmp_path, {}).graphs["assistant"]
    assert plan.id == "assistant"
    assert set(plan.templates) == {("agent", "prompt")}
    first, second = plan.branches["agent"]
    assert (first.to, second.to) == ("check", "end")
    assert first.when is not None
    assert second.when is None
    assert first.where.startswith("shipped default graphs/assistant.yaml:")
    assert [branch.to for branch in plan.branches["act"]] == ["agent"]


def test_an_unknown_node_is_named_with_the_nearest(tmp_path: Path) -> None:
    text = """\
        start: agent
        nodes:
          agent: {type: model, next: [{when: size(tool_calls) > 0, to: chek}, {to: fin}]}
          check: {type: permission, next: agent}
        """
    assert graph_problems(tmp_path, text) == [
        "3:60: there is no node 'chek'; there is agent, check, end. Did you mean 'check'?",
        "3:72: there is no node 'fin'; there is agent, check, end",
    ]


def test_a_node_that_no_path_leads_to_is_a_problem(tmp_path: Path) -> None:
    text = """\
        start: a
        nodes:
          a: {type: model, next: end}
          b: {type: tools, next: a}
        """
    assert graph_problems(tmp_path, text) == ["4:3: no path from 'a' leads to node 'b'; lead one to it, or remove it"]


def test_a_circle_without_a_way_out_is_a_problem(tmp_path: Path) -> None:
    text = """\
        start: a
        nodes:
          a: {type: model, next: [{when: size(tool_calls) > 0, to: b}, {to: end}]}
          b: {type: permission, next: c}
          c: {type: tools, next: b}
        """
    assert graph_problems(tmp_path, text) == [
        "4:3: no path leads from nodes 'b', 'c' to 'end', so a turn could not finish; give one a way there",
    ]


def test_names_and_paths_are_judged_in_one_pass(tmp_path: Path) -> None:
    text = """\
        start: agnt
        nodes:
          agent:
            {type: model, prompt: "{{ cal }}", tools: ["*"], next: [{when: size(tool_calls) > 0, to: chek}, {to: end}]}
          check: {type: permission, next: act}
          act: {type: tools, next: agent}
          around: {type: permission, next: [{when: 3, to: around}]}
          lost: {type: model, next: end}
        """
    assert graph_problems(tmp_path, text) == [
        "1:1: there is no node 'agnt'; there is agent, check, act, around, lost. Did you mean 'agent'?",
        "4:31: there is no 'cal' here; there is message, text, graph, visits, error, now, caller."
        " Did you mean 'caller'?",
        "4:90: there is no node 'chek'; there is agent, check, act, around, lost, end. Did you mean 'check'?",
        "7:3: no path from 'agent' leads to node 'around'; lead one to it, or remove it",
        "7:38: 'when' is a number; expected a text; put it in quotes",
        "8:3: no path from 'agent' leads to node 'lost'; lead one to it, or remove it",
    ]


@pytest.mark.parametrize("missing", ["", "start: [a]"])
def test_a_graph_without_a_start_is_checked_all_the_same(tmp_path: Path, missing: str) -> None:
    nodes = """\
        nodes:
          a: {type: model, prompt: "{{ x }}", next: b}
          b: {type: model, next: a}
        """
    text = f"{missing or 'limits: {}'}\n{textwrap.dedent(nodes)}"
    assert [problem.partition(";")[0] for problem in graph_problems(tmp_path, text)] == [
        "1:1: 'start' is a list" if missing else "1:1: 'start' is missing",
        "3:3: no path leads from nodes 'a', 'b' to 'end', so a turn could not finish",
        "3:32: there is no 'x' here",
    ]


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ("to: check}", "to: lookup}"),  # `check` and `act` may be behind it
        ("to: check}", 'to: "${UNSET_HERE}"}'),
        ("type: permission", "type: gate"),
        ("next: act", "next: acct"),
        (", next: act", ""),
        ('tools: ["*"]', "tools: 3"),
        ('tools: ["*"]', "tools: [files]"),
        ("start: agent", "start: first"),
        ("{when: size(tool_calls) > 0, to: check}", "{when: size(tool_calls) > 0}"),
    ],
)
def test_what_follows_from_a_mistake_in_a_name_is_not_told(tmp_path: Path, written: str, mistake: str) -> None:
    text = """\
        start: agent
        nodes:
          agent: {type: model, tools: ["*"], next: [{when: size(tool_calls) > 0, to: check}, {to: end}]}
          check: {type: permission, next: act}
          act: {type: tools, next: agent}
        """
    assert text.count(written) == 1
    assert len(graph_problems(tmp_path, text.replace(written, mistake))) == 1


def test_a_branch_after_one_that_is_always_taken_is_a_problem(tmp_path: Path) -> None:
    text = """\
        start: a
        nodes:
          a: {type: model, next: [{to: end}, {when: text == "", to: a}]}
        """
    assert graph_problems(tmp_path, text) == [
        "3:38: this branch is never taken: the one before it has no 'when', so it always is"
    ]


def test_a_list_of_conditions_needs_no_last_branch(tmp_path: Path) -> None:
    text = 'start: a\nnodes:\n  a: {type: model, next: [{when: text != "", to: end}]}\n'
    assert loaded(tmp_path, {"graphs/assistant.yaml": text}).graphs["assistant"].branches["a"][0].to == "end"


def test_a_graph_that_forgets_the_permission_node_is_refused(tmp_path: Path) -> None:
    text = """\
        start: a
        nodes:
          a: {type: model, tools: ["*"], next: [{when: size(tool_calls) > 0, to: b}, {to: end}]}
          b: {type: tools, next: a}
        """
    assert graph_problems(tmp_path, text) == [
        "4:3: no verdict can reach 'b': no permission node stands between 'a' and it, so every call would be refused;"
        " lead the way through a permission node"
    ]


GOOD_SHAPES = {
    "two models, each with its own way to the one permission node": """\
        start: plan
        nodes:
          plan: {type: model, tools: ["*"], next: [{when: size(tool_calls) > 0, to: check}, {to: write}]}
          write: {type: model, tools: ["*"], next: [{when: size(tool_calls) > 0, to: check}, {to: end}]}
          check: {type: permission, next: act}
          act: {type: tools, next: [{when: turn.rounds > 3, to: write}, {to: plan}]}
        """,
    "two permission nodes in a row, and two tools nodes": """\
        start: agent
        nodes:
          agent: {type: model, tools: ["*"], next: [{when: size(tool_calls) > 0, to: check}, {to: end}]}
          check: {type: permission, next: [{when: size(tool_calls) > 3, to: again}, {to: one}]}
          again: {type: permission, next: one}
          one: {type: tools, next: two}
          two: {type: tools, next: agent}
        """,
    "models that ask each other without tools": """\
        start: writer
        nodes:
          writer: {type: model, next: critic}
          critic: {type: model, next: [{when: text.contains("good"), to: end}, {to: writer}]}
        """,
    "refused calls answered by another model": """\
        start: agent
        nodes:
          agent: {type: model, tools: ["*"], next: [{when: size(tool_calls) > 0, to: check}, {to: end}]}
          check: {type: permission, next: act}
          act: {type: tools, next: [{when: 'tool_calls.exists(c, c.verdict == "deny")', to: excuse}, {to: agent}]}
          excuse: {type: model, next: end}
        """,
    "a way through the permission node before there is anything to judge": """\
        start: check
        nodes:
          check: {type: permission, next: act}
          act: {type: tools, next: agent}
          agent: {type: model, tools: ["*"], next: [{when: size(tool_calls) > 0, to: check}, {to: end}]}
        """,
}


@pytest.mark.parametrize("shape", GOOD_SHAPES)
def test_a_graph_that_works_is_not_complained_of(tmp_path: Path, shape: str) -> None:
    assert list(loaded(tmp_path, {"graphs/assistant.yaml": GOOD_SHAPES[shape]}).graphs) == ["assistant"]


def test_the_start_and_the_names_of_nodes_are_checked(tmp_path: Path) -> None:
    text = 'start: end\nnodes:\n  "a b": {type: model, next: end}\n'
    assert graph_problems(tmp_path, text) == [
        "1:1: 'end' ends the turn, so a graph cannot start there",
        "3:3: 'a b' is no name for a node; use letters, digits, '_' and '-'",
    ]


def test_a_node_called_end_is_refused(tmp_path: Path) -> None:
    text = "start: end\nnodes:\n  end: {type: model, next: end}\n"
    assert any("name of the turn's end" in line for line in graph_problems(tmp_path, text))


def test_expressions_in_prompts_and_branches_are_checked_at_their_place(tmp_path: Path) -> None:
    text = """\
        start: a
        nodes:
          a:
            type: model
            prompt: |
              You are {{ caller.usr }}.
              It is {{ now }}. {{ oops
            next:
              - when: size(tool_cals) > 0
                to: a
              - {when: 'tool_calls.exists(c, c.tol == "x")', to: a}
              - to: end
        """
    assert graph_problems(tmp_path, text) == [
        "6:18: there is no 'caller.usr'; there is caller.user, caller.email, caller.role, caller.key."
        " Did you mean 'caller.user'?",
        "9:20: there is no 'tool_cals' here; there is tool_calls, message, text, graph, visits, error, now, caller,"
        " turn. Did you mean 'tool_calls'?",
        "11:39: a tool call has no field 'tol'; it has id, tool, args, verdict. Did you mean 'tool'?",
    ]


def test_a_graph_with_half_its_nodes_wrong_is_not_called_disconnected(tmp_path: Path) -> None:
    text = """\
        start: a
        nodes:
          a: {type: model, next: b}
          b: {type: permission, nxt: c}
          c: {type: tools, next: end}
        """
    assert graph_problems(tmp_path, text) == [
        "4:3: 'next' is missing",
        "4:25: there is no setting 'nxt' for a 'permission' node. Did you mean 'next'?",
    ]


def test_a_pattern_of_tools_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    text = 'start: a\nnodes:\n  a: {type: model, tools: [filesystem, a__b, "x[1]/y", filesytem/*, "*"], next: end}\n'
    assert graph_problems(tmp_path, text) == [
        "3:28: tools are written server/tool, so 'filesystem' matches none; write 'filesystem/*' for a whole server, or"
        " '*/filesystem' for the tool of any",
        "3:40: tools are written server/tool; write 'a/b'",
        "3:46: the pattern 'x[1]/y' holds '['; only '*' and '?' are special, and a list holds several",
        "3:56: there is no server 'filesytem' in servers.yaml. Did you mean 'filesystem'?",
    ]


# --- access ---


def access_problems(folder: Path, text: str) -> list[str]:
    return [line.removeprefix("access.yaml:") for line in problems(folder, {"access.yaml": text})]


def test_a_malformed_pattern_is_an_error_and_never_a_rule_that_matches_nothing(tmp_path: Path) -> None:
    text = """\
        roles:
          dev:
            deny:
              - filesystem
              - "filesystem/{read,write}_file"
              - "!monitoring/*"
              - {tool: [database/*, ""]}
        """
    assert access_problems(tmp_path, text) == [
        "4:9: tools are written server/tool, so 'filesystem' matches none; write 'filesystem/*' for a whole server, or"
        " '*/filesystem' for the tool of any",
        "5:9: the pattern 'filesystem/{read,write}_file' holds '{'; only '*' and '?' are special, and a list holds"
        " several",
        "6:9: the pattern '!monitoring/*' holds '!'; only '*' and '?' are special, and a list holds several",
        "7:29: the pattern is empty; write '*' for everything",
    ]


def test_a_misspelt_server_is_an_error_and_one_to_come_is_not(tmp_path: Path) -> None:
    text = 'roles:\n  dev:\n    deny: [filesytem/write_file, jira/*, "*/delete_*"]\n'
    assert access_problems(tmp_path, text) == [
        "3:12: there is no server 'filesytem' in servers.yaml. Did you mean 'filesystem'?"
    ]


def test_roles_that_include_each_other_are_one_problem(tmp_path: Path) -> None:
    text = """\
        roles:
          a: {include: [b]}
          b: {include: [c]}
          c: {include: [a]}
          d: {include: d}
          e: {include: [a, missing]}
        """
    assert access_problems(tmp_path, text) == [
        "2:17: roles include each other in a circle: a → b → c → a",
        "5:7: roles include each other in a circle: d → d",
        "6:20: there is no role 'missing'; there is a, b, c, d, e",
    ]


def test_approver_and_expiry_belong_to_ask_and_the_approver_exists(tmp_path: Path) -> None:
    text = """\
        roles:
          dev:
            allow: [{tool: "*", approver: dev}]
            deny: [{tool: x/y, expires: 5m}]
            ask: [{tool: x/*, approver: amdin}]
          admin: {}
        """
    assert access_problems(tmp_path, text) == [
        "3:25: 'approver' belongs to rules under 'ask'; this one stands under 'allow'",
        "4:24: 'expires' belongs to rules under 'ask'; this one stands under 'deny'",
        "5:23: there is no role 'amdin'; there is dev, admin. Did you mean 'admin'?",
    ]


def test_keys_have_one_source_a_role_that_exists_and_a_name_of_their_own(tmp_path: Path) -> None:
    text = f"""\
        roles: {{dev: {{}}}}
        keys:
          - {{name: a, role: dev, env: A}}
          - {{name: a, role: dve, env: A}}
          - {{name: b, role: dev}}
          - {{name: c, role: dev, env: C, sha256: {"0" * 64}x}}
          - {{name: d, role: dev, env: ilk_the-key-itself}}
          - {{role: dev, env: E}}
        """
    assert access_problems(tmp_path, text) == [
        "4:6: two keys have this 'name'; the other is on line 3",
        "4:15: there is no role 'dve'; there is dev. Did you mean 'dev'?",
        "4:26: two keys have this 'env'; the other is on line 3",
        "5:5: this item has neither of 'env' and 'sha256'; a key has exactly one of them",
        "6:34: 'sha256' is no SHA-256: expected 64 hexadecimal digits, never the key itself",
        "7:26: 'env' is no name of an environment variable; write the variable's name, never the key itself",
        "8:5: 'name' is missing",
    ]


# --- the id of a snapshot ---


def test_the_id_changes_with_what_is_said_and_not_with_comments(tmp_path: Path) -> None:
    first = loaded(tmp_path, {"gateway.yaml": "models: {default: '${M:-a}'}\n"}).id
    assert loaded(tmp_path, {"gateway.yaml": "# words\nmodels:\n  default: ${M:-a}\n"}).id == first
    assert load(tmp_path, {"M": "b"}).id != first
    assert loaded(tmp_path, {"graphs/assistant.yaml": MINIMAL_GRAPH}).id != first
