"""Connections that tool registries share: a server whose entry did not change keeps its connection at a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from graphs.config.spec.servers import ServerSpec
from graphs.config.templates import ServerTemplate
from graphs.tools.connection import OpenRemote, ServerConnection
from graphs.tools.http import open_http
from graphs.tools.per_user import UserConnections
from graphs.tools.timing import Timing


@dataclass(frozen=True)
class _SharedConnection:
    connection: ServerConnection
    task: asyncio.Task[None]
    listeners: list[Callable[[], None]]
    """One for each registry that has the connection."""


class SharedConnections:
    """All connections that some registry has. Each ends when the last registry gives it back.

    `on_change` is called, synchronously, whenever the state or the tools of any of them have changed.
    `open_remote` connects to servers that are shared and run elsewhere.
    """

    def __init__(
        self,
        timing: Timing | None = None,
        on_change: Callable[[], None] = lambda: None,
        open_remote: OpenRemote = open_http,
    ) -> None:
        self._timing = timing or Timing()
        self._on_change = on_change
        self._open_remote = open_remote
        self._parse_lock = asyncio.Lock()
        self._shared: list[_SharedConnection] = []
        self._user_connections: list[tuple[UserConnections, list[object]]] = []
        """Each with the registries that have it."""

    def take(self, name: str, spec: ServerSpec, on_change: Callable[[], None]) -> ServerConnection:
        """Return the connection to this server, opened now unless a server of the same name with an equal entry has
        one.

        `on_change` is called, synchronously, whenever its state or its tools have changed.
        """
        for held in self._shared:
            if held.connection.name == name and held.connection.spec == spec:
                held.listeners.append(on_change)
                return held.connection
        listeners = [on_change]

        def notify() -> None:
            for listener in list(listeners):
                listener()
            self._on_change()

        connection = ServerConnection(
            name,
            spec,
            timing=self._timing,
            on_change=notify,
            parse_lock=self._parse_lock,
            open_remote=self._open_remote,
        )
        task = asyncio.create_task(connection.run(), name=f"mcp server {name}")
        self._shared.append(_SharedConnection(connection, task, listeners))
        return connection

    async def give_back(self, connection: ServerConnection, on_change: Callable[[], None]) -> None:
        """End one `take`; returns once the connection, if nobody else has it, and its process are gone."""
        held = next(held for held in self._shared if held.connection is connection)
        held.listeners.remove(on_change)
        if not held.listeners:
            self._shared.remove(held)
            connection.stop()
            await held.task

    def take_users(self, name: str, template: ServerTemplate, taker: object) -> UserConnections:
        """Return the connections of all users to this server; the same for a server of the same name with an equal
        entry."""
        for users, takers in self._user_connections:
            if users.name == name and users.template == template:
                takers.append(taker)
                return users
        users = UserConnections(
            name, template, timing=self._timing, on_change=self._on_change, parse_lock=self._parse_lock
        )
        self._user_connections.append((users, [taker]))
        return users

    async def give_back_users(self, users: UserConnections, taker: object) -> None:
        """End one `take_users`; returns once they, if nobody else has them, and their processes are gone."""
        entry = next(entry for entry in self._user_connections if entry[0] is users)
        entry[1].remove(taker)
        if not entry[1]:
            self._user_connections.remove(entry)
            await users.close()
