"""Cassettes of `interlock test`: recorded with a model over HTTP and MCP processes, replayed when both have gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest
import yaml
from support.processes import plain_environment
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import SERVER
from typer.testing import CliRunner, Result

from server.cli.main import app

INTERLOCK = Path(sys.executable).with_name("interlock")
CASSETTE = Path("graphs", "cassettes", "echo.yaml")
PASSWORD = "correct-horse-7-battery"
RECORD = "if that is meant, record it anew: interlock test assistant --record"
ASSISTANT = """\
start: agent
nodes:
  agent: {type: agent, tools: ["files/*"], next: end}
"""
ECHO = [Answer("I ask.", calls=[Call("files__echo", {"text": "hello"})]), Answer("It says hello.")]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - plain_environment().keys():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


def write_configs(
    folder: Path, url: str, cases: str, assistant: str = ASSISTANT, head: str = "", access: str = "allow: ['*']"
) -> Path:
    """A config folder with one real server, one graph, and these cases."""
    server = {"command": sys.executable, "args": [str(SERVER), "stdio", str(folder / "ran")], "trusted": True}
    files = {
        "gateway.yaml": f"models: {{base_url: '{url}', api_key: 'sk-of-the-tests-1', default: scripted}}\n",
        "servers.yaml": yaml.safe_dump({"mcpServers": {"files": server}}),
        "access.yaml": (
            f"roles:\n  admin:\n{indent(dedent(access), '    ')}\n"
            "keys: [{name: admin, role: admin, env: INTERLOCK_ADMIN_KEY}]\n"
        ),
        "graphs/assistant.yaml": dedent(assistant),
        "graphs/assistant.test.yaml": f"as: {{role: admin, user: ada}}\n{head}cases:\n{indent(dedent(cases), '  ')}",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def write_echo(folder: Path, url: str, expect: str = "{calls: [files/echo], answer: answer.contains('hello')}") -> Path:
    return write_configs(
        folder, url, f"echoed:\n  say: Say hello\n  cassette: cassettes/echo.yaml\n  expect: {expect}\n"
    )


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["test", "--configs", str(folder), *options])


def list_calls(folder: Path) -> list[str]:
    ran = folder / "ran"
    return ran.read_text().splitlines() if ran.exists() else []


def record_echo(folder: Path) -> Path:
    """A folder with the case `echoed` and its cassette, whose model is gone."""
    with ScriptedModel() as model:
        model.script(*ECHO)
        done = run(write_echo(folder, model.url), "--record")
    assert done.exit_code == 0, done.output
    return folder


# --- as a person uses it ---


def test_a_case_is_recorded_once_and_replayed_without_a_model_a_server_or_a_key(tmp_path: Path) -> None:
    environment = plain_environment()
    command = [INTERLOCK, "test", "--configs", "configs"]
    with ScriptedModel() as model:
        configs = write_echo(tmp_path / "configs", model.url)
        missing = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert missing.returncode == 1
        assert (
            "graphs/cassettes/echo.yaml is not there yet; record it: interlock test assistant --record"
            in missing.stdout
        )
        model.script(*ECHO)
        recorded = subprocess.run(
            [*command, "assistant", "--record"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert recorded.stderr == ""
        assert recorded.stdout == dedent("""\
            ok    graphs/assistant.test.yaml:3:3: echoed
                  written: graphs/cassettes/echo.yaml

            1 case: 1 passed
            """)
        assert recorded.returncode == 0
        assert len(model.requests) == 2
        assert model.requests[0].headers["authorization"] == "Bearer sk-of-the-tests-1"
    assert list_calls(configs) == ["echo hello"]

    # Nothing that the recording needed is there any more.
    servers = configs / "servers.yaml"
    servers.write_text(servers.read_text().replace(str(SERVER), "/nowhere/server.py"))
    replayed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert replayed.stdout.splitlines()[0] == "ok    graphs/assistant.test.yaml:3:3: echoed"
    assert replayed.returncode == 0
    assert list_calls(configs) == ["echo hello"]
    assert not (tmp_path / "data").exists()


def test_a_cassette_reads_like_a_case(tmp_path: Path) -> None:
    text = (record_echo(tmp_path) / CASSETTE).read_text()
    assert re.sub(r"digest: [0-9a-f]{64}", "digest: …", text) == dedent("""\
        # What the model and the tools really said in a test, without secrets: written by `interlock test --record`,
        # replayed by `interlock test`.
        model:
          agent:
          - text: I ask.
            calls:
            - files/echo:
                text: hello
          - It says hello.
        tools:
          files/echo:
            digest: …
            read_only: true
            arguments:
            - text
            results:
            - args:
                text: hello
              result:
                result: hello
              text: hello
        """)
    assert run(tmp_path).exit_code == 0


# --- what is recorded ---


def test_everything_a_model_and_a_tool_can_say_comes_back(tmp_path: Path, model: ScriptedModel) -> None:
    """Failures, pictures, data, arguments that are no JSON, a tool that nobody has, and texts that YAML twists."""
    odd = "yes: ${HOME} #\n\t- 'no'\n  1e5 \u2028 \x07 é"
    model.script(
        Answer(
            calls=[
                Call("files__add", {"a": 1, "b": 2}),
                Call("files__fails", {}),
                Call("files__picture", {}),
                Call("files__echo", {"text": odd}),
                Call("files__echo", {"text": "1e5"}),
                Call("files__nowhere", {"x": [1.0, None, True]}),
                Call("files__echo", '{"text": '),
            ]
        ),
        Answer(f"${{DONE}} {odd}", finish="length"),
    )
    everything = """\
        everything:
          say: Do all
          cassette: cassettes/echo.yaml
          expect:
            calls: [files/add, files/fails, files/picture, files/echo, files/echo]
            answer: answer.contains("DONE")
        """
    folder = write_configs(tmp_path, model.url, everything)
    recorded = run(folder, "--record")
    assert recorded.exit_code == 0, recorded.output
    written = yaml.safe_load((folder / CASSETTE).read_text())
    results = {tool: entry.get("results") for tool, entry in written["tools"].items()}
    assert results["files/add"][0]["result"] == {"sum": 3}
    assert results["files/fails"] == [{"args": {}, "error": "Error executing tool fails: no such table: customers"}]
    assert results["files/picture"][0]["result"] == "a picture\n[image]"
    assert results["files/echo"][1]["args"] == {"text": "1e5"}
    assert written["model"]["agent"][1]["reason"] == "length"
    replayed = run(folder)
    assert replayed.exit_code == 0, replayed.output


def test_secrets_are_left_out_wherever_they_stand(tmp_path: Path, model: ScriptedModel) -> None:
    """Under a name that says so, as a text of a known form, where the files know them, and where the same value stands
    under no such name; what was a secret is not compared at the replay."""
    graph = """\
        vars: {found: any, again: any}
        start: read
        nodes:
          read: {type: call, tool: files/echo, args: {text: '{"password": "PASSWORD"}'}, into: found, next: write}
          write: {type: call, tool: files/write, args: {text: PASSWORD}, into: again, next: say}
          say: {type: model, next: end}
        """.replace("PASSWORD", PASSWORD)
    model.script(f"It is {PASSWORD}, and the key is sk-of-the-tests-1 or ghp_abcdefghijklmnop1234.")
    cases = """\
        secret:
          say: What is the password?
          cassette: cassettes/echo.yaml
          expect: {calls: [files/echo, files/write], route: [read, write, say, end]}
        """
    folder = write_configs(tmp_path, model.url, cases, graph)
    recorded = run(folder, "--record")
    assert recorded.exit_code == 0, recorded.output
    text = (folder / CASSETTE).read_text()
    assert PASSWORD not in text
    assert "sk-of-the-tests-1" not in text
    assert "ghp_" not in text
    assert "It is [redacted], and the key is [redacted] or [redacted]." in text
    assert list_calls(folder) == [f'echo {{"password": "{PASSWORD}"}}', f"write {PASSWORD}"]
    replayed = run(folder)
    assert replayed.exit_code == 0, replayed.output


def test_a_value_is_recorded_however_the_endpoint_gave_it(tmp_path: Path, model: ScriptedModel) -> None:
    """An endpoint that refuses schemas is asked for a function; only what it answered is kept."""
    graph = """\
        vars: {kind: [easy, hard]}
        start: sort
        nodes:
          sort: {type: model, into: kind, next: say}
          say: {type: reply, text: "It is {{ kind }}.", next: end}
        """
    refusal = Answer(status=400, error="response_format is not supported", param="response_format")
    model.script(refusal, Answer(calls=[Call("answer", {"value": "hard"})]))
    cases = """\
        sorted:
          say: Sort it
          cassette: cassettes/echo.yaml
          expect: {vars: {kind: hard}, answer: 'answer == "It is hard."'}
        """
    folder = write_configs(tmp_path, model.url, cases, graph)
    recorded = run(folder, "--record")
    assert recorded.exit_code == 0, recorded.output
    assert yaml.safe_load((folder / CASSETTE).read_text())["model"] == {
        "sort": [{"calls": [{"answer": {"value": "hard"}}]}]
    }
    assert run(folder).exit_code == 0


def test_people_decide_and_answer_at_a_recording_as_in_every_case(tmp_path: Path, model: ScriptedModel) -> None:
    graph = """\
        vars: {name: string}
        start: who
        nodes:
          who: {type: question, question: "Whose?", into: name, next: agent}
          agent: {type: agent, prompt: "For {{ name }}", tools: ["files/*"], next: end}
        """
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]), Answer("Done."))
    cases = """\
        approved:
          say: Write
          answers: {who: Ada}
          approvals: {files/write: approve}
          cassette: cassettes/echo.yaml
          expect: {calls: [files/write], verdicts: {files/write: ask}, vars: {name: Ada}, answer: 'answer == "Done."'}
        """
    folder = write_configs(tmp_path, model.url, cases, graph, access="{allow: ['*'], ask: [files/write]}")
    recorded = run(folder, "--record")
    assert recorded.exit_code == 0, recorded.output
    assert "For Ada" in str(model.requests[0].messages)
    assert run(folder).exit_code == 0
    assert list_calls(folder) == ["write x"]


def test_rules_see_at_the_replay_what_the_tool_said_of_itself(tmp_path: Path, model: ScriptedModel) -> None:
    """A call that a rule refused has no result, and the tool is in the cassette all the same."""
    model.script(
        Answer(calls=[Call("files__echo", {"text": "a"}), Call("files__write", {"text": "b"})]), Answer("Half done.")
    )
    cases = """\
        half:
          say: Both
          cassette: cassettes/echo.yaml
          expect: {verdicts: {files/echo: allow, files/write: deny}, calls: [files/echo]}
        """
    folder = write_configs(tmp_path, model.url, cases, access="allow: [{tool: '*', when: tool.read_only}]")
    recorded = run(folder, "--record")
    assert recorded.exit_code == 0, recorded.output
    assert "results" not in yaml.safe_load((folder / CASSETTE).read_text())["tools"]["files/write"]
    replayed = run(folder)
    assert replayed.exit_code == 0, replayed.output


def test_only_cases_with_a_cassette_are_recorded(tmp_path: Path, model: ScriptedModel) -> None:
    written = "written: {say: Hi, model: {agent: Hello.}, expect: {calls: []}}\n"
    folder = write_configs(tmp_path, model.url, written)
    done = run(folder, "--record")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "no case here names a cassette; write 'cassette: cassettes/NAME.yaml' in one, in place of 'model' and 'tools'\n"
    )
    model.script(*ECHO)
    write_echo(tmp_path, model.url)
    cases = folder / "graphs" / "assistant.test.yaml"
    cases.write_text(cases.read_text() + indent(written, "  "))
    assert run(folder, "--record").stdout.endswith("1 case: 1 passed\n")
    assert run(folder).stdout.splitlines()[-1].startswith("2 cases: 2 passed; ")


# --- what is never written ---


def test_a_failed_run_writes_nothing(tmp_path: Path) -> None:
    before = (record_echo(tmp_path) / CASSETTE).read_text()
    with ScriptedModel() as model:
        model.script("I would rather not.")
        done = run(write_echo(tmp_path, model.url), "--record")
    assert done.exit_code == 1
    assert "expected  files/echo" in done.stdout
    assert "written" not in done.stdout
    assert (tmp_path / CASSETTE).read_text() == before
    assert [path.name for path in (tmp_path / CASSETTE).parent.iterdir()] == ["echo.yaml"]


def test_a_model_that_is_away_is_no_recording(tmp_path: Path) -> None:
    """Also where what is expected would hold of a turn in which nothing happened."""
    done = run(write_echo(tmp_path, "http://127.0.0.1:9/v1", "{calls: []}"), "--record")
    assert done.exit_code == 1
    assert "the model has not answered node 'agent': No answer from the model endpoint http://127.0.0.1:9/v1" in (
        done.stdout
    )
    assert not (tmp_path / CASSETTE).exists()


def test_what_is_different_at_every_run_cannot_be_recorded(tmp_path: Path, model: ScriptedModel) -> None:
    graph = """\
        vars: {said: any}
        start: ask
        nodes:
          ask: {type: call, tool: files/echo, args: {text: "{{ string(now) }}"}, into: said, next: end}
        """
    cases = "now: {say: Go, cassette: cassettes/echo.yaml, expect: {calls: [files/echo]}}\n"
    done = run(write_configs(tmp_path, model.url, cases, graph), "--record")
    assert done.exit_code == 1
    assert "nothing is written, since it cannot be replayed: files/echo is called with" in done.stdout
    assert not (tmp_path / CASSETTE).exists()


def test_a_cassette_that_cannot_be_written_fails_the_case(tmp_path: Path, model: ScriptedModel) -> None:
    model.script(*ECHO)
    folder = write_echo(tmp_path, model.url)
    (folder / "graphs" / "cassettes").write_text("in the way")
    done = run(folder, "--record")
    assert done.exit_code == 1
    assert f"{folder / CASSETTE} cannot be written: File exists" in done.stdout


# --- what a replay finds ---


def change_cassette(folder: Path, old: str, new: str) -> None:
    path = folder / CASSETTE
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_an_answer_that_is_not_in_the_cassette_fails_the_case(tmp_path: Path) -> None:
    folder = record_echo(tmp_path)
    change_cassette(folder, "  - It says hello.\n", "")
    done = run(folder)
    assert done.exit_code == 1
    assert (
        "node 'agent' asks its model for the 2nd time, and graphs/cassettes/echo.yaml has 1 of its answers; " + RECORD
    ) in done.stdout


def test_a_call_that_is_not_in_the_cassette_fails_the_case(tmp_path: Path) -> None:
    folder = record_echo(tmp_path)
    change_cassette(folder, "    - files/echo:\n        text: hello", "    - files/echo:\n        text: bye")
    done = run(folder)
    assert done.exit_code == 1
    assert (
        'files/echo is called with {"text": "bye"}, and graphs/cassettes/echo.yaml has no such call, but '
        '{"text": "hello"}; ' + RECORD
    ) in done.stdout


def test_an_entry_that_nothing_asks_for_fails_the_case(tmp_path: Path) -> None:
    folder = record_echo(tmp_path)
    change_cassette(folder, "  - It says hello.\n", "  - It says hello.\n  - More.\n  - And more.\n")
    done = run(folder)
    assert done.exit_code == 1
    assert (
        "graphs/cassettes/echo.yaml:10:5: node 'agent' no longer asks for this answer, and 1 more; " + RECORD
    ) in done.stdout
    change_cassette(folder, "  - More.\n  - And more.\n", "")
    change_cassette(folder, "    results:\n", "    results:\n    - {args: {text: hello}, error: away}\n")
    done = run(folder)
    assert 'graphs/cassettes/echo.yaml:18:7: files/echo is no longer called with {"text": "hello"}; ' in done.stdout


def test_a_graph_that_calls_another_tool_is_told_so(tmp_path: Path, model: ScriptedModel) -> None:
    graph = """\
        vars: {said: any}
        start: ask
        nodes:
          ask: {type: call, tool: files/echo, args: {text: hello}, into: said, next: end}
        """
    cases = "one: {say: Go, cassette: cassettes/echo.yaml, expect: {route: [ask, end]}}\n"
    assert run(write_configs(tmp_path, model.url, cases, graph), "--record").exit_code == 0
    folder = write_configs(tmp_path, model.url, cases, graph.replace("files/echo", "files/write"))
    done = run(folder)
    assert done.exit_code == 1
    assert (
        'files/write is called with {"text": "hello"}, and graphs/cassettes/echo.yaml has no call of it; ' + RECORD
    ) in done.stdout


# --- live ---


def test_a_live_run_asks_the_real_model_and_tools_and_writes_nothing(tmp_path: Path) -> None:
    before = (record_echo(tmp_path) / CASSETTE).read_text()
    with ScriptedModel() as model:
        model.script(Answer(calls=[Call("files__echo", {"text": "hello again"})]), "It says hello again.")
        done = run(write_echo(tmp_path, model.url), "--live")
        assert done.stdout == "ok    graphs/assistant.test.yaml:3:3: echoed\n\n1 case: 1 passed\n"
        model.script("I would rather not.")
        failed = run(tmp_path, "--live")
    assert failed.exit_code == 1
    assert "expected  files/echo" in failed.stdout
    assert list_calls(tmp_path) == ["echo hello", "echo hello again"]
    assert (tmp_path / CASSETTE).read_text() == before


def test_a_live_run_needs_no_recording(tmp_path: Path, model: ScriptedModel) -> None:
    model.script(*ECHO)
    assert run(write_echo(tmp_path, model.url), "--live").exit_code == 0
    assert not (tmp_path / CASSETTE).exists()


def test_a_tool_that_changed_fails_the_case_before_anything_runs(tmp_path: Path, model: ScriptedModel) -> None:
    record_echo(tmp_path)
    write_echo(tmp_path, model.url)
    changed = tmp_path / "server.py"
    changed.write_text(
        SERVER.read_text().replace("def echo(text: str) -> str:", 'def echo(text: str, to: str = "") -> str:')
    )
    servers = tmp_path / "servers.yaml"
    servers.write_text(servers.read_text().replace(str(SERVER), str(changed)))
    done = run(tmp_path, "--live")
    assert done.exit_code == 1
    assert re.search(
        r"graphs/cassettes/echo\.yaml:11:3: files/echo is not the tool that was recorded, so nothing was run: it takes "
        r"text, to now, and took text; the fingerprint of its description, arguments and hints is [0-9a-f]{12}…, "
        r"recorded [0-9a-f]{12}…; look at it, then record it anew: interlock test assistant --record",
        done.stdout,
    ), done.stdout
    assert model.requests == []
    assert list_calls(tmp_path) == ["echo hello"]
    assert run(tmp_path).exit_code == 0  # a replay asks no server


def test_a_tool_that_is_gone_fails_the_case_and_says_why(tmp_path: Path, model: ScriptedModel) -> None:
    record_echo(tmp_path)
    write_echo(tmp_path, model.url)
    servers = tmp_path / "servers.yaml"
    entry = servers.read_text()
    servers.write_text(entry.replace("trusted: true", "trusted: true\n    exclude: [echo]"))
    done = run(tmp_path, "--live")
    assert "11:3: files/echo was recorded, and its server files does not offer it now" in done.stdout
    servers.write_text(entry.replace(str(SERVER), "/nowhere/server.py"))
    done = run(tmp_path, "--live")
    assert "11:3: files/echo was recorded, and its server is not there: " in done.stdout
    assert done.stderr.startswith("note: the MCP server files is not there: ")
    assert model.requests == []


def test_a_run_is_recorded_or_live(tmp_path: Path) -> None:
    done = run(write_echo(tmp_path, "http://127.0.0.1:9/v1"), "--record", "--live")
    assert (done.exit_code, done.stderr) == (2, "--record writes what --live only runs; name one of the two\n")


# --- the file ---


def test_check_holds_a_cassette_against_its_shape(tmp_path: Path) -> None:
    folder = record_echo(tmp_path)
    change_cassette(folder, "        result: hello\n      text: hello", "        result: hello\n      txt: hello")
    done = CliRunner().invoke(app, ["check", str(folder)])
    assert done.exit_code == 1
    assert done.stdout.startswith("graphs/cassettes/echo.yaml:21:7: ")
    assert "'txt'" in done.stdout
    assert run(folder).exit_code == 2
    with ScriptedModel() as model:  # what is wrong in it does not keep it from being recorded anew
        model.script(*ECHO)
        assert run(write_echo(folder, model.url), "--record").exit_code == 0


def test_check_notes_a_cassette_that_is_not_recorded_yet(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(write_echo(tmp_path, "http://127.0.0.1:9/v1"))])
    assert done.exit_code == 0
    assert (
        "graphs/assistant.test.yaml:5:5: note: graphs/cassettes/echo.yaml is not there yet; `interlock test --record` "
        "writes it"
    ) in done.stderr


def test_coverage_is_not_counted_at_a_recording(tmp_path: Path) -> None:
    done = run(write_echo(tmp_path, "http://127.0.0.1:9/v1"), "--record", "--cover", "50")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--cover counts the ways" in done.stderr
