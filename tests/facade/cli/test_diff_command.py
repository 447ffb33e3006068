"""`interlock diff`: what a change means, told of folders and of revisions of git."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from support.configs import write_configs
from support.processes import plain_environment
from typer.testing import CliRunner, Result

from server.cli.main import app

CONFIGS = Path(__file__).parents[3] / "configs"
INTERLOCK = Path(sys.executable).with_name("interlock")
GIT = {
    **plain_environment(),
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "ada@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - plain_environment().keys():
        monkeypatch.delenv(name, raising=False)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], env=GIT, check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the shipped configs in it, in a folder of a folder."""
    folder = tmp_path / "repository"
    shutil.copytree(CONFIGS, folder / "deploy" / "configs")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(folder))
    commit(folder, "Begin")
    return folder


def change(folder: Path, name: str, *pairs: tuple[str, str]) -> None:
    """Replace texts in a file, each of which must be there."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def diff(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["diff", *map(str, arguments)])


# --- as a person uses it ---


def test_a_person_asks_what_a_branch_would_change(repository: Path) -> None:
    """An operator makes a branch on which an agent may do more, and looks before it is merged."""
    configs = repository / "deploy" / "configs"
    git(repository, "checkout", "--quiet", "-b", "more")
    change(
        configs,
        "access.yaml",
        ("- database/list_tables", "- database/*"),
        ("filesystem/write_file, approver: admin", "filesystem/write_file, approver: developer"),
    )
    change(configs, "graphs/assistant.yaml", ("You help {{", "You kindly help {{"), ("rounds: 12", "rounds: 20"))
    commit(repository, "Allow more")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [INTERLOCK, "diff", "main", "more", "--configs", "deploy/configs", *options]
        return subprocess.run(
            command, cwd=repository, env=plain_environment(), capture_output=True, text=True, timeout=60, check=False
        )

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == dedent("""\
        graph assistant
          ~ limits.rounds: 12 → 20
          ~ model calls of a turn: at most 13 → 21
          ~ node agent: prompt
              You {+kindly+} help {{ caller.user }}. …
        role developer
          ~ filesystem/write_file may be allowed more: ask by developer; before: ask by admin ! more rights  [access.yaml:16]
          + database/* can be called now in graph assistant: allow ! more rights  [access.yaml:13]
          ~ database/query is allowed more: allow; before: allow when sql_read_only(args.sql, "sqlite") ! more rights  [access.yaml:13]
          - rule ask filesystem/write_file, approver admin, expires 900s  [access.yaml:16]
          - rule allow database/list_tables  [access.yaml:13]
          + rule ask filesystem/write_file, approver developer, expires 900s  [access.yaml:16]
          + rule allow database/*  [access.yaml:13]
        tests in graphs/assistant.test.yaml
          ~ 7 tests take what changed, agent: 'a question that needs no tool', 'a tool that runs at once', 'a write in a query is refused', 'a file outside the workspace stays closed', 'a file is written once an admin approves', 'a file is not written once an admin rejects', 'an admin is asked about nothing that only reads'  [graphs/assistant.test.yaml:6:3]

        11 changes; 3 of them may give more rights
        """)  # noqa: E501
    failed = run("--fail-on", "rights")
    assert (failed.returncode, failed.stdout) == (1, done.stdout)
    assert failed.stderr == "--fail-on rights: 3 changes may give more rights\n"
    found = json.loads(run("--format", "json").stdout)
    assert found["widens_rights"] is True
    [prompt] = [each for each in found["changes"] if "old" in each]
    assert prompt["new"] == "You kindly help {{ caller.user }}. Today is {{ now }}."
    review = run("--format", "md").stdout
    assert review.startswith("**11 changes; 3 of them may give more rights**\n\n### More rights\n\n#### role developer")
    assert "You <ins>kindly</ins> help \\{\\{ caller.user \\}\\}. …" in review


def test_what_is_saved_now_is_compared_with_a_revision(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository / "deploy")
    assert diff("HEAD").stdout == "The two mean the same.\n"
    change(repository / "deploy" / "configs", "graphs/assistant.yaml", ("rounds: 12", "rounds: 11"))
    narrowed = diff("HEAD", "--fail-on", "rights")
    assert narrowed.exit_code == 0
    assert "limits.rounds: 12 → 11" in narrowed.stdout
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository, env=GIT, capture_output=True, text=True, check=True
    )
    assert status.stdout == " M deploy/configs/graphs/assistant.yaml\n"


def test_two_folders_need_no_repository(tmp_path: Path) -> None:
    graph = "start: a\nnodes:\n  a: {type: reply, text: Hello., next: end}\n"
    old = write_configs(tmp_path / "old", {"graphs/assistant.yaml": graph})
    more = {"graphs/assistant.yaml": graph, "graphs/more.yaml": graph}
    found = diff(old, write_configs(tmp_path / "new", more))
    assert found.exit_code == 0
    assert found.stdout == (
        "graph more\n"
        "  + graph more (1 node; no model calls and no tool calls in a turn)\n"
        "\n1 change; none of them may give more rights\n"
    )


def test_a_hook_of_git_may_ask(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git tells its hooks by variables where its repository is, relative to its top."""
    monkeypatch.chdir(repository)
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/index")
    assert diff("HEAD", "--configs", "deploy/configs").stdout == "The two mean the same.\n"


# --- what cannot be compared ---


def test_what_is_no_side_is_said_with_a_cure(repository: Path, tmp_path: Path) -> None:
    configs = repository / "deploy" / "configs"
    none = diff("nothing", "--configs", configs)
    assert (none.exit_code, none.stdout) == (2, "")
    assert none.stderr == f"nothing is no folder, and no revision of git in {repository}; name one of both\n"
    elsewhere = diff("HEAD", "--configs", repository / "other")
    assert elsewhere.stderr == "there is no folder other in revision HEAD; name another with --configs\n"
    outside = diff("HEAD", "--configs", write_configs(tmp_path / "outside", {"a.txt": "x"}))
    assert outside.stderr.startswith(f"HEAD is no folder, and git finds no repository around {tmp_path / 'outside'}: ")
    file = diff(configs / "access.yaml", "--configs", configs)
    assert file.stderr.endswith("is a file; name a config folder, or a revision of git\n")
    assert all(each.exit_code == 2 for each in (elsewhere, outside, file))


def test_an_option_of_git_is_no_revision(repository: Path) -> None:
    found = diff("--configs", repository / "deploy" / "configs", "--", "--upload-pack=touch")
    assert found.exit_code == 2
    assert "is no folder, and no revision" in found.stderr


def test_mistakes_of_a_side_are_printed_with_its_name(repository: Path) -> None:
    configs = repository / "deploy" / "configs"
    change(configs, "graphs/assistant.yaml", ("to: check", "to: chek"))
    found = diff("HEAD", configs, "--configs", configs)
    assert (found.exit_code, found.stdout) == (2, "")
    assert f"{configs}: graphs/assistant.yaml:10:41: there is no node 'chek'" in found.stderr
    assert found.stderr.endswith("nothing was compared: mend this first\n")


def test_without_git_two_folders_are_all_that_can_be_named(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = diff("HEAD", "--configs", repository / "deploy" / "configs")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == "git cannot be run (No such file or directory); install it, or name two folders\n"


def test_nothing_in_a_file_can_write_to_the_terminal_or_the_review(tmp_path: Path) -> None:
    def write(name: str, text: str) -> Path:
        graph = f'start: a\nnodes:\n  a: {{type: model, prompt: "{text}", next: end}}\n'
        return write_configs(tmp_path / name, {"graphs/assistant.yaml": graph})

    sides = write("old", "one two"), write("new", "one \\e[31m <img src=x> **two**")
    assert "\x1b" not in diff(*sides).stdout
    review = diff(*sides, "--format", "md").stdout
    assert "\\<img src=x\\>" in review
    assert "\\*\\*two\\*\\*" in review.replace("<ins>", "").replace("</ins>", "")
