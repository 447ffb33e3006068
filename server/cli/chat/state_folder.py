"""Files that the terminal chat leaves in the person's state folder: theirs alone to read, and without secrets."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from graphs.redaction.texts import REDACTED, scrub_text

Scrub = Callable[[str], str]
"""Replaces the secrets in a text."""


def find_state_folder(env: Mapping[str, str]) -> Path:
    """Find the folder for Interlock's state: in XDG_STATE_HOME, or in ~/.local/state.

    Source: XDG Base Directory Specification; a relative XDG_STATE_HOME is to be ignored.
    """
    given = Path(env.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".local" / "state") / "interlock"


def build_scrub(key: str) -> Scrub:
    """Build what removes this key, and every secret that its form gives away."""
    return lambda text: scrub_text(text.replace(key, REDACTED) if key else text)


def make_private_folder(folder: Path) -> None:
    """Make a folder that nobody else may open. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private_file(path: Path, data: bytes) -> None:
    """Write a file that nobody else may read, whole or not at all. Raises OSError."""
    make_private_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
