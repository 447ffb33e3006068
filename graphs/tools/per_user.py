"""The connections of one `per_user` server: one for each user, opened when they first need it, closed when idle."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mcp.types import Tool

from graphs.config.templates import Filling
from graphs.errors import InterlockError
from graphs.policy.rules import Caller
from graphs.tools.connection import Connection, State, Timing
from graphs.tools.tool import ServedTool, served

logger = logging.getLogger(__name__)

Key = tuple[str, str, tuple[str, ...]]
"""A person, the name of their key, and what their values come to in the server's settings: where any of these differs,
nothing is shared."""

NOBODY = (
    "it is per user, and nobody vouches for who asks: the key speaks for many people, and the name that comes with it "
    "is not signed (INTERLOCK_FORWARDED_JWT_SECRET)"
)


class Refused(InterlockError):
    """There is no connection for this user; the text says why."""


@dataclass(eq=False, kw_only=True)
class Seat:
    """One user's own connection."""

    person: str
    connection: Connection
    task: asyncio.Task[None]
    used: float
    """When it was last needed, by the loop's clock."""
    ended: bool = False
    made: dict[str, tuple[Tool, ServedTool]] = field(default_factory=dict[str, tuple[Tool, ServedTool]])
    """By the server's name of the tool: those too that are away just now."""

    def tools(self) -> list[ServedTool]:
        """What can be called now; the same objects for the same tools."""
        found: list[ServedTool] = []
        for tool in self.connection.tools:
            made = self.made.get(tool.name)
            if made is None or made[0] != tool:
                self.made[tool.name] = made = (tool, served(self.connection, tool))
            found.append(made[1])
        return found


class Users:
    """Everybody's connections to one server. `changed` is called, synchronously, whenever one of them changes."""

    def __init__(
        self, name: str, filling: Filling, *, timing: Timing, changed: Callable[[], None], parsing: asyncio.Lock
    ) -> None:
        self.name = name
        self.filling = filling
        self.patience = timing.first_use
        self._spec = filling.spec
        self._timing = timing
        self._changed = changed
        self._parsing = parsing
        self._seats: dict[Key, Seat] = {}
        """Whoever came last stands last."""
        self._ending: dict[Key, asyncio.Task[None]] = {}
        self._held: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def seat(self, caller: Caller, person: str | None) -> Seat:
        """This user's connection, opened now unless it is open. Raises Refused or Unfit."""
        if person is None:
            raise Refused(NOBODY)
        if self._closed:
            raise Refused("is being closed")
        key = (person, caller.key, self.filling.values(caller))
        seat = self._seats.pop(key, None)
        if seat is None:
            self._make_room()
            seat = self._open(key)
            self._look_again()
        self._seats[key] = seat
        seat.used = asyncio.get_running_loop().time()
        return seat

    def hold(self, person: str) -> None:
        """Keep this user's connections open, also while nothing is asked of them, until `release`."""
        self._held[person] += 1

    def release(self, person: str) -> None:
        """The end of one `hold`."""
        self._held[person] -= 1
        if not self._held[person]:
            del self._held[person]
            now = asyncio.get_running_loop().time()
            for seat in self._seats.values():
                if seat.person == person:
                    seat.used = now

    def status(self) -> tuple[State, str]:
        """How the server is for those who use it now, and in words how many they are.

        Nobody's connection is no sign of trouble: it opens when somebody needs it.
        """
        connections = [seat.connection for seat in self._seats.values()]
        up = sum(connection.state == "up" for connection in connections)
        if connections and all(connection.state == "down" for connection in connections):
            # Why, may be about one user alone: that is for the log, not for whoever reads this.
            return "down", f"none of the own connections of {len(connections)} users is up; the log says why"
        words = "each user has a connection of their own, opened when they first need it"
        return "up", f"{words}; {up} {'is' if up == 1 else 'are'} up now"

    async def close(self) -> None:
        """End them all; returns once their processes are gone."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for key in list(self._seats):
            self._end(key)
        while self._ending:
            await asyncio.wait(list(self._ending.values()))

    def _open(self, key: Key) -> Seat:
        person, _, values = key
        # Whose it is must be told apart in the log, and who that is does not belong there.
        label = f"{self.name} of user {hashlib.sha256(person.encode()).hexdigest()[:8]}"
        spec = self.filling.filled(values)
        connection = Connection(
            self.name, spec, timing=self._timing, changed=self._changed, parsing=self._parsing, label=label
        )
        task = asyncio.create_task(self._run(connection, self._ending.get(key)), name=f"mcp server {label}")
        return Seat(person=person, connection=connection, task=task, used=0.0)

    async def _run(self, connection: Connection, before: asyncio.Task[None] | None) -> None:
        # A user never has two processes, not even while the first is ending.
        if before is not None:
            await asyncio.wait([before])
        await connection.run()

    def _end(self, key: Key) -> None:
        seat = self._seats.pop(key)
        seat.ended = True
        seat.connection.stop()
        self._ending[key] = seat.task
        seat.task.add_done_callback(lambda task: self._forget(key, task))

    def _forget(self, key: Key, task: asyncio.Task[None]) -> None:
        if self._ending.get(key) is task:
            del self._ending[key]
        self._changed()

    def _make_room(self) -> None:
        """Ends the connection that was not needed for longest, if there are too many. Raises Refused."""
        if len(self._seats) < self._spec.max_users:
            return
        idle = next((key for key, seat in self._seats.items() if not self._busy(seat)), None)
        if idle is None:
            raise Refused(
                f"it is busy with as many users as it takes at once ({self._spec.max_users}); try again later"
            )
        self._end(idle)

    def _busy(self, seat: Seat) -> bool:
        return bool(self._held.get(seat.person)) or seat.connection.calls > 0

    def _look_again(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._spec.idle, self._end_idle)

    def _end_idle(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for key, seat in list(self._seats.items()):
            if self._busy(seat):
                seat.used = now
            elif now - seat.used >= self._spec.idle:
                self._end(key)
        if self._seats:
            oldest = min(seat.used for seat in self._seats.values())
            self._timer = loop.call_later(max(0.01, oldest + self._spec.idle - now), self._end_idle)
