"""`servers.yaml`: the `mcpServers` block people already have, and a few settings of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import (
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from graphs.config.spec.base import NO_SWITCH, Duration, Spec, Switch, parse_one_or_many
from graphs.policy.patterns import is_chosen

Transport = Literal["stdio", "http", "sse"]

DECORATIONS = frozenset((
    "$schema", "//", "description", "gallery", "homepage", "icon", "iconUrl", "installSource", "logoUrl", "name",
    "provider", "providerUrl", "registryUrl", "tags", "version",
))  # fmt: skip
"""Keys that other clients write into the block for their own pages. They are taken and not read."""

TYPE_NAMES: Mapping[str, Transport] = {
    "streamable-http": "http", "streamable_http": "http", "streamableHttp": "http", "streamablehttp": "http",
    "http-stream": "http", "httpStream": "http", "remote": "http", "local": "stdio",
}  # fmt: skip
"""What other clients call a transport."""


_ToolNames = Annotated[list[str], BeforeValidator(parse_one_or_many, json_schema_input_type=str | list[str])]
"""Patterns over the names that a server itself gives its tools."""


def add_other_names(schema: dict[str, Any]) -> None:
    """Add the names that other clients use to the JSON Schema, so that an editor takes a pasted block as we do."""
    properties = cast("dict[str, Any]", schema["properties"])
    for name, field in ServerSpec.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            for other in field.validation_alias.choices:
                properties[str(other)] = {**properties[name], "title": str(other)}
    for name in sorted(DECORATIONS):
        properties[name] = {"description": "Of other clients; not read."}


class ServerSpec(Spec):
    """One MCP server: a `command` that is started here, or the `url` of one that runs elsewhere.

    The block is pasted as it is, so what other clients of MCP write into it is taken too, where it means the same.
    """

    model_config = ConfigDict(json_schema_extra=add_other_names)

    other_names: ClassVar[Mapping[str, str]] = {
        "environment": "env", "arguments": "args", "address": "url", "endpoint": "url", "perUser": "per_user",
        "idle_timeout": "idle", "enabled_tools": "include", "allowedTools": "include", "allowed_tools": "include",
        "available_tools": "include", "disabled_tools": "exclude", "disallowedTools": "exclude",
        "disallowed_tools": "exclude", "blockedTools": "exclude", "blocked_tools": "exclude",
    }  # fmt: skip

    command: str | None = None
    """The program to start, alone. `python` is `python` or else `python3` on the PATH; before `-m server.demo`, it is
    the interpreter that runs Interlock."""
    args: list[str] = []
    """The program's arguments. With `per_user`, `{{ caller.user }}` is filled in, as in `env`."""
    env: Annotated[dict[str, str], Field(repr=False)] = {}
    """The program's environment variables, on top of a few of Interlock's own: PATH, HOME and the like, proxies
    (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) and certificates (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS …). With `per_user`,
    `{{ caller.user }}`, `{{ caller.email }}`, `{{ caller.role }}` and `{{ caller.key }}` (the key's name) are filled
    in."""
    cwd: str | None = None
    """The folder the program starts in; relative to the folder of the config files, which is also the default."""
    url: Annotated[str | None, Field(validation_alias=AliasChoices("url", "httpUrl", "serverUrl", "baseUrl"))] = None
    """The address of a server that runs elsewhere."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """HTTP headers sent to that address, such as Authorization. With `per_user`, `{{ caller.email }}` and the like are
    filled in, as in `env`."""
    type: Annotated[Transport | None, Field(validation_alias=AliasChoices("type", "transport", "transportType"))] = None
    """How to talk to it. Said by `command` (stdio) or `url` (http); write it for `sse`."""
    timeout: Duration = 60.0
    """How long one tool call may take."""
    concurrency: Annotated[int, Field(ge=1, le=1000), NO_SWITCH] = 8
    """How many calls may be under way at once."""
    max_result: Annotated[int, Field(ge=100), NO_SWITCH] = 64_000
    """How many characters of a result are kept."""
    include: Annotated[
        _ToolNames, Field(validation_alias=AliasChoices("include", "includeTools", "enabledTools", "tools"))
    ] = []
    """Which of its tools there are here: patterns over the names that the server gives them, without `server/`.
    Absent: all."""
    exclude: Annotated[
        _ToolNames, Field(validation_alias=AliasChoices("exclude", "excludeTools", "disabledTools"))
    ] = []
    """Which of them there are not, over `include`."""
    required: Switch = False
    """Whether the gateway is failed, not merely degraded, without it."""
    trusted: Switch = False
    """Whether rules believe what its tools say of themselves: tool.read_only and tool.destructive."""
    strict: Switch = False
    """Whether to refuse every argument that a tool's schema does not declare."""
    disabled: Switch = False
    """Whether to leave the server out."""
    enabled: Annotated[Switch | None, Field(validation_alias=AliasChoices("enabled", "isActive"))] = None
    """The opposite of `disabled`, as other clients write it."""
    autoApprove: list[str] | Switch = False
    """Other clients' word for tools that run without asking. Empty or false here: access.yaml says what runs."""
    alwaysAllow: list[str] | Switch = False
    """As `autoApprove`."""
    trust: Switch = False
    """As `autoApprove`, of every tool."""
    per_user: Switch = False
    """Whether every user gets a connection of their own, and a process of their own where it is a program."""
    idle: Duration = 600.0
    """How long a user's own connection stays open when they do nothing (with `per_user`)."""
    max_users: Annotated[int, Field(ge=1, le=10_000), NO_SWITCH] = 100
    """How many users may have a connection of their own at once (with `per_user`)."""

    _secret_values: frozenset[str] = PrivateAttr(frozenset())

    @property
    def secret_values(self) -> frozenset[str]:
        """The values in this entry that come from variables whose names say that they are secrets."""
        return self._secret_values

    def mark_secret_values(self, values: Iterable[str]) -> ServerSpec:
        """Return the entry with those of `values` that it holds marked as secrets."""
        texts = (*self.args, *self.env.values(), *self.headers.values(), self.url or "")
        known = self.model_copy()
        known._secret_values = frozenset(value for value in values if any(value in text for text in texts))
        return known

    @property
    def is_off(self) -> bool:
        """Whether the server is left out."""
        return self.disabled or self.enabled is False

    def offers_tool(self, name: str) -> bool:
        """Whether a tool that the server calls `name` is one of those that there are here."""
        return is_chosen(name, self.include, self.exclude)

    @property
    def transport(self) -> Transport:
        """The transport, as it is written or implied."""
        if self.type is not None:
            return self.type
        return "stdio" if self.command is not None else "http"

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("is a text; write {command: …, args: […]} for a program, {url: …} for an address")  # noqa: TRY004
        if not isinstance(value, dict):
            return value
        entries = cast("dict[str, Any]", value).items()
        # Some clients write out what they leave empty.
        empty = {name for name, entry in entries if entry is None and name in _MAY_BE_NOTHING}
        return {name: entry for name, entry in entries if name not in DECORATIONS and name not in empty}

    @field_validator("command", mode="before")
    @classmethod
    def _is_one_text(cls, value: object) -> object:
        if isinstance(value, list):
            raise ValueError("is a list; write the program alone, and the rest as 'args'")  # noqa: TRY004
        return value

    @field_validator("type", mode="before")
    @classmethod
    def _translate_type(cls, value: object) -> object:
        return TYPE_NAMES.get(value, value) if isinstance(value, str) else value

    @field_validator("include")
    @classmethod
    def _includes_something(cls, value: list[str]) -> list[str]:
        # Other clients differ in what it means.
        if not value:
            raise ValueError(
                "is an empty list, which may mean all tools or none; remove it for all, write 'disabled: true' for none"
            )
        return value

    @field_validator("command", "cwd")
    @classmethod
    def _is_not_empty(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty; write it out, or leave the setting out")
        return value

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/\s]", value):
            raise ValueError("an address begins with http:// or https:// and names a host")
        return value

    @field_validator("command", "args", "env", "headers", "cwd", "url")
    @classmethod
    def _has_no_nul(cls, value: str | list[str] | dict[str, str] | None) -> str | list[str] | dict[str, str] | None:
        # An operating system ends a text at NUL: what is run would not be what is read here.
        if value is not None and any("\0" in text for text in _list_texts(value)):
            raise ValueError("holds a NUL character")
        return value

    @field_validator("args", "env", "headers")
    @classmethod
    def _has_our_variables(cls, value: list[str] | dict[str, str]) -> list[str] | dict[str, str]:
        # Another client's way to write a variable would be sent on as it is, without a word.
        for text in _list_texts(value):
            if (found := re.search(r"(?<!\$)\{(env|file):([^{}]+)\}", text)) is not None:
                cure = f"${{{found[2]}}}" if found[1] == "env" else "${NAME}, with NAME_FILE as the path of the file"
                raise ValueError(f"holds {found[0]}, another program's way to write a variable; write {cure}")
        return value

    @model_validator(mode="after")
    def _is_on_or_off(self) -> ServerSpec:
        if self.disabled and self.enabled:
            raise ValueError("is disabled and enabled at once; write 'disabled' alone")
        return self

    @model_validator(mode="after")
    def _is_shared_or_not(self) -> ServerSpec:
        if self.per_user and self.required:
            raise ValueError(
                "has both 'per_user' and 'required'; nobody is connected to it when the gateway starts, so the gateway "
                "cannot depend on it: remove 'required'"
            )
        for name in ("idle", "max_users"):
            if name in self.model_fields_set and not self.per_user:
                raise ValueError(f"has '{name}', which is for a server with 'per_user: true'; add that, or remove it")
        return self

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> ServerSpec:
        if self.command is not None and self.url is not None:
            raise ValueError("has both 'command' and 'url'; a server is either started here or reached there")
        if self.command is None and self.url is None:
            raise ValueError("has neither 'command' nor 'url'; write the program to start, or the address to reach")
        if self.command is not None:
            if self.type not in (None, "stdio"):
                raise ValueError(f"is of type '{self.type}' and has a 'command'; that type is reached by a 'url'")
            if self.headers:
                raise ValueError("has 'headers' and a 'command'; headers are sent to a 'url', a program takes 'env'")
            return self
        if self.type == "stdio":
            raise ValueError("is of type 'stdio' and has a 'url'; that type is started by a 'command'")
        for name in ("args", "env", "cwd"):
            if name in self.model_fields_set and getattr(self, name):
                raise ValueError(f"has '{name}' and a 'url'; '{name}' is for a program started by a 'command'")
        return self


def list_names(field: str) -> list[str]:
    """List the names that a setting of a server may have: our own, and then those of other clients."""
    alias = ServerSpec.model_fields[field].validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [field]


_MAY_BE_NOTHING = frozenset(
    name for field in ("args", "env", "headers", "include", "exclude") for name in list_names(field)
)


def _list_texts(value: str | list[str] | dict[str, str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [*value, *value.values()] if isinstance(value, dict) else value


class ServersSpec(Spec):
    """The MCP servers, by the name that rules and people use for them."""

    mcpServers: dict[str, ServerSpec] = {}
    """The block as it is written for other MCP clients."""

    @model_validator(mode="before")
    @classmethod
    def _is_undecorated(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: entry for name, entry in cast("dict[str, Any]", value).items() if name not in ("$schema", "//")}
