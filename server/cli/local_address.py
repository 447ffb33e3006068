"""The address that a command listens on: who can reach it, how it is written, and when it answers."""

from __future__ import annotations

import ipaddress
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


def wait_for_answer(url: str) -> bool:
    """Wait until a server of this machine answers; False where it does not within START_TIMEOUT. Blocks its thread."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  our own address
                return True
        except OSError:
            time.sleep(0.05)
    return False
