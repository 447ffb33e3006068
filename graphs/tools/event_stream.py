"""Server-sent events of an MCP server, each looked at before the SDK reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

import httpx

from graphs.tools.http_exchange import HttpExchange, build_refusal, decode_body
from graphs.tools.http_failures import describe_break
from graphs.tools.message_forms import strip_bom
from graphs.tools.message_limits import (
    LARGEST_MESSAGE,
    Intake,
    MessageBuffer,
    UnfitMessage,
    UnsolicitedMessage,
)

_LONGEST_WAIT = 4 * LARGEST_MESSAGE
"""Bytes of one message that are thrown away before the stream is given up."""
_LONGEST_ID = 1_024
_LONGEST_ENDPOINT = 8_192
_RETRY_RANGE = (1_000, 60_000)
"""Milliseconds that a server may have us wait before we take up a stream again."""


@dataclass(frozen=True)
class Event:
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


class EventStream(httpx.AsyncByteStream):
    """Server-sent events (WHATWG HTML, 9.2), each looked at before it goes on; those that the SDK does not know are
    left out."""

    def __init__(self, response: httpx.Response, intake: Intake, exchange: HttpExchange) -> None:
        self._response = response
        self._intake = intake
        self._exchange = exchange
        self._is_resumable = False

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        asked = self._exchange
        try:
            with self._intake.open_buffer() as buffer:
                splitter = _Splitter(buffer)
                async with aclosing(decode_body(self._response, self._intake)) as pieces:
                    async for piece in _iterate_until(pieces, asked.deadline):
                        await self._intake.throttle(len(piece), piece.count(b"\n"))
                        for event in splitter.feed(piece):
                            for written in await self._convert_event(event):
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
        except httpx.TransportError as broken:
            # The SDK says nothing to the caller of an answer that breaks off, unless it can be taken up again.
            if asked.id is None or self._is_resumable or not self._intake.fail(asked.id, describe_break(broken)):
                raise
            return
        if asked.id is None:
            raise httpx.ReadError(reason, request=self._response.request)
        yield Event(b"message", None, None, asked.refuse(reason)).encode()

    async def _convert_event(self, event: Event | UnfitMessage) -> list[bytes]:
        """Convert an event for the SDK, one with a batch into several; nothing where it is left out. Raises
        UnfitMessage where that ends the answer."""
        asked = self._exchange
        if isinstance(event, Event) and event.name == b"endpoint":
            return [event.encode()] if asked.id is None and len(event.data) <= _LONGEST_ENDPOINT else []
        try:
            if isinstance(event, UnfitMessage):
                raise event
            if event.id is not None:
                self._is_resumable = True
                if asked.start_time is not None:
                    waiting = asked.id if asked.id is not None else asked.resumed_id
                    self._intake.remember_event(event.id, asked.start_time, waiting)
            if not event.data:
                return [event.encode()]
            written = [asked.accept(message, data) for message, data in await self._intake.examine_all(event.data)]
        except UnfitMessage as unfit:
            if asked.id is not None and not isinstance(unfit, UnsolicitedMessage):
                raise
            self._intake.note(str(unfit))
            if unfit.request_id is None:
                return []
            return [Event(b"message", None, None, build_refusal(unfit.request_id, str(unfit))).encode()]
        return [Event(event.name, event.id, event.retry, data).encode() for data in written]

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
        self._is_first_line = True

    def feed(self, piece: bytes) -> Iterator[Event | UnfitMessage]:
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

    def _parse_line(self, part: bytes, *, is_complete: bool) -> Event | UnfitMessage | None:
        if self._in_data:
            self._buffer.add(part)
            self._in_data = not is_complete
            return None
        line = b"".join((*self._partial_line, part))
        if self._is_first_line:
            line = strip_bom(line)
            self._is_first_line = not is_complete
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

    def _finish_event(self) -> Event | UnfitMessage | None:
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
        return Event(name, event_id, retry, data)


async def _iterate_until(pieces: AsyncIterator[bytes], deadline: float | None) -> AsyncGenerator[bytes]:
    """Iterate until the end. Raises TimeoutError when the deadline, by the loop's clock, passes first."""
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        yield piece
