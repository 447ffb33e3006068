"""Files that commands write for a person to go on with: nothing that is there is ever written over."""

from __future__ import annotations

from pathlib import Path


class CannotWrite(Exception):
    """A file cannot be written; the text says why."""


def write_new_file(path: Path, text: str) -> bool:
    """Write a file that is not there yet, with its folders; False where something of that name is. Raises
    CannotWrite."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.parent.is_dir():
            return False
        raise CannotWrite(f"{path}: cannot be written: {path.parent} is no folder") from None
    except OSError as error:
        raise CannotWrite(f"{path}: cannot be written: {error.strerror}") from None
    return True
