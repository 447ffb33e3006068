"""The loss of a session: whether a server that refused a call does not know the session any more, and ran the call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import anyio
from mcp.types import INTERNAL_ERROR, METHOD_NOT_FOUND, ErrorData

from graphs.tools.errors import describe_refusal
from graphs.tools.http_failures import find_http_failure
from graphs.tools.session import Session

_SESSION = re.compile(r"session|initiali[sz]", re.IGNORECASE)
_TOO_LARGE, _TOO_MANY = 413, 429
_UNCLEAR = (408, 409, 499)
"""Statuses below 500 that do not say whether the request was begun."""


@dataclass(frozen=True)
class SessionLoss:
    """How a server lost the session in which it was called. `was_run`: whether it may have begun to run the call."""

    reason: str
    was_run: bool


async def find_session_loss(
    session: Session,
    refusal: ErrorData,
    patience: float,
    redact: Callable[[str], str],
    on_silence: Callable[[], None],
) -> SessionLoss | None:
    """Find whether a call was refused because the server lost the session, and retire the session then; None where it
    lives.

    Where the refusal does not say so by itself, the server is asked for what it answered before. `on_silence` is called
    when it says nothing for `patience` seconds.
    """
    if not _may_mean_loss(refusal):
        return None
    failure = find_http_failure(refusal)
    if _is_certain_loss(refusal) or (failure is not None and not failure.was_sent):
        session.retire(redact(_describe_loss(refusal)), refusal)
        return SessionLoss(redact(describe_refusal(refusal)), was_run=False)
    look: ErrorData | None = None
    with anyio.move_on_after(patience) as limit:
        look = await session.look() if session.loss is None else None
    if limit.cancelled_caught:
        on_silence()
    # Another call may have found out meanwhile, and the connection be closed for that.
    look = session.loss or look
    if look is None:
        return None
    session.retire(redact(_describe_loss(look)), look)
    return SessionLoss(redact(describe_refusal(look)), was_run=not _is_same_refusal(refusal, look))


def _describe_loss(refusal: ErrorData) -> str:
    words = describe_refusal(refusal)
    failure = find_http_failure(refusal)
    if failure is not None and (failure.status is None or failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return words
    return f"no longer knows our session, it was probably restarted: it {words}"


def _may_mean_loss(error: ErrorData) -> bool:
    """Whether a refusal may come from a server that does not know the session any more."""
    failure = find_http_failure(error)
    if failure is not None:
        return failure.status not in (_TOO_LARGE, _TOO_MANY)
    return error.code != METHOD_NOT_FOUND


def _is_certain_loss(error: ErrorData) -> bool:
    """Whether a refusal says by itself that the server knows no such session (MCP 2025-11-25, "Session Management")."""
    failure = find_http_failure(error)
    return failure is not None and failure.status == HTTPStatus.NOT_FOUND and failure.named_session


def _is_same_refusal(call: ErrorData, look: ErrorData) -> bool:
    """Whether a call was refused as the look after it was, which runs nothing: then the call was not run either."""
    first, second = find_http_failure(call), find_http_failure(look)
    if first is not None and not first.was_sent:
        return True
    if (first is None) != (second is None):
        return False
    if first is not None and second is not None:
        if first.status != second.status or first.status is None:
            return False
        if first.status < HTTPStatus.INTERNAL_SERVER_ERROR and first.status not in _UNCLEAR:
            return True
        call_said, look_said = (first.code, first.words), (second.code, second.words)
    else:
        call_said, look_said = (call.code, call.message), (look.code, look.message)
    return _is_same_error(*call_said, *look_said)


def _is_same_error(code: int | None, words: str, other_code: int | None, other_words: str) -> bool:
    """Whether two JSON-RPC errors are one and the same. An internal error may come of the call itself, unless it speaks
    of the session."""
    if code is None or code != other_code:
        return False
    if _SESSION.search(words) is not None and _SESSION.search(other_words) is not None:
        return True
    return words == other_words and code != INTERNAL_ERROR
