"""Config folders for tests: written from texts, read with a given environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from graphs.config.loader import Snapshot, load
from graphs.errors import ConfigError

MINIMAL_GRAPH = """\
start: agent
nodes:
  agent: {type: model, next: end}
"""


def write_configs(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes files, given by their paths in the folder, and gives the folder back."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return folder


def loaded(folder: Path, files: Mapping[str, str], env: Mapping[str, str] | None = None) -> Snapshot:
    """The snapshot of a folder that holds these files."""
    return load(write_configs(folder, files), env or {})


def problems(folder: Path, files: Mapping[str, str], env: Mapping[str, str] | None = None) -> list[str]:
    """The lines that `interlock check` prints for a folder that holds these files."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, files, env)
    return [str(problem) for problem in caught.value.problems]
