"""Embeddings for tests and the demo, without a model: texts are near to one another that have words in common."""

from __future__ import annotations

import math
import zlib

from graphs.store.memory_search import list_words

DIMENSIONS = 512


def embed_words(text: str) -> tuple[float, ...]:
    """Embed a text: each of its words counts in one of the dimensions, by the checksum of the word. The same text
    always gives the same vector."""
    counts = [0.0] * DIMENSIONS
    for word in list_words(text):
        counts[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
    length = math.hypot(*counts)
    if not length:  # no words: alike to one another, and to nothing else
        counts[0] = length = 1.0
    return tuple(count / length for count in counts)
