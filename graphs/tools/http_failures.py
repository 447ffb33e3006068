"""Failures of single HTTP requests to an MCP server: each ends its own request, in the server's own words."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import httpx
from mcp.types import ErrorData

HTTP_FAILURE_CODE = -32_772
"""Code of the JSON-RPC error by which a caller learns that HTTP carried no answer. Outside of what MCP uses."""
LARGEST_BODY = 65_536
"""Bytes of an error's body that are read."""

_LONGEST_WORDS = 2_000
_LONGEST_TITLE = 120
_PAGE = re.compile(r"^\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_CHALLENGE = re.compile(r'error_description="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class HttpFailure:
    """A request that got no answer. `status`: None where the connection broke."""

    status: int | None = None
    words: str = ""
    """The server's own, or what is known of the connection."""
    code: int | None = None
    """Of the JSON-RPC error that was in the body."""
    was_sent: bool = True
    """False if it certainly never reached the server."""
    named_session: bool = False
    """Whether it was asked in a session that the server had given a name."""
    redirect: str = ""
    """The address that it was sent on to, without what may be secret in it."""
    cause: httpx.TransportError | None = None

    @property
    def title(self) -> str:
        """The status with its name."""
        return name_status(self.status) if self.status is not None else "no answer"

    @property
    def reason(self) -> str:
        """What the server did, in words that follow its name."""
        if self.status is None:
            return f"broke the connection: {self.words}" if self.was_sent else f"could not be reached: {self.words}"
        if self.redirect:
            return f"redirects to {self.redirect} ({self.title})"
        return f"answered {self.title}: {self.words}" if self.words else f"answered {self.title}"

    def build_error(self) -> ErrorData:
        """Build the JSON-RPC error that carries the failure to whoever waits."""
        return ErrorData(code=HTTP_FAILURE_CODE, message=self.reason, data=self)


def find_http_failure(error: ErrorData) -> HttpFailure | None:
    """Find the failure that an error carries. What a server writes cannot be one: it is no object of ours."""
    return error.data if isinstance(error.data, HttpFailure) else None


def name_status(status: int) -> str:
    """Write a status with its name."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP status {status}"


def read_failure(response: httpx.Response, body: bytes, *, named_session: bool) -> HttpFailure:
    """Read what an answer of a status other than success says."""
    text = body.decode(errors="replace").removeprefix("\ufeff").strip()
    code, words = _read_json_words(text)
    if words is None:
        words = describe_page(text) if is_page(text) else " ".join(text.split())
    if not words and (said := _CHALLENGE.search(response.headers.get("www-authenticate", ""))):
        words = said[1]
    if words.casefold() == name_status(response.status_code).partition(" ")[2].casefold():
        words = ""
    return HttpFailure(
        status=response.status_code, words=words[:_LONGEST_WORDS], code=code, named_session=named_session
    )


def is_page(text: str) -> bool:
    """Whether a text is a web page."""
    return _PAGE.match(text) is not None


def describe_page(text: str) -> str:
    """Describe a web page by its title."""
    found = _TITLE.search(text)
    title = " ".join(html.unescape(found[1]).split())[:_LONGEST_TITLE] if found else ""
    return f"a web page, {title!r}" if title else "a web page"


def _read_json_words(text: str) -> tuple[int | None, str | None]:
    """Read the code and the message of an error as JSON; None for what is none."""
    if not text.startswith("{"):
        return None, None
    try:
        body = cast("dict[str, Any]", json.loads(text))
    except (ValueError, RecursionError):
        return None, None
    error = body.get("error")
    if isinstance(error, dict):
        inner = cast("dict[str, Any]", error)
        code, message = inner.get("code"), inner.get("message")
        if isinstance(message, str):
            return (code if isinstance(code, int) else None), message
    for name in ("error_description", "message", "detail", "error", "title"):
        if isinstance(said := body.get(name), str) and said:
            return None, said
    return None, " ".join(text.split())


def describe_break(error: httpx.TransportError) -> HttpFailure:
    """Describe a connection that could not be made, or that broke."""
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return HttpFailure(words=str(error) or type(error).__name__, was_sent=not unsent, cause=error)
