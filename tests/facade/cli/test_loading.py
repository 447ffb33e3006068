"""Commands load what they need: whoever asks for help, or checks files, does not wait for the engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.configs import write_configs

ENGINE = {"langgraph", "langchain_core", "langchain_openai", "openai", "sqlalchemy", "fastapi", "uvicorn", "mcp"}
PROGRAM = """
import sys
from server.cli.entry import main
sys.argv = ["interlock", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("LOADED", *{name.partition(".")[0] for name in sys.modules})
"""


def find_loaded(*arguments: str) -> set[str]:
    """The top packages that a command leaves loaded."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("LOADED ", 1)[1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["serve", "--help"],
        ["access", "explain", "--help"],
        ["audit", "show", "--help"],
        ["studio", "--help"],
        ["chat", "--help"],
        ["init", "--help"],
        ["graph", "new", "--help"],
        ["test", "--help"],
        ["backup", "--help"],
        ["restore", "--help"],
    ],
    ids=" ".join,
)
def test_help_loads_neither_the_engine_nor_its_checks(arguments: list[str]) -> None:
    assert not find_loaded(*arguments) & {*ENGINE, "sqlglot", "cel_expr_python", "prompt_toolkit"}


@pytest.mark.parametrize("arguments", [["check"], ["schema", "graph"], ["init"], ["graph", "new", "one"]], ids=" ".join)
def test_a_check_of_files_does_not_load_the_engine(arguments: list[str], tmp_path: Path) -> None:
    assert not find_loaded(*arguments, "--configs", str(write_configs(tmp_path, {}))) & ENGINE
