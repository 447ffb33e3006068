"""`host` and `public_url` of the rules: where a URL surely leads, whatever program reads it.

Programs disagree about odd URLs (RFC 3986 against the URL standard of browsers: backslashes, tabs, several `@`, numbers
for addresses). Only a URL that all of them read alike has a host here.
"""

from __future__ import annotations

import ipaddress
import re
import socket

import idna

MAX_CHARACTERS = 8_192

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

_CARRIERS = tuple(
    ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)
"""IPv6 networks whose addresses lead on to an IPv4 address (RFC 6052, 8215, 3056, 4380, 4291)."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def host(url: str) -> str:
    """The host of an http(s) URL in lower case, without port, user and final dot; an IPv6 address without brackets,
    an international name in its ASCII form (RFC 5891).

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
        return str(ipaddress.IPv6Address(name[1:-1]))
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError("the host of the URL is no valid name") from error
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host of the URL is no valid name")
    # A last part that begins like a number makes it an address to browsers and to C libraries: 0x7f.1, 2130706433.
    if labels[-1][0].isdigit():
        if not _DOTTED.fullmatch(name):
            raise ValueError("the host of the URL is a number that programs read differently")
        return str(ipaddress.IPv4Address(name))
    return name


def public_url(url: str) -> bool:
    """Whether an http(s) URL surely leads to a public host: every address of its name, asked for now, is public.

    What does not resolve is not public. May wait for the name server. A name that resolves to something else a moment
    later is the server's own to guard against.
    """
    try:
        name = host(url)
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (ValueError, OSError):
        return False
    addresses = {str(entry[4][0]) for entry in found}
    return bool(addresses) and all(_is_public(address) for address in addresses)


def _is_public(text: str) -> bool:
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:  # with a zone, such as fe80::1%eth0
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif any(address in network for network in _CARRIERS):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
