"""`notifications` of `gateway.yaml`: where people hear of what waits for them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator

from graphs.config.spec.base import NO_SWITCH, Duration, Spec, Switch, parse_one_or_many

NotificationEvent = Literal[
    "approval.pending", "approval.expiring", "approval.failed", "question.pending", "question.expiring"
]
TlsMode = Literal["starttls", "tls", "none"]

SECRET_PREFIX = "whsec_"  # noqa: S105  what every such secret begins with
_FEWEST_SECRET_BYTES, _MOST_SECRET_BYTES = 24, 64
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def find_address_fault(url: str) -> str | None:
    """Explain why this is no address of HTTP, in words that never hold it: it may be a secret. None: it may be one."""
    if not url.startswith(("http://", "https://")):
        return "is no address; write one that begins with https:// (or http:// on a network of your own)"
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # raises UnicodeError, a ValueError, where a part between dots is empty
        is_whole = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        parts, is_whole = urlsplit(""), False
    if not is_whole:
        return "is no address; write one such as https://hooks.example.com/interlock"
    if "@" in parts.netloc:
        return "holds a user or a password; write the address alone"
    if "#" in url:
        return "holds a '#'; write the address without it"
    return None


def _check_address(value: str) -> str:
    if (fault := find_address_fault(value)) is not None:
        raise ValueError(fault)
    return value


def _check_secret_address(value: SecretStr) -> SecretStr:
    _check_address(value.get_secret_value())
    return value


def _check_mailbox(value: str) -> str:
    if not _MAILBOX.fullmatch(value):
        raise ValueError("is no mail address; write such as on-call@example.com")
    return value


_Address = Annotated[str, AfterValidator(_check_address)]
_SecretAddress = Annotated[SecretStr, AfterValidator(_check_secret_address)]
_Mailbox = Annotated[str, AfterValidator(_check_mailbox)]
_OneOrMany = BeforeValidator(parse_one_or_many, json_schema_input_type=str | list[str])


def decode_webhook_secret(text: str) -> bytes:
    """Decode the key of a webhook's signature, as Standard Webhooks writes it. Raises ValueError."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _FEWEST_SECRET_BYTES <= len(key) <= _MOST_SECRET_BYTES:
        raise ValueError(
            f"is no secret for signatures; expected {SECRET_PREFIX} and the base64 of {_FEWEST_SECRET_BYTES} to "
            f"{_MOST_SECRET_BYTES} random bytes, as `openssl rand -base64 32` writes them"
        )
    return key


class WebhookSpec(Spec):
    """A program that gets each notification as signed JSON (Standard Webhooks)."""

    url: _SecretAddress
    """The address that gets a POST. It may hold a token, so it is shown nowhere."""
    secret: SecretStr
    """The key of the signature: `whsec_` and the base64 of 24 to 64 random bytes. Write it as ${NAME}, not as text."""
    previous_secret: SecretStr | None = None
    """The key before, while receivers learn the new one: each request is signed with both."""

    @field_validator("secret", "previous_secret")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            decode_webhook_secret(value.get_secret_value())
        return value


class ChatWebhookSpec(Spec):
    """An incoming webhook of a chat."""

    url: _SecretAddress
    """The webhook's address. Who has it can write into the channel: write it as ${NAME}, not as text."""


class MailSpec(Spec):
    """People who get each notification by mail."""

    host: Annotated[str, Field(min_length=1)]
    """The mail server (SMTP)."""
    port: Annotated[int, Field(ge=1, le=65535), NO_SWITCH] | None = None
    """Its port. Absent: 587 with `starttls`, 465 with `tls`, 25 with `none`."""
    tls: TlsMode = "starttls"
    """`starttls`: encrypted after the greeting, or nothing is sent; `tls`: from the first byte; `none`: in the
    clear."""
    user: str = ""
    """Who logs in. Empty: nobody does."""
    password: SecretStr = SecretStr("")
    """Their password. Write it as ${NAME}, not as text."""
    sender: _Mailbox
    """The address that the mail is from."""
    to: Annotated[list[_Mailbox], _OneOrMany, Field(min_length=1, max_length=50)]
    """The addresses that it goes to."""

    @property
    def server_port(self) -> int:
        """The port that is used."""
        return self.port or _PORTS[self.tls]

    @model_validator(mode="after")
    def _keeps_password(self) -> MailSpec:
        has_password = bool(self.password.get_secret_value())
        if has_password != bool(self.user):
            found = "a 'password' and no 'user'" if has_password else "a 'user' and no 'password'"
            raise ValueError(f"has {found}; write both, or neither")
        if has_password and self.tls == "none":
            raise ValueError("has a 'password' and 'tls: none', which would send it in the clear; use starttls or tls")
        return self


class DestinationSpec(Spec):
    """One place that notifications go to: exactly one of `webhook`, `mail`, `slack`, `mattermost`."""

    webhook: WebhookSpec | None = None
    """A program that gets each notification as signed JSON (Standard Webhooks)."""
    mail: MailSpec | None = None
    """People who get each notification by mail."""
    slack: ChatWebhookSpec | None = None
    """A channel of Slack."""
    mattermost: ChatWebhookSpec | None = None
    """A channel of Mattermost, or of another chat with such webhooks: `{"text": …}` in Markdown."""
    events: Annotated[list[NotificationEvent], _OneOrMany, Field(min_length=1)] | None = None
    """Which events are sent. Absent: all."""
    roles: Annotated[list[str], _OneOrMany, Field(min_length=1)] | None = None
    """The roles whose approvals and questions are sent: those that decide or answer. Absent: all roles."""
    own: Switch = False
    """Whether to send approvals too that no role but whoever asked decides."""

    @property
    def channel(self) -> WebhookSpec | MailSpec | ChatWebhookSpec:
        """What it is sent by."""
        found = self.webhook or self.mail or self.slack or self.mattermost
        assert found is not None  # noqa: S101  checked below
        return found

    @property
    def addressees(self) -> Mapping[str, str]:
        """Where it sends to, by digest: the address of the channel, or each address of a mail."""
        if self.mail is not None:
            return {_compute_digest("mail", address): address for address in self.mail.to}
        (found,) = ((name, one) for name in ("webhook", "slack", "mattermost") if (one := getattr(self, name)))
        url = found[1].url.get_secret_value()
        return {_compute_digest(found[0], url): url}

    def narrow(self, digests: Collection[str]) -> DestinationSpec | None:
        """Leave out the addressees that are not among these digests; None where none is left."""
        addresses = [address for digest, address in self.addressees.items() if digest in digests]
        if not addresses or self.mail is None:
            return self if addresses else None
        return self.model_copy(update={"mail": self.mail.model_copy(update={"to": addresses})})

    @model_validator(mode="after")
    def _has_one_channel(self) -> DestinationSpec:
        names = ("webhook", "mail", "slack", "mattermost")
        found = [name for name in names if getattr(self, name) is not None]
        if len(found) != 1:
            has = f"has {' and '.join(found)}" if found else "has nothing to send by"
            raise ValueError(f"{has}; write exactly one of {', '.join(names)}")
        return self

    def wants(self, event: NotificationEvent, role: str | None) -> bool:
        """Whether it gets this event of what this role decides or answers; None: whoever asked does."""
        if self.events is not None and event not in self.events:
            return False
        if role is None:
            return self.own
        return self.roles is None or role in self.roles


def _compute_digest(channel: str, address: str) -> str:
    """Compute what is kept of an address: it may be a secret."""
    return hashlib.sha256(f"{channel} {address}".encode()).hexdigest()[:16]


class NotificationsSpec(Spec):
    """Where people hear of approvals and questions that wait for their role. A message decides nothing: it leads to the
    console, which asks for a key."""

    console: _Address
    """The console's address as people open it, such as https://interlock.example.com/console."""
    before_expiry: Duration = 300.0
    """How long before it expires that something is called expiring, once. What expires sooner after it was asked is
    not."""
    destinations: Annotated[dict[str, DestinationSpec], Field(min_length=1, max_length=50)]
    """The destinations, by name: the name stands in logs and metrics."""

    @field_validator("destinations")
    @classmethod
    def _have_names(cls, value: dict[str, DestinationSpec]) -> dict[str, DestinationSpec]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"holds {name[:60]!r}, which is no name; use letters, digits, '.', '_' and '-'")
        return value

    def list_wanting(self, event: NotificationEvent, role: str | None) -> Sequence[str]:
        """List the names of the destinations that get this event."""
        return [name for name, one in self.destinations.items() if one.wants(event, role)]
