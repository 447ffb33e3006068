"""`servers.yaml`: the `mcpServers` block people already have, and a few settings of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from graphs.config.spec.base import Seconds, Spec

Transport = Literal["stdio", "http", "sse"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}", re.ASCII)


class ServerSpec(Spec):
    """One MCP server: a `command` that is started here, or the `url` of one that runs elsewhere."""

    other_names: ClassVar[Mapping[str, str]] = {
        "transport": "type", "environment": "env", "arguments": "args", "address": "url", "endpoint": "url",
        "serverUrl": "url", "enabled": "disabled", "perUser": "per_user", "idle_timeout": "idle",
    }  # fmt: skip

    command: str | None = None
    """The program to start. `python` is the interpreter that runs Interlock."""
    args: list[str] = []
    """The program's arguments. With `per_user`, `{{ caller.user }}` is filled in, as in `env`."""
    env: Annotated[dict[str, str], Field(repr=False)] = {}
    """The program's environment variables, on top of a few harmless ones. With `per_user`, `{{ caller.user }}`,
    `{{ caller.email }}`, `{{ caller.role }}` and `{{ caller.key }}` (the key's name) are filled in."""
    cwd: str | None = None
    """The folder the program starts in; relative to the folder of the config files, which is also the default."""
    url: str | None = None
    """The address of a server that runs elsewhere."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """HTTP headers sent to that address, such as Authorization. With `per_user`, `{{ caller.email }}` and the like are
    filled in, as in `env`."""
    type: Transport | None = None
    """How to talk to it. Said by `command` (stdio) or `url` (http); write it for `sse`."""
    timeout: Seconds = 60.0
    """How long one tool call may take."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 8
    """How many calls may be under way at once."""
    max_result: Annotated[int, Field(ge=100)] = 64_000
    """How many characters of a result are kept."""
    required: bool = False
    """Whether the gateway is failed, not merely degraded, without it."""
    trusted: bool = False
    """Whether rules believe what its tools say of themselves: tool.read_only and tool.destructive."""
    strict: bool = False
    """Whether to refuse every argument that a tool's schema does not declare."""
    disabled: bool = False
    """Whether to leave the server out."""
    per_user: bool = False
    """Whether every user gets a connection of their own, and a process of their own where it is a program."""
    idle: Seconds = 600.0
    """How long a user's own connection stays open when they do nothing (with `per_user`)."""
    max_users: Annotated[int, Field(ge=1, le=10_000)] = 100
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
        return value

    @field_validator("command", mode="before")
    @classmethod
    def _is_one_text(cls, value: object) -> object:
        if isinstance(value, list):
            raise ValueError("is a list; write the program alone, and the rest as 'args'")  # noqa: TRY004
        return value

    @field_validator("type", mode="before")
    @classmethod
    def _translate_type(cls, value: object) -> object:
        # The names that other clients of the same block use for the same thing.
        return "http" if value in ("streamable-http", "streamable_http", "streamableHttp") else value

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


def _list_texts(value: str | list[str] | dict[str, str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [*value, *value.values()] if isinstance(value, dict) else value


class ServersSpec(Spec):
    """The MCP servers, by the name that rules and people use for them."""

    mcpServers: dict[str, ServerSpec] = {}
    """The block as it is written for other MCP clients."""
