"""The secrets that a config folder holds, so that records can leave them out whatever they look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from graphs.config.environment import SecretUnreadable
from graphs.config.spec.access import KeySpec
from graphs.config.spec.confidential import confidential, passwords
from graphs.config.spec.gateway import GatewaySpec
from graphs.config.spec.servers import ServerSpec
from graphs.redaction import says_secret

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")
_SHORTEST = 4
"""Characters of a variable's value that is looked for in the entries of servers."""


def known_secrets(
    gateway: GatewaySpec, servers: Iterable[ServerSpec], keys: Iterable[KeySpec], env: Mapping[str, str]
) -> frozenset[str]:
    """Keys, headers, passwords in addresses, and variables whose names say that they are secrets."""
    found = {gateway.models.api_key.get_secret_value(), *passwords(gateway.storage)}
    found.update(_value(env, key.env) for key in keys if key.env is not None)
    found.add(_value(env, "INTERLOCK_FORWARDED_JWT_SECRET"))
    found.update(passwords(_value(env, "INTERLOCK_STORAGE")))
    for server in servers:
        found.update(confidential(server))
    return frozenset(found - {""})


def secret_variables(texts: Iterable[str], env: Mapping[str, str]) -> frozenset[str]:
    """The values of the variables in these texts whose names say that they are secrets."""
    names = {name for text in texts for name in _VARIABLE.findall(text) if says_secret(name)}
    return frozenset(value for name in names if len(value := _value(env, name)) >= _SHORTEST)


def _value(env: Mapping[str, str], name: str) -> str:
    """A variable's value; what cannot be read is said by whoever needs it."""
    try:
        return env.get(name, "")
    except SecretUnreadable:
        return ""
