"""The functions that rules may call. Each answers true only for what it is sure of."""

from __future__ import annotations

import os.path
import posixpath
import re
import unicodedata
from urllib.parse import unquote_to_bytes

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_DECODINGS = 5


def path_within(path: str, folder: str) -> bool:
    """Whether `path` surely names `folder` or something in it.

    Both are absolute POSIX paths. A path with a backslash or a control character is not within; neither is one that
    leaves the folder once percent-decoded (several times, if need be), brought to its Unicode normal form, or with
    the symbolic links of this machine resolved.
    """
    if not _is_plain(folder):
        return False
    readings = [path]
    for _ in range(_MAX_DECODINGS):
        try:
            decoded = unquote_to_bytes(readings[-1]).decode("utf-8")
        except UnicodeError:
            return False
        if decoded == readings[-1]:
            break
        readings.append(decoded)
    else:
        return False
    readings += [unicodedata.normalize("NFKC", reading) for reading in readings]
    return all(_is_plain(reading) and _is_inside(reading, folder) for reading in readings)


def _is_plain(path: str) -> bool:
    # Two slashes at the start name another machine to some programs.
    return path.startswith("/") and not path.startswith("//") and "\\" not in path and not _CONTROL.search(path)


def _is_inside(path: str, folder: str) -> bool:
    return _begins_with(posixpath.normpath(path), posixpath.normpath(folder)) and _begins_with(
        os.path.realpath(path), os.path.realpath(folder)
    )


def _begins_with(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder.endswith("/") else folder + "/")
