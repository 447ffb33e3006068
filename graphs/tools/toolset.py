"""The tools of one caller: those of shared connections, and those of the caller's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Protocol

from graphs.config.templates import UnfitValue
from graphs.policy.rules import Caller
from graphs.tools.connection import ServerDown
from graphs.tools.names import may_belong_to_server
from graphs.tools.per_user import UserConnection, UserConnectionRefused, UserConnections
from graphs.tools.tool import ServedTool


class Toolset(Protocol):
    """The tools that one caller can call."""

    @property
    def version(self) -> int:
        """A number that grows whenever the set of tools, or a tool, changes."""
        ...

    @property
    def tools(self) -> Mapping[str, ServedTool]:
        """What can be called now, by the model's name, in the order of people's names."""
        ...

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why servers are not there for this caller in particular, by name."""
        ...

    def find(self, model_name: str) -> ServedTool | None:
        """Find the tool of that name, also while its server is away: a call then waits a little, or says why."""
        ...

    async def open(self, servers: Iterable[str]) -> None:
        """Open the caller's own connections to these servers, and wait a while for those that are starting."""
        ...


class CallerTools:
    """One caller's tools. `verified_user`: who that is; None where nobody vouches for it."""

    def __init__(
        self, base: Toolset, users: Mapping[str, UserConnections], caller: Caller, verified_user: str | None
    ) -> None:
        self._base = base
        self._users = users
        self._caller = caller
        self._verified_user = verified_user
        self._connections: dict[str, UserConnection] = {}
        self._troubles: dict[str, str] = {}
        self._last_state: tuple[Any, ...] = ()
        self._tools: Mapping[str, ServedTool] = MappingProxyType({})
        self._version = 0

    @property
    def version(self) -> int:
        """A number that grows whenever the set of tools, or a tool, changes."""
        self._gather()
        return self._version

    @property
    def tools(self) -> Mapping[str, ServedTool]:
        """What can be called now, by the model's name, in the order of people's names."""
        self._gather()
        return self._tools

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why servers are not there for this caller in particular, by name."""
        down = {
            name: "is not available for this caller now"
            for name, user_connection in self._connections.items()
            if user_connection.connection.state != "up"
        }
        return {**down, **self._troubles}

    def find(self, model_name: str) -> ServedTool | None:
        """Find a shared tool of that name, or else one of the caller's own connections."""
        if (found := self.tools.get(model_name) or self._base.find(model_name)) is not None:
            return found
        for name, user_connection in self._connections.items():
            if may_belong_to_server(model_name, name):
                for _, one in user_connection.served_tools.values():
                    if one.model_name == model_name:
                        return one
        return None

    async def open(self, servers: Iterable[str]) -> None:
        """Open the caller's own connections to these servers, and wait a while for those that are starting."""
        starting: list[UserConnection] = []
        patience = 0.0
        for name in servers:
            users = self._users[name]
            try:
                user_connection = self._connections[name] = users.get_connection(self._caller, self._verified_user)
            except (UserConnectionRefused, UnfitValue) as refused:
                self._connections.pop(name, None)
                self._troubles[name] = f"cannot be used: {refused}"
                continue
            self._troubles.pop(name, None)
            if user_connection.connection.state == "starting":
                starting.append(user_connection)
                patience = max(patience, users.patience)
        if starting:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    for user_connection in starting:
                        with suppress(ServerDown):
                            await user_connection.connection.get_session()

    def _gather(self) -> None:
        seen = (
            self._base.version,
            *((user_connection, user_connection.connection.tools) for user_connection in self._connections.values()),
        )
        if seen == self._last_state:
            return
        self._last_state = seen
        current = dict(self._base.tools)
        for user_connection in self._connections.values():
            for one in user_connection.list_tools():
                current.setdefault(one.model_name, one)
        ordered = dict(sorted(current.items(), key=lambda item: item[1].people_name))
        # Nothing of one connection is ever taken for the same thing of another.
        if any(ordered.get(name) is not one for name, one in self._tools.items()) or len(ordered) != len(self._tools):
            self._tools = MappingProxyType(ordered)
            self._version += 1
