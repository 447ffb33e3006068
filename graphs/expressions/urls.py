"""Find where a URL surely leads, whatever program reads it: `host` and `public_url` of the rules.

Programs disagree about odd URLs (RFC 3986 against the URL standard of browsers: backslashes, tabs, several `@`, numbers
for addresses). Only a URL that all of them read alike has a host here.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from contextvars import ContextVar

import idna

from graphs.expressions.networks import is_public, spell_ipv6

MAX_CHARACTERS = 8_192
MAX_NAME = 253
"""Characters of the name of a host (RFC 1035, without the final dot)."""

ANSWER_TTL = 10.0
"""Seconds for which an answer of the name server is used again."""
MAX_ANSWERS = 1_024
"""Names whose answers are kept at most; the oldest goes first."""

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\\\[\]%<>\"^`{|}]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?#].*)?",
    re.DOTALL,
)
_UNREADABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ufeff]|[\ud800-\udfff]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_DOTTED = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")


class ResolverCache:
    """A short-lived cache of the name server's answers. Safe to share between threads."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()
        self._pending: dict[str, Future[frozenset[str]]] = {}
        self._lock = threading.Lock()

    def find_addresses(self, name: str) -> frozenset[str]:
        """Return the addresses of a name. Raises OSError where it has none."""
        with self._lock:
            until, addresses = self._answers.get(name, (0.0, frozenset[str]()))
            if until > time.monotonic():
                return addresses
            asking = self._pending.get(name)
            first = asking is None
            if asking is None:
                asking = self._pending[name] = Future[frozenset[str]]()
        if first:
            try:
                asking.set_result(look_up(name))
            except (OSError, ValueError):
                asking.set_result(frozenset())
            except BaseException as error:
                asking.set_exception(error)
                raise
            finally:
                with self._lock:
                    del self._pending[name]
                    if asking.exception() is None:
                        self._answers[name] = time.monotonic() + ANSWER_TTL, asking.result()
                        self._answers.move_to_end(name)
                    if len(self._answers) > MAX_ANSWERS:
                        self._answers.popitem(last=False)
        return asking.result()


RESOLVER_CACHE: ContextVar[ResolverCache | None] = ContextVar("names", default=None)
"""Who answers for the name server while a rule is evaluated; None: it is asked each time."""


def look_up(name: str) -> frozenset[str]:
    """Ask the name server for the addresses of a name now. Raises OSError, ValueError."""
    return frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))


def parse_host(url: str) -> str:
    """Return the host of an http(s) URL in lower case, without port, user and final dot.

    An IPv6 address has no brackets, an international name its ASCII form (RFC 5891).

    Raises ValueError for what is no such URL, has a user, or is read differently by different programs.
    """
    if len(url) > MAX_CHARACTERS or _UNREADABLE.search(url):
        raise ValueError("this is no URL that every program reads alike")
    found = _URL.fullmatch(url)
    if found is None or found["scheme"].lower() not in ("http", "https"):
        raise ValueError("this is no http or https URL of the form https://host/path, without a user")
    if found["port"] is not None and not 0 < int(found["port"]) < 65536:
        raise ValueError("the port of the URL is out of range")
    name = found["host"]
    if name.startswith("["):
        return spell_ipv6(name[1:-1])
    if not name.isascii():
        if len(name) > MAX_NAME:  # what takes long to bring to its ASCII form is no name either
            raise ValueError("the host of the URL is no valid name")
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError("the host of the URL is no valid name") from error
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host of the URL is no valid name")
    # A last part that begins like a number makes it an address to browsers and to C libraries: 0x7f.1, 2130706433.
    if labels[-1][0].isdigit():
        if not _DOTTED.fullmatch(name):
            raise ValueError("the host of the URL is a number that programs read differently")
        return str(ipaddress.IPv4Address(name))
    return name


def is_public_url(url: str) -> bool:
    """Whether an http(s) URL surely leads to a public host: every address of its name is public.

    Names are asked for now, or were seconds ago. What does not resolve is not public. May wait for the name server. A
    name that resolves to something else a moment later is the server's own to guard against.
    """
    try:
        name = parse_host(url)
        names = RESOLVER_CACHE.get()
        addresses = look_up(name) if names is None else names.find_addresses(name)
    except (ValueError, OSError):
        return False
    return bool(addresses) and all(is_public(address) for address in addresses)
