"""Text that others wrote, made fit for a person's eyes and for a database, and JSON in the forms that are shown.

Arguments of a call are shown as exact JSON in which every character shows, each value shortened by itself where there
is no room for all of it, in Markdown code that no value can end.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import orjson

MIN_VALUE_LENGTH = 48
"""Characters that a shortened value is given at least, its length included: with less, nobody could tell what it is."""

LONGEST_ESCAPE = 12
"""Characters of `\\ud83d\\ude00`."""

_ESCAPE_OR_CHARACTER = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|\\u[0-9a-fA-F]{4}|\\.|[^\\]")
_SECOND_SPACE = re.compile("(?<= ) ")
_PADDING = re.compile(r"(?<=\S {8}) +")
_OUR_MARK = re.compile(r"…(?= \()")

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
)
"""Marks, letters and symbols that show nothing: those of Unicode's Default_Ignorable_Code_Point that `str.isprintable`
takes for printable, and two blanks that it does not list."""
_PICTURES = frozenset("\u203c\u2049\u2139\u2194\u25fb\u25fc\u25fd\u25fe\u2934\u2935\u3030")
"""Bases of emoji-variation-sequences.txt that are no "other symbol" (So); digits, # and * are keycaps' alone."""
_NAMES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escape_invisible(text: str, *, keep: str = "") -> str:
    r"""Escape every character that does not show, or that changes how others show.

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
    """Remove the characters that do not show, blanks excepted."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char for char in text if (char.isprintable() or char.isspace()) and _BLANK.match(char) is None)


def truncate(text: str, longest: int) -> str:
    """Return `text`, cut to `longest` characters with `…` as the last of them."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def format_cut(beginning: str, length: int) -> str:
    """Return the beginning of a text of `length` characters with a mark that says so."""
    return f"{beginning}… [{length} characters]"


def replace_surrogates(text: str) -> str:
    """Return `text` with "?" for each half of a surrogate pair, which UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def make_storable(text: str, *, nul: str = "") -> str:
    """Return `text` as every database keeps it: UTF-8, and `nul` for NUL, which PostgreSQL does not keep."""
    return replace_surrogates(text).replace("\0", nul)


def _is_picture(base: str, after: str) -> bool:
    """Whether a variation selector between the two chooses how an emoji looks."""
    if base and base in "0123456789#*":
        return after == "\u20e3"
    return base in _PICTURES or (base not in ("", "\u2800") and unicodedata.category(base) == "So")


def _escape(char: str) -> str:
    number = ord(char)
    return _NAMES.get(char) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{{{number:x}}}")


def format_exact_json(value: Any) -> str:
    r"""Return `value` as JSON (RFC 8259) that reads back as the same value, with every invisible character escaped.

    Raises TypeError for what is not JSON, such as a number over 64 bits.
    """
    return escape_json(dump_json(value))


def dump_canonical_json(value: Any) -> str:
    """Return the one way to write a JSON value, to be hashed: keys sorted, no blanks, ASCII.

    Raises TypeError or ValueError for what is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def escape_json(text: str) -> str:
    r"""Write the invisible characters of JSON text as `\uXXXX`; its value stays the same."""
    if text.isascii() and "\x7f" not in text:
        return text
    # A table of what occurs: the text may be long, its alphabet is short.
    hidden = (char for char in set(text) if char != "\n" and escape_invisible(char) != char)
    table = {ord(char): _escape_in_json(char) for char in hidden}
    return text.translate(table) if table else text


def _escape_in_json(char: str) -> str:
    number = ord(char)
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def dump_json(value: Any, *, indent: bool = False) -> str:
    """Return a value as JSON: on one line without blanks, or indented for people.

    Raises TypeError for what orjson does not write, such as a number over 64 bits or half a surrogate pair.
    """
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, option=option).decode()


def fit_json(value: Any, room: int) -> str | None:
    r"""Return exact JSON, indented if there is room for that; None where the shortest form does not fit either.

    Blanks that would push the end of a line out of sight are written `\u0020`.
    """
    # Indented, what is deeply nested is mostly white space.
    for indent in (True, False):
        # Escapes only make a text longer: what is far too long is not looked at.
        if len(text := dump_json(value, indent=indent)) > room:
            continue
        text = _PADDING.sub(lambda match: r"\u0020" * len(match[0]), escape_json(text))
        if len(text) <= room:
            return text
    return None


def fit_members(
    members: Sequence[tuple[str, Any]], room: int, *, separator: str, longest_name: int | None = None
) -> tuple[Sequence[str], bool] | None:
    r"""Write the members of a JSON object, each as `"name": value` on one line, in `room` characters all together.

    Values that are too long share what is left by the shorter ones. A shortened value says its length: `"long "… (1,500
    characters)`, behind the quotes, where no value can write it. Where white space may be collapsed by what shows the
    text, the second of two spaces must be seen: it is written `\u0020`. Names are shortened too where `longest_name`
    says from which length on.

    Returns:
        The members and whether anything is shortened; None where not every name and the beginning of every value fit.
    """
    left = room - len(separator) * (len(members) - 1)
    if longest_name is None and sum(len(name) for name, _ in members) > left:
        return None
    names = [_Value(name, room if longest_name is None else longest_name) for name, _ in members]
    left -= sum(len(name.shown) + 2 for name in names)
    values = [_Value(value, max(left, 0)) for _, value in members]
    shares = share_out([len(value.text) for value in values], left)
    if any(share < min(len(value.text), MIN_VALUE_LENGTH) for share, value in zip(shares, values, strict=True)):
        return None
    lines = [f"{name.shown}: {value.cut(share)}" for name, value, share in zip(names, values, shares, strict=True)]
    shortened = any(len(value.text) > share for value, share in zip(values, shares, strict=True))
    return lines, shortened or any(name.shown != name.text for name in names)


class _Value:
    """One name or value as JSON on one line."""

    def __init__(self, value: Any, longest: int) -> None:
        """`longest`: characters that will be shown at most. No more is looked at than that takes."""
        self._quote = '"' if isinstance(value, str) else ""
        if isinstance(value, str):
            self._length, dumped = len(value), dump_json(value[: longest + 1])
        else:
            dumped = dump_json(value)
            self._length, dumped = len(dumped), dumped[: longest + LONGEST_ESCAPE]
        text = _SECOND_SPACE.sub(r"\\u0020", escape_json(dumped))
        self.text = _OUR_MARK.sub(r"\\u2026", text)
        self.shown = self.cut(longest)

    def cut(self, room: int) -> str:
        """Return the beginning in `room` characters with the length: of a string, or of any other value's JSON.

        A string that is cut inside a list or an object gets its closing quote: else the next one's would end it.
        """
        if len(self.text) <= room:
            return self.text
        mark = f"… ({self._length:,} characters)"
        left = room - len(mark) - (2 * len(self._quote) or 1)
        beginning: list[str] = []
        for match in _ESCAPE_OR_CHARACTER.finditer(self.text, len(self._quote), len(self.text) - len(self._quote)):
            left -= len(match[0])
            if left < 0:
                break
            beginning.append(match[0])
        closing = self._quote or '"' * (beginning.count('"') % 2)
        return f"{self._quote}{''.join(beginning)}{closing}{mark}"


def share_out(lengths: Sequence[int], room: int) -> list[int]:
    """Divide `room`: each gets what it wants, or an equal share of what those who want less leave."""
    shares = [0] * len(lengths)
    for done, index in enumerate(sorted(range(len(lengths)), key=lambda index: lengths[index])):
        shares[index] = min(lengths[index], max(0, room // (len(lengths) - done)))
        room -= shares[index]
    return shares


def format_code_block(text: str, language: str = "") -> str:
    """Return a Markdown code block whose fence is longer than any run of backticks in the text (CommonMark, 4.5)."""
    ticks = "`" * max(3, _measure_longest_run(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def format_code_span(text: str) -> str:
    """Return a Markdown code span of a text without line breaks (CommonMark, 6.1)."""
    ticks = "`" * (_measure_longest_run(text) + 1)
    gap = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{gap}{text}{gap}{ticks}"


def _measure_longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def escape_on_one_line(text: str) -> str:
    """Write a text of others on one line: line breaks and tabs as single spaces, and nothing in it that does not show.

    It cannot look like a line of ours.
    """
    return escape_invisible(" ".join(text.split()))


def end_sentence(words: str) -> str:
    """End an author's words as a sentence."""
    text = words.strip()
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
