"""The search among what one owner has remembered: by the words that a text and an entry have in common.

In Python and not by the databases' full text search. An owner has at most a thousand entries, which one range of the
primary key finds. FTS5 weighs a word by how often all owners together use it, and PostgreSQL does not weigh it at all,
so the same graph would find one thing on SQLite and another on PostgreSQL; and an index over all owners would be a
virtual table with triggers.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

MOST_WORDS = 500
"""Words of an entry that are searched: those at its beginning."""

# Chinese and Japanese have no blanks between words: each character counts as one.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[^\W_])+")
_SATURATION = 1.2
_LENGTH = 0.75
"""The usual constants k1 and b of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009)."""


def list_words(*values: Any) -> list[str]:
    """List the words in texts and in JSON values, without accents and in small letters, as they are compared."""
    words: list[str] = []
    for text in _walk_texts(values):
        plain = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
        for match in _WORD.finditer(plain.casefold()):
            words.append(match[0])
            if len(words) == MOST_WORDS:
                return words
    return words


def find_best(wanted: Sequence[str], rows: Sequence[Sequence[Any]], most: int) -> list[str]:
    """Find the keys of the rows (key, words, when written) that have a word of `wanted`, best first, by BM25. The newer
    one comes first of two that are as good."""
    asked = set(wanted)
    counts: list[tuple[str, Mapping[str, int], int, float]] = []
    for key, text, written in rows:
        words = cast("str", text).split()
        counts.append((key, _count(words, asked), len(words), written))
    average = sum(length for _, _, length, _ in counts) / max(len(counts), 1)
    weights = {word: _weigh(sum(word in found for _, found, _, _ in counts), len(counts)) for word in asked}
    scored = [
        (sum(weights[word] * _damp(count, length / average) for word, count in found.items()), written, key)
        for key, found, length, written in counts
        if found
    ]
    return [key for _, _, key in sorted(scored, reverse=True)[:most]]


def _count(words: Sequence[str], asked: set[str]) -> Mapping[str, int]:
    return {word: words.count(word) for word in asked.intersection(words)}


def _weigh(having: int, total: int) -> float:
    """Weigh a word: the fewer entries have it, the more it says."""
    return math.log(1 + (total - having + 0.5) / (having + 0.5))


def _damp(count: int, length: float) -> float:
    """Let each further occurrence of a word say less, and one in a long entry too; `length` as a share of the
    average."""
    return count * (_SATURATION + 1) / (count + _SATURATION * (1 - _LENGTH + _LENGTH * length))


def _walk_texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case bool() | None:
            pass
        case int() | float():
            yield str(value)
        case dict():
            for item in cast("dict[str, Any]", value).values():
                yield from _walk_texts(item)
        case list() | tuple():
            for item in cast("list[Any]", value):
                yield from _walk_texts(item)
        case _:
            pass
