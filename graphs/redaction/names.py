"""Tell names of secrets from other names: `apiKey`, `DB_PASSWD`, `X-Auth-Token`, not `max_tokens`."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Literal

NameKind = Literal["secret", "secret text", "nothing"]

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_LONGEST = 100
"""Names are cut here: they come from a model."""

_WORDS = frozenset((
    "apikey", "auth", "authorization", "bearer", "cookie", "cookies", "cred", "credential", "credentials", "creds",
    "csrf", "cvc", "cvv", "jwt", "otp", "pass", "passcode", "passphrase", "passwd", "password", "passwords", "pin",
    "pw", "pwd", "secret", "secrets", "sessionid", "sig", "totp", "xsrf",
))  # fmt: skip
_PAIRS = frozenset((
    "access", "account", "api", "auth", "client", "encryption", "hmac", "host", "license", "master", "private",
    "secret", "service", "session", "shared", "signing", "ssh", "storage",
))  # fmt: skip
"""Before `key`."""
_RUN_TOGETHER = (
    "password", "passwd", "passphrase", "apikey", "secret", "privatekey", "accesskey", "credential", "authorization",
    "sessionid", "signingkey", "encryptionkey",
)  # fmt: skip
_ABOUT_TOKENS = frozenset((
    "address", "budget", "count", "counts", "endpoint", "estimate", "expires", "expiry", "kind", "length", "limit",
    "limits", "name", "max", "min", "size", "type", "ttl", "uri", "url", "usage", "used",
))  # fmt: skip
"""After `token`: what is said of a token is no token."""
_HOW_MANY = frozenset((
    "completion", "input", "max", "min", "num", "number", "output", "prompt", "total", "used",
))  # fmt: skip
"""Before `tokens`."""


def is_secret_name(name: str) -> bool:
    """Whether a value of this name must be hidden, if it is a text."""
    return classify_name(name) != "nothing"


def classify_name(name: str) -> NameKind:
    """`secret text`: only a text is one; `tokens` may well be a number, how many they are."""
    return _classify(name[:_LONGEST])


@lru_cache(maxsize=2048)  # pure: the same name always says the same
def _classify(name: str) -> NameKind:
    words = [word.lower() for word in _WORD.findall(name)]
    whole = "".join(words)
    if not _WORDS.isdisjoint(words) or any(part in whole for part in _RUN_TOGETHER):
        return "secret"
    if any(after in ("key", "keys") and before in _PAIRS for before, after in pairwise(words)):
        return "secret"
    for index, word in enumerate(words):
        counted = word == "tokens" and not _HOW_MANY.isdisjoint(words[:index])
        if word.endswith(("token", "tokens")) and not counted and _ABOUT_TOKENS.isdisjoint(words[index + 1 :]):
            return "secret text"
    return "nothing"
