"""`interlock check` for one file, and for servers that are not there or are switched off; no server is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.configs import MINIMAL_GRAPH, write_configs
from typer.testing import CliRunner, Result

from server.cli.main import app

AGENT = """\
    start: agent
    nodes:
      agent: {{type: model, tools: [{tools}], next: [{{when: size(tool_calls) > 0, to: check}}, {{to: end}}]}}
      check: {{type: permission, next: act}}
      act: {{type: tools, next: agent}}
    """
SERVERS = """\
    mcpServers:
      files: {command: python, args: [-m, server.demo, filesystem]}
      tickets: {command: python, args: [-m, server.demo, database], disabled: true}
    """
ACCESS = 'roles:\n  dev: {allow: ["*"]}\n'


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", "--no-excerpts", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Mistakes in three of the files, and a graph without any."""
    files = {
        "gateway.yaml": "defualt_graph: one\n",
        "graphs/one.yaml": "start: a\nnodes:\n  a: {type: model, next: b}\n",
        "graphs/two.yml": "start: b\nnodes:\n  a: {type: model, next: a}\n",
        "graphs/assistant.yaml": MINIMAL_GRAPH,
    }
    return write_configs(tmp_path / "configs", files)


@pytest.mark.parametrize("name", ["gateway.yaml", "graphs/one.yaml", "graphs/two.yml"])
def test_one_file_is_checked_with_its_folder_and_told_alone(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = check(folder).stdout.splitlines()
    own = [line for line in everything if line.startswith(f"{name}:")]
    assert 0 < len(own) < len(everything)
    monkeypatch.chdir((folder / name).parent)
    for way in (folder / name, Path(name).name, f"../{folder.name}/{name}" if "/" not in name else f"../{name}"):
        result = check(way)
        assert (result.exit_code, result.stdout.splitlines()) == (1, own)
    assert f"other files have {len(everything) - len(own)} problem" in result.stderr
    assert f"interlock check {folder}" in result.stderr


def test_a_file_without_mistakes_is_well_among_others_with_some(folder: Path) -> None:
    result = check(folder / "graphs" / "assistant.yaml")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{folder}/graphs/assistant.yaml: no problems\nother files have 4 problems" in result.stderr
    connected = check(folder / "graphs" / "assistant.yaml", "--connect")
    assert (connected.exit_code, connected.stdout) == (1, "")
    assert "the servers were not asked: mend this first" in connected.stderr


def test_both_files_of_one_graph_are_told_that_there_are_two(tmp_path: Path) -> None:
    write_configs(tmp_path, {"graphs/assistant.yaml": MINIMAL_GRAPH, "graphs/assistant.yml": MINIMAL_GRAPH})
    for name in ("assistant.yaml", "assistant.yml"):
        assert "two files for graph 'assistant'" in check(tmp_path / "graphs" / name).stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("draft.yaml", "draft.yaml lies in no config folder, so nothing reads it: a graph lies in the folder graphs/"),
        ("notes.txt", "lies in no config folder"),
        ("gatway.yaml", "no file of this name is read. Did you mean 'gateway.yaml'?"),
        ("graphs/one.json", "no graph is read from a file of this name; it begins with no dot and ends in .yaml"),
        ("graphs/.one.yaml", "no graph is read from a file of this name"),
        ("graphs/old/one.yaml", "graphs are read from the folder graphs/ alone, not from folders in it"),
    ],
)
def test_a_file_that_nothing_reads_is_said_to_be_one(tmp_path: Path, name: str, words: str) -> None:
    result = check(write_configs(tmp_path, {name: MINIMAL_GRAPH}) / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_what_is_not_there_or_elsewhere_is_a_usage_error(folder: Path, tmp_path: Path) -> None:
    assert "nothing.yaml: no such file" in check(tmp_path / "nothing.yaml").stderr
    assert "nothing: no such folder; name one with --configs" in check(tmp_path / "nothing").stderr
    other = write_configs(tmp_path / "other", {"graphs/a.yaml": MINIMAL_GRAPH})
    result = check(other / "graphs" / "a.yaml", "--configs", folder)
    assert result.exit_code == 2
    assert f"a.yaml does not lie in {folder}; leave --configs out" in result.stderr
    assert check(folder / "graphs" / "assistant.yaml", "--configs", folder).exit_code == 0


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        (
            "nosuch/*",
            "there is no server 'nosuch' in servers.yaml, so 'nosuch/*' matches no tool; there is files, tickets",
        ),
        ("nosuch/read_?", "there is no server 'nosuch' in servers.yaml, so 'nosuch/read_?' matches no tool"),
        ("fils/*", "there is no server 'fils' in servers.yaml. Did you mean 'files'?"),
        (
            "fles_x/*",
            "there is no server 'fles_x' in servers.yaml, so 'fles_x/*' matches no tool. Did you mean 'files'?",
        ),
        ("${HUSH}/*", "'${HUSH}/*', with its variables filled in, matches no tool: servers.yaml has no such server"),
    ],
)
def test_a_graph_that_names_a_server_which_is_not_there_is_told_so(
    tmp_path: Path, tools: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUSH", "verysecret")
    files = {
        "servers.yaml": SERVERS,
        "access.yaml": ACCESS,
        "graphs/assistant.yaml": AGENT.format(tools=f'"files/*", "{tools}"'),
    }
    for target in (write_configs(tmp_path, files), tmp_path / "graphs" / "assistant.yaml"):
        result = check(target)
        assert result.exit_code == 1
        assert result.stdout.startswith(f"graphs/assistant.yaml:3:43: {words}")
        assert len(result.stdout.splitlines()) == 1
        assert "verysecret" not in result.output


def test_an_unknown_server_is_told_beside_other_mistakes(tmp_path: Path) -> None:
    graph = AGENT.format(tools="nosuch/*").replace("to: check", "to: chek")
    result = check(write_configs(tmp_path, {"graphs/assistant.yaml": graph}))
    assert [line.split(" ", 1)[1].partition(";")[0] for line in result.stdout.splitlines()] == [
        "there is no server 'nosuch' in servers.yaml, so 'nosuch/*' matches no tool",
        "there is no node 'chek'",
    ]


def test_patterns_over_any_server_and_rules_for_a_server_to_come_are_no_mistakes(tmp_path: Path) -> None:
    files = {
        "servers.yaml": SERVERS,
        "access.yaml": 'roles:\n  dev: {allow: ["*", jira/*], deny: ["*/delete_*", tickets/*]}\n',
        "graphs/assistant.yaml": AGENT.format(tools='"*", "*/read", "no*/x", "tickets/*"'),
    }
    result = check(write_configs(tmp_path, files))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[:3] == [
        "access.yaml:2:22: note: there is no server 'jira' in servers.yaml, so 'jira/*' matches no tool;"
        " there is files, tickets",
        "access.yaml:2:52: note: 'tickets/*' matches no tool now: its server is switched off in servers.yaml",
        "graphs/assistant.yaml:3:56: note: 'tickets/*' matches no tool now: its server is switched off in servers.yaml",
    ]
    about_graph = check(tmp_path / "graphs" / "assistant.yaml")
    assert "access.yaml" not in about_graph.output
    assert "graphs/assistant.yaml:3:56: note:" in about_graph.stderr


def test_shipped_rules_stand_in_without_a_word_about_servers_that_a_folder_does_not_have(tmp_path: Path) -> None:
    result = check(write_configs(tmp_path, {"servers.yaml": "mcpServers: {}\n"}))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "note" not in result.stderr


def test_the_worst_case_of_a_turn_is_said_of_each_graph_without_mistakes(tmp_path: Path) -> None:
    worst = "graph assistant: at most 13 model calls and no tool calls in a turn (limits: 12 rounds and a last answer)"
    loop = "start: a\nnodes:\n  a: {type: model, next: [{when: visits < 3, to: a}, {to: end}]}\n"
    write_configs(
        tmp_path,
        {
            "graphs/assistant.yaml": "start: a\nnodes:\n  a: {type: agent, next: end}\n",
            "graphs/loop.yml": loop,
        },
    )
    result = check(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        worst,
        "graph loop: at most 3 model calls and no tool calls in a turn",
        f"{tmp_path}: no problems; graphs: assistant, loop",
    ]
    assert check(tmp_path / "graphs" / "assistant.yaml").stderr.splitlines()[0] == worst
    assert "loop" not in check(tmp_path / "graphs" / "assistant.yaml").stderr
    assert "at most" not in check(tmp_path / "access.yaml").stderr
