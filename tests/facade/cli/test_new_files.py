"""`interlock init` and `interlock graph new`, as somebody uses them who begins."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.configs import MINIMAL_GRAPH, write_configs
from support.processes import running
from support.scripted_model import Answer, Call, ScriptedModel
from typer.testing import CliRunner, Result

from server.cli import graph as graph_command
from server.cli.init import collect_files as collect_init_files
from server.cli.main import app

INTERLOCK = Path(sys.executable).with_name("interlock")
SHELF = Path(__file__).parents[3] / "configs" / "shelf"


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("INTERLOCK_", "LITELLM_")):
            monkeypatch.delenv(name)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def read_all(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


# --- init ---


@pytest.mark.timeout(180)  # a whole program starts here, on machines that may be busy
def test_a_new_folder_passes_its_check_and_answers_a_chat(tmp_path: Path) -> None:
    folder = tmp_path / "new configs"
    made = run("init", folder)
    assert made.exit_code == 0, made.output
    assert sorted(made.stdout.splitlines()) == sorted(str(folder / name) for name in read_all(folder))
    assert {"gateway.yaml", "servers.yaml", "access.yaml", "graphs/assistant.yaml", ".env.example"} <= {
        *read_all(folder)
    }
    (key,) = re.findall(r"INTERLOCK_ADMIN_KEY=(ilk_[\w-]{43})\s", made.stderr)
    assert not any(key in text for text in read_all(folder).values())
    checked = run("check", folder)
    assert (checked.exit_code, checked.stdout) == (0, "")

    command = [INTERLOCK, "serve", "--configs", folder, "--port", "0"]
    with ScriptedModel() as model:
        model.script(Answer(calls=[Call("filesystem__list_directory", {"path": "."})]), "There is a welcome.")
        env = {
            "INTERLOCK_ADMIN_KEY": key,
            "INTERLOCK_DATA": str(tmp_path / "data"),
            "INTERLOCK_MODEL": "scripted",
            "LITELLM_BASE_URL": model.url,
        }
        with running("interlock serve", command, tmp_path / "serve.log", env=env) as process:
            url = process.wait_for_line(r"^url (http://\S+)$")[1]
            answer = httpx.post(
                f"{url}/chat/completions",
                json={"model": "assistant", "messages": [{"role": "user", "content": "What is there?"}]},
                headers={"authorization": f"Bearer {key}"},
                timeout=60,
            )
        assert answer.status_code == 200, answer.text
        assert "There is a welcome." in answer.json()["choices"][0]["message"]["content"]
        assert "welcome.md" in str(model.requests[1].tool_results)


def test_every_variable_of_the_files_is_in_the_example(tmp_path: Path) -> None:
    assert run("init", tmp_path).exit_code == 0
    files = read_all(tmp_path)
    text = "".join(files[name] for name in ("gateway.yaml", "access.yaml"))
    named = {*re.findall(r"\$\{(\w+)", text), *re.findall(r"env: (\w+)", text)}
    assert named == set(re.findall(r"^(\w+)=", files[".env.example"], re.MULTILINE))
    loaded = subprocess.run(
        ["sh", "-ec", "set -a; . ./.env.example; set +a; exec \"$0\" check .", INTERLOCK],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr


def test_the_example_names_a_line_that_works_where_serve_runs(tmp_path: Path) -> None:
    for folder, file in (("configs", "configs/.env"), (".", "./.env"), ("my files", "'my files/.env'")):
        text = collect_init_files(Path(folder), [])[".env.example"]
        [line] = re.findall(r"^#   (set -a; .*)$", text, re.MULTILINE)
        assert line == f"set -a; . {file}; set +a"
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / ".env").write_text(text.replace("INTERLOCK_MODEL=", "INTERLOCK_MODEL=mine"))
        command = ["sh", "-ec", f"{line}; echo $INTERLOCK_MODEL"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "mine\n"


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    own = {"access.yaml": 'roles:\n  me: {allow: ["*"]}\n', "graphs/mine.yml": MINIMAL_GRAPH, ".gitignore": "*.log\n"}
    gateway = {"gateway.yaml": "default_graph: mine\n"}
    write_configs(tmp_path, {**own, **gateway})
    made = run("init", tmp_path)
    assert made.exit_code == 0
    files = read_all(tmp_path)
    assert {name: files[name] for name in own} == own
    assert "graphs/assistant.yaml" not in files
    assert "servers.yaml" in files
    for name in (*own, *gateway):
        assert f"{tmp_path / name} is there already, and stays as it is" in made.stderr
    assert "ilk_" not in made.output, "nobody knows how this access.yaml names its keys"
    assert run("check", tmp_path).exit_code == 0
    again = run("init", "--configs", tmp_path)
    assert (again.exit_code, again.stdout) == (0, "")
    assert read_all(tmp_path) == files


def test_a_folder_that_cannot_be_written_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "configs"):
        made = run("init", target)
        assert (made.exit_code, made.stdout) == (1, "")
        assert "gateway.yaml: cannot be written: " in made.stderr


# --- graph new ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped configs, with rules that may speak of any server."""
    run("init", tmp_path / "configs")
    return tmp_path / "configs"


@pytest.mark.parametrize("like", [None, *(path.stem for path in SHELF.glob("*.yaml") if ".test" not in path.stem)])
def test_a_new_graph_passes_the_check(folder: Path, like: str | None) -> None:
    made = run("graph", "new", "helper", *(("--like", like) if like else ()), "--configs", folder)
    assert made.exit_code == 0, made.output
    assert made.stdout.splitlines()[0] == f"{folder}/graphs/helper.yaml"
    assert made.stderr == f"Look for mistakes: interlock check {folder}/graphs/helper.yaml\n"
    checked = run("check", folder)
    assert checked.exit_code == 0, checked.output
    assert "graphs: assistant, helper" in checked.stderr


def test_a_graph_comes_with_those_that_it_runs(folder: Path) -> None:
    made = run("graph", "new", "boss", "--like", "supervisor", "--configs", folder)
    assert {Path(line).name for line in made.stdout.splitlines()} == {
        *("boss.yaml", "boss.test.yaml", "researcher.yaml", "researcher.test.yaml"),
        *("sql-analyst.yaml", "sql-analyst.test.yaml"),
    }
    assert run("graph", "new", "chief", "--like", "supervisor", "--configs", folder).exit_code == 0
    assert run("check", folder).exit_code == 0


def test_a_graph_comes_with_its_tests_which_speak_of_it_by_its_new_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = {
        "shelf/desk.yaml": MINIMAL_GRAPH,
        "shelf/desk.test.yaml": "cases:\n  one: {graph: desk, say: desk}\n  two: {graph: desk-two, say: x}\n",
        "graphs/assistant.yaml": MINIMAL_GRAPH,
    }
    shipped = write_configs(tmp_path / "shipped", shelf)
    monkeypatch.setattr("graphs.config.loader.find_shipped_configs", lambda: shipped)
    assert list(graph_command.list_shelf()) == ["assistant", "desk"]
    made = run("graph", "new", "front", "--like", "desk", "--configs", folder)
    assert made.stdout.splitlines() == [f"{folder}/graphs/front.yaml", f"{folder}/graphs/front.test.yaml"]
    tests = (folder / "graphs" / "front.test.yaml").read_text()
    assert tests == "cases:\n  one: {graph: front, say: desk}\n  two: {graph: desk-two, say: x}\n"


def test_an_unknown_one_of_the_shelf_shows_what_there_is(folder: Path) -> None:
    before = read_all(folder)
    made = run("graph", "new", "helper", "--like", "aproved-tools", "--configs", folder)
    assert (made.exit_code, made.stdout) == (2, "")
    assert "the shelf has no graph 'aproved-tools'. Did you mean 'approved-tools'?\n" in made.stderr
    assert "\n  approved-tools: Uses your tools, and says plainly where your rights end.\n" in made.stderr
    assert run("graph", "new", "helper", "--like", "../gateway", "--configs", folder).exit_code == 2
    assert read_all(folder) == before


def test_a_graph_that_is_there_stays_as_it_is(folder: Path) -> None:
    write_configs(folder, {"graphs/other.yml": MINIMAL_GRAPH})
    before = read_all(folder)
    for name in ("assistant", "assistant.yaml", "other"):
        made = run("graph", "new", name, "--configs", folder)
        assert (made.exit_code, made.stdout) == (1, "")
        assert "is there already and stays as it is" in made.stderr
    assert read_all(folder) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a b", "'a b' is no name for a graph"),
        ("../up", "'../up' is no name for a graph"),
        ("one.test", "'one.test' ends in '.test', which is the ending of a graph's tests"),
        ("one.schema", "'one.schema' ends in '.schema', which is the ending of a schema file"),
        (".yaml", "'' is no name for a graph"),
    ],
)
def test_a_name_that_no_graph_can_have_is_refused(folder: Path, name: str, words: str) -> None:
    before = read_all(folder)
    made = run("graph", "new", name, "--configs", folder)
    assert made.exit_code == 2
    assert words in made.stderr
    assert read_all(folder) == before


def test_the_first_graph_of_a_folder_says_how_to_make_it_the_default(tmp_path: Path) -> None:
    assert "no such folder; name one with --configs, or make one: interlock init" in run(
        "graph", "new", "mine", "--configs", tmp_path / "none"
    ).stderr  # fmt: skip
    made = run("graph", "new", "mine", "--configs", tmp_path)
    assert made.exit_code == 0
    assert f"write {tmp_path}/gateway.yaml with the line: default_graph: mine" in made.stderr
    shutil.rmtree(tmp_path / "graphs")
    (tmp_path / "gateway.yaml").write_text("# nothing yet\n")
    made = run("graph", "new", "mine", "--configs", tmp_path)
    assert f"in {tmp_path}/gateway.yaml, write: default_graph: mine" in made.stderr
