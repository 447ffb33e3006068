"""The failure of an attempt to send."""

from __future__ import annotations

from collections.abc import Sequence

from graphs.errors import InterlockError


class SendFailed(InterlockError):
    """An attempt that failed, in words without addresses and secrets: they name the host alone.

    `is_final`: no further attempt is wanted. `retry_after`: seconds that the receiver asked for. `remaining`: the
    addresses of a mail that have not got it; empty: all.
    """

    def __init__(
        self, message: str, *, is_final: bool = False, retry_after: float = 0.0, remaining: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.is_final = is_final
        self.retry_after = retry_after
        self.remaining = remaining
