"""`path_within` of the rules: whether a path surely stays in a folder."""

from __future__ import annotations

import os.path
import posixpath
import re
import unicodedata
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_DECODINGS = 5
# What some systems turn into a separator or a dot when they fit a name into an older character set.
_LOOKALIKES = str.maketrans(
    dict.fromkeys("\u2044\u2215\u29f8\u29f6\u2571\u1735\u3033\uff0f", "/")
    | dict.fromkeys("\u2216\u29f5\u29f9\ufe68\uff3c", "\\")
    | dict.fromkeys("\u2024\ufe52\uff0e\u0701\u0702\ua4f8", ".")
)


def path_within(path: str | Sequence[Any], *folders: str | Sequence[Any]) -> bool:
    """Whether `path` surely names one of `folders` or something in it; of a list of paths, whether each does.

    All are absolute POSIX paths. A path with a backslash or a control character is not within; neither is one that
    leaves the folder once percent-decoded (several times, if need be), brought to its Unicode normal form, or with
    the symbolic links of this machine resolved. An empty list names nothing, so it is not within either.
    """
    roots = [root for folder in folders for root in _texts(folder)]
    paths = _texts(path)
    return bool(paths) and all(_is_within(one, roots) for one in paths)


def _texts(value: str | Sequence[Any]) -> list[str]:
    """One text or several. Raises ValueError for anything else in a list."""
    if isinstance(value, str):
        return [value]
    if not all(isinstance(item, str) for item in value):
        raise ValueError("a list of paths holds something that is no text")
    return list(value)


def _is_within(path: str, folders: Sequence[str]) -> bool:
    readings = _readings(path)
    return bool(readings) and any(
        _is_plain(folder) and all(_is_plain(reading) and _is_inside(reading, folder) for reading in readings)
        for folder in folders
    )


def _readings(path: str) -> list[str]:
    """Everything that some program may take the path for; nothing if that never ends."""
    readings = [path]
    for _ in range(_MAX_DECODINGS):
        try:
            decoded = unquote_to_bytes(readings[-1]).decode("utf-8")
        except UnicodeError:
            return []
        if decoded == readings[-1]:
            break
        readings.append(decoded)
    else:
        return []
    if not all(reading.isascii() for reading in readings):
        readings += [unicodedata.normalize("NFKC", reading) for reading in readings]
        readings += [reading.translate(_LOOKALIKES) for reading in readings]
    return readings


def _is_plain(path: str) -> bool:
    # Two slashes at the start name another machine to some programs.
    return path.startswith("/") and not path.startswith("//") and "\\" not in path and not _CONTROL.search(path)


def _is_inside(path: str, folder: str) -> bool:
    return _begins_with(posixpath.normpath(path), posixpath.normpath(folder)) and _begins_with(
        os.path.realpath(path), os.path.realpath(folder)
    )


def _begins_with(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder.endswith("/") else folder + "/")
