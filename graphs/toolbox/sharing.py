"""The connections that toolboxes share: a server whose lines did not change keeps its connection across a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from graphs.spec.servers import ServerSpec
from graphs.toolbox.connection import Connection, Timing


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
        self._held: list[_Held] = []

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

        connection = Connection(name, spec, timing=self._timing, changed=tell)
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
