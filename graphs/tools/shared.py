"""The connections that toolboxes share: a server whose lines did not change keeps its connection across a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from graphs.config.spec.servers import ServerSpec
from graphs.config.templates import Filling
from graphs.tools.connection import Connection, Timing
from graphs.tools.per_user import Users


@dataclass(frozen=True)
class _Held:
    connection: Connection
    task: asyncio.Task[None]
    listeners: list[Callable[[], None]]
    """One for each toolbox that has the connection."""


class Connections:
    """Every connection that some toolbox has. It ends when the last of them gives it back.

    `changed` is called, synchronously, whenever the state or the tools of any of them are different from before.
    """

    def __init__(self, timing: Timing | None = None, changed: Callable[[], None] = lambda: None) -> None:
        self._timing = timing or Timing()
        self._changed = changed
        self._parsing = asyncio.Lock()
        self._held: list[_Held] = []
        self._users: list[tuple[Users, list[object]]] = []
        """Each with the toolboxes that have it."""

    def take(self, name: str, spec: ServerSpec, changed: Callable[[], None]) -> Connection:
        """The connection to this server, opened now unless a server of the same name and the same lines has one.

        `changed` is called, synchronously, whenever its state or its tools are different from before.
        """
        for held in self._held:
            if held.connection.name == name and held.connection.spec == spec:
                held.listeners.append(changed)
                return held.connection
        listeners = [changed]

        def tell() -> None:
            for listener in list(listeners):
                listener()
            self._changed()

        connection = Connection(name, spec, timing=self._timing, changed=tell, parsing=self._parsing)
        task = asyncio.create_task(connection.run(), name=f"mcp server {name}")
        self._held.append(_Held(connection, task, listeners))
        return connection

    async def give_back(self, connection: Connection, changed: Callable[[], None]) -> None:
        """The end of one `take`; returns once the connection, if nobody else has it, and its process are gone."""
        held = next(held for held in self._held if held.connection is connection)
        held.listeners.remove(changed)
        if not held.listeners:
            self._held.remove(held)
            connection.stop()
            await held.task

    def take_users(self, name: str, filling: Filling, taker: object) -> Users:
        """The connections of all users to this server; the same for a server of the same name and the same lines."""
        for users, takers in self._users:
            if users.name == name and users.filling == filling:
                takers.append(taker)
                return users
        users = Users(name, filling, timing=self._timing, changed=self._changed, parsing=self._parsing)
        self._users.append((users, [taker]))
        return users

    async def give_back_users(self, users: Users, taker: object) -> None:
        """The end of one `take_users`; returns once they, if nobody else has them, and their processes are gone."""
        entry = next(entry for entry in self._users if entry[0] is users)
        entry[1].remove(taker)
        if not entry[1]:
            self._users.remove(entry)
            await users.close()
