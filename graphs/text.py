"""Text that others wrote, made fit for a person's eyes: a log, a terminal, a page, an approval."""

from __future__ import annotations

import re
import unicodedata

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
)
"""Marks, letters and symbols that show nothing: those of Unicode's Default_Ignorable_Code_Point that `str.isprintable`
takes for printable, and two blanks that it does not list."""
_PICTURES = frozenset("\u203c\u2049\u2139\u2194\u25fb\u25fc\u25fd\u25fe\u2934\u2935\u3030")
"""Bases of emoji-variation-sequences.txt that are no "other symbol" (So); digits, # and * are keycaps' alone."""
_NAMES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escape_invisible(text: str, *, keep: str = "") -> str:
    r"""The text with every character escaped that does not show, or that changes how others show.

    These are control characters (ESC, CR, C1), format characters (bidirectional controls and isolates, zero-width ones,
    tags), private and unassigned code points, unpaired surrogates, line and paragraph separators, blanks other than the
    space, fillers, and variation selectors other than those of emoji. Written `\n`, `\x1b` or `\u{202e}`. A backslash
    stays as it is, so that paths and patterns can be read: a text may spell an escape, it cannot hide one.

    Args:
        text: Any text; its length is the caller's business.
        keep: Characters that stay as they are, such as "\n\t" where lines may be shown as lines.
    """
    if text.isprintable() and (text.isascii() or _BLANK.search(text) is None):
        return text
    escaped: list[str] = []
    before = ""
    for position, char in enumerate(text):
        shows = char.isprintable() and (char.isascii() or _BLANK.match(char) is None)
        if shows or char in keep or (char in "\ufe0e\ufe0f" and _is_picture(before, text[position + 1 : position + 2])):
            escaped.append(char)
        else:
            escaped.append(_escape(char))
        before = char
    return "".join(escaped)


def strip_invisible(text: str) -> str:
    """The text without the characters that do not show, blanks excepted."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char for char in text if (char.isprintable() or char.isspace()) and _BLANK.match(char) is None)


def _is_picture(base: str, after: str) -> bool:
    """Whether a variation selector between the two chooses how an emoji looks."""
    if base and base in "0123456789#*":
        return after == "\u20e3"
    return base in _PICTURES or (base not in ("", "\u2800") and unicodedata.category(base) == "So")


def _escape(char: str) -> str:
    number = ord(char)
    return _NAMES.get(char) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{{{number:x}}}")
