"""The shape of the code: how many rooms there are, unique names, and nobody who reaches into another object."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    file.relative_to(ROOT): ast.parse(file.read_text(encoding="utf-8"))
    for package in ("graphs", "server")
    for file in sorted((ROOT / package).rglob("*.py"))
    if "versions" not in file.parts
}
RUNTIME = {path: tree for path, tree in MODULES.items() if path.parts[:2] == ("graphs", "runtime")}
RIDDLES = {
    *("told", "said", "kept", "known", "seen", "asked", "words", "facts", "whole", "way"),
    *("settled", "gone", "taken", "wanted", "owed", "past", "story", "pulse", "road"),
}
"""Names that say nothing to whoever has not written them."""


@pytest.mark.parametrize(("package", "packages", "modules"), [("graphs", 13, 4), ("server", 7, 2)])
def test_the_top_level_fits_on_a_screen(package: str, packages: int, modules: int) -> None:
    folder = ROOT / package
    folders = {entry.parent.name for entry in folder.glob("*/__init__.py")} | (
        {"console"} if package == "server" else set()
    )
    assert len(folders) <= packages, sorted(folders)
    files = {entry.stem for entry in folder.glob("*.py")} - {"__init__"}
    assert len(files) <= modules, sorted(files)


def list_classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def test_no_public_class_name_occurs_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in MODULES.items():
        for node in list_classes(tree):
            if not node.name.startswith("_"):
                places[node.name].append(str(path))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_no_class_of_the_runtime_inherits_from_another_of_ours() -> None:
    ours = {node.name for tree in MODULES.values() for node in list_classes(tree)}
    found = [
        f"{path}:{node.lineno}: {node.name}({ast.unparse(base)})"
        for path, tree in RUNTIME.items()
        for node in list_classes(tree)
        for base in node.bases
        if ast.unparse(base).split("[")[0].split(".")[-1] in ours
    ]
    assert found == []


def test_no_attribute_of_another_object_is_assigned_in_the_runtime() -> None:
    found: list[str] = []
    for path, tree in RUNTIME.items():
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets = [node.target]
            flat = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
            found += [
                f"{path}:{target.lineno}: {ast.unparse(target)}"
                for target in flat
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) != "self"
            ]
    assert found == []


def test_no_name_is_a_riddle() -> None:
    found = [
        f"{path}:{node.lineno}: {node.name}"
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name.strip("_") in RIDDLES
    ]
    assert found == []


def test_every_package_says_what_it_holds_in_one_sentence() -> None:
    for path, tree in MODULES.items():
        if path.name == "__init__.py":
            assert ast.get_docstring(tree), path


def test_the_answers_of_contributing_are_files() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    answers = re.findall(r"^\| Where .*\? \| `([^`]+)` \|$", page, re.MULTILINE)
    assert len(answers) == 10
    assert [answer for answer in answers if not (ROOT / answer).is_file()] == []
