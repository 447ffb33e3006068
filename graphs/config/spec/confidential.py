"""What an entry of `mcpServers` holds in confidence: found by the names that stand beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from graphs.config.spec.servers import ServerSpec
from graphs.redaction import is_secret_name

_HARMLESS_HEADERS = frozenset(("accept", "accept-encoding", "accept-language", "content-type", "origin", "user-agent"))
_LONG = 8
"""Characters of a value in an address that is taken for a secret whatever its name: people call keys all sorts."""


def find_server_secrets(spec: ServerSpec) -> frozenset[str]:
    """Headers, passwords and keys in addresses, and what is given to a name that says it is a secret."""
    found = set(spec.secret_values)
    named = {value for name, value in spec.headers.items() if name.lower() not in _HARMLESS_HEADERS}
    named.update(value for name, value in spec.env.items() if is_secret_name(name))
    found.update(named)
    if spec.per_user:
        # What is really sent has a caller's name in it; what stands around the name stays as it is.
        found.update(piece for value in named if "{{" in value for piece in re.split(r"\{\{.*?\}\}", value))
    found.update(_find_argument_secrets(spec.args))
    for text in (spec.url or "", *spec.args, *spec.env.values()):
        found.update(find_passwords(text))
    if spec.url is not None and (parts := _split(spec.url)) is not None:
        found.update(_find_query_secrets(parts.query))
    return frozenset(found - {""})


def find_passwords(text: str) -> Iterator[str]:
    """The password of an address, as it is written, as it is meant, and as HTTP sends it."""
    if "://" not in text or "@" not in text or (parts := _split(text)) is None or not parts.password:
        return
    yield parts.password
    yield unquote(parts.password)
    yield base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password)}".encode()).decode()


def _split(text: str) -> SplitResult | None:
    try:
        return urlsplit(text)
    except ValueError:
        return None


def _find_query_secrets(query: str) -> Iterator[str]:
    for part, (name, value) in zip(query.split("&"), parse_qsl(query, keep_blank_values=True), strict=False):
        if is_secret_name(name) or len(value) >= _LONG:
            yield value
            yield part.partition("=")[2]


def _find_argument_secrets(args: Sequence[str]) -> Iterator[str]:
    """`--token VALUE`, `--token=VALUE` and `TOKEN=VALUE`."""
    for before, after in pairwise(args):
        if before.startswith("-") and "=" not in before and not after.startswith("-") and is_secret_name(before):
            yield after
    for arg in args:
        name, equals, value = arg.partition("=")
        if equals and len(name) <= 60 and " " not in name and is_secret_name(name):
            yield value
