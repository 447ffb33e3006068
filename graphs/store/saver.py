"""What the store needs of LangGraph's savers beyond LangGraph's own needs."""

from __future__ import annotations

from langgraph.checkpoint.base import BaseCheckpointSaver

_GREGORIAN = 0x01B21DD213814000
"""1970 in the count of a UUID: steps of 100 ns since 1582-10-15."""


class Saver(BaseCheckpointSaver[str]):
    """Keeps checkpoints. Only the asynchronous methods are for use: the others block."""

    async def athreads_before(self, moment: float) -> list[str]:
        """Threads whose newest checkpoint is older than `moment` (seconds since the epoch)."""
        raise NotImplementedError


def made_at(checkpoint_id: str) -> float:
    """When a checkpoint was made, in seconds since the epoch: its id is a UUID of version 6 (RFC 9562, section 5.6)."""
    digits = checkpoint_id.replace("-", "")
    return (int(digits[:12] + digits[13:16], 16) - _GREGORIAN) / 1e7
