"""The SDK's client session, made safe for callers that leave and for connections that end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import ClientSession, McpError
from mcp.shared.message import SessionMessage
from mcp.shared.session import ProgressFnT
from mcp.shared.version import SUPPORTED_PROTOCOL_VERSIONS
from mcp.types import (
    CONNECTION_CLOSED,
    LATEST_PROTOCOL_VERSION,
    METHOD_NOT_FOUND,
    CallToolRequest,
    CallToolRequestParams,
    CancelledNotification,
    CancelledNotificationParams,
    ClientCapabilities,
    ClientNotification,
    ClientRequest,
    ErrorData,
    Implementation,
    InitializedNotification,
    InitializeRequest,
    InitializeRequestParams,
    InitializeResult,
    JSONRPCError,
    JSONRPCResponse,
    ListToolsRequest,
    PaginatedRequestParams,
    PingRequest,
    RequestParams,
    ServerCapabilities,
)
from pydantic import BaseModel, BeforeValidator, ValidationError

from graphs.errors import InterlockError
from graphs.telemetry.tracing import build_rpc_trace_context
from graphs.text import escape_invisible
from graphs.tools.http_failures import HttpFailure
from graphs.tools.listing import MOST_PAGES, ToolListing
from graphs.tools.message_forms import NO_GREETING
from graphs.tools.message_limits import Intake, TokenBucket

_PROGRESS_A_SECOND = 4
_FIRST_PROGRESS = 20
"""How many notes of progress go through at once: a person reads none of those that come faster."""
_LONGEST_VERSION = 40
_LONGEST_PROGRESS = 300
"""Characters of what a server says about its progress."""
_GRACE = 0.5
"""Seconds between a caller's leaving and telling the server. An answer that is just being sent may come meanwhile:
the official Python SDK's server ends altogether when it is told to cancel what it is about to answer."""

ProgressListener = Callable[[str], None]

_progress_listener: ContextVar[ProgressListener | None] = ContextVar("progress", default=None)


def _list_blocks(value: Any) -> Any:
    """List what stands where blocks should: nothing, a text, or one block alone."""
    if value is None:
        return []
    return [value] if isinstance(value, str | dict) else value


def _take_mapping(value: Any) -> Any:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


class RawResult(BaseModel):
    """A tool's answer before its blocks are read: one unknown block must not cost the whole answer."""

    content: Annotated[list[Any], BeforeValidator(_list_blocks)] = []
    structuredContent: object = None
    isError: Annotated[bool, BeforeValidator(lambda value: False if value is None else value)] = False


class RawTools(BaseModel):
    """One page of tools before each is read: one malformed tool must not cost the others."""

    tools: Annotated[list[Any], BeforeValidator(lambda value: [] if value is None else value)] = []
    nextCursor: str | None = None


class _Anything(BaseModel):
    """A result whose content nobody reads."""


class _RawGreeting(BaseModel):
    """What matters of a server's answer to `initialize`."""

    protocolVersion: str
    capabilities: Annotated[dict[str, Any], BeforeValidator(_take_mapping)] = {}


class BadGreeting(InterlockError):
    """A server's answer to `initialize` is none; the text says what it did."""


@dataclass(frozen=True)
class ConnectionEnd:
    """How a connection ended, in words."""

    reason: str
    last_output: str | None = None
    """What its program said last, for those who run it."""
    is_session_lost: bool = False
    """Whether the server is there, but does not know the session any more."""


class ConnectionLost(Exception):
    """The connection ended before the answer came; `sent` is false if the server cannot have run the call."""

    def __init__(self, request_id: int, *, sent: bool) -> None:
        super().__init__(f"request {request_id}, {'sent' if sent else 'not sent'}")
        self.request_id = request_id
        self.was_sent = sent


class Session(ClientSession):
    """One session on one connection. `wake` is called whenever its owner has something to look at.

    `closed` is set once the connection has ended. Every request under way fails with CONNECTION_CLOSED, some before
    that.
    """

    def __init__(
        self,
        read: MemoryObjectReceiveStream[SessionMessage | Exception],
        write: MemoryObjectSendStream[SessionMessage],
        wake: Callable[[], None],
        *,
        version: str,
        intake: Intake,
    ) -> None:
        info = Implementation(name="interlock", version=version)
        super().__init__(read, write, message_handler=_ignore, client_info=info)
        self.closed = False
        self.tools_changed = False
        self.retirement: str | None = None
        """Why no further call is to be made here; those under way may end."""
        self.loss: ErrorData | None = None
        """The refusal that showed that the server lost the session."""
        self.has_tools = True
        """Whether the server says that it has tools."""
        self.idle = asyncio.Event()
        """Set while no call is under way."""
        self.idle.set()
        self._calls = 0
        self.overdue: list[int] = []
        """Requests whose callers left and that are still not answered; the server should be told."""
        self.end: asyncio.Future[ConnectionEnd] = asyncio.get_running_loop().create_future()
        """How the connection ended; set by its owner."""
        self._wake = wake
        self._intake = intake
        intake.on_tools_changed = self._note_change
        intake.on_failure = self._fail
        self._abandoned: dict[int | str, asyncio.TimerHandle] = {}
        self._closed_by_server: set[int | str] = set()
        """Requests that the server itself refused with the code by which the SDK says that the connection ended."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> RawResult:
        """Call a tool in the caller's own task, which may be cancelled at any time.

        Raises ConnectionLost when the connection ends first, McpError when the server refuses or HTTP has no answer,
        ValidationError for an answer that is none. The answer is not held against the tool's output schema: the model
        gets what the server said.
        """
        with self._count_call():
            return await self._call(tool, arguments)

    @contextmanager
    def _count_call(self) -> Generator[None]:
        self._calls += 1
        self.idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self.idle.set()

    async def _call(self, tool: str, arguments: dict[str, Any]) -> RawResult:
        request_id = self._request_id
        carried = build_rpc_trace_context(request_id)
        meta = RequestParams.Meta.model_validate(carried) if carried else None
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments, _meta=meta))
        try:
            return await self.send_request(
                ClientRequest(request), RawResult, progress_callback=_make_progress_callback()
            )
        except asyncio.CancelledError:
            if not self.closed:
                later = asyncio.get_running_loop().call_later(_GRACE, self._give_up, request_id)
                self._abandoned[request_id] = later
            raise
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self.closed = True
            self._wake()
            raise ConnectionLost(request_id, sent=False) from error
        except anyio.EndOfStream as error:
            raise ConnectionLost(request_id, sent=True) from error
        except McpError as error:
            if error.error.code == CONNECTION_CLOSED and request_id not in self._closed_by_server:
                raise ConnectionLost(request_id, sent=True) from error
            self._closed_by_server.discard(request_id)
            raise

    async def initialize(self) -> InitializeResult:
        """Open the session. Raises McpError, and BadGreeting for an answer that is none."""
        request = InitializeRequest(
            params=InitializeRequestParams(
                protocolVersion=LATEST_PROTOCOL_VERSION, capabilities=ClientCapabilities(), clientInfo=self._client_info
            )
        )
        try:
            greeting = await self.send_request(ClientRequest(request), _RawGreeting)
        except ValidationError as error:
            raise BadGreeting(NO_GREETING) from error
        if greeting.protocolVersion not in SUPPORTED_PROTOCOL_VERSIONS:
            version = escape_invisible(greeting.protocolVersion[:_LONGEST_VERSION])
            raise BadGreeting(
                f"speaks version {version!r} of MCP; spoken here are {', '.join(SUPPORTED_PROTOCOL_VERSIONS)}"
            )
        self.has_tools = greeting.capabilities.get("tools") is not None
        await self.send_notification(ClientNotification(InitializedNotification()))
        return InitializeResult(
            protocolVersion=greeting.protocolVersion,
            capabilities=ServerCapabilities(),
            serverInfo=Implementation(name="", version=""),
        )

    def retire(self, reason: str, loss: ErrorData) -> None:
        """Have another session opened in place of this one, whose calls under way may end."""
        if self.retirement is None:
            self.retirement, self.loss = reason, loss
            self._wake()

    async def look(self) -> ErrorData | None:
        """Ask for what the server answered when the session was opened, and return its refusal; None if it still
        answers, or the connection has ended. Runs nothing there."""
        request = ListToolsRequest() if self.has_tools else PingRequest()
        with self._count_call():
            try:
                await self.send_request(ClientRequest(request), _Anything)
            except McpError as error:
                is_answer = error.error.code == METHOD_NOT_FOUND and not self.has_tools
                return None if is_answer or self.closed else error.error
            except (ValidationError, anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream):
                return None
        return None

    async def list_all_tools(self, listing: ToolListing) -> ToolListing:
        """Add all pages of the server's tools to `listing`, up to a bound, and return it."""
        cursors: set[str] = set()
        cursor: str | None = None
        if not self.has_tools:
            listing.remark(
                "it says that it offers no tools: there is no 'tools' among the 'capabilities' that it greets with"
            )
            return listing
        for _ in range(MOST_PAGES):
            request = ListToolsRequest(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
            page = await self.send_request(ClientRequest(request), RawTools)
            for raw in page.tools:
                listing.add(raw)
            cursor = page.nextCursor
            if not cursor or listing.is_full:
                return listing
            if cursor in cursors:
                listing.note("its list of tools goes round in circles: a page names itself as the next one")
                return listing
            cursors.add(cursor)
        listing.note(f"its list of tools has more than {MOST_PAGES} pages; the rest is not asked for")
        return listing

    async def cancel(self, request_id: int) -> None:
        """Tell the server that nobody waits for this answer any more."""
        params = CancelledNotificationParams(requestId=request_id, reason="the caller left")
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await self.send_notification(ClientNotification(CancelledNotification(params=params)))

    async def _receive_loop(self) -> None:
        try:
            await super()._receive_loop()
        finally:
            self.closed = True
            for later in self._abandoned.values():
                later.cancel()
            # Where the loop was cancelled, as it is when an HTTP request fails, the SDK leaves callers waiting.
            for request_id, stream in self._response_streams.items():
                error = ErrorData(code=CONNECTION_CLOSED, message="Connection closed")
                with suppress(anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
                    stream.send_nowait(JSONRPCError(jsonrpc="2.0", id=request_id, error=error))
            self._wake()

    def _fail(self, request_id: int, failure: HttpFailure) -> None:
        stream = self._response_streams.pop(request_id, None)
        later = self._abandoned.pop(request_id, None)
        if later is not None:
            later.cancel()
        if stream is not None:
            with suppress(anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
                stream.send_nowait(JSONRPCError(jsonrpc="2.0", id=request_id, error=failure.build_error()))

    def _give_up(self, request_id: int) -> None:
        del self._abandoned[request_id]
        self.overdue.append(request_id)
        self._wake()

    async def _handle_response(self, message: SessionMessage) -> None:
        # Without the SDK's pause between finding the caller and answering it: a caller that leaves in that moment
        # would end the whole receive loop.
        answer = message.message.root
        if not isinstance(answer, JSONRPCResponse | JSONRPCError):
            return
        request_id = self._normalize_request_id(answer.id)
        later = self._abandoned.pop(request_id, None)
        if later is not None:
            later.cancel()
        stream = self._response_streams.pop(request_id, None)
        if isinstance(answer, JSONRPCResponse):
            answer.result = self._intake.restore(answer.result)
        if stream is not None:
            if isinstance(answer, JSONRPCError) and answer.error.code == CONNECTION_CLOSED:
                self._closed_by_server.add(request_id)
            with suppress(anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
                stream.send_nowait(answer)

    def _note_change(self) -> None:
        if not self.tools_changed:
            self.tools_changed = True
            self._wake()


async def _ignore(message: object) -> None:
    """Do nothing: what the SDK does with messages that it has handled would only take time."""


def read_own_version() -> str:
    """Read the version that servers are told, from files."""
    try:
        return version("interlock")
    except PackageNotFoundError:
        return "0"


@contextmanager
def listen_to_progress(listener: ProgressListener) -> Generator[None]:
    """Pass the progress of the calls made inside the block to `listener`, one line at a time."""
    token = _progress_listener.set(listener)
    try:
        yield
    finally:
        _progress_listener.reset(token)


def _make_progress_callback() -> ProgressFnT | None:
    """Build what passes the current call's progress on; None where nobody listens, so that the server is not asked for
    any."""
    listener = _progress_listener.get()
    if listener is None:
        return None
    pace = TokenBucket(_PROGRESS_A_SECOND, _FIRST_PROGRESS)

    async def pass_on(progress: float, total: float | None, message: str | None) -> None:
        if pace.try_spend():
            listener(_format_progress(progress, total, message))

    return pass_on


def _format_progress(progress: float, total: float | None, message: str | None) -> str:
    """A progress notification (MCP 2025-11-25, "Progress") as one line."""
    amount = f"{progress:g}" if total is None else f"{progress:g} of {total:g}"
    if not message:
        return amount
    shown = message if len(message) <= _LONGEST_PROGRESS else f"{message[:_LONGEST_PROGRESS]}…"
    return f"{escape_invisible(shown)} ({amount})"
