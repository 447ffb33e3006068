"""The address that a request comes from: the other end of its connection, or the one that a trusted proxy names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers = Iterable[tuple[bytes, bytes]]

UNKNOWN = "unknown"
"""The address of clients whose proxies contradict themselves, and of connections that have none."""
MOST_HOPS = 20
"""Proxies that are looked through; a longer list is made up."""
FORWARDED_FOR = re.compile(r"(?:^|;)\s*for\s*=\s*(\"[^\"]*\"|[^;,\s]*)", re.IGNORECASE)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse networks as `http.trusted_proxies` names them; a single address is the network of itself."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address as sockets and proxies write it (`192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`,
    `::ffff:192.0.2.1`, `fe80::1%eth0`); None for what is none, such as `unknown`."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


@lru_cache(maxsize=4096)
def find_group(host: str) -> str:
    """Find the unit that is counted by: the address, or an IPv6 address's /64 network, which is what one customer
    gets."""
    address = parse_address(host)
    if address is None:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def is_within(host: str, networks: Sequence[Network]) -> bool:
    """Tell whether the address is in one of the networks."""
    address = parse_address(host) if networks else None
    return address is not None and any(address in network for network in networks)


def find_client(headers: Headers, trusted: Sequence[Network]) -> str | None:
    """Find the client for whom a trusted proxy asks, by `X-Forwarded-For` or `Forwarded` (RFC 7239); None if neither
    says.

    Each proxy adds whom it heard from, so the last one that is no proxy of ours is the client; what is before it was
    written by that client. A client may also send the one of the two headers that its proxy does not write: where they
    contradict each other, neither is believed, and the client is UNKNOWN.
    """
    listed: list[str] = []
    forwarded: list[str] = []
    for name, value in headers:
        if name == b"x-forwarded-for":
            listed += value.decode("latin-1").split(",")
        elif name == b"forwarded":
            for hop in value.decode("latin-1").split(","):
                found = FORWARDED_FOR.search(hop)
                forwarded.append(found[1] if found else "")
    named = {client for hops in (listed, forwarded) if hops for client in [_last_untrusted(hops, trusted)]}
    if len(named) > 1:
        return UNKNOWN
    return named.pop() if named else None


def _last_untrusted(hops: Sequence[str], trusted: Sequence[Network]) -> str | None:
    for hop in reversed(hops[-MOST_HOPS:]):
        address = parse_address(hop)
        if address is None:
            return None
        if not any(address in network for network in trusted):
            return str(address)
    return None


def find_scheme(headers: Headers) -> str | None:
    """Read `X-Forwarded-Proto` of a trusted proxy: `http`, `https` or None."""
    found = next((value.strip().lower() for name, value in headers if name == b"x-forwarded-proto"), b"")
    return found.decode() if found in (b"http", b"https") else None
