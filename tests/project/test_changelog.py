"""CHANGELOG.md says to operators what an upgrade does: every shape of the tables, and the newest one by name."""

from __future__ import annotations

import re
from pathlib import Path

from graphs.store import migrations

PAGE = (Path(__file__).resolve().parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_migration_is_said_under_upgrading_of_the_version_that_brought_it() -> None:
    sections = re.findall(r"(?ms)^### Upgrading\n(.*?)(?=^##)", PAGE)
    assert sections
    said = [name for section in reversed(sections) for name in re.findall(r"`(\d{4}_\w+)`[,.]", section)]
    assert [*dict.fromkeys(said[1:])] == migrations.list_revisions(), (
        "add the new shape, and say what it asks of operators"
    )
    assert f"its newest shape, `{migrations.find_newest_revision()}`" in sections[0]


def test_every_version_says_how_it_is_upgraded_to() -> None:
    versions = re.findall(r"(?m)^## (.+)$", PAGE)
    assert len(re.findall(r"(?m)^### Upgrading$", PAGE)) == len(versions)
