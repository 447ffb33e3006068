"""What one caller can call: the tools of servers that all share, and those of the caller's own connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Protocol

from graphs.config.templates import Unfit
from graphs.policy.rules import Caller
from graphs.tools.connection import ServerDown
from graphs.tools.names import of_server
from graphs.tools.per_user import Refused, Seat, Users
from graphs.tools.tool import ServedTool


class Tools(Protocol):
    """A set of tools, as one caller has it."""

    @property
    def version(self) -> int:
        """Grows whenever the set of tools, or a tool, changes."""
        ...

    @property
    def tools(self) -> Mapping[str, ServedTool]:
        """What can be called now, by the model's name, in the order of people's names."""
        ...

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why servers are not there for this caller in particular, by name."""
        ...

    def known(self, model_name: str) -> ServedTool | None:
        """The tool of that name even if its server is away just now: calling it then waits a little, or says why."""
        ...

    async def open(self, servers: Iterable[str]) -> None:
        """Have the caller's own connections to these servers, and wait a while for those that are starting."""
        ...


class View:
    """One caller's tools. `person`: who that surely is; None where nobody vouches for it."""

    def __init__(self, base: Tools, users: Mapping[str, Users], caller: Caller, person: str | None) -> None:
        self._base = base
        self._users = users
        self._caller = caller
        self._person = person
        self._seats: dict[str, Seat] = {}
        self._troubles: dict[str, str] = {}
        self._seen: tuple[Any, ...] = ()
        self._tools: Mapping[str, ServedTool] = MappingProxyType({})
        self._version = 0

    @property
    def version(self) -> int:
        """See Tools."""
        self._gather()
        return self._version

    @property
    def tools(self) -> Mapping[str, ServedTool]:
        """See Tools."""
        self._gather()
        return self._tools

    @property
    def troubles(self) -> Mapping[str, str]:
        """See Tools."""
        down = {
            name: "is not available for this caller now"
            for name, seat in self._seats.items()
            if seat.connection.state != "up"
        }
        return {**down, **self._troubles}

    def known(self, model_name: str) -> ServedTool | None:
        """See Tools."""
        if (found := self.tools.get(model_name) or self._base.known(model_name)) is not None:
            return found
        for name, seat in self._seats.items():
            if of_server(model_name, name):
                for _, one in seat.made.values():
                    if one.model_name == model_name:
                        return one
        return None

    async def open(self, servers: Iterable[str]) -> None:
        """See Tools."""
        starting: list[Seat] = []
        patience = 0.0
        for name in servers:
            users = self._users[name]
            try:
                seat = self._seats[name] = users.seat(self._caller, self._person)
            except (Refused, Unfit) as refused:
                self._seats.pop(name, None)
                self._troubles[name] = f"cannot be used: {refused}"
                continue
            self._troubles.pop(name, None)
            if seat.connection.state == "starting":
                starting.append(seat)
                patience = max(patience, users.patience)
        if starting:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    for seat in starting:
                        with suppress(ServerDown):
                            await seat.connection.session()

    def _gather(self) -> None:
        seen = (self._base.version, *((seat, seat.connection.tools) for seat in self._seats.values()))
        if seen == self._seen:
            return
        self._seen = seen
        current = dict(self._base.tools)
        for seat in self._seats.values():
            for one in seat.tools():
                current.setdefault(one.model_name, one)
        ordered = dict(sorted(current.items(), key=lambda item: item[1].people_name))
        # Nothing of one connection is ever taken for the same thing of another.
        if any(ordered.get(name) is not one for name, one in self._tools.items()) or len(ordered) != len(self._tools):
            self._tools = MappingProxyType(ordered)
            self._version += 1
