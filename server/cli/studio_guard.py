"""Access to Studio's development server: for the Studio page, pages and programs of this machine, and nobody else.

`langgraph dev` has no key, answers every origin and host, and reads JSON from bodies of any type, so that any page that
the developer visits could start a run and approve its calls (CSRF, CWE-352; DNS rebinding, CWE-350; 0.0.0.0 day).
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

STUDIO_ORIGINS = (
    "https://smith.langchain.com",
    "https://eu.smith.langchain.com",
    "https://apac.smith.langchain.com",
    "https://aws.smith.langchain.com",
)
"""Where LangSmith serves the Studio page."""
LOOPBACK_ORIGIN = r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?"
ORIGINS_VARIABLE = "INTERLOCK_STUDIO_ORIGINS"
TOKEN_VARIABLE = "INTERLOCK_STUDIO_TOKEN"  # noqa: S105  the variable's name
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "cf-connecting-ip", "via")
"""Headers of proxies and tunnels: what comes through one does not come from this machine."""
BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")


def read_allowed_origins(env: Mapping[str, str]) -> tuple[str, ...]:
    """Read the Studio page's origins, with those of INTERLOCK_STUDIO_ORIGINS (a self-hosted LangSmith), in a browser's
    form.

    Raises ValueError for what is no origin, such as `*`.
    """
    more = [entry.strip().rstrip("/").lower() for entry in env.get(ORIGINS_VARIABLE, "").split(",") if entry.strip()]
    for entry in more:
        if not re.fullmatch(r"https?://[a-z0-9.\-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?", entry):
            raise ValueError(
                f"{ORIGINS_VARIABLE}: {entry!r} is no origin; expected scheme, host and port alone, separated by "
                "commas, such as https://langsmith.example.com"
            )
    return (*STUDIO_ORIGINS, *more)


def is_loopback_name(host: str) -> bool:
    """Tell whether a `Host` header or the like (with or without a port) names this machine itself."""
    match = re.fullmatch(r"(localhost|[0-9.]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?", host, re.IGNORECASE)
    if match is None:
        return False
    name = match[1].lower().strip("[]")
    return name == "localhost" or is_loopback_address(name)


def is_loopback_address(address: str) -> bool:
    """Tell whether an IP address is this machine's own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def parse_origin(url: str) -> str:
    """Parse the origin of a `Referer`; "" where it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""


@dataclass(frozen=True)
class GuardRefusal:
    """A refused request: status and message."""

    status: int
    message: str


class StudioGuard:
    """ASGI middleware: the outermost, so that neither langgraph's CORS answers nor its WebSockets get past it.

    Raises ValueError where INTERLOCK_STUDIO_ORIGINS holds what is no origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._origins = read_allowed_origins(os.environ)
        self._token = os.environ.get(TOKEN_VARIABLE, "")
        self._app = app
        self._cors = CORSMiddleware(
            self._check_token,
            allow_origins=self._origins,
            allow_origin_regex=LOOPBACK_ORIGIN,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=["x-pagination-total", "x-pagination-next", "content-location"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what may pass."""
        if scope["type"] not in ("http", "websocket") or is_inside(scope):
            await self._app(scope, receive, send)
        elif (refusal := find_refusal(scope, self._origins)) is not None:
            await refuse(refusal, scope, receive, send)
        else:
            await self._cors(scope, receive, send)

    async def _check_token(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what carries the token, where there is one: in a header, or before the path."""
        path: str = scope["path"]
        if not self._token or path == "/ok":
            await self._app(scope, receive, send)
        elif is_equal(path[1:].partition("/")[0], self._token):
            rest = path[len(self._token) + 1 :] or "/"
            await self._app({**scope, "path": rest, "raw_path": quote(rest).encode()}, receive, send)
        elif has_token(Headers(scope=scope), self._token):
            await self._app(scope, receive, send)
        else:
            await refuse(NO_TOKEN, scope, receive, send)


NO_TOKEN = GuardRefusal(
    401,
    "this server has a local token. In Studio, use the address that `interlock studio` printed: its path is the token; "
    f"programs may send it as x-api-key or Authorization: Bearer. {TOKEN_VARIABLE} sets it.",
)


async def refuse(refusal: GuardRefusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a refusal; a WebSocket's handshake, before it is accepted, with a 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message[:120]})
    else:
        await JSONResponse({"detail": refusal.message}, refusal.status)(scope, receive, send)


def is_inside(scope: Scope) -> bool:
    """Tell whether the graph's own process asks, through LangGraph's in-process transport: no request can set this
    path."""
    root = scope.get("root_path", "")
    return root == "/noauth" or root.startswith("/noauth/")


def find_refusal(scope: Scope, origins: tuple[str, ...]) -> GuardRefusal | None:
    """Find why this request is refused; None where it may pass."""
    headers = Headers(scope=scope)
    client = scope.get("client")
    if client is not None and not is_loopback_address(client[0]):
        return GuardRefusal(403, f"Studio serves this machine alone; this request came from {client[0]}")
    if found := next((name for name in FORWARDED if name in headers), None):
        return GuardRefusal(
            403, f"Studio serves this machine alone; this request came through a proxy or tunnel ({found})"
        )
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not is_loopback_name(hosts[0]):
        return GuardRefusal(
            421, "Studio answers to localhost, 127.0.0.1 and [::1] alone; the Host header names another"
        )
    if (refusal := find_page_refusal(headers, origins)) is not None:
        return refusal
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if scope.get("method") in BODY_METHODS and kind and kind != "application/json":
        return GuardRefusal(415, f"expected the content type application/json, found {kind!r}")
    return None


def find_page_refusal(headers: Headers, origins: tuple[str, ...]) -> GuardRefusal | None:
    """Find why the page that asks may not; None where it may, and where a program asks.

    A browser sends `Origin` with every WebSocket and with every request that is not a plain GET or HEAD to its own
    server; for the rest, `Sec-Fetch-Site` says what kind of page asks, and `Referer` in browsers that have not got it.
    """
    given = headers.getlist("origin")
    if given:
        if len(given) == 1 and is_allowed(given[0], origins):
            return None
        return GuardRefusal(
            403,
            f"pages of {given[0][:200]!r} may not use Studio's server; allowed are {', '.join(origins)} and pages of "
            f"this machine ({ORIGINS_VARIABLE} names more)",
        )
    site = headers.get("sec-fetch-site", "none").lower()
    referer = headers.get("referer", "")
    if site not in ("none", "same-origin") or (referer and not is_allowed(parse_origin(referer), origins)):
        return GuardRefusal(403, "this request was begun by a page of another site, which may not use Studio's server")
    return None


def is_allowed(origin: str, origins: tuple[str, ...]) -> bool:
    """Tell whether pages of this origin may ask."""
    return origin in origins or re.fullmatch(LOOPBACK_ORIGIN, origin) is not None


def has_token(headers: Headers, token: str) -> bool:
    """Tell whether a header has the token: one of those in which LangGraph's SDK and other programs send a key."""
    bearer = headers.get("authorization", "")
    return is_equal(headers.get("x-api-key", ""), token) or (
        bearer[:7].lower() == "bearer " and is_equal(bearer[7:].strip(), token)
    )


def is_equal(given: str, token: str) -> bool:
    """Compare with the token, in the same time for every wrong one."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
