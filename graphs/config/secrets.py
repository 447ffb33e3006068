"""The secrets that a config folder holds, so that records can leave them out whatever they look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from graphs.config.environment import SecretUnreadable
from graphs.config.spec.access import KeySpec
from graphs.config.spec.confidential import find_passwords, find_server_secrets
from graphs.config.spec.gateway import GatewaySpec
from graphs.config.spec.servers import ServerSpec
from graphs.redaction import is_secret_name

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")
_SHORTEST = 4
"""Characters of a variable's value that is looked for in the entries of servers."""


def collect_secrets(
    gateway: GatewaySpec, servers: Iterable[ServerSpec], keys: Iterable[KeySpec], env: Mapping[str, str]
) -> frozenset[str]:
    """Keys, headers, passwords in addresses, and variables whose names say that they are secrets."""
    found = {gateway.models.api_key.get_secret_value(), *find_passwords(gateway.storage)}
    found.update(_read_variable(env, key.env) for key in keys if key.env is not None)
    found.add(_read_variable(env, "INTERLOCK_FORWARDED_JWT_SECRET"))
    found.update(find_passwords(_read_variable(env, "INTERLOCK_STORAGE")))
    for server in servers:
        found.update(find_server_secrets(server))
    return frozenset(found - {""})


def find_secret_variables(texts: Iterable[str], env: Mapping[str, str]) -> frozenset[str]:
    """The values of the variables in these texts whose names say that they are secrets."""
    names = {name for text in texts for name in _VARIABLE.findall(text) if is_secret_name(name)}
    return frozenset(value for name in names if len(value := _read_variable(env, name)) >= _SHORTEST)


def _read_variable(env: Mapping[str, str], name: str) -> str:
    """A variable's value; what cannot be read is said by whoever needs it."""
    try:
        return env.get(name, "")
    except SecretUnreadable:
        return ""
