"""All MCP servers together: one connection each, and the tools that can be called now."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from mcp.types import Tool

from graphs.config.spec.servers import ServerSpec
from graphs.config.templates import Filling
from graphs.policy.rules import Caller
from graphs.tools.connection import Connection, State, Timing
from graphs.tools.names import of_server, read_name
from graphs.tools.per_user import Users
from graphs.tools.shared import Connections
from graphs.tools.tool import ServedTool, served
from graphs.tools.toolset import Tools, View

logger = logging.getLogger(__name__)

_MOST_VIEWS = 1_000
"""Callers whose tools are remembered; another's are put together anew from connections that stay."""


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """How one server is."""

    status: State
    reason: str | None
    """In words, while it is not up; of one that is per user, always."""
    last_words: str | None
    """The last line of a program that ended badly: for its operator alone, since nobody knows what it may hold."""
    tools: tuple[str, ...]
    """What it serves now, by its own names; nothing where each user may be shown others."""
    left_out: tuple[str, ...]
    """Why tools that it lists cannot be called, in words."""


class Toolbox:
    """What can be called at a set of MCP servers. One server's trouble is that server's alone.

    Toolboxes that are made with the same `connections` share those to servers which both name in the same words.
    `fillings` has an entry for every server that is `per_user`: what it serves is had through `of`.
    """

    def __init__(
        self,
        servers: Mapping[str, ServerSpec],
        fillings: Mapping[str, Filling] = MappingProxyType({}),
        *,
        timing: Timing | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.servers: Mapping[str, ServerSpec] = MappingProxyType(dict(servers))
        self.version = 0
        """Grows whenever the set of tools, or a tool, changes."""
        self.tools: Mapping[str, ServedTool] = MappingProxyType({})
        """What can be called now, by the model's name, in the order of people's names."""
        self.troubles: Mapping[str, str] = MappingProxyType({})
        """None: what is wrong with a server that all share, is wrong for all."""
        self.fillings = MappingProxyType(dict(fillings))
        self._shared = connections or Connections(timing)
        self._connections: dict[str, Connection] = {}
        self._users: dict[str, Users] = {}
        self._views: OrderedDict[tuple[str | None, Caller], View] = OrderedDict()
        self._made: dict[tuple[str, str], tuple[Tool, ServedTool]] = {}
        self._started = False
        self._closing: asyncio.Future[list[None]] | None = None

    async def start(self) -> None:
        """Begin to connect to every server, all at once; returns without waiting for any."""
        if self._started:
            raise RuntimeError("a toolbox is started once")
        self._started = True
        self._connections = {
            name: self._shared.take(name, spec, self._gather)
            for name, spec in self.servers.items()
            if not spec.per_user
        }
        self._users = {name: self._shared.take_users(name, filling, self) for name, filling in self.fillings.items()}
        self._gather()

    async def ready(self, timeout: float | None = None) -> bool:
        """Wait until every server was up or down once; false if `timeout` seconds were not enough."""
        if not self._started:
            return False
        try:
            async with asyncio.timeout(timeout):
                for connection in self._connections.values():
                    await connection.settled.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End every connection that is this toolbox's alone, with its process; calls under way there get an error
        result. May be called again."""
        if self._closing is None:
            ends: list[Coroutine[None, None, None]] = [
                self._shared.give_back(one, self._gather) for one in self._connections.values()
            ]
            ends += [self._shared.give_back_users(users, self) for users in self._users.values()]
            self._closing = asyncio.gather(*ends)
        await asyncio.shield(self._closing)
        self.tools = MappingProxyType({})

    def by_people_name(self, name: str) -> ServedTool | None:
        """The tool called `server/tool`, if it can be called now."""
        server, _, tool = name.partition("/")
        made = self._made.get((server, tool))
        return self.tools.get(made[1].model_name) if made is not None else None

    def known(self, model_name: str) -> ServedTool | None:
        """The tool of that name even if its server is away just now: calling it then waits a little, or says why."""
        if model_name in self.tools:
            return self.tools[model_name]
        return next((one for _, one in self._made.values() if one.model_name == model_name), None)

    def of(self, caller: Caller, person: str | None) -> Tools:
        """What this caller can call. `person`: who that surely is; None where nobody vouches for it."""
        if not self._users:
            return self
        view = self._views.get((person, caller))
        if view is None:
            view = View(self, self._users, caller, person)
            if len(self._views) >= _MOST_VIEWS:
                self._views.popitem(last=False)
        self._views[person, caller] = view
        self._views.move_to_end((person, caller))
        return view

    async def open(self, servers: Iterable[str]) -> None:
        """Nothing: every connection here is everybody's, and kept open."""

    @contextmanager
    def in_use(self, person: str | None) -> Generator[None]:
        """Keeps this user's own connections open while the block lasts: a turn may think longer than they may idle."""
        if person is None:
            yield
            return
        held = list(self._users.values())
        for users in held:
            users.hold(person)
        try:
            yield
        finally:
            for users in held:
                users.release(person)

    def is_taken(self, model_name: str, may_see: Callable[[str, str], bool], may_reach: Callable[[str], bool]) -> bool:
        """Whether a tool that runs here has this name, or may have it for some user: of the tools that a caller
        `may_see` (server, tool), and of the servers with a connection for each user that it `may_reach`."""
        served = self.known(model_name)
        if served is not None and may_see(served.server, served.name):
            return True
        return any(of_server(model_name, name) and may_reach(name) for name in self._users)

    def people_name(self, model_name: str) -> str:
        """`server/tool` for a model's name of a tool, as far as that can be told without asking for whom."""
        known = self.known(model_name)
        return known.people_name if known else read_name(model_name, self._users) or model_name

    def status(self) -> Mapping[str, ServerStatus]:
        """How every server is, by name."""
        return {
            name: ServerStatus(
                status=connection.state,
                reason=connection.reason,
                last_words=connection.last_words if connection.reason is not None else None,
                tools=tuple(sorted(tool.name for tool in connection.tools)),
                left_out=connection.left_out,
            )
            for name, connection in self._connections.items()
        } | {
            name: ServerStatus(status=state, reason=reason, last_words=None, tools=(), left_out=())
            for name, users in self._users.items()
            for state, reason in [users.status()]
        }

    def _gather(self) -> None:
        current: dict[str, ServedTool] = {}
        for connection in self._connections.values():
            for tool in connection.tools:
                one = self._serve(connection, tool)
                if current.setdefault(one.model_name, one) is not one:
                    logger.warning("MCP tool %s is left out: its name collides with another's", one.people_name)
        ordered = dict(sorted(current.items(), key=lambda item: item[1].people_name))
        if list(ordered.items()) != list(self.tools.items()):
            self.tools = MappingProxyType(ordered)
            self.version += 1

    def _serve(self, connection: Connection, tool: Tool) -> ServedTool:
        """The same object for the same tool, so that what is made from it can be kept across a reconnection."""
        key = (connection.name, tool.name)
        made = self._made.get(key)
        if made is None or made[0] != tool:
            self._made[key] = made = (tool, served(connection, tool))
        return made[1]
