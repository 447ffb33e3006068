"""uvicorn's HTTP/1.1 protocol with limits on what a client may send, how slowly, and over how many connections.

uvicorn's own settings end an idle connection (`timeout_keep_alive`) and answer 503 while many are open
(`limit_concurrency`); its parser, llhttp, takes headers, trailers and chunk extensions without end, at any pace, from
anybody. A class of one's own is uvicorn's documented way to change that (`http=`). All that a request costs here are
some additions; what is overdue is found by `ConnectionTable`, twice a second, not by timers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from server.auth.addresses import UNKNOWN, find_client, find_group, find_scheme, is_within
from server.protocols.http.connections import EXTENSION, ConnectionTable

PROBES = frozenset({"/health", "/ready", "/metrics"})
"""What a connection beyond the limit may ask for."""
MOST_PIPELINED = 16
"""Requests of one connection that may wait for their turn."""
FREE_CHUNKS = 1_000
SMALLEST_CHUNK = 256
"""Pieces of a body are at least so many bytes on average, after the first FREE_CHUNKS: each costs a call."""
LINGER = 2.0
"""Seconds for which a refused client is read from and not listened to: closed at once, it might not see the answer."""
MOST_LINGERING = 2**20
"""Bytes that are read so."""
NEVER = float("inf")


class RefusedRequest(Exception):
    """Stops the parser in the middle of a request that is refused."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. Its limits are those of the snapshot with which it began."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.table = cast(ConnectionTable, app_state["connections"])
        self.limits = self.table.limits
        spec = self.limits.spec
        self._header_size, self._header_count, self._url_size = spec.header_size, spec.header_count, spec.url_size
        self.timeout_keep_alive = cast(int, spec.idle_time)  # seconds for `call_later`: a float will do
        self.host = ""
        self.address: str | None = None
        self.trusted = False
        """The other end is a proxy whose word on its clients is believed."""
        self.authenticated = False
        self.spare = False
        self.deadline = NEVER
        self._extensions = cast("dict[str, dict[object, object]]", {EXTENSION: self})
        self._refused = False
        self._lingering = 0
        self._reason: tuple[int, str, str] | None = None
        self._answering: deque[RequestResponseCycle] = deque()
        """Requests without a whole answer, the oldest first."""
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        """Of a request line with its headers that is not complete."""
        self._header_bytes = 0
        """Of the headers so far."""
        self._body_began = 0.0
        self._body_bytes = 0
        self._body_pieces = 0
        self._progress = False
        """A piece of a body came with what was read last."""
        self._beside_body = 0
        """Bytes since the last piece of a body: chunk extensions and trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place in the table, or refuse the connection."""
        super().connection_made(transport)
        now = self.loop.time()
        self.host = self.client[0] if self.client else UNKNOWN
        self.trusted = is_within(self.host, self.limits.trusted)
        self.address = None if self.trusted else find_group(self.host)
        self.deadline = now + self.limits.spec.header_time
        if not self.table.admit(self, now, transport.get_extra_info("socket").fileno()):
            self.refuse(503, "connections", "All connections of this server are in use.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the connection that nobody listens: uvicorn tells the last one only."""
        self.table.remove(self)
        self.deadline = NEVER
        for cycle in self._answering:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is too much."""
        if self._refused:
            self._lingering += len(data)
            if self._lingering > MOST_LINGERING:
                self.flow.pause_reading()
            return
        self._unset_keepalive_if_required()
        self._progress = False
        try:
            self.parser.feed_data(data)  # pyright: ignore[reportOptionalMemberAccess]  None only once it is closed
        except httptools.HttpParserUpgrade:
            self._end_after_answer()
        except httptools.HttpParserError:
            self.refuse(*(self._reason or (400, "malformed", "This is no request that can be read.")))
        else:
            if self._in_head:
                self._head_bytes += len(data)  # what ended a request before it, in the same piece, counts too
                if self._head_bytes > self._header_size:
                    self._refuse_head()
            elif self._in_body and not self._progress:
                self._beside_body += len(data)
                if self._beside_body > self._header_size:
                    self.refuse(431, "trailer_size", "The trailers or chunk extensions of this request are too long.")
            if self.deadline == NEVER and not self._answering:
                self.deadline = self.loop.time() + self.limits.spec.header_time

    def on_message_begin(self) -> None:
        """Begin a request, at its first byte."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self._in_head = True
        self._head_bytes = self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path and query."""
        super().on_url(url)
        if len(self.url) > self._url_size:
            self._stop(414, "url_size", f"The path and query are longer than {self._url_size} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._header_size or len(self.headers) > self._header_count:
            self._stop(431, "header_size", self._describe_too_large())

    def on_headers_complete(self) -> None:
        """Hand the request on; a body may follow."""
        self._in_head = False
        if len(self._answering) >= MOST_PIPELINED:
            self._stop(400, "pipelining", "Too many requests were sent without waiting for an answer.")
        if self.trusted:
            self._believe_proxy()
        super().on_headers_complete()
        self.table.start_request(self)
        cycle = self.cycle
        self._answering.append(cycle)
        if self.expect_100_continue or self.spare:
            # An announced body that was not asked for may come or not: what follows is no request to rely on.
            cycle.keep_alive = False
        self._in_body = True
        self._body_bytes = self._body_pieces = self._beside_body = 0
        self._body_began = self.loop.time()
        self.deadline = self._body_began + self.limits.spec.body_time
        if self.spare and self.scope["path"] not in PROBES:
            self._stop(503, "connections", "All connections of this server are in use.")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        self._body_pieces += 1
        self._beside_body = 0
        self._progress = True
        if self._body_bytes > self.limits.body_size:
            self._stop(413, "body_size", f"The body is larger than {self.limits.body_size} bytes.")
        if self._body_pieces > FREE_CHUNKS + self._body_bytes // SMALLEST_CHUNK:
            self._stop(400, "body_chunks", "The body comes in too many small pieces.")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._in_body = False
        self.deadline = NEVER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End the answer to the oldest request that had none."""
        if self._answering:
            self._answering.popleft()
        super().on_response_complete()
        if not self._answering:
            self.table.end_request(self, self.loop.time())

    def expire(self, now: float) -> None:
        """Refuse what took too long. A body that comes fast enough, and one that is not read here, gets longer."""
        spec = self.limits.spec
        if self._refused:
            self.transport.abort()
        elif self._in_body:
            if self.flow.read_paused:
                self._body_began, self._body_bytes = now, 0
            self.deadline = self._body_began + spec.body_time + self._body_bytes / spec.body_rate
            if self.deadline <= now:
                self.refuse(408, "body_time", "The body of this request came too slowly.")
        elif self._in_head:
            self.refuse(408, "header_time", f"The headers of this request took more than {spec.header_time:g} s.")
        else:
            self.deadline = NEVER
            self.transport.close()

    def evict(self) -> None:
        """Close the connection, to make room."""
        self.deadline = NEVER
        self._refused = True
        self.transport.abort()

    def refuse(self, status: int, reason: str, message: str) -> None:
        """Answer in words, where an answer is due and nothing of it was sent, and listen no more."""
        if self._refused:
            return
        self._refused = True
        self.table.note_refusal(self.host, reason)
        unread = self._in_body and self.cycle.response_complete  # has its answer
        if unread or len(self._answering) > 1 or any(cycle.response_started for cycle in self._answering):
            self.transport.abort()
            return
        for cycle in self._answering:
            cycle.disconnected = True
            cycle.message_event.set()
        now = self.loop.time()
        self.deadline = now + LINGER
        self.table.end_request(self, now)
        self.transport.write(build_refusal(status, message, self.server_state.default_headers))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _should_upgrade_to_ws(self) -> bool:
        return False  # nothing here speaks it: the request is answered as it is, as RFC 9110 §7.8 allows

    def _end_after_answer(self) -> None:
        """End the connection after this answer: what follows a request for an upgrade is in no protocol that is spoken
        here."""
        self._refused = True
        self.deadline = NEVER
        if self.cycle.response_complete:
            self.transport.close()
        self.cycle.keep_alive = False

    def _stop(self, status: int, reason: str, message: str) -> None:
        self._reason = (status, reason, message)
        raise RefusedRequest

    def _refuse_head(self) -> None:
        if not self.headers and len(self.url) > self._url_size:
            self.refuse(414, "url_size", f"The path and query are longer than {self._url_size} bytes.")
        self.refuse(431, "header_size", self._describe_too_large())

    def _describe_too_large(self) -> str:
        return f"The headers are more than {self._header_count}, or longer than {self._header_size} bytes."

    def _believe_proxy(self) -> None:
        if client := find_client(self.headers, self.limits.trusted):
            self.scope["client"] = (client, 0)
        if scheme := find_scheme(self.headers):
            self.scope["scheme"] = scheme


def build_refusal(status: int, message: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Build a whole answer with OpenAI's error body, after which nothing comes."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    code = HTTPStatus(status).name.lower()
    body = orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
    lines = [b"%s: %s\r\n" % header for header in headers]
    if status in (429, 503):
        lines.append(b"retry-after: 1\r\n")
    lines += [
        b"content-type: application/json\r\n",
        b"content-length: %d\r\n" % len(body),
        b"connection: close\r\n\r\n",
    ]
    return b"".join([STATUS_LINE[status], *lines, body])
