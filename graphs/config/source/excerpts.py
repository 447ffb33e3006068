"""Excerpts of a file: the line of a problem with a caret beneath, and no secret in it."""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len

MAX_WIDTH = 100
"""Cells of a line that are shown; what is longer is cut on the sides that are far from the caret."""
_BEFORE = 60
"""Cells shown before the caret where the line is cut."""

_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""What YAML takes for the end of a line."""

# Files may hold what should not be in them, and excerpts end in the logs of CI: a password written out, or a key where
# the name of its variable belongs.
_SECRET = re.compile(
    r"""
    (?: (?:key|token|secret|password|passwd|pwd|authorization|cookie|sha256)["']?\s*[:=]\s*[\[{]*
        (?:(?:bearer|basic),?\s+)?
      | --?[a-z0-9-]*(?:key|token|secret|password|passwd|pwd)\b["']?[\s,]\s*
      | \benv["']?\s*:\s*(?!["']?[a-z_][a-z0-9_]*["']?\s*(?:[,}\#]|$))
      | \b(?:bearer|basic)\s+
    )
    (?P<value>"[^"]*"|'[^']*'|["'].*$|[^\s"',{}\[\]\#][^,{}\[\]\#]*)
    | (?P<prefixed>\b(?:sk|pk|ilk|ghp|gho|glpat|xox[abp])[-_][a-z0-9_-]{8,})
    | (?P<login>(?<=://)[^/\s@"']+(?=@))
    | (?<=\w:)(?P<password>[^/\s@"':]{4,})(?=@)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Nobody writes a name or a word so: letters of both kinds and digits in one, or a long number to the base of 16.
_RANDOM = re.compile(
    r"""
    (?<![\w-])
    (?: (?=[\w-]*[0-9]) (?=[\w-]*[a-z]) (?=[\w-]*[A-Z]) [\w-]{16,} | (?=[0-9]*[a-fA-F]) [0-9a-fA-F]{20,} )
    (?![\w-])
    """,
    re.ASCII | re.VERBOSE,
)
_SHORTEST_SECRET = 8


def build_excerpt(text: str, line: int, column: int) -> str:
    """Return one line (from 1) of a file, as it is written and numbered, with a caret under the column (from 1).

    Empty where there is no such line. Variables stand there by their names, and what looks like a secret is blotted
    out. The caret is right in terminals that give wide characters two cells.
    """
    lines = _LINE_END.split(text.removeprefix("\ufeff"))
    if not 0 < line <= len(lines):
        return ""
    shown = [_make_visible(character) for character in _mask_secrets(lines[line - 1].rstrip())]
    at = min(column - 1, len(shown))
    start, end = _choose_window(shown, at)
    before = ("…" if start else "") + "".join(shown[start:at])
    after = "".join(shown[at:end]) + ("…" if end < len(shown) else "")
    number = f"{line:>5} | "
    return f"{number}{before}{after}\n{' ' * (len(number) - 2)}| {' ' * cell_len(before)}^"


def _make_visible(character: str) -> str:
    """Return a character as it is shown: none may move the cursor, turn the line's direction or change the terminal."""
    if character == "\t":
        return "→   "
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") else character


def _choose_window(shown: list[str], at: int) -> tuple[int, int]:
    """Return the range of characters that are shown: all of them, or those around the caret."""
    if cell_len("".join(shown)) <= MAX_WIDTH:
        return 0, len(shown)
    start, end, width = at, at, 0
    while start > 0 and width + cell_len(shown[start - 1]) <= _BEFORE:
        start -= 1
        width += cell_len(shown[start])
    while end < len(shown) and width + cell_len(shown[end]) <= MAX_WIDTH:
        width += cell_len(shown[end])
        end += 1
    return start, end


def _mask_secrets(line: str) -> str:
    """Return the line with a star for each character of what looks like a secret that is written out."""

    def blot(match: re.Match[str]) -> str:
        kind = match.lastgroup or "value"
        secret = match[kind].strip()
        if "${" in secret or len(secret) < _SHORTEST_SECRET:
            return match[0]
        begin = match.start(kind) - match.start() + len(match[kind]) - len(match[kind].lstrip())
        quoted = secret[0] in "\"'" and secret[-1] == secret[0]
        hidden = f"{secret[0]}{'*' * (len(secret) - 2)}{secret[0]}" if quoted else "*" * len(secret)
        return match[0][:begin] + hidden + match[0][begin + len(secret) :]

    return mask_random(_SECRET.sub(blot, line))


def mask_random(text: str) -> str:
    """Return the text with stars for what looks random, as keys do: for messages that quote a name."""
    return _RANDOM.sub(lambda match: "*" * len(match[0]), text)
