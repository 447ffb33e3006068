"""The words of Interlock's own are defined once, and the pages that use them lead there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs" / "guide" / "glossary.md"
WORDS = ("Node", "Turn", "Round", "Verdict", "Approval")
USERS = ("README.md", *(f"docs/guide/{page}.md" for page in ("graphs", "access", "approvals", "audit", "console")))


def test_each_word_is_defined_once() -> None:
    assert re.findall(r"^- \*\*(\w+)\*\*: ", GLOSSARY.read_text(), re.MULTILINE) == [*WORDS]


@pytest.mark.parametrize("page", USERS)
def test_the_pages_that_use_the_words_lead_to_the_glossary(page: str) -> None:
    assert "glossary.md)" in (ROOT / page).read_text()
