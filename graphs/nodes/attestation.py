"""A memory of what the model nodes of this process did, for runs whose state others can write.

Under `langgraph dev` whoever may use its API can put any message, node name or counter into a thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

MOST_ENTRIES = 10_000
"""Calls, and threads, that are remembered."""


class CallAttestation:
    """Remembers which node asked for a call, and how many rounds a thread had.

    In memory: after a restart nothing is known, and what is not known is refused or left to the state's larger number.
    """

    def __init__(self) -> None:
        self._askers: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._rounds: OrderedDict[str, int] = OrderedDict()

    def note(self, thread: str, graph: str, node: str, call_ids: Sequence[str]) -> None:
        """Note that a model node has answered, and which calls it asks for."""
        self._rounds[thread] = self._rounds.pop(thread, 0) + 1
        for call_id in call_ids:
            self._askers[call_id] = (graph, node)
        for known in (self._askers, self._rounds):
            forget_oldest(known)

    def find_asker(self, graph: str, call_ids: Sequence[str]) -> str:
        """Find the node of this graph that asked for all of these calls; "" where that is not known."""
        askers = {self._askers.get(call_id, ("", "")) for call_id in call_ids}
        found, node = askers.pop() if len(askers) == 1 else ("", "")
        return node if found == graph else ""

    def count_rounds(self, thread: str) -> int:
        """Count the model calls of this thread."""
        return self._rounds.get(thread, 0)


def forget_oldest(known: OrderedDict[str, Any]) -> None:
    """Drop the oldest entries above `MOST_ENTRIES`."""
    while len(known) > MOST_ENTRIES:
        known.popitem(last=False)
