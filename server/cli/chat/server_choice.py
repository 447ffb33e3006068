"""Whom the terminal chat asks: the server that was named, or the `interlock serve` of this folder, and with which
key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from graphs.config.environment import SecretUnreadable, build_environment
from server.auth.keys import KEYS_FILE, KeysFileUnusable, read_keys
from server.cli.chat.gateway_client import ChatFailed
from server.cli.local_address import is_loopback
from server.cli.local_server import find_local_server

DEFAULT_URL = "http://127.0.0.1:8080/v1"


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where to ask, and with which key."""

    url: str
    """It ends in /v1."""
    key: str = field(repr=False)


def choose_server(url: str | None, key: str, data: Path, variables: Mapping[str, str]) -> Server:
    """Choose what was named; without it, the `interlock serve` that uses this data folder, and a key of its own.

    Raises ChatFailed where there is no key.
    """
    local = find_local_server(data)
    if url is None:
        url = local.url if local is not None else DEFAULT_URL
    url = url.rstrip("/")
    if key:
        return Server(url=url, key=key)
    if not is_loopback(urlsplit(url).hostname or ""):
        # Whoever answers there would have the key of this machine's server, and perhaps without encryption.
        mine = f"the keys of this folder are for its own `interlock serve`, and {url} may be another"
        raise ChatFailed(f"No key: give one with --key or INTERLOCK_KEY; {mine}.")
    if local is not None and local.variables and local.url == url:
        return Server(url=url, key=find_configured_key(local.variables, build_environment(variables, data)))
    if local is None and not (data / KEYS_FILE).is_file():
        raise ChatFailed(
            "No `interlock serve` runs in this folder, and there is no key. Start it here, or name another with --url "
            "and --key."
        )
    return Server(url=url, key=read_generated_key(data))


def find_configured_key(names: Sequence[str], env: Mapping[str, str]) -> str:
    """Find the first of the variables that is set here too. Raises ChatFailed where none is."""
    for name in names:
        try:
            if value := env.get(name):
                return value
        except SecretUnreadable:
            continue  # another user may read it
    wanted = " or ".join(names)
    raise ChatFailed(f"No key: the `interlock serve` of this folder has its own. Set {wanted} here too, or give --key.")


def read_generated_key(data: Path) -> str:
    """Read the admin key that `interlock serve` made. Raises ChatFailed where there is none."""
    file = data / KEYS_FILE
    try:
        keys = read_keys(file) if file.is_file() else {}
    except KeysFileUnusable as error:
        raise ChatFailed(f"No key: {error} Or give one with --key or INTERLOCK_KEY.") from None
    if not keys:
        raise ChatFailed(f"No key: give one with --key or INTERLOCK_KEY ({file} holds generated ones, if any).")
    return keys.get("admin") or next(iter(keys.values()))
