"""docs/reference is what `make reference` would write now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from support.configs import loaded

from scripts.reference import http_page
from scripts.reference.expressions import EXAMPLES
from scripts.reference.pages import BUILDERS, FOLDER, ROOT, build_page
from scripts.reference.tree import PAGE, insert_tree


@pytest.mark.parametrize("name", BUILDERS)
def test_the_committed_page_is_current(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == build_page(name), "run: make reference"


def test_the_page_that_is_served_is_current() -> None:
    assert (ROOT / http_page.PATH).read_text(encoding="utf-8") == http_page.build_page(), "run: make reference"


def test_the_tree_of_the_architecture_is_current() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert insert_tree(page, ROOT) == page, "run: make reference"


def test_there_is_no_other_page() -> None:
    assert {file.name for file in FOLDER.iterdir()} == BUILDERS.keys()


@pytest.mark.parametrize("name", BUILDERS)
def test_every_row_says_something(name: str) -> None:
    rows = [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert rows
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []


def test_every_condition_that_is_shown_compiles(tmp_path: Path) -> None:
    rules = [{"tool": "*", "when": condition} for condition in EXAMPLES]
    loaded(tmp_path, {"access.yaml": yaml.safe_dump({"roles": {"reader": {"allow": rules}}})})
