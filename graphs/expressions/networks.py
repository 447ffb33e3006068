"""Tell public IP addresses from others, by a table of our own: Python's changes from version to version.

The IANA registries of special-purpose addresses (RFC 6890, as of 2026), without what they call globally reachable but
is no host to fetch from (anycast of protocols), and addresses that lead on to others. Needs nothing but the standard
library.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # shared by carriers (RFC 6598)
        "127.0.0.0/8",  # loopback (RFC 1122)
        "168.63.129.16/32",  # a cloud's own services, seen from its machines alone (Azure)
        "169.254.0.0/16",  # link-local (RFC 3927)
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.31.196.0/24",  # AS112 (RFC 7535)
        "192.52.193.0/24",  # AMT (RFC 7450)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "192.168.0.0/16",  # private (RFC 1918)
        "192.175.48.0/24",  # AS112 (RFC 7534)
        "198.18.0.0/15",  # benchmarking (RFC 2544)
        "198.51.100.0/24",  # documentation (RFC 5737)
        "203.0.113.0/24",  # documentation (RFC 5737)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved, and broadcast (RFC 1112, 919)
    )
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
"""All that is given out as global unicast (RFC 4291). Outside are loopback, NAT64 (64:ff9b::/96, 64:ff9b:1::/48),
discard (100::/64), SRv6 (5f00::/16), unique local, link-local, site-local (fec0::/10) and multicast."""
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, AMT, ORCHID, ORCHIDv2, drones (RFC 2928)
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4: leads on to an IPv4 address (RFC 3056)
        "2620:4f:8000::/48",  # AS112 (RFC 7534)
        "3ffe::/16",  # 6bone, given back (RFC 3701)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""The upper half of an interface identifier whose lower half is an IPv4 address (RFC 5214)."""


def is_public(text: str) -> bool:
    """Whether the text is an IP address, without a zone, that leads to the public internet."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if "%" in text:
            return False
        if address.ipv4_mapped is None:
            return (
                address in _PUBLIC_6
                and (int(address) >> 32) & 0xFFFF_FFFF not in _ISATAP
                and not any(address in network for network in _NOT_PUBLIC_6)
            )
        address = address.ipv4_mapped
    return not any(address in network for network in _NOT_PUBLIC_4)


def spell_ipv6(text: str) -> str:
    """Spell an IPv6 address as RFC 5952 does, on every Python. Raises ValueError."""
    address = ipaddress.IPv6Address(text)
    mapped = address.ipv4_mapped
    return str(address) if mapped is None else f"::ffff:{mapped}"
