"""What answers over HTTP go through before the SDK reads them: bounds on size, shape, pace and patience.

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

from graphs.tools.message_limits import LARGEST_MESSAGE, LARGEST_REQUEST, UNFIT, Buffer, Intake, Unasked, Unfit

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
_RETRY = (1_000, 60_000)
"""Milliseconds that a server may have us wait before we take up a stream again."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """Gives `inner`'s answers on as far as they fit. `patience`: seconds that the answer to a request may take in all,
    which is longer than anybody waits for it."""

    def __init__(self, inner: httpx.AsyncBaseTransport, intake: Intake, *, patience: float) -> None:
        self._inner = inner
        self._intake = intake
        self._patience = patience

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. Raises its errors."""
        asked = _Asked.of(request, self._intake, self._patience)
        limit = asyncio.timeout_at(asked.deadline)
        try:
            async with limit:
                response = await self._inner.handle_async_request(request)
                return await self._bound(request, response, asked)
        except TimeoutError:
            if not limit.expired() or asked.id is None:
                raise
            return _with_content(None, request, asked.refuse(f"gave no whole answer within {self._patience:g} s"))

    async def aclose(self) -> None:
        """See httpx."""
        await self._inner.aclose()

    async def _bound(self, request: httpx.Request, response: httpx.Response, asked: _Asked) -> httpx.Response:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        answered = response.is_success and response.status_code != 202
        if asked.id is not None and not asked.greeting and _leads_away(response, request):
            await response.aclose()
            return _with_content(
                None, request, asked.refuse("sent the call on to another address, which is not followed")
            )
        if answered and kind == "text/event-stream":
            return _with_stream(response, request, _Events(response, self._intake, asked))
        if asked.id is None or not answered:
            return _with_stream(response, request, _Cut(response, self._intake))
        try:
            content = await self._read(response, kind)
            content = asked.accept(await self._intake.examine(content, awaited=True), content)
        except Unfit as unfit:
            content = asked.refuse(str(unfit))
        finally:
            await response.aclose()
        return _with_content(response, request, content)

    async def _read(self, response: httpx.Response, kind: str) -> bytes:
        if kind != "application/json":
            raise Unfit(f"answered with {kind[:100] or 'an answer of no type'}, which MCP does not know")
        with self._intake.buffer() as buffer:
            async with aclosing(_decode(response, self._intake)) as pieces:
                async for piece in pieces:
                    buffer.add(piece)
                    if buffer.excess is not None:
                        break
            return buffer.take()


@dataclass
class _Asked:
    """What a request asked for. `id`: of the JSON-RPC request that waits for an answer in it."""

    intake: Intake
    id: int | None = None
    greeting: bool = False
    """Whether it opens the session."""
    began: float | None = None
    deadline: float | None = None

    @classmethod
    def of(cls, request: httpx.Request, intake: Intake, patience: float) -> _Asked:
        now = asyncio.get_running_loop().time()
        if request.method == "GET":
            resumed = request.headers.get("last-event-id")
            began = intake.began(resumed.encode()) if resumed is not None else None
            if began is not None and now > began + patience:
                # The SDK would take up such a stream again for as long as the server likes.
                raise httpx.ReadError("nobody waits for this answer any more", request=request)
            return cls(intake, began=began)
        if request.method != "POST":
            return cls(intake, deadline=now + patience)
        message = from_json(request.content)
        request_id = message.get("id") if "method" in message else None
        greeting = message.get("method") == "initialize"
        return cls(intake, request_id, greeting, now, now + patience)

    def accept(self, message: dict[str, Any] | None, data: bytes) -> bytes:
        """The message as the SDK gets it. Raises Unfit for an answer to something else."""
        if message is None:
            raise Unfit("answered with a notification")
        if "method" in message:
            return data
        if self.id is not None and str(message["id"]) != str(self.id):
            raise Unfit("answered another request than it was asked")
        result = cast("dict[str, Any] | None", message.get("result"))
        if result is None or (len(data) <= LARGEST_REQUEST and not self.greeting):
            return data
        if not self.greeting:
            return to_json({**message, "result": self.intake.store(result, len(data))})
        # Nobody reads the instructions, and the SDK parses and logs this answer in its own way.
        result.pop("instructions", None)
        data = to_json(message)
        if len(data) > LARGEST_REQUEST:
            raise Unfit(f"introduced itself with more than {LARGEST_REQUEST // 2**10} KiB")
        return data

    def refuse(self, reason: str) -> bytes:
        """The error that the caller gets in place of an answer."""
        return refusal(self.id, reason)


def refusal(request_id: int | None, reason: str) -> bytes:
    """A JSON-RPC error of our own for a request whose answer is not taken."""
    return to_json({"jsonrpc": "2.0", "id": request_id, "error": {"code": UNFIT, "message": reason}})


class _Cut(httpx.AsyncByteStream):
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

    def written(self) -> bytes:
        """The event as it goes on to the SDK."""
        lines = [b"event: " + self.name]
        if self.id is not None:
            lines.append(b"id: " + self.id)
        if self.retry is not None:
            lines.append(b"retry: %d" % min(max(self.retry, _RETRY[0]), _RETRY[1]))
        lines += [b"data: " + line for line in self.data.split(b"\n")]
        return b"\n".join(lines) + b"\n\n"


class _Events(httpx.AsyncByteStream):
    """Server-sent events (WHATWG HTML, 9.2), each looked at before it goes on; those that the SDK does not know are
    left out."""

    def __init__(self, response: httpx.Response, intake: Intake, asked: _Asked) -> None:
        self._response = response
        self._intake = intake
        self._asked = asked
        self._resumable = False

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        asked = self._asked
        try:
            with self._intake.buffer() as buffer:
                splitter = _Splitter(buffer)
                async with aclosing(_decode(self._response, self._intake)) as pieces:
                    async for piece in _until(pieces, asked.deadline):
                        await self._intake.pass_by(len(piece), piece.count(b"\n"))
                        for event in splitter.feed(piece):
                            if (written := await self._pass(event)) is not None:
                                yield written
                        # The end of an event that is too large is not waited for.
                        buffer.check(0 if asked.id is not None else _LONGEST_WAIT)
            if asked.id is None or self._resumable:
                return
            reason = "ended its answer before it was whole"
        except TimeoutError:
            reason = "gave no whole answer in time"
        except Unfit as unfit:
            reason = str(unfit)
        if asked.id is None:
            raise httpx.ReadError(reason, request=self._response.request)
        yield _Event(b"message", None, None, asked.refuse(reason)).written()

    async def _pass(self, event: _Event | Unfit) -> bytes | None:
        """The event as it goes on; None where it does not. Raises Unfit where that ends the answer."""
        asked = self._asked
        if isinstance(event, _Event) and event.name == b"endpoint":
            return event.written() if asked.id is None and len(event.data) <= _LONGEST_ENDPOINT else None
        try:
            if isinstance(event, Unfit):
                raise event
            if event.id is not None:
                self._resumable = True
                if asked.began is not None:
                    self._intake.remember_event(event.id, asked.began)
            if not event.data:
                return event.written()
            message = await self._intake.examine(event.data)
            if message is None:
                return None
            data = asked.accept(message, event.data)
        except Unfit as unfit:
            if asked.id is not None and not isinstance(unfit, Unasked):
                raise
            self._intake.note(str(unfit))
            if unfit.request_id is None:
                return None
            return _Event(b"message", None, None, refusal(unfit.request_id, str(unfit))).written()
        return event.written() if data is event.data else _Event(event.name, event.id, event.retry, data).written()

    async def aclose(self) -> None:
        await self._response.aclose()


class _Splitter:
    """Cuts a stream into events. `buffer` holds the one that is arriving, so that its bounds hold for it."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._begun: list[bytes] = []
        """Of the line that is arriving, while it may still be no line of data."""
        self._in_data = False
        self._returned = False
        """Whether the last piece ended with a CR, of which an LF may be the other half."""
        self._name, self._id, self._retry = b"message", cast("bytes | None", None), cast("int | None", None)
        self._has_data = False

    def feed(self, piece: bytes) -> Iterator[_Event | Unfit]:
        """The events that end in this piece."""
        if self._returned and piece.startswith(b"\n"):
            piece = piece[1:]
        self._returned = piece.endswith(b"\r")
        *lines, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            event = self._line(line, ended=True)
            if event is not None:
                yield event
        if rest:
            self._line(rest, ended=False)

    def _line(self, part: bytes, *, ended: bool) -> _Event | Unfit | None:
        if self._in_data:
            self._buffer.add(part)
            self._in_data = not ended
            return None
        line = b"".join((*self._begun, part))
        field, colon, value = line.partition(b":")
        if colon and field == b"data":
            if self._has_data:
                self._buffer.add(b"\n")
            self._has_data = True
            # A blank after the colon is JSON's white space as well.
            self._buffer.add(value)
            self._begun, self._in_data = [], not ended
            return None
        if not ended:
            # Comments and other fields may be as long as they like; what matters of them is short.
            self._begun = [line[: 2 * _LONGEST_ID]]
            return None
        self._begun = []
        if not line:
            return self._end()
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value or b"message"
        elif field == b"id" and len(value) <= _LONGEST_ID and b"\0" not in value:
            self._id = value
        elif field == b"retry" and value.isdigit() and len(value) < 10:
            self._retry = int(value)
        return None

    def _end(self) -> _Event | Unfit | None:
        name, event_id, retry = self._name, self._id, self._retry
        has_data = self._has_data
        self._name, self._id, self._retry, self._has_data = b"message", None, None, False
        if name not in (b"message", b"endpoint"):
            self._buffer.clear()
            return None
        try:
            data = self._buffer.take().strip()
        except Unfit as unfit:
            return unfit
        if not has_data and event_id is None and retry is None:
            return None
        return _Event(name, event_id, retry, data)


async def _until(pieces: AsyncIterator[bytes], deadline: float | None) -> AsyncGenerator[bytes]:
    """Raises TimeoutError when the deadline, by the loop's clock, passes before the end."""
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        yield piece


async def _decode(response: httpx.Response, intake: Intake) -> AsyncGenerator[bytes]:
    """The body, decompressed slice by slice. Raises Unfit, and httpx's errors."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    stream = cast("httpx.AsyncByteStream", response.stream)
    if encoding in ("", "identity"):
        async for chunk in stream:
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unfit(f"compressed its answer in a way that was not asked for: {encoding[:100]}")
    # gzip and zlib are told apart by their first bytes; "deflate" without zlib's header is sent by some.
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    first = True
    async for chunk in stream:
        await intake.pass_by(len(chunk))
        rest = chunk
        while rest and not unpacker.eof:
            try:
                unpacked = unpacker.decompress(rest, _SLICE)
            except zlib.error:
                if not first or encoding != "deflate":
                    raise Unfit("compressed its answer in a way that cannot be read") from None
                unpacker, first = zlib.decompressobj(-zlib.MAX_WBITS), False
                continue
            first = False
            rest = unpacker.unconsumed_tail
            if unpacked:
                yield unpacked
        if unpacker.eof:
            return


def _leads_away(response: httpx.Response, request: httpx.Request) -> bool:
    """Whether it is a redirect to another origin, where neither the headers nor the arguments are to go."""
    if not response.has_redirect_location:
        return False
    try:
        there = request.url.join(response.headers["location"])
    except (httpx.InvalidURL, ValueError):
        return True
    here = request.url
    return (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port)


def _with_stream(response: httpx.Response, request: httpx.Request, stream: httpx.AsyncByteStream) -> httpx.Response:
    """The same answer with another body, which is not compressed any more."""
    return httpx.Response(
        response.status_code,
        headers=_headers(response),
        stream=stream,
        request=request,
        extensions=response.extensions,
    )


def _with_content(response: httpx.Response | None, request: httpx.Request, content: bytes) -> httpx.Response:
    """A JSON-RPC message as the answer; with the headers of the one that came, if one did."""
    headers = httpx.Headers(_headers(response) if response is not None else None)
    headers["content-type"] = "application/json"
    return httpx.Response(200, headers=headers, content=content, request=request)


def _headers(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    gone = (b"content-encoding", b"content-length", b"transfer-encoding")
    return [(name, value) for name, value in response.headers.raw if name.lower() not in gone]
