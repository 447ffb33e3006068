"""The API keys of access.yaml, kept and compared as SHA-256 digests, in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graphs.config.environment import SecretUnreadable
from graphs.config.loader import Snapshot
from graphs.errors import ConfigError, InterlockError, Problem

KEYS_FILE = "keys.env"
KEY_HEADERS = ("api-key", "x-api-key")


class KeysFileUnusable(InterlockError):
    """The file with the keys that were made cannot be made, read or written."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(
            f"{file}, the file for keys that Interlock makes, cannot be used: {reason}. Name a folder that can be "
            "written with INTERLOCK_DATA, or set the variables of the keys in access.yaml."
        )


class UnknownKey(Exception):
    """The request carries no valid key."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The holder of a key."""

    name: str
    role: str
    digest: bytes
    forwards_users: bool


class Keyring:
    """The keys that are on."""

    def __init__(self, holders: Sequence[Holder]) -> None:
        self._holders = tuple(holders)

    def find_holder(self, key: str) -> Holder | None:
        """Find the holder of this key; None where it is none of these."""
        digest = hashlib.sha256(key.encode()).digest()
        found: Holder | None = None
        for holder in self._holders:  # all of them, so that time tells nothing
            if hmac.compare_digest(holder.digest, digest):
                found = holder
        return found

    @staticmethod
    def build_unknown_key() -> UnknownKey:
        """Build the refusal of any other key."""
        return UnknownKey("This API key is not known here. The keys are listed in access.yaml.")


def read_key(headers: Mapping[str, str]) -> str:
    """Read the key of a request: `Authorization: Bearer KEY`, or as some clients send it, `api-key` or `x-api-key`.

    Raises UnknownKey where there is none, and where there are two: nobody could tell who asks.
    """
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    found = {bearer.strip()} if scheme.lower() == "bearer" else set[str]()
    found.update(headers.get(name, "").strip() for name in KEY_HEADERS)
    found.discard("")
    if len(found) > 1:
        raise UnknownKey("Two different API keys were sent, in `Authorization`, `api-key` or `x-api-key`. Send one.")
    if not found:
        raise UnknownKey("No API key was given. Send it as `Authorization: Bearer KEY`, or as `x-api-key: KEY`.")
    return found.pop()


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keyring, and what the start has to tell about it."""

    keyring: Keyring
    generated: Mapping[str, str]
    """Key name → the generated key itself; empty when keys are configured."""
    unset_names: Sequence[str]
    """Names of keys whose variable is unset."""


def load_keys(snapshot: Snapshot, env: Mapping[str, str], data: Path, *, generate: bool = True) -> Keys:
    """Load the keys of `access.yaml`. Where not one of them is set, and nobody else vouches for callers, keys are
    generated and kept in DATA/keys.env (0600).

    Raises ConfigError there unless `generate`, and where the file of a key cannot be read; KeysFileUnusable.
    """
    holders: list[Holder] = []
    off: list[str] = []
    for spec in snapshot.keys:
        try:
            value = env.get(spec.env, "") if spec.env else ""
        except SecretUnreadable as error:
            position = snapshot.key_positions[spec.name]
            message = f"key {spec.name}: {error}"
            raise ConfigError([Problem(position.file, position.line, position.column, message)]) from None
        if spec.sha256 is not None:
            digest = bytes.fromhex(spec.sha256)
        elif value:
            digest = hashlib.sha256(value.encode()).digest()
        else:
            off.append(spec.name)
            continue
        holders.append(Holder(name=spec.name, role=spec.role, digest=digest, forwards_users=spec.forwards_users))
    if holders or snapshot.identities.litellm or snapshot.identities.oidc:
        return Keys(keyring=Keyring(holders), generated={}, unset_names=off)
    if not generate:
        message = "no key of this file is on, and keys are not made while serving; set the variable of one, or restart"
        raise ConfigError([Problem("access.yaml", 0, 0, message)])
    wanted = {spec.name: (spec.role, spec.forwards_users) for spec in snapshot.keys}
    wanted = wanted or {role: (role, False) for role in snapshot.policy.roles}
    generated = generate_keys(data / KEYS_FILE, list(wanted))
    holders = [
        Holder(name=name, role=role, digest=hashlib.sha256(generated[name].encode()).digest(), forwards_users=forwards)
        for name, (role, forwards) in wanted.items()
    ]
    return Keys(keyring=Keyring(holders), generated=generated, unset_names=())


def generate_keys(file: Path, names: Sequence[str]) -> dict[str, str]:
    """Read `name=key` lines of the file, and make what is missing. Several workers may start at once: the first one
    writes. Raises KeysFileUnusable."""
    try:
        return make_missing_keys(file, names)
    except OSError as error:
        raise KeysFileUnusable(file, error.strerror or str(error)) from None


def make_missing_keys(file: Path, names: Sequence[str]) -> dict[str, str]:
    """Do the work of `generate_keys`. Raises OSError too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as new:
            new.write("# Keys made by Interlock because access.yaml sets none. Delete this file to get new ones.\n")
    except FileExistsError:
        pass
    keys = read_keys(file)
    missing = [name for name in names if name not in keys]
    if missing:
        fresh = {name: f"ilk_{secrets.token_urlsafe(32)}" for name in missing}
        with os.fdopen(os.open(file, os.O_APPEND | os.O_WRONLY), "w") as more:
            more.write("".join(f"{name}={key}\n" for name, key in fresh.items()))
        keys = read_keys(file)  # the first line of a name wins, also when another worker wrote it
    return {name: keys[name] for name in names}


def read_keys(file: Path) -> dict[str, str]:
    """Read the file's `name=key` lines; the first of a name counts. Raises KeysFileUnusable."""
    keys: dict[str, str] = {}
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise KeysFileUnusable(file, error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise KeysFileUnusable(file, "it is no text; move it away, and new keys are made") from None
    for line in text.splitlines():
        name, equals, key = line.partition("=")
        if equals and not line.startswith("#"):
            keys.setdefault(name.strip(), key.strip())
    return keys
