"""The secrets that a config folder holds, so that records can leave them out whatever they look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote, urlsplit

from graphs.environment import SecretUnreadable
from graphs.redaction import says_secret
from graphs.spec.access import KeySpec
from graphs.spec.gateway import GatewaySpec
from graphs.spec.servers import ServerSpec

_HARMLESS_HEADERS = frozenset(("accept", "accept-encoding", "accept-language", "content-type", "origin", "user-agent"))


def known_secrets(
    gateway: GatewaySpec, servers: Iterable[ServerSpec], keys: Iterable[KeySpec], env: Mapping[str, str]
) -> frozenset[str]:
    """Keys, headers, passwords in addresses, and variables whose names say that they are secrets."""
    found = {gateway.models.api_key.get_secret_value(), *_passwords(gateway.storage)}
    found.update(_value(env, key.env) for key in keys if key.env is not None)
    found.add(_value(env, "INTERLOCK_FORWARDED_JWT_SECRET"))
    found.update(_passwords(_value(env, "INTERLOCK_STORAGE")))
    for server in servers:
        secrets = [value for name, value in server.headers.items() if name.lower() not in _HARMLESS_HEADERS]
        secrets += [value for name, value in server.env.items() if says_secret(name)]
        found.update(secrets)
        if server.per_user:
            # What is really sent has a caller's name in it; what stands around the name stays as it is.
            found.update(piece for value in secrets if "{{" in value for piece in re.split(r"\{\{.*?\}\}", value))
        for text in (server.url or "", *server.args, *server.env.values()):
            found.update(_passwords(text))
    return frozenset(found - {""})


def _value(env: Mapping[str, str], name: str) -> str:
    """A variable's value; what cannot be read is said by whoever needs it."""
    try:
        return env.get(name, "")
    except SecretUnreadable:
        return ""


def _passwords(text: str) -> Iterator[str]:
    """The password of an address, as it is written and as it is meant."""
    if "://" not in text or "@" not in text:
        return
    try:
        password = urlsplit(text).password
    except ValueError:
        return
    if password:
        yield password
        yield unquote(password)
