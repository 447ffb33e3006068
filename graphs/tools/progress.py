"""How far a running call is, told to whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from graphs.text import escape_invisible

_LONGEST = 300
"""Characters of a server's words."""
ProgressListener = Callable[[str], None]

_listener: ContextVar[ProgressListener | None] = ContextVar("progress", default=None)


@contextmanager
def listen_to_progress(listener: ProgressListener) -> Generator[None]:
    """Progress of the calls made inside the block goes to `listener`, in words."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def get_listener() -> ProgressListener | None:
    """Whoever wants to know of the current call's progress."""
    return _listener.get()


def format_progress(progress: float, total: float | None, message: str | None) -> str:
    """A progress notification (MCP 2025-11-25, "Progress") as one line."""
    amount = f"{progress:g}" if total is None else f"{progress:g} of {total:g}"
    if not message:
        return amount
    shown = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
    return f"{escape_invisible(shown)} ({amount})"
