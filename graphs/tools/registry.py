"""The tool registry: all MCP servers, one connection each, and the tools that can be called now."""

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
from graphs.config.templates import ServerTemplate
from graphs.policy.rules import Caller
from graphs.tools.connection import ServerConnection, ServerState
from graphs.tools.names import may_belong_to_server, parse_model_name
from graphs.tools.per_user import UserConnections
from graphs.tools.shared import SharedConnections
from graphs.tools.timing import Timing
from graphs.tools.tool import ServedTool, build_served_tool
from graphs.tools.toolset import CallerTools, Toolset

logger = logging.getLogger(__name__)

_MOST_CALLERS = 1_000
"""Callers whose tools are remembered; another's are put together anew from connections that stay."""


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """The status of one server."""

    status: ServerState
    reason: str | None
    """In words, while it is not up; of one that is per user, always."""
    is_late: bool
    """Down because it did not answer in time; it may still come up at its first attempt."""
    last_output: str | None
    """The last line of a program that ended badly: for its operator alone, since nobody knows what it may hold."""
    tools: tuple[str, ...]
    """What it serves now, by its own names; nothing where each user may be shown others."""
    left_out: tuple[str, ...]
    """Why tools that it lists cannot be called, in words."""
    remarks: tuple[str, ...] = ()
    """What else there is to say of its tools, while it is up; nothing is wrong with it."""
    unwanted: tuple[str, ...] = ()
    """Names of tools that `include` and `exclude` in its entry do not choose, while it is up."""
    unmatched: tuple[str, ...] = ()
    """Patterns in these that match none of its tools, while it is up."""


class ToolRegistry:
    """The tools of a set of MCP servers. One server's failure leaves the others alone.

    Registries that are made with the same `connections` share those to servers whose entries are equal. `templates` has
    an entry for every server that is `per_user`: its tools are in a caller's `get_toolset`.
    """

    def __init__(
        self,
        servers: Mapping[str, ServerSpec],
        templates: Mapping[str, ServerTemplate] = MappingProxyType({}),
        *,
        timing: Timing | None = None,
        connections: SharedConnections | None = None,
    ) -> None:
        self.servers: Mapping[str, ServerSpec] = MappingProxyType(dict(servers))
        self.version = 0
        """Grows whenever the set of tools, or a tool, changes."""
        self.tools: Mapping[str, ServedTool] = MappingProxyType({})
        """What can be called now, by the model's name, in the order of people's names."""
        self.troubles: Mapping[str, str] = MappingProxyType({})
        """None: what is wrong with a server that all share, is wrong for all."""
        self.templates = MappingProxyType(dict(templates))
        self._shared = connections or SharedConnections(timing)
        self._connections: dict[str, ServerConnection] = {}
        self._user_connections: dict[str, UserConnections] = {}
        self._caller_tools: OrderedDict[tuple[str | None, Caller], CallerTools] = OrderedDict()
        self._served_tools: dict[tuple[str, str], tuple[Tool, ServedTool]] = {}
        self._started = False
        self._close_future: asyncio.Future[list[None]] | None = None

    async def start(self) -> None:
        """Begin to connect to every server, all at once; returns without waiting for any."""
        if self._started:
            raise RuntimeError("a tool registry is started once")
        self._started = True
        self._connections = {
            name: self._shared.take(name, spec, self._gather)
            for name, spec in self.servers.items()
            if not spec.per_user
        }
        self._user_connections = {
            name: self._shared.take_users(name, template, self) for name, template in self.templates.items()
        }
        self._gather()

    async def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until every server was up or down once; false if `timeout` seconds were not enough."""
        if not self._started:
            return False
        try:
            async with asyncio.timeout(timeout):
                for connection in self._connections.values():
                    await connection.startup_done.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End every connection that only this registry has, with its process; calls under way there get an error
        result. May be called again."""
        if self._close_future is None:
            ends: list[Coroutine[None, None, None]] = [
                self._shared.give_back(one, self._gather) for one in self._connections.values()
            ]
            ends += [self._shared.give_back_users(users, self) for users in self._user_connections.values()]
            self._close_future = asyncio.gather(*ends)
        await asyncio.shield(self._close_future)
        self.tools = MappingProxyType({})

    def find_by_people_name(self, name: str) -> ServedTool | None:
        """Find the tool `server/tool`, if it can be called now."""
        server, _, tool = name.partition("/")
        made = self._served_tools.get((server, tool))
        return self.tools.get(made[1].model_name) if made is not None else None

    def find(self, model_name: str) -> ServedTool | None:
        """Find the tool of that name, also while its server is away: a call then waits a little, or says why."""
        if model_name in self.tools:
            return self.tools[model_name]
        return next((one for _, one in self._served_tools.values() if one.model_name == model_name), None)

    def get_toolset(self, caller: Caller, verified_user: str | None) -> Toolset:
        """Return what this caller can call. `verified_user`: who that is; None where nobody vouches for it."""
        if not self._user_connections:
            return self
        view = self._caller_tools.get((verified_user, caller))
        if view is None:
            view = CallerTools(self, self._user_connections, caller, verified_user)
            if len(self._caller_tools) >= _MOST_CALLERS:
                self._caller_tools.popitem(last=False)
        self._caller_tools[verified_user, caller] = view
        self._caller_tools.move_to_end((verified_user, caller))
        return view

    async def open(self, servers: Iterable[str]) -> None:
        """Do nothing: all connections here are shared, and kept open."""

    @contextmanager
    def hold_open(self, verified_user: str | None) -> Generator[None]:
        """Keep this user's own connections open while the block lasts: a turn may think longer than they may idle."""
        if verified_user is None:
            yield
            return
        held = list(self._user_connections.values())
        for users in held:
            users.hold(verified_user)
        try:
            yield
        finally:
            for users in held:
                users.release(verified_user)

    def is_taken(self, model_name: str, may_see: Callable[[str, str], bool], may_reach: Callable[[str], bool]) -> bool:
        """Whether a tool that runs here has this name, or may have it for some user: of the tools that a caller
        `may_see` (server, tool), and of the servers with a connection for each user that it `may_reach`."""
        served = self.find(model_name)
        if served is not None and may_see(served.server, served.name):
            return True
        return any(may_belong_to_server(model_name, name) and may_reach(name) for name in self._user_connections)

    def get_people_name(self, model_name: str) -> str:
        """Return `server/tool` for a model's name of a tool, as far as it is known without the caller."""
        known = self.find(model_name)
        return known.people_name if known else parse_model_name(model_name, self._user_connections) or model_name

    def get_status(self) -> Mapping[str, ServerStatus]:
        """Return the status of every server, by name."""
        return {
            name: ServerStatus(
                status=connection.state,
                reason=connection.reason,
                is_late=connection.is_late,
                last_output=connection.last_output if connection.reason is not None else None,
                tools=tuple(sorted(tool.name for tool in connection.tools)),
                left_out=connection.left_out,
                remarks=connection.remarks if connection.state == "up" else (),
                unwanted=connection.unwanted if connection.state == "up" else (),
                unmatched=connection.unmatched if connection.state == "up" else (),
            )
            for name, connection in self._connections.items()
        } | {
            name: ServerStatus(status=state, reason=reason, is_late=False, last_output=None, tools=(), left_out=())
            for name, users in self._user_connections.items()
            for state, reason in [users.get_status()]
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

    def _serve(self, connection: ServerConnection, tool: Tool) -> ServedTool:
        """Return the same object for the same tool, so that what is made from it outlives a reconnection."""
        key = (connection.name, tool.name)
        made = self._served_tools.get(key)
        if made is None or made[0] != tool:
            self._served_tools[key] = made = (tool, build_served_tool(connection, tool))
        return made[1]
