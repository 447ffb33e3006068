"""Limits of answers over HTTP, before the SDK reads them: size, shape, pace and time.

The SDK's clients (streamable HTTP, HTTP+SSE) take an answer of any size, parse it four times, and leave the caller
waiting when they cannot. Here an answer that is not taken becomes a JSON-RPC error for the call that waits for it, so
that the connection and its other calls go on.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import httpx
from pydantic_core import from_json, to_json

from graphs.tools.message_limits import (
    LARGEST_MESSAGE,
    LARGEST_REQUEST,
    UNFIT_CODE,
    Intake,
    MessageBuffer,
    UnfitMessage,
    UnsolicitedMessage,
)

ENCODINGS = "gzip, deflate"
"""What is asked for, and decoded here: httpx would decompress a chunk of any ratio at one go."""

_SLICE = 65_536
"""Bytes that are decompressed at a time."""
_LARGEST_OTHER = 2**20
"""Bytes of an answer that nobody reads, such as an error's page."""
_LONGEST_WAIT = 4 * LARGEST_MESSAGE
"""Bytes of one message that are thrown away before the stream is given up."""
_LONGEST_ID = 1_024
_LONGEST_ENDPOINT = 8_192
_RETRY_RANGE = (1_000, 60_000)
"""Milliseconds that a server may have us wait before we take up a stream again."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """Passes `inner`'s answers on within limits. `patience`: seconds that the answer to a request may take in all,
    which is longer than anybody waits for it."""

    def __init__(self, inner: httpx.AsyncBaseTransport, intake: Intake, *, patience: float) -> None:
        self._inner = inner
        self._intake = intake
        self._patience = patience

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request (see httpx). Raises httpx's errors."""
        asked = _Exchange.from_request(request, self._intake, self._patience)
        limit = asyncio.timeout_at(asked.deadline)
        try:
            async with limit:
                response = await self._inner.handle_async_request(request)
                return await self._limit_response(request, response, asked)
        except TimeoutError:
            if not limit.expired() or asked.id is None:
                raise
            return _replace_content(None, request, asked.refuse(f"gave no whole answer within {self._patience:g} s"))
        except httpx.RemoteProtocolError as error:
            if asked.id is None:
                raise
            return _replace_content(None, request, asked.refuse(str(error)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _limit_response(
        self, request: httpx.Request, response: httpx.Response, exchange: _Exchange
    ) -> httpx.Response:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        answered = response.is_success and response.status_code != 202
        if exchange.id is not None and not exchange.is_initialize and _is_cross_origin(response, request):
            await response.aclose()
            return _replace_content(
                None, request, exchange.refuse("sent the call on to another address, which is not followed")
            )
        if answered and kind == "text/event-stream":
            return _replace_stream(response, request, _EventStream(response, self._intake, exchange))
        if exchange.id is None or not answered:
            return _replace_stream(response, request, _TruncatedStream(response, self._intake))
        try:
            content = await self._read_json(response, kind)
            content = exchange.accept(await self._intake.examine(content, awaited=True), content)
        except UnfitMessage as unfit:
            content = exchange.refuse(str(unfit))
        finally:
            await response.aclose()
        return _replace_content(response, request, content)

    async def _read_json(self, response: httpx.Response, kind: str) -> bytes:
        if kind != "application/json":
            raise UnfitMessage(f"answered with {kind[:100] or 'an answer of no type'}, which MCP does not know")
        with self._intake.open_buffer() as buffer:
            async with aclosing(_decode(response, self._intake)) as pieces:
                async for piece in pieces:
                    buffer.add(piece)
                    if buffer.excess is not None:
                        break
            return buffer.take()


@dataclass
class _Exchange:
    """What a request asked for. `id`: of the JSON-RPC request that waits for an answer in it."""

    intake: Intake
    id: int | None = None
    is_initialize: bool = False
    """Whether it opens the session."""
    start_time: float | None = None
    deadline: float | None = None

    @classmethod
    def from_request(cls, request: httpx.Request, intake: Intake, patience: float) -> _Exchange:
        now = asyncio.get_running_loop().time()
        if request.method == "GET":
            resumed = request.headers.get("last-event-id")
            began = intake.find_event_start(resumed.encode()) if resumed is not None else None
            if began is not None and now > began + patience:
                # The SDK would take up such a stream again for as long as the server likes.
                raise httpx.ReadError("nobody waits for this answer any more", request=request)
            return cls(intake, start_time=began)
        if request.method != "POST":
            return cls(intake, deadline=now + patience)
        message = from_json(request.content)
        request_id = message.get("id") if "method" in message else None
        greeting = message.get("method") == "initialize"
        return cls(intake, request_id, greeting, now, now + patience)

    def accept(self, message: dict[str, Any] | None, data: bytes) -> bytes:
        """Return the message for the SDK. Raises UnfitMessage for an answer to something else."""
        if message is None:
            raise UnfitMessage("answered with a notification")
        if "method" in message:
            return data
        if self.id is not None and str(message["id"]) != str(self.id):
            raise UnfitMessage("answered another request than it was asked")
        result = cast("dict[str, Any] | None", message.get("result"))
        if result is None or (len(data) <= LARGEST_REQUEST and not self.is_initialize):
            return data
        if not self.is_initialize:
            return to_json({**message, "result": self.intake.store(result, len(data))})
        # Nobody reads the instructions, and the SDK parses and logs this answer in its own way.
        result.pop("instructions", None)
        data = to_json(message)
        if len(data) > LARGEST_REQUEST:
            raise UnfitMessage(f"introduced itself with more than {LARGEST_REQUEST // 2**10} KiB")
        return data

    def refuse(self, reason: str) -> bytes:
        """Build the error that the caller gets in place of an answer."""
        return build_refusal(self.id, reason)


def build_refusal(request_id: int | None, reason: str) -> bytes:
    """Build a JSON-RPC error for a request whose answer is not taken."""
    return to_json({"jsonrpc": "2.0", "id": request_id, "error": {"code": UNFIT_CODE, "message": reason}})


class _TruncatedStream(httpx.AsyncByteStream):
    """The beginning of a body that nobody needs."""

    def __init__(self, response: httpx.Response, intake: Intake) -> None:
        self._response = response
        self._intake = intake

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        left = _LARGEST_OTHER
        async with aclosing(_decode(self._response, self._intake)) as pieces:
            async for piece in pieces:
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    return

    async def aclose(self) -> None:
        await self._response.aclose()


@dataclass(frozen=True)
class _Event:
    name: bytes
    id: bytes | None
    retry: int | None
    data: bytes

    def encode(self) -> bytes:
        """Encode the event for the SDK."""
        lines = [b"event: " + self.name]
        if self.id is not None:
            lines.append(b"id: " + self.id)
        if self.retry is not None:
            lines.append(b"retry: %d" % min(max(self.retry, _RETRY_RANGE[0]), _RETRY_RANGE[1]))
        lines += [b"data: " + line for line in self.data.split(b"\n")]
        return b"\n".join(lines) + b"\n\n"


class _EventStream(httpx.AsyncByteStream):
    """Server-sent events (WHATWG HTML, 9.2), each looked at before it goes on; those that the SDK does not know are
    left out."""

    def __init__(self, response: httpx.Response, intake: Intake, exchange: _Exchange) -> None:
        self._response = response
        self._intake = intake
        self._exchange = exchange
        self._is_resumable = False

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        asked = self._exchange
        try:
            with self._intake.open_buffer() as buffer:
                splitter = _Splitter(buffer)
                async with aclosing(_decode(self._response, self._intake)) as pieces:
                    async for piece in _iterate_until(pieces, asked.deadline):
                        await self._intake.throttle(len(piece), piece.count(b"\n"))
                        for event in splitter.feed(piece):
                            if (written := await self._convert_event(event)) is not None:
                                yield written
                        # The end of an event that is too large is not waited for.
                        buffer.check(0 if asked.id is not None else _LONGEST_WAIT)
            if asked.id is None or self._is_resumable:
                return
            reason = "ended its answer before it was whole"
        except TimeoutError:
            reason = "gave no whole answer in time"
        except UnfitMessage as unfit:
            reason = str(unfit)
        if asked.id is None:
            raise httpx.ReadError(reason, request=self._response.request)
        yield _Event(b"message", None, None, asked.refuse(reason)).encode()

    async def _convert_event(self, event: _Event | UnfitMessage) -> bytes | None:
        """Convert an event for the SDK; None where it is left out. Raises UnfitMessage where that ends the answer."""
        asked = self._exchange
        if isinstance(event, _Event) and event.name == b"endpoint":
            return event.encode() if asked.id is None and len(event.data) <= _LONGEST_ENDPOINT else None
        try:
            if isinstance(event, UnfitMessage):
                raise event
            if event.id is not None:
                self._is_resumable = True
                if asked.start_time is not None:
                    self._intake.remember_event(event.id, asked.start_time)
            if not event.data:
                return event.encode()
            message = await self._intake.examine(event.data)
            if message is None:
                return None
            data = asked.accept(message, event.data)
        except UnfitMessage as unfit:
            if asked.id is not None and not isinstance(unfit, UnsolicitedMessage):
                raise
            self._intake.note(str(unfit))
            if unfit.request_id is None:
                return None
            return _Event(b"message", None, None, build_refusal(unfit.request_id, str(unfit))).encode()
        return event.encode() if data is event.data else _Event(event.name, event.id, event.retry, data).encode()

    async def aclose(self) -> None:
        await self._response.aclose()


class _Splitter:
    """Cuts a stream into events. `buffer` holds the one that is arriving, so that its bounds hold for it."""

    def __init__(self, buffer: MessageBuffer) -> None:
        self._buffer = buffer
        self._partial_line: list[bytes] = []
        """Of the line that is arriving, while it may still be no line of data."""
        self._in_data = False
        self._has_trailing_cr = False
        """Whether the last piece ended with a CR, of which an LF may be the other half."""
        self._name, self._id, self._retry = b"message", cast("bytes | None", None), cast("int | None", None)
        self._has_data = False

    def feed(self, piece: bytes) -> Iterator[_Event | UnfitMessage]:
        """Return the events that end in this piece."""
        if self._has_trailing_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._has_trailing_cr = piece.endswith(b"\r")
        *lines, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            event = self._parse_line(line, is_complete=True)
            if event is not None:
                yield event
        if rest:
            self._parse_line(rest, is_complete=False)

    def _parse_line(self, part: bytes, *, is_complete: bool) -> _Event | UnfitMessage | None:
        if self._in_data:
            self._buffer.add(part)
            self._in_data = not is_complete
            return None
        line = b"".join((*self._partial_line, part))
        field, colon, value = line.partition(b":")
        if colon and field == b"data":
            if self._has_data:
                self._buffer.add(b"\n")
            self._has_data = True
            # A blank after the colon is JSON's white space as well.
            self._buffer.add(value)
            self._partial_line, self._in_data = [], not is_complete
            return None
        if not is_complete:
            # Comments and other fields may be as long as they like; what matters of them is short.
            self._partial_line = [line[: 2 * _LONGEST_ID]]
            return None
        self._partial_line = []
        if not line:
            return self._finish_event()
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value or b"message"
        elif field == b"id" and len(value) <= _LONGEST_ID and b"\0" not in value:
            self._id = value
        elif field == b"retry" and value.isdigit() and len(value) < 10:
            self._retry = int(value)
        return None

    def _finish_event(self) -> _Event | UnfitMessage | None:
        name, event_id, retry = self._name, self._id, self._retry
        has_data = self._has_data
        self._name, self._id, self._retry, self._has_data = b"message", None, None, False
        if name not in (b"message", b"endpoint"):
            self._buffer.clear()
            return None
        try:
            data = self._buffer.take().strip()
        except UnfitMessage as unfit:
            return unfit
        if not has_data and event_id is None and retry is None:
            return None
        return _Event(name, event_id, retry, data)


async def _iterate_until(pieces: AsyncIterator[bytes], deadline: float | None) -> AsyncGenerator[bytes]:
    """Iterate until the end. Raises TimeoutError when the deadline, by the loop's clock, passes first."""
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        yield piece


async def _decode(response: httpx.Response, intake: Intake) -> AsyncGenerator[bytes]:
    """Decompress the body slice by slice. Raises UnfitMessage, and httpx's errors."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    stream = cast("httpx.AsyncByteStream", response.stream)
    if encoding in ("", "identity"):
        async for chunk in stream:
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnfitMessage(f"compressed its answer in a way that was not asked for: {encoding[:100]}")
    # gzip and zlib are told apart by their first bytes; "deflate" without zlib's header is sent by some.
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    first = True
    async for chunk in stream:
        await intake.throttle(len(chunk))
        rest = chunk
        while rest and not unpacker.eof:
            try:
                unpacked = unpacker.decompress(rest, _SLICE)
            except zlib.error:
                if not first or encoding != "deflate":
                    raise UnfitMessage("compressed its answer in a way that cannot be read") from None
                unpacker, first = zlib.decompressobj(-zlib.MAX_WBITS), False
                continue
            first = False
            rest = unpacker.unconsumed_tail
            if unpacked:
                yield unpacked
        if unpacker.eof:
            return


def _is_cross_origin(response: httpx.Response, request: httpx.Request) -> bool:
    """Whether it is a redirect to another origin, where neither the headers nor the arguments are to go."""
    if not response.has_redirect_location:
        return False
    try:
        there = request.url.join(response.headers["location"])
    except (httpx.InvalidURL, ValueError):
        return True
    here = request.url
    return (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port)


def _replace_stream(response: httpx.Response, request: httpx.Request, stream: httpx.AsyncByteStream) -> httpx.Response:
    """Replace an answer's body by one that is not compressed any more."""
    return httpx.Response(
        response.status_code,
        headers=_copy_headers(response),
        stream=stream,
        request=request,
        extensions=response.extensions,
    )


def _replace_content(response: httpx.Response | None, request: httpx.Request, content: bytes) -> httpx.Response:
    """Build an answer from a JSON-RPC message, with the headers of the one that came, if one did."""
    headers = httpx.Headers(_copy_headers(response) if response is not None else None)
    headers["content-type"] = "application/json"
    return httpx.Response(200, headers=headers, content=content, request=request)


def _copy_headers(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    gone = (b"content-encoding", b"content-length", b"transfer-encoding")
    return [(name, value) for name, value in response.headers.raw if name.lower() not in gone]
