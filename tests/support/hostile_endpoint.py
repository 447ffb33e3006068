"""A model endpoint that sends what no model sends: raw bytes over raw sockets, in threads of its own.

    with HostileEndpoint() as endpoint:
        endpoint.answer = lambda wire: wire.stream(b"data: " + b"x" * 60_000_000)
        ... a gateway whose models are at `endpoint.url` ...
        endpoint.requests[0].headers, .body

An answer is a function of the connection (`Wire`). What it sends counts in `wire.sent`; a peer that leaves ends it.
`sane` is an answer as models give it.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Wire:
    """The connection to whoever asked."""

    socket: socket.socket
    request: Asked
    sent: int = 0
    left: threading.Event = field(default_factory=threading.Event)
    """The peer left, or the test is over."""

    def send(self, data: bytes) -> None:
        """Sends all of it; ConnectionError once the peer has left."""
        view = memoryview(data)
        while view:
            if self.left.is_set():
                raise ConnectionAbortedError
            with suppress(TimeoutError):
                count = self.socket.send(view[: 2**18])
                self.sent += count
                view = view[count:]

    def stream(self, *pieces: bytes, headers: bytes = b"") -> None:
        """A stream that ends with its connection."""
        self.send(STREAM + headers + b"connection: close\r\n\r\n")
        for piece in pieces:
            self.send(piece)

    def whole(
        self, body: bytes, status: bytes = b"200 OK", headers: bytes = b"content-type: application/json\r\n"
    ) -> None:
        """An answer in one piece."""
        self.send(b"HTTP/1.1 " + status + b"\r\n" + headers + b"content-length: %d\r\n\r\n" % len(body) + body)

    def interim(self, count: int) -> None:
        """So many interim answers, for as long as somebody takes them."""
        for start in range(0, count, 1000):
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n" * min(1000, count - start))

    def flood(self, pieces: Iterable[bytes]) -> None:
        """A stream of these pieces, for as long as there are any and somebody takes them."""
        self.send(STREAM + b"connection: close\r\n\r\n")
        for piece in pieces:
            self.send(piece)


Answering = Callable[[Wire], object]


def event(payload: object) -> bytes:
    """One event."""
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def delta(finish: str | None = None, **delta: object) -> bytes:
    """One event of an answer."""
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


END = delta(finish="stop") + b"data: [DONE]\n\n"


def sane(wire: Wire) -> None:
    """The answer "Fine." with its usage."""
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    wire.stream(delta(content="Fine."), delta(finish="stop"), event(usage), b"data: [DONE]\n\n")


class HostileEndpoint:
    """See the top of the file. `models` answers GET /v1/models, `answer` every other request."""

    def __init__(self) -> None:
        self.answer: Answering = sane
        self.models: Answering = lambda wire: wire.whole(b'{"data": [{"id": "scripted"}]}')
        self.requests: list[Asked] = []
        """Those for answers."""
        self.wires: list[Wire] = []
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> HostileEndpoint:
        # The threads that send must not keep the one that measures from running: it has a tenth of a second to spare.
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        sys.setswitchinterval(self._interval)
        for wire in self.wires:
            wire.left.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def sent(self) -> int:
        """Bytes that were sent in answers."""
        return sum(wire.sent for wire in self.wires)

    def reset(self) -> None:
        """Forgets requests, and answers sanely again."""
        self.answer = sane
        self.requests = []
        for wire in self.wires:
            wire.left.set()
        self.wires = []

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(0.5)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            while (request := self._read(connection)) is not None:
                wire = Wire(connection, request)
                if request.path.endswith(("/models", "/model/info")):
                    self.models(wire)
                    continue
                self.requests.append(request)
                self.wires.append(wire)
                self.answer(wire)
                return

    def _read(self, connection: socket.socket) -> Asked | None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += (data := self._take(connection))
            if not data:
                return None
        head, _, body = head.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += self._take(connection)
        method, path, _ = first.split(" ")
        return Asked(method, path, headers, body)

    def _take(self, connection: socket.socket) -> bytes:
        while not self._over.is_set():
            with suppress(TimeoutError):
                return connection.recv(2**18)
        return b""
