"""The secrets that a config folder holds, so that records can leave them out whatever they look like."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from graphs.config.environment import SecretUnreadable
from graphs.config.spec.access import KeySpec
from graphs.config.spec.gateway import GatewaySpec
from graphs.config.spec.notifications import (
    SECRET_PREFIX,
    ChatWebhookSpec,
    MailSpec,
    NotificationsSpec,
    WebhookSpec,
)
from graphs.config.spec.servers import ServerSpec
from graphs.redaction import is_secret_name

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
NETWORK_VARIABLES = (*_PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""What the programs of MCP servers are started with besides their own: by which proxy to go, and whom to trust."""

_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)")
_MIN_VARIABLE_LENGTH = 4
"""Characters of a variable's value that is looked for in the entries of servers."""
_HARMLESS_HEADERS = frozenset(("accept", "accept-encoding", "accept-language", "content-type", "origin", "user-agent"))
_MIN_TOKEN_LENGTH = 16
"""Characters of a part of a chat's address that is taken for its token: Slack's have 24, Mattermost's 26."""
_MIN_QUERY_LENGTH = 8
"""Characters of a value in an address that is taken for a secret whatever its name: people call keys all sorts."""


def collect_secrets(
    gateway: GatewaySpec, servers: Iterable[ServerSpec], keys: Iterable[KeySpec], env: Mapping[str, str]
) -> frozenset[str]:
    """Collect keys, headers, passwords in addresses, and variables whose names say that they are secrets."""
    found = {gateway.models.api_key.get_secret_value(), *find_passwords(gateway.storage)}
    found.update(_read_variable(env, key.env) for key in keys if key.env is not None)
    found.add(_read_variable(env, "INTERLOCK_FORWARDED_JWT_SECRET"))
    found.update(find_passwords(_read_variable(env, "INTERLOCK_STORAGE")))
    found.update(find_proxy_passwords(env))
    if gateway.notifications is not None:
        found.update(find_notification_secrets(gateway.notifications))
    for server in servers:
        found.update(find_server_secrets(server))
    return frozenset(found - {""})


def find_notification_secrets(spec: NotificationsSpec) -> Iterator[str]:
    """Yield the keys of signatures, passwords, and addresses: whoever has that of a chat can write there."""
    for destination in spec.destinations.values():
        match destination.channel:
            case MailSpec() as mail:
                yield mail.password.get_secret_value()
            case WebhookSpec() as webhook:
                url = webhook.url.get_secret_value()
                yield from _find_query_secrets(urlsplit(url).query)
                for secret in (webhook.secret, webhook.previous_secret):
                    if secret is not None:
                        yield secret.get_secret_value()
                        yield secret.get_secret_value().removeprefix(SECRET_PREFIX)
            case ChatWebhookSpec() as chat:
                parts = urlsplit(chat.url.get_secret_value())
                yield from (part for part in parts.path.split("/") if len(part) >= _MIN_TOKEN_LENGTH)
                yield from _find_query_secrets(parts.query)


def find_secret_variables(texts: Iterable[str], env: Mapping[str, str]) -> frozenset[str]:
    """Find the values of the variables in these texts whose names say that they are secrets."""
    names = {name for text in texts for name in _VARIABLE.findall(text) if is_secret_name(name)}
    return frozenset(value for name in names if len(value := _read_variable(env, name)) >= _MIN_VARIABLE_LENGTH)


def find_environment_secrets(env: Mapping[str, str]) -> frozenset[str]:
    """Find the values of all variables whose names say that they are secrets, also those that files hold: the
    operator's Python may read any."""
    names = {name.removesuffix("_FILE") for name in env}
    values = (_read_variable(env, name) for name in names if is_secret_name(name))
    return frozenset(value for value in values if len(value) >= _MIN_VARIABLE_LENGTH)


def find_server_secrets(spec: ServerSpec) -> frozenset[str]:
    """Find headers, passwords and keys in addresses, and the values of names that say they are secrets."""
    found = set(spec.secret_values)
    named = {value for name, value in spec.headers.items() if name.lower() not in _HARMLESS_HEADERS}
    named.update(value for name, value in spec.env.items() if is_secret_name(name))
    found.update(named)
    if spec.per_user:
        # What is really sent has a caller's name in it; what stands around the name stays as it is.
        found.update(piece for value in named if "{{" in value for piece in re.split(r"\{\{.*?\}\}", value))
    # People write the whole command line there; it is refused, and must not be shown for that.
    written = (spec.command or "").split()
    found.update(_find_argument_secrets(spec.args))
    found.update(_find_argument_secrets(written))
    for text in (spec.url or "", *written, *spec.args, *spec.env.values()):
        found.update(find_passwords(text))
    if spec.url is not None and (parts := _split(spec.url)) is not None:
        found.update(_find_query_secrets(parts.query))
    return frozenset(found - {""})


def find_passwords(text: str) -> Iterator[str]:
    """Yield the password of an address: as it is written, decoded, and as HTTP sends it."""
    if "://" not in text or "@" not in text or (parts := _split(text)) is None or not parts.password:
        return
    yield parts.password
    yield unquote(parts.password)
    yield base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password)}".encode()).decode()


def find_proxy_passwords(env: Mapping[str, str]) -> frozenset[str]:
    """Find the passwords of proxies: every program of a server's is given them."""
    proxies = (_read_variable(env, name) for name in _PROXIES)
    return frozenset(
        password for proxy in proxies for password in find_passwords(proxy if "://" in proxy else f"http://{proxy}")
    )


def _split(text: str) -> SplitResult | None:
    try:
        return urlsplit(text)
    except ValueError:
        return None


def _find_query_secrets(query: str) -> Iterator[str]:
    for part, (name, value) in zip(query.split("&"), parse_qsl(query, keep_blank_values=True), strict=False):
        if is_secret_name(name) or len(value) >= _MIN_QUERY_LENGTH:
            yield value
            yield part.partition("=")[2]


def _find_argument_secrets(args: Sequence[str]) -> Iterator[str]:
    """Yield the values of `--token VALUE`, `--token=VALUE` and `TOKEN=VALUE`."""
    for before, after in pairwise(args):
        if before.startswith("-") and "=" not in before and not after.startswith("-") and is_secret_name(before):
            yield after
    for arg in args:
        name, equals, value = arg.partition("=")
        if equals and len(name) <= 60 and " " not in name and is_secret_name(name):
            yield value


def _read_variable(env: Mapping[str, str], name: str) -> str:
    """Return a variable's value; empty where its file cannot be read, which whoever needs the value reports."""
    try:
        return env.get(name, "")
    except SecretUnreadable:
        return ""
