"""The results of tool calls as nodes get them, for whoever wants to keep them; nobody else pays for it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mcp.types import CallToolResult

ResultListener = Callable[[str, Mapping[str, Any], CallToolResult], None]
"""Takes `server/tool`, the arguments of one call, and what came of it."""

_current_listener: ContextVar[ResultListener | None] = ContextVar("result_listener", default=None)


@contextmanager
def listen_to_results(listener: ResultListener) -> Generator[None]:
    """Pass on the result of every call that is started inside the block, when it ends."""
    token = _current_listener.set(listener)
    try:
        yield
    finally:
        _current_listener.reset(token)


def report_result(tool: str, arguments: Mapping[str, Any], result: CallToolResult) -> None:
    """Pass on what came of one call."""
    listener = _current_listener.get()
    if listener is not None:
        listener(tool, arguments, result)
