"""`path_within` of the rules: whether a path surely stays in a folder."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import time
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_STEPS = 5
_MAX_READINGS = 48
_MAX_LENGTH = 4_096
"""Characters that a path may have (PATH_MAX of Linux)."""
_ENTRIES_AT_ONCE = 500
_MAX_LANDINGS = 32
_PACKING = " \t\"'\u00a0\u3000"
"""What programs take off the end of a path before they use it."""
# What some systems turn into a separator, a dot or a percent sign when they fit a name into an older character set.
_LOOKALIKES = str.maketrans(
    dict.fromkeys("\u2044\u2215\u29f8\u29f6\u2571\u1735\u3033\uff0f", "/")
    | dict.fromkeys("\u2216\u29f5\u29f9\ufe68\uff3c", "\\")
    | dict.fromkeys("\u2024\ufe52\uff0e\u0701\u0702\ua4f8", ".")
    | dict.fromkeys("\u066a\ufe6a\uff05", "%")
)


def is_path_within(path: str | Sequence[Any], *folders: str | Sequence[Any]) -> bool:
    """Whether `path` surely names one of `folders` or something in it; of a list of paths, whether each does.

    All are absolute POSIX paths. A path with a backslash or a control character is not within; neither is one that
    leaves the folder once percent-decoded (several times, if need be), brought to its Unicode normal form, or with
    the symbolic links of this machine resolved: before its `..` are taken out and after, and where a name is not there
    also by what is there under a name of the same normal form, since the programs that open files differ in both.
    What this process may not look into is not within. An empty list names nothing, so it is not within either.

    That is how things are when the rule is decided: whoever can change links in the folder meanwhile, or make hard
    links to files outside, is not stopped by a look at a path.
    """
    roots = [root for folder in folders for root in _list_texts(folder)]
    paths = _list_texts(path)
    return bool(paths) and all(_is_within(one, roots) for one in paths)


def could_be_folder(path: str) -> bool:
    """Whether the text is an absolute path that nobody could take for another's."""
    readings = _find_readings(path)
    return bool(readings) and all(_is_plain(reading) for reading in readings) and _are_named(readings, path)


def _list_texts(value: str | Sequence[Any]) -> list[str]:
    """Return a list of one text or several. Raises ValueError for anything else in a list."""
    if isinstance(value, str):
        return [value]
    if not all(isinstance(item, str) for item in value):
        raise ValueError("a list of paths holds something that is no text")
    return list(value)


def _is_within(path: str, folders: Sequence[str]) -> bool:
    readings = _find_readings(path)
    return (
        bool(readings)
        and all(_is_plain(reading) for reading in readings)
        and any(
            _is_plain(folder) and _are_named(readings, folder) and _are_inside(readings, folder) for folder in folders
        )
    )


def _find_readings(path: str) -> list[str]:
    """Find all paths that some program may read this path as, decoded in any order; none if there are too many."""
    if len(path) > _MAX_LENGTH:
        return []
    steps = {path: 0}  # how many lead to each reading
    waiting = deque([path])
    try:
        path.encode()
        while waiting:
            reading = waiting.popleft()
            for further in _read_further(reading):
                if further not in steps:
                    steps[further] = steps[reading] + 1
                    waiting.append(further)
                    if steps[further] > _MAX_STEPS or len(steps) > _MAX_READINGS:
                        return []
    except UnicodeError:
        return []
    return list(steps)


def _read_further(reading: str) -> Iterator[str]:
    """Return what a program may make of a path in one step. Raises UnicodeError."""
    if "%" in reading:
        yield unquote_to_bytes(reading).decode("utf-8")
    if not reading.isascii():
        yield unicodedata.normalize("NFKC", reading)
        yield reading.translate(_LOOKALIKES)
    if reading[-1:] in _PACKING:
        yield reading.rstrip(_PACKING)


def _is_plain(path: str) -> bool:
    # Two slashes at the start name another machine to some programs.
    return path.startswith("/") and not path.startswith("//") and "\\" not in path and not _CONTROL.search(path)


def _are_named(readings: Sequence[str], folder: str) -> bool:
    named = posixpath.normpath(folder)
    return all(_is_in_folder(posixpath.normpath(reading), named) for reading in readings)


def _are_inside(readings: Sequence[str], folder: str) -> bool:
    real = os.path.realpath(folder)
    try:
        for way in {*readings, *map(posixpath.normpath, readings)}:
            for count, landing in enumerate(_find_landings(way)):
                if count == _MAX_LANDINGS or not _is_in_folder(landing, real):
                    return False
    except OSError:
        return False
    return True


def _find_landings(path: str) -> Iterator[str]:
    """Find where opening the path may lead, with all links followed. Raises OSError where this process may not look."""
    waiting = [path]
    while waiting:
        real = os.path.realpath(waiting.pop())
        yield real
        waiting += _find_namesakes(real)


def _find_namesakes(path: str) -> list[str]:
    """Replace the first missing name of the path by existing ones that differ only in their Unicode normal form."""
    folder, name, rest = path, "", ""
    while not _is_there(folder):
        folder, name, rest = posixpath.dirname(folder), posixpath.basename(folder), posixpath.join(name, rest)
    return [posixpath.join(folder, one, rest) for one in _find_alike_names(folder, name)] if name else []


def _find_alike_names(folder: str, name: str) -> list[str]:
    """Find the names in a folder that have the normal form of `name` and are not `name`."""
    form = unicodedata.normalize("NFKC", name)
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries, start=1):
                one = entry.name
                # Of ASCII names each is its own normal form: most folders cost no more than to be listed.
                differs = not (one.isascii() and name.isascii()) and one != name
                if differs and unicodedata.normalize("NFKC", one) == form:
                    found.append(one)
                if count % _ENTRIES_AT_ONCE == 0:
                    time.sleep(0.0001)  # lets other threads have the interpreter: a folder may hold millions
    except NotADirectoryError:
        return []
    return found


def _is_there(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        # Nobody can open what goes round in circles or has a name that is too long.
        if error.errno not in (errno.ELOOP, errno.ENAMETOOLONG):
            raise
    return True


def _is_in_folder(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder.endswith("/") else folder + "/")
