"""The connection to one MCP server: a task opens it, keeps it, closes it and opens it again."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal

import anyio
import anyio.to_thread
from mcp import McpError
from mcp.types import METHOD_NOT_FOUND, ErrorData, Tool
from pydantic import ValidationError

from graphs.config.spec.servers import ServerSpec
from graphs.errors import InterlockError
from graphs.redaction import Redaction
from graphs.text import escape_invisible
from graphs.tools.errors import build_redaction, describe_exit, describe_failure
from graphs.tools.http import HttpLink, open_http
from graphs.tools.last_words import find_last_words
from graphs.tools.listing import ToolListing
from graphs.tools.message_limits import Intake
from graphs.tools.session import ConnectionEnd, Session, read_own_version
from graphs.tools.session_loss import SessionLoss, find_session_loss
from graphs.tools.stdio import StdioLink, run_process
from graphs.tools.timing import Timing

logger = logging.getLogger(__name__)

_LONGEST = 400
"""Characters of one line of a server's, or of what went wrong with it."""
_LONGEST_RAW = 100_000
_MOST_NOTES = 60
"""Lines that are looked through for why a program ended: the traces of calls are long."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_CALM_PAUSES = 10
"""So many pauses without a change, and the next one is looked at as soon as the first was."""
_LONGEST_PAUSE = 60.0

ServerState = Literal["starting", "up", "down"]
OpenRemote = Callable[[ServerSpec, Intake], AbstractAsyncContextManager[HttpLink]]
"""Connects to a server that runs elsewhere, for as long as the block lasts."""


class ServerDown(InterlockError):
    """There is no connection now; the text is the reason."""


class ServerConnection:
    """Owns one server's connection. Only `run`, in its one task, opens and closes: the SDK's cancel scopes demand it.

    `on_change` is called, synchronously, whenever the state or the tools have changed. `label` is what the log calls
    it. `parse_lock` is held while a large message of any server is parsed. `open_remote` connects to a server
    that is no program.
    """

    def __init__(
        self,
        name: str,
        spec: ServerSpec,
        *,
        timing: Timing,
        on_change: Callable[[], None],
        parse_lock: asyncio.Lock,
        label: str | None = None,
        open_remote: OpenRemote = open_http,
    ) -> None:
        self.name = name
        self._label = label or name
        self.spec = spec
        self.state: ServerState = "starting"
        self.reason: str | None = None
        self.is_late = False
        """Down because it did not answer in time, but its first greeting may still be answered."""
        self.last_output: str | None = None
        """What its program said last before it ended: for those who run it, not for a model."""
        self.tools: tuple[Tool, ...] = ()
        self.left_out: tuple[str, ...] = ()
        """Why tools that it lists cannot be called, in words."""
        self.remarks: tuple[str, ...] = ()
        """What else there is to say of its tools; nothing is wrong with it."""
        self.unwanted: tuple[str, ...] = ()
        """Names of tools that `include` and `exclude` do not choose: here they are as if it had none of that name."""
        self.unmatched: tuple[str, ...] = ()
        """Patterns under `include` and `exclude` that match none of its tools."""
        self.startup_done = asyncio.Event()
        """Set once the server was up or down."""
        self.slots = asyncio.Semaphore(spec.concurrency)
        self.calls = 0
        """How many are under way, or wait for their turn."""
        self._timing = timing
        self._on_change = on_change
        self._parse_lock = parse_lock
        self._open_remote = open_remote
        self.redaction = Redaction()
        """Blots out what the server was given in confidence."""
        self._version = ""
        self._notes: deque[str] = deque(maxlen=_MOST_NOTES)
        self._session: Session | None = None
        self._opening_scope: anyio.CancelScope | None = None
        self._was_up = False
        self._stop = asyncio.Event()
        self._is_suspect = False
        self._wake = asyncio.Event()
        self._retry = asyncio.Event()
        """Set to end the pause before the next attempt."""
        self._attempt_end = -math.inf
        """When the last attempt ended, by the loop's clock."""
        self._state_event = asyncio.Event()
        self._tasks: set[asyncio.Task[ConnectionEnd]] = set()
        """The connection, and those before it on which calls are still under way."""

    async def run(self) -> None:
        """Keep the server connected until `stop`. The outermost layer of its own task."""
        # Both look into files, which the event loop must not wait for.
        self.redaction = await anyio.to_thread.run_sync(build_redaction, self.spec)
        self._version = await anyio.to_thread.run_sync(read_own_version)
        longest = self._timing.longest_delay
        if self.spec.transport != "stdio":
            longest = min(longest, self._timing.longest_delay_http)
        delay = self._timing.first_delay
        logged: str | None = None
        while not self._stop.is_set():
            began = asyncio.get_running_loop().time()
            self._retry.clear()
            end = await self._connect()
            self._attempt_end = asyncio.get_running_loop().time()
            if self._stop.is_set():
                break
            if self._was_up and self._attempt_end - began >= self._timing.steady:
                delay = self._timing.first_delay
            # A first break is usually mended at once; callers who may repeat a call wait for that.
            soon = self._was_up and (end.is_session_lost or delay == self._timing.first_delay)
            said = f"; it last said: {end.last_output}" if end.last_output else ""
            # A server that stays away would fill the log.
            level = logging.DEBUG if end.reason == logged else logging.WARNING
            logger.log(
                level, "MCP server %s %s: %s%s", self._label, "restarts" if soon else "is down", end.reason, said
            )
            logged = None if soon else end.reason
            self._set_state("starting" if soon else "down", end.reason, end.last_output)
            if self._was_up and end.is_session_lost:
                # The server is there: calls wait for the next session.
                continue
            with anyio.move_on_after(delay * random.uniform(0.75, 1.25)):  # noqa: S311 -- spreads load, guards nothing
                await self._retry.wait()
            delay = min(delay * 2, longest)
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._set_state("down", "is being closed")

    def stop(self) -> None:
        """Have `run` close the connection and return."""
        self._stop.set()
        self._wake.set()
        self._retry.set()
        if self._opening_scope is not None:
            self._opening_scope.cancel()

    def mark_suspect(self) -> None:
        """Have the server pinged, because a call was left without an answer for too long."""
        self._is_suspect = True
        self._wake.set()

    async def get_session(self) -> Session:
        """Return the live session; wait while the server is starting. One that is down is tried again first.

        Raises ServerDown, in words.
        """
        was_tried = False
        while True:
            session = self._session
            if session is not None and not session.closed and session.retirement is None:
                return session
            if self.state == "down":
                if was_tried or not self._try_again():
                    raise ServerDown(self.reason or "is down")
                was_tried = True
                with anyio.move_on_after(self._timing.second_try):
                    await self._state_event.wait()
            else:
                await self._state_event.wait()

    def _try_again(self) -> bool:
        """End the pause before the next attempt; return whether one begins. What was just found out is not asked
        again."""
        waited = asyncio.get_running_loop().time() - self._attempt_end
        if self.is_late or self._stop.is_set() or waited < self._timing.first_delay:
            return False
        self._retry.set()
        return True

    async def find_loss(self, session: Session, refusal: ErrorData) -> SessionLoss | None:
        """Find whether a call was refused because the server lost the session; then another one is opened. None where
        the session lives."""
        return await find_session_loss(session, refusal, self._timing.ping, self._redact, self.mark_suspect)

    async def _connect(self) -> ConnectionEnd:
        """Open one connection, and return how it ended, or why no further call is made on it."""
        retired: asyncio.Future[ConnectionEnd] = asyncio.get_running_loop().create_future()
        # In a task of its own, since its scopes must be left in the task that entered them.
        task = asyncio.create_task(self._connect_once(retired), name=f"mcp server {self._label}: connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({task, retired}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        return retired.result() if retired.done() else task.result()

    async def _connect_once(self, retired: asyncio.Future[ConnectionEnd]) -> ConnectionEnd:
        """Open one connection, keep it until it ends, and return how it ended. `retired` is set before that where
        calls are still under way on it."""
        session: Session | None = None
        end: ConnectionEnd | None = None
        patience = self.spec.timeout
        if self.spec.transport == "stdio":
            patience = max(patience, self._timing.launch)
        self._was_up = self._is_suspect = False
        self._notes.clear()
        self._wake.clear()
        late = asyncio.get_running_loop().call_later(self.spec.timeout, self._report_late)
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + patience) as scope:
                self._opening_scope = scope
                intake = Intake(self._note, self._parse_lock)
                async with self._open_link(intake) as link:
                    session = Session(link.read, link.write, self._wake.set, version=self._version, intake=intake)
                    try:
                        end = await self._converse(session, link, scope, retired)
                    finally:
                        link.read.close()
                        link.write.close()
                    scope.deadline = anyio.current_time() + self._timing.close
        except Exception as error:
            # The outermost layer of this task: whatever a transport raises ends one connection, never the gateway.
            logger.debug("MCP server %s: the connection failed", self._label, exc_info=True)
            end = end or ConnectionEnd(self._redact(describe_failure(error, self.spec)))
        finally:
            late.cancel()
            if not retired.done():
                self._opening_scope = None
                self._session = None
        end = end or ConnectionEnd(f"gave no answer to a greeting within {patience:g} s", find_last_words(self._notes))
        if self.state == "up" and not retired.done():
            self._set_state("starting", end.reason, end.last_output)
        if session is not None:
            session.end.set_result(end)
        return end

    @asynccontextmanager
    async def _open_link(self, intake: Intake) -> AsyncGenerator[StdioLink | HttpLink]:
        if self.spec.transport == "stdio":
            async with run_process(self.spec, intake, grace=self._timing.grace) as started:
                yield started
        else:
            async with self._open_remote(self.spec, intake) as remote:
                yield remote

    async def _converse(
        self,
        session: Session,
        link: StdioLink | HttpLink,
        scope: anyio.CancelScope,
        retired: asyncio.Future[ConnectionEnd],
    ) -> ConnectionEnd:
        async with session:
            try:
                await session.initialize()
                tools = await self._list_tools(session)
            except (McpError, anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
                return (
                    await self._describe_end(link)
                    if session.closed or not isinstance(error, McpError)
                    else ConnectionEnd(self._redact(describe_failure(error, self.spec)))
                )
            scope.deadline = math.inf
            self._opening_scope = None
            self._session = session
            self._was_up = True
            self.tools = tools
            self._set_state("up", None)
            count = f"{len(tools)} {'tool' if len(tools) == 1 else 'tools'}"
            logger.info("MCP server %s is up with %s", self._label, count)
            end = await self._maintain(session, link)
            # Closing takes a while; nobody is to be sent here meanwhile.
            self._session = None
            self._set_state("starting", end.reason, end.last_output)
            if end.is_session_lost and isinstance(link, HttpLink):
                # Other people's calls may still be answered; meanwhile the next connection is opened.
                retired.set_result(end)
                await self._wait_for_calls(session)
            return end

    async def _wait_for_calls(self, session: Session) -> None:
        """Wait until no call is under way; not longer than any may take, nor when everything is being closed."""
        waits = [asyncio.create_task(one.wait()) for one in (session.idle, self._stop)]
        try:
            await asyncio.wait(waits, timeout=self.spec.timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def _maintain(self, session: Session, link: StdioLink | HttpLink) -> ConnectionEnd:
        """Look after a live session until it ends or is to end."""
        interval = math.inf if isinstance(link, StdioLink) else self._timing.check
        relist, pause = 0.0, self._timing.relist
        while True:
            wait = interval
            if session.tools_changed:
                wait = min(interval, max(0.0, relist - anyio.current_time()))
            with anyio.move_on_after(wait) as idle:
                await self._wake.wait()
            self._wake.clear()
            if self._stop.is_set():
                return ConnectionEnd("is being closed")
            if session.closed:
                return await self._describe_end(link)
            if session.retirement is not None:
                return ConnectionEnd(session.retirement, is_session_lost=True)
            with anyio.move_on_after(self._timing.ping) as patience:
                self._opening_scope = patience
                while session.overdue:
                    await session.cancel(session.overdue.pop())
                if self._is_suspect or (idle.cancelled_caught and wait == interval):
                    await self._ping(session)
            if patience.cancelled_caught:
                # Each unanswered look is a request that stays open.
                interval = math.inf
            if patience.cancelled_caught and self._is_suspect:
                return ConnectionEnd(
                    f"hangs: it left a call, and then a ping for {self._timing.ping:g} s, without an answer"
                )
            self._is_suspect = False
            now = anyio.current_time()
            if session.tools_changed and now >= relist:
                session.tools_changed = False
                # One that changes them all the time is asked less and less often.
                pause = self._timing.relist if now - relist > _CALM_PAUSES * pause else min(2 * pause, _LONGEST_PAUSE)
                with anyio.move_on_after(self.spec.timeout) as patience:
                    self._opening_scope = patience
                    await self._refresh(session)
                relist = anyio.current_time() + pause
            self._opening_scope = None

    async def _ping(self, session: Session) -> None:
        try:
            await session.send_ping()
        except ValidationError:
            return
        except McpError as error:
            # A server may not know pings; that it says so shows that it lives.
            if error.error.code != METHOD_NOT_FOUND:
                await self.find_loss(session, error.error)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            session.closed = True
            self._wake.set()

    async def _refresh(self, session: Session) -> None:
        try:
            tools = await self._list_tools(session)
        except (McpError, ValidationError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            words = self._redact(describe_failure(error, self.spec))
            logger.warning("MCP server %s: its changed tools could not be listed: %s", self._label, words)
            return
        if tools == self.tools:
            return
        self.tools = tools
        self._set_state("up", None)
        logger.info("MCP server %s changed its tools: %d now", self._label, len(tools))

    async def _list_tools(self, session: Session) -> tuple[Tool, ...]:
        listing = await session.list_all_tools(ToolListing(self.spec.include, self.spec.exclude))
        left_out = tuple(map(self._redact, listing.list_reasons()))
        if left_out != self.left_out:
            for reason in left_out:
                logger.warning("MCP server %s: %s", self._label, reason)
        self.left_out = left_out
        self.remarks = tuple(map(self._redact, listing.list_remarks()))
        self.unwanted, unmatched = tuple(listing.unwanted), listing.list_unmatched()
        if unmatched and unmatched != self.unmatched:
            shown = ", ".join(map(self._redact, map(repr, unmatched)))
            logger.warning("MCP server %s: no tool matches %s (include, exclude)", self._label, shown)
        self.unmatched = unmatched
        return tuple(listing.tools.values())

    async def _describe_end(self, link: StdioLink | HttpLink) -> ConnectionEnd:
        if isinstance(link, HttpLink):
            return ConnectionEnd("closed the connection")
        with anyio.move_on_after(1):
            await link.process.wait()
            await link.stderr_end.wait()
        status = link.process.returncode
        reason = describe_exit(status)
        if status == 0 and not self._was_up:
            reason += " before it answered a greeting"
        # The last words of one that was killed are about something else.
        return ConnectionEnd(reason, find_last_words(self._notes) if status is not None and status >= 0 else None)

    def _set_state(
        self, state: ServerState, reason: str | None, last_output: str | None = None, *, is_late: bool = False
    ) -> None:
        self.state = state
        self.reason = reason
        self.is_late = is_late
        self.last_output = last_output
        if state != "up":
            self.tools = ()
        if state != "starting":
            self.startup_done.set()
        self._state_event.set()
        self._state_event = asyncio.Event()
        self._on_change()

    def _report_late(self) -> None:
        # It may still be downloading itself, so it is not given up yet; but who waits for it should know.
        if self.state == "starting" and self._session is None:
            reason = f"gave no answer to a greeting within {self.spec.timeout:g} s yet"
            self._set_state("down", reason, is_late=True)

    def _note(self, line: str) -> None:
        line = self._redact(_COLOUR.sub("", line))
        self._notes.append(line)
        logger.debug("MCP server %s says: %s", self._label, line)

    def _redact(self, line: str) -> str:
        return escape_invisible(self.redaction.redact_text(line[:_LONGEST_RAW], _LONGEST))
