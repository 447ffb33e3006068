"""Redirects of MCP servers: which are followed, and how an address that is not is shown."""

from __future__ import annotations

import httpx

MOST_REDIRECTS = 5

_KEEPING = (307, 308)
"""Statuses that have a request made again as it is."""


def find_redirect(request: httpx.Request, response: httpx.Response) -> httpx.URL | None:
    """Find where a request is to be made again; None where it is not sent on, or must not go there.

    It stays at its origin, where all that it carries was meant to go; http may become https. A POST follows 301 and
    302 only to the same path with or without a slash at its end: otherwise a server may mean that it took the message,
    and shows another page.
    """
    there = read_location(request, response)
    if there is None:
        return None
    here = request.url
    if here.scheme == "https" and there.scheme == "http" and _is_default(here) and _is_default(there):
        # A server behind a proxy that speaks TLS does not know that it does. Nothing goes out in the clear for it.
        there = there.copy_with(scheme="https")
    if not is_same_origin(here, there):
        return None
    if request.method == "GET" or response.status_code in _KEEPING:
        return there
    is_same_path = here.path.rstrip("/") == there.path.rstrip("/")
    return there if is_same_path and response.status_code in (301, 302) else None


def is_same_origin(here: httpx.URL, there: httpx.URL) -> bool:
    """Whether the second address is at the origin of the first, or is the same with TLS at the ports of both."""
    if here.host != there.host:
        return False
    if (here.scheme, here.port) == (there.scheme, there.port):
        return True
    return here.scheme == "http" and there.scheme == "https" and _is_default(here) and _is_default(there)


def read_location(request: httpx.Request, response: httpx.Response) -> httpx.URL | None:
    """Read the address that an answer sends on to, without credentials of its own; None where there is none."""
    if not response.has_redirect_location:
        return None
    try:
        there = request.url.join(response.headers["location"])
    except (httpx.InvalidURL, ValueError):
        return None
    return there.copy_with(userinfo=b"", fragment=None) if there.scheme in ("http", "https") else None


def show_location(request: httpx.Request, response: httpx.Response) -> str:
    """Show where an answer sends on to, without what may be secret in it."""
    there = read_location(request, response)
    return str(there.copy_with(query=None)) if there is not None else "an address that cannot be read"


def _is_default(url: httpx.URL) -> bool:
    return url.port is None
