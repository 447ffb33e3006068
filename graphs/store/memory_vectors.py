"""The search among what one owner has remembered by meaning: by how near an entry's vector is to that of a text.

Beside each entry and in Python, not by an index of the database: an owner has at most a thousand entries, which one
range of the primary key finds, pgvector is not everywhere, and SQLite has nothing like it.
"""

from __future__ import annotations

import heapq
import json
import math
import struct
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, TypeAlias, cast

MOST_CHARACTERS = 4_000
"""Characters of an entry, or of what is searched for, that are embedded: those at its beginning. Models take some 8,000
tokens, and a character of Chinese may be two."""
FLOAT_BYTES = 4
"""Bytes of one number of a vector."""

Vector: TypeAlias = Sequence[float]
"""The numbers of an embedding, whose length as a vector is 1."""


def write_embedded_text(key: str, value: Any) -> str:
    """Write an entry as the text that is embedded: its key, and its value, as JSON where it is no text."""
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{key}: {written}"[:MOST_CHARACTERS]


def pack_vector(vector: Vector) -> bytes:
    """Pack a vector as it is stored: 32 bits a number, the lowest byte first."""
    return struct.pack(f"<{len(vector)}f", *vector)


def find_nearest(vector: Vector, rows: Sequence[Sequence[Any]], most: int) -> list[str]:
    """Find the keys of the rows (key, packed vector, when written) whose vectors are nearest, nearest first. All have
    as many numbers as `vector`. The newer one comes first of two that are as near."""
    form = struct.Struct(f"<{len(vector)}f")
    wanted = (*vector,)
    # Of vectors of length 1, the nearest is the one with the greatest cosine, and `dist` takes half of its time.
    scored = ((math.dist(wanted, form.unpack(cast("bytes", packed))), -written, key) for key, packed, written in rows)
    return [key for _, _, key in heapq.nsmallest(most, scored)]


def take_turns(one: Sequence[str], other: Sequence[str], most: int) -> list[str]:
    """Take the first of both lists, the second of both, and so on: how good they are cannot be compared."""
    return [key for key in chain.from_iterable(zip_longest(one, other)) if key is not None][:most]
