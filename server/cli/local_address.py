"""The address that a command listens on: who can reach it, how it is written, and when it answers."""

from __future__ import annotations

import ipaddress
import socket
import time
import urllib.request

START_TIMEOUT = 120.0
"""Seconds that a server gets to answer for the first time."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def format_address(host: str, port: int) -> str:
    """Build the base address that a person can paste."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def find_port(host: str, port: int) -> int | None:
    """Find the port, or a free one where it is 0 or taken; None where nothing can listen on the host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (port, 0):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return None


def wait_for_answer(url: str, timeout: float = START_TIMEOUT) -> bool:
    """Wait until a server of this machine answers, without a proxy; False where it does not within `timeout` seconds.
    Blocks its thread."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=5):
                return True
        except OSError:
            time.sleep(0.05)
    return False
