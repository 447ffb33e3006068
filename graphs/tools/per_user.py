"""The connections of one `per_user` server: one for each user, opened at first need, closed when idle."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mcp.types import Tool

from graphs.config.templates import ServerTemplate
from graphs.errors import InterlockError
from graphs.policy.rules import Caller
from graphs.tools.connection import ServerConnection, ServerState
from graphs.tools.timing import Timing
from graphs.tools.tool import ServedTool, build_served_tool

logger = logging.getLogger(__name__)

UserKey = tuple[str, str, tuple[str, ...]]
"""A person, the name of their key, and what their values come to in the server's settings: where any of these differs,
nothing is shared."""

NO_VERIFIED_USER = (
    "it is per user, and nobody vouches for who asks: the key speaks for many people, and the name that comes with it "
    "is not signed (INTERLOCK_FORWARDED_JWT_SECRET)"
)


class UserConnectionRefused(InterlockError):
    """This user gets no connection; the text says why."""


@dataclass(eq=False, kw_only=True)
class UserConnection:
    """One user's own connection."""

    verified_user: str
    connection: ServerConnection
    task: asyncio.Task[None]
    last_used: float
    """When it was last needed, by the loop's clock."""
    is_ended: bool = False
    served_tools: dict[str, tuple[Tool, ServedTool]] = field(default_factory=dict[str, tuple[Tool, ServedTool]])
    """By the server's name of the tool: those too that are away just now."""

    def list_tools(self) -> list[ServedTool]:
        """List what can be called now; the same objects for the same tools."""
        found: list[ServedTool] = []
        for tool in self.connection.tools:
            made = self.served_tools.get(tool.name)
            if made is None or made[0] != tool:
                self.served_tools[tool.name] = made = (tool, build_served_tool(self.connection, tool))
            found.append(made[1])
        return found


class UserConnections:
    """All users' connections to one server. `on_change` is called, synchronously, whenever one of them changes."""

    def __init__(
        self,
        name: str,
        template: ServerTemplate,
        *,
        timing: Timing,
        on_change: Callable[[], None],
        parse_lock: asyncio.Lock,
    ) -> None:
        self.name = name
        self.template = template
        self.patience = timing.first_use
        self._spec = template.spec
        self._timing = timing
        self._on_change = on_change
        self._parse_lock = parse_lock
        self._connections: dict[UserKey, UserConnection] = {}
        """Whoever came last stands last."""
        self._closing_tasks: dict[UserKey, asyncio.Task[None]] = {}
        self._holds: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def get_connection(self, caller: Caller, verified_user: str | None) -> UserConnection:
        """Return this user's connection, opened now unless it is open. Raises UserConnectionRefused or UnfitValue."""
        if verified_user is None:
            raise UserConnectionRefused(NO_VERIFIED_USER)
        if self._closed:
            raise UserConnectionRefused("is being closed")
        key = (verified_user, caller.key, self.template.render_values(caller))
        user_connection = self._connections.pop(key, None)
        if user_connection is None:
            self._make_room()
            user_connection = self._open(key)
            self._schedule_idle_check()
        self._connections[key] = user_connection
        user_connection.last_used = asyncio.get_running_loop().time()
        return user_connection

    def hold(self, verified_user: str) -> None:
        """Keep this user's connections open, also while nothing is asked of them, until `release`."""
        self._holds[verified_user] += 1

    def release(self, verified_user: str) -> None:
        """End one `hold`."""
        self._holds[verified_user] -= 1
        if not self._holds[verified_user]:
            del self._holds[verified_user]
            now = asyncio.get_running_loop().time()
            for user_connection in self._connections.values():
                if user_connection.verified_user == verified_user:
                    user_connection.last_used = now

    def get_status(self) -> tuple[ServerState, str]:
        """Return the server's state for those who use it now, and in words how many they are.

        No connection is no sign of trouble: one opens when somebody needs it.
        """
        connections = [user_connection.connection for user_connection in self._connections.values()]
        up = sum(connection.state == "up" for connection in connections)
        if connections and all(connection.state == "down" for connection in connections):
            # Why, may be about one user alone: that is for the log, not for whoever reads this.
            return "down", f"none of the own connections of {len(connections)} users is up; the log says why"
        words = "each user has a connection of their own, opened when they first need it"
        return "up", f"{words}; {up} {'is' if up == 1 else 'are'} up now"

    async def close(self) -> None:
        """End all connections; returns once their processes are gone."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for key in list(self._connections):
            self._end(key)
        while self._closing_tasks:
            await asyncio.wait(list(self._closing_tasks.values()))

    def _open(self, key: UserKey) -> UserConnection:
        person, _, values = key
        # Whose it is must be told apart in the log, and who that is does not belong there.
        label = f"{self.name} of user {hashlib.sha256(person.encode()).hexdigest()[:8]}"
        spec = self.template.fill(values)
        connection = ServerConnection(
            self.name, spec, timing=self._timing, on_change=self._on_change, parse_lock=self._parse_lock, label=label
        )
        task = asyncio.create_task(self._run(connection, self._closing_tasks.get(key)), name=f"mcp server {label}")
        return UserConnection(verified_user=person, connection=connection, task=task, last_used=0.0)

    async def _run(self, connection: ServerConnection, before: asyncio.Task[None] | None) -> None:
        # A user never has two processes, not even while the first is ending.
        if before is not None:
            await asyncio.wait([before])
        await connection.run()

    def _end(self, key: UserKey) -> None:
        user_connection = self._connections.pop(key)
        user_connection.is_ended = True
        user_connection.connection.stop()
        self._closing_tasks[key] = user_connection.task
        user_connection.task.add_done_callback(lambda task: self._forget(key, task))

    def _forget(self, key: UserKey, task: asyncio.Task[None]) -> None:
        if self._closing_tasks.get(key) is task:
            del self._closing_tasks[key]
        self._on_change()

    def _make_room(self) -> None:
        """End the connection that was idle for longest, if there are too many. Raises UserConnectionRefused."""
        if len(self._connections) < self._spec.max_users:
            return
        idle = next(
            (key for key, user_connection in self._connections.items() if not self._is_busy(user_connection)), None
        )
        if idle is None:
            raise UserConnectionRefused(
                f"it is busy with as many users as it takes at once ({self._spec.max_users}); try again later"
            )
        self._end(idle)

    def _is_busy(self, user_connection: UserConnection) -> bool:
        return bool(self._holds.get(user_connection.verified_user)) or user_connection.connection.calls > 0

    def _schedule_idle_check(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._spec.idle, self._end_idle)

    def _end_idle(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for key, user_connection in list(self._connections.items()):
            if self._is_busy(user_connection):
                user_connection.last_used = now
            elif now - user_connection.last_used >= self._spec.idle:
                self._end(key)
        if self._connections:
            oldest = min(user_connection.last_used for user_connection in self._connections.values())
            self._timer = loop.call_later(max(0.01, oldest + self._spec.idle - now), self._end_idle)
