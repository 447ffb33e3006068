"""JSON with comments and tabs, as editors write it, made plain enough for YAML: every character keeps its place."""

from __future__ import annotations

import re

# Atomic and possessive: what is tried once is not tried in another way, so that no file takes long.
_COMMENT = r"(?>//[^\n]*+|/\*.*?\*/)"
_AROUND = rf"(?:\s|{_COMMENT}|\#[^\n]*+)*+"
_BEGIN_OF_FILE = re.compile(_AROUND + r"(?=\{)", re.DOTALL)
_END_OF_FILE = re.compile(_AROUND + r"\Z", re.DOTALL)
_BEGIN_OF_VALUE = re.compile(r"""^[^\S\n]*(?:-[ \t]+)?(?:[\w.-]+|"[^"\n]*"|'[^'\n]*')[ \t]*:\s*(?=\{)""", re.MULTILINE)
# A key in double quotes: so JSON is pasted, and hardly anybody writes YAML.
_QUOTED_KEY = re.compile(rf"""\{{(?:\s|{_COMMENT})*+["}}]""", re.DOTALL)
_PIECE = re.compile(
    r"""
    (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')
    | (?P<comment>(?<![^\s,{}\[\]"])//[^\n]*|/\*.*?\*/)
    | (?P<remark>(?<=\s)\#[^\n]*)
    | (?P<open>[{\[])
    | (?P<close>[}\]])
    | (?P<tab>\t)
    """,
    re.DOTALL | re.VERBOSE,
)
_LITERAL = re.compile(r'(?:^|[\s,:\[{])(?:true|false|null|-?\d[\d.eE+-]*)\s*$|[,:{}\[\]"]\s*$|^\s*$')


def plain_json(text: str) -> str:
    """Return the text with spaces in place of the comments (`//`, `/* */`) and tabs of the JSON objects in it.

    Text of other forms, and whatever stands in quotes, stays as it is.
    """
    if "\t" not in text and "//" not in text and "/*" not in text:
        return text
    made: list[str] = []
    at = 0
    if (begin := _BEGIN_OF_FILE.match(text)) is not None and _QUOTED_KEY.match(text, begin.end()) is not None:
        made.append(_blank_comments(begin[0]))
        at = _plain_object(text, begin.end(), made)
        if (end := _END_OF_FILE.match(text, at)) is not None:
            return "".join((*made, _blank_comments(end[0])))
    while (begin := _BEGIN_OF_VALUE.search(text, at)) is not None:
        made.append(text[at : begin.end()])
        at = begin.end()
        if _QUOTED_KEY.match(text, at) is not None:
            at = _plain_object(text, at, made)
    made.append(text[at:])
    return "".join(made)


def _blank_comments(text: str) -> str:
    """Return what stands around an object without its comments; `#` begins one in YAML too."""
    return re.sub(r"//[^\n]*|/\*.*?\*/|\t", _blank, text, flags=re.DOTALL)


def _blank(piece: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", piece[0])


def _plain_object(text: str, start: int, made: list[str]) -> int:
    """Add the object at `start` to `made`, and return where it ends."""
    depth = 0
    at = start
    for piece in _PIECE.finditer(text, start):
        made.append(text[at : piece.start()])
        at = piece.end()
        kind = piece.lastgroup
        if kind == "tab" or (
            kind == "comment" and _LITERAL.search(text, max(start, piece.start() - 80), piece.start())
        ):
            made.append(_blank(piece))
            continue
        made.append(piece[0])
        depth += {"open": 1, "close": -1}.get(kind or "", 0)
        if depth == 0:
            return at
    made.append(text[at:])
    return len(text)
