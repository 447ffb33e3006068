"""Whether an address is that of this very process: requests sent there would lead round."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

LOOKUP_PATIENCE = 2.0
"""Seconds that a host's name gets to be resolved."""
HOST_NAMES = frozenset({"host.docker.internal", "gateway.docker.internal", "host.containers.internal"})
"""What containers call the machine that they run on."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class OwnAddress:
    """Where this process listens, as far as its requests have shown."""

    def __init__(self) -> None:
        self.ports: frozenset[int] = frozenset()

    def note_port(self, port: int) -> None:
        """Note the port at which a request arrived."""
        if port not in self.ports:
            self.ports |= {port}

    async def find_own(self, addresses: Iterable[str], teller: str) -> frozenset[str]:
        """Find those of `addresses` that lead here.

        `teller` is the address of the program that uses them. Its `localhost` is ours only where it runs on this
        machine.
        """
        hosts: dict[str, list[str]] = {}
        for address in addresses:
            host, port = split_address(address)
            if host and port in self.ports:
                hosts.setdefault(host, []).append(address)
        own: set[str] = set()
        for host, found in hosts.items():
            if await (_is_here(split_address(teller)[0]) if _means_itself(host) else _is_here(host)):
                own.update(found)
        return frozenset(own)


def split_address(address: str) -> tuple[str, int | None]:
    """Split an address into its host and port; an empty host where it is none."""
    try:
        parts = urlsplit(address)
        return (parts.hostname or "").rstrip("."), parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None


def _means_itself(host: str) -> bool:
    """Whether a host is, to every machine, that machine."""
    if host == "localhost" or host.endswith(".localhost") or host in HOST_NAMES:
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified


async def _is_here(host: str) -> bool:
    """Whether one of the host's addresses is this machine's."""
    try:
        async with asyncio.timeout(LOOKUP_PATIENCE):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return False
    return any(_can_bind(family, place) for family, _, _, _, place in found)


def _can_bind(family: int, place: tuple[object, ...]) -> bool:
    """Whether this machine has an address: nobody can bind another's."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True
