"""Results that `cache` lets nodes use again for a while, in the memory of this process.

What was not used for longest goes first where there is no room. Results are kept as bytes, so nobody changes them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import orjson
from cachetools import TLRUCache

MOST_BYTES = 64 * 2**20
"""Bytes of all results together, as JSON."""
MOST_ENTRIES = 10_000
LARGEST_RESULT = 2**20
"""Bytes of one result: a larger one is not kept."""


class ResultCache:
    """The results of all nodes. They live as long as the process, or as the case of a test."""

    def __init__(self) -> None:
        least = MOST_BYTES // MOST_ENTRIES  # what each entry counts for at least, so that there are never more
        self._entries: TLRUCache[str, tuple[bytes, float]] = TLRUCache(
            MOST_BYTES,
            ttu=lambda _, entry, now: now + entry[1],
            timer=time.monotonic,
            getsizeof=lambda entry: max(least, len(entry[0])),
        )

    def find(self, key: str) -> Mapping[str, Any] | None:
        """Find the result under this key; None: there is none, or its time is over."""
        entry = self._entries.get(key)
        return None if entry is None else cast("Mapping[str, Any]", orjson.loads(entry[0]))

    def keep(self, key: str, result: Mapping[str, Any], seconds: float) -> None:
        """Keep a result, which is JSON, for so many seconds, if it is not too large and holds nothing odd, such as a
        number of more than 64 bits."""
        try:
            encoded = orjson.dumps(result)
        except TypeError:
            return
        if len(encoded) <= LARGEST_RESULT:
            self._entries[key] = (encoded, seconds)
