"""`gateway.yaml`: what every graph shares."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from graphs.config.spec.base import NO_SWITCH, Duration, Size, Spec, Switch
from graphs.config.spec.notifications import NotificationsSpec

_DAY = 86400.0
EndpointGroup = Literal["embeddings", "moderations", "rerank", "completions", "audio", "images"]
"""Routes of OpenAI's API that are passed on to the model endpoint."""
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://[a-z0-9._~-]+(:[0-9]{1,5})?|[a-z][a-z0-9+.-]*://\[[0-9a-f:.]+\](:[0-9]{1,5})?"
)
"""As browsers write it: in lower case, and never with a path."""


class ModelsSpec(Spec):
    """Where the models live."""

    base_url: str = ""
    """LiteLLM's address, such as http://localhost:4000. Empty: the built-in demo model."""
    api_key: SecretStr = SecretStr("")
    """The key for LiteLLM. Write it as ${LITELLM_API_KEY}, not as text."""
    key: Literal["own", "caller"] = "own"
    """Which key LiteLLM gets: the one above, or the caller's own, so that what is spent is counted as theirs."""
    default: str = "demo"
    """The model a node uses when it names none."""
    offer: list[str] = ["*"]
    """Which of LiteLLM's models are listed too, as patterns; each runs through `default_graph`."""
    forbid: list[str] = []
    """Which fields of a request are refused, as patterns, beside those that Interlock refuses by itself; such as
    `service_tier`. Fields that OpenAI does not know go to LiteLLM as they are."""
    endpoints: list[EndpointGroup] = ["embeddings", "moderations", "rerank", "audio", "images"]
    """Which other routes of OpenAI's API are passed on to LiteLLM, without a graph; `completions` only where it is
    named."""
    timeout: Duration = 60.0
    """How long a model may stay silent before the request is given up."""
    max_answer: Annotated[int, Field(ge=1_000, le=50_000_000), NO_SWITCH] = 1_000_000
    """How many characters a model's answer may have; a longer one is ended there."""

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("an address begins with http:// or https://; leave it empty for the built-in demo model")
        try:
            host = urlsplit(value).netloc
        except ValueError:
            raise ValueError("is no address; write one such as http://localhost:4000") from None
        if "@" in host:
            raise ValueError("holds a user or a password; write the address alone, and the key as api_key")
        if "?" in value or "#" in value:
            raise ValueError("holds a '?' or a '#'; write the address alone, and the key as api_key")
        return value.rstrip("/")

    @field_validator("default")
    @classmethod
    def _is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; write the name of a model")
        return value


class RetentionSpec(Spec):
    """How long things are kept."""

    conversations: Duration = 30 * _DAY
    """Turns and what their tools returned."""
    audit: Duration = 365 * _DAY
    """Who called what, and who allowed it."""


class ToolsSpec(Spec):
    """What holds for the tools of every MCP server."""

    strict: Switch = False
    """Whether to refuse every argument that a tool's schema does not declare, as if every server said `strict`."""
    max_description: Annotated[int, Field(ge=100, le=20_000)] = 1024
    """How many characters of a tool's description models are shown; OpenAI refuses every chat with a longer one."""


class HttpSpec(Spec):
    """What a client may take before it shows a valid key, and while it sends a request. All of it is for one worker."""

    trusted_proxies: list[str] = []
    """Addresses and networks of proxies, such as 10.0.0.0/8, whose `X-Forwarded-For`, `X-Forwarded-Proto` or
    `Forwarded` is believed. Nobody's is by default: anybody can write one."""
    origins: list[str] = []
    """Origins of web pages whose scripts may call this API from a browser, such as https://chat.example.com; `*` is
    every page. None by default. A script still needs a key."""
    connections: Annotated[int, Field(ge=16, le=100_000), NO_SWITCH] = 2_000
    """Open connections in all. Of a smaller limit on open files, half is left for models and MCP servers."""
    connections_per_address: Annotated[int, Field(ge=1, le=100_000), NO_SWITCH] = 128
    """Connections of one address (IPv6: one /64 network) that have not shown a valid key for a second."""
    header_size: Size = 32 * 1024
    """A request's line and headers together, in bytes."""
    header_count: Annotated[int, Field(ge=10, le=10_000), NO_SWITCH] = 100
    """Headers of one request."""
    url_size: Size = 8 * 1024
    """A request's path and query, in bytes."""
    header_time: Duration = 10.0
    """Until a request's line and headers have come."""
    body_size: Size = 32 * 1024 * 1024
    """A request's body, in bytes. INTERLOCK_MAX_BODY wins over it."""
    body_time: Duration = 20.0
    """Until a body has come, if it is small: a body that comes at `body_rate` gets as long as it needs."""
    body_rate: Size = 1024
    """Bytes a second at which a body must come after `body_time`."""
    idle_time: Duration = 20.0
    """How long a connection stays open between two requests."""
    failed_keys: Annotated[int, Field(ge=1, le=1_000_000), NO_SWITCH] = 20
    """Requests without a valid key that an address may make in a minute; further ones are answered 429. A valid key
    is let in whatever was tried beside it, and from its address nothing is counted for an hour. Clients whose proxies'
    headers contradict each other count as one address, without that hour."""

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for text in value:
            if text != "*" and not _ORIGIN.fullmatch(text):
                raise ValueError(
                    "holds what is no origin; write such as https://chat.example.com, without a path, or *"
                )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        for text in value:
            try:
                network = ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ValueError("holds what is no address and no network; write such as 10.0.0.0/8 or ::1") from None
            if network.prefixlen == 0:
                raise ValueError("is everybody; name the proxies' own addresses or networks")
        return value


class GatewaySpec(Spec):
    """What every graph shares."""

    models: ModelsSpec = ModelsSpec()
    """Where the models live."""
    default_graph: Annotated[str, Field(min_length=1)] = "assistant"
    """The graph that LiteLLM's models run through."""
    storage: str = ""
    """Empty: SQLite in the data folder. Or the path of a SQLite file, or `postgresql://USER:PASSWORD@HOST/DATABASE` for
    several replicas that share it."""
    tools: ToolsSpec = ToolsSpec()
    """What holds for the tools of every MCP server."""
    retention: RetentionSpec = RetentionSpec()
    """How long things are kept."""
    leave_grace: Duration = 30.0
    """How long tool calls that have begun may go on once the client has left; nothing else begins then."""
    ready: Literal["keys", "public"] = "keys"
    """Who is told by `GET /ready` which graphs, servers and tools there are, and what is wrong with them: whoever shows
    a valid key, or everybody. Without a key there are the status and the snapshot alone."""
    http: HttpSpec = HttpSpec()
    """What a client may take before it shows a valid key, and while it sends a request."""
    notifications: NotificationsSpec | None = None
    """Where people hear of approvals and questions that wait for their role. Absent: nowhere."""

    @field_validator("storage")
    @classmethod
    def _is_storage(cls, value: str) -> str:
        if (fault := find_storage_fault(value)) is not None:
            raise ValueError(fault)
        return value


def find_storage_fault(url: str) -> str | None:
    """Explain why this names no storage, in words that never hold it: it may have a password. None: it may be one."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        path = url
    elif scheme.lower() in ("postgresql", "postgres", "postgresql+psycopg"):
        return None
    elif scheme.lower() != "sqlite":
        return f"unknown kind {scheme!r}; expected postgresql://…, sqlite:///path/to/file.db, a path, or nothing"
    elif not rest.startswith("/"):
        return "a SQLite address has three slashes and a path, as in sqlite:///data/interlock.db"
    else:
        path = rest[1:]
    if path == ":memory:" or (separator and not path) or "?" in path or path.startswith("file:"):
        return "a SQLite file is needed, without options; several connections share it, so it cannot be in memory"
    return None
