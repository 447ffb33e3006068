"""Check a piece of SQL before it is parsed: its size, and whether every tokenizer would cut it into the same words.

Two tokenizers that disagree on where a text or a comment ends see two statements in one (`|/*'*/` is an operator with a
comment to one, and an operator of three characters before a text to another). So for every dialect without its own
grammar here, only such texts and comments pass as no tokenizer known can read differently.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 20_000
MAX_TOKENS = 4_000
QUICK_TOKENS = 50
QUICK_CHARACTERS = 40 * QUICK_TOKENS
"""Up to so many, judging takes about a millisecond, and some for SQL made to take long: the event loop's thread may do
it."""


class NotReadOnly(ValueError):
    """The SQL does not surely only read; says why."""


_MARKS = re.compile(r"\w+|[^\w\s]")

# A backslash before a quote ends the text or not, as the database is set up: `standard_conforming_strings` of
# PostgreSQL, `NO_BACKSLASH_ESCAPES` of MySQL. Anywhere else it changes what a text says, not where it ends.
_UNCLEAR_BACKSLASH = re.compile(r"""\\['"`]""")

# What some database takes for the end of a line, and thereby of a comment, and another does not.
_UNCLEAR_SPACE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029\ufeff]|\r(?!\n)")

_WORDS = r"[^\W\d](?:\w|%s)*+"
_BRACKETS = r"|\[[^][\n'\"`]*+\]"
_PIECE = r"""
    (?P<space>\s++)
  # Before them stands a space or a bracket: an operator and the begin of a comment can be one operator. `/*!`, `/*M!`
  # and `/*+` are run or obeyed, and some databases nest comments.
  | (?P<comment>(?<![^\s(,;)])(?:--(?=[ \t\n]|\Z)[^\n]*+|/\*(?![!+]|[mM]!)(?:[^*/]|\*(?!/)|/(?!\*))*+\*/(?!/)))
  | (?P<quoted>(?<![\w'"`$@\#&])%s(?:'(?:[^']|'')*+'|"(?:[^"]|"")*+"%s))
  | (?P<word>%s)
  | (?P<number>\d[\w.]*+)
  | (?P<mark>%s)
"""


def _compile_piece(words: str, prefix: str, quotes: str, marks: str) -> re.Pattern[str]:
    return re.compile(_PIECE % (prefix, quotes, _WORDS % words, marks), re.VERBOSE)


# Without `--`, `/*` and `//`, which begin comments; `#`, `@`, `$`, `{` and `:=` mean something else in each database.
_MARK = r"[-](?!-)|/(?![*/])|\*(?!/)|[(),;.+<>=|&^~%!?]|:(?!=)|\[|\]"
_BACKTICKS = "|`(?:[^`]|``)*+`"
_DOLLARS = r"\$(?=\w)"

_PIECES: dict[str, re.Pattern[str]] = {
    "bigquery": _compile_piece("(?!)", "[rR]?", _BACKTICKS, _MARK),
    "clickhouse": _compile_piece("(?!)", "", _BACKTICKS, _MARK),
    "duckdb": _compile_piece("(?!)", "", "", _MARK + r"|[{}]|//"),
    "mysql": _compile_piece("(?!)", "", _BACKTICKS, _MARK),
    "oracle": _compile_piece(rf"{_DOLLARS}|\#", "[nN]?", "", _MARK),
    "redshift": _compile_piece("(?!)", "", "", _MARK),
    "snowflake": _compile_piece(_DOLLARS, "", "", _MARK),
    "sqlite": _compile_piece("(?!)", "", _BACKTICKS + _BRACKETS, _MARK),
    "trino": _compile_piece("(?!)", "", "", _MARK),
    "tsql": _compile_piece("(?!)", "[nN]?", _BRACKETS, _MARK + r"|\#\#?(?=\w)"),
}


def count_tokens(sql: str) -> int:
    """Count how many tokens `sql` has at most by any tokenizer: words, numbers, marks, also in texts and comments."""
    return len(_MARKS.findall(sql))


def check_size(sql: str) -> None:
    """Raise NotReadOnly for SQL that is too long to be judged, or where a text's end is unclear in every dialect."""
    if len(sql) > MAX_CHARACTERS or count_tokens(sql) > MAX_TOKENS:
        raise NotReadOnly(f"it is longer than {MAX_CHARACTERS} characters or {MAX_TOKENS} words and marks")
    if _UNCLEAR_BACKSLASH.search(sql) or "\0" in sql:
        raise NotReadOnly("where a text in it ends depends on how the database is set up")


def find_quoted(sql: str, dialect: str) -> set[tuple[int, int]]:
    """Find where the quoted texts and names of `sql` begin (at the quote) and end, for every tokenizer alike.

    Raises NotReadOnly where they may not: comments after an operator, nested ones, and those of one database alone,
    texts with most prefixes, quotes of another database, and characters that mean something else in each.
    """
    if _UNCLEAR_SPACE.search(sql):
        raise NotReadOnly("it holds characters that end a line in some databases only")
    pieces = _PIECES[dialect]
    found: set[tuple[int, int]] = set()
    at = 0
    while at < len(sql):
        piece = pieces.match(sql, at)
        if piece is None:
            raise NotReadOnly(f"databases read it differently from {sql[at : at + 10]!r} on")
        text, kind = piece.group(), piece.lastgroup
        if kind == "quoted":
            quote = text.lstrip("rRnN")
            if dialect == "bigquery" and (quote[0] in quote[1:-1] or "\n" in text):
                raise NotReadOnly("quotes within a text are doubled, which BigQuery reads as two texts")
            found.add((piece.end() - len(quote), piece.end() - 1))
        elif kind in ("space", "word", "number") and not text.isascii() and not text.isidentifier():
            raise NotReadOnly("it holds white space that is none to some databases")
        at = piece.end()
    return found
