"""Protocols that a dialect implements so that `routes/respond.py` can answer in it: an encoder for streams, a collector
for whole answers. A new dialect is a folder with these two beside this file, and a route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from graphs.events import Event
from server.protocols.errors import HttpError


class ResponseEncoder(Protocol):
    """Turns the events of one turn into the bytes of one streamed answer."""

    @property
    def content_type(self) -> str:
        """Media type of the stream."""
        ...

    @property
    def done(self) -> bool:
        """The end of the answer has been encoded; nothing is asked of the encoder after that."""
        ...

    def encode(self, events: Sequence[Event]) -> bytes:
        """Encode events, the next ones of the turn; empty where the client sees nothing of them.

        The first call may come without events: after a short silence the answer begins all the same.
        """
        ...

    def encode_heartbeat(self) -> bytes:
        """Encode what is sent when nothing has happened for a while, so that proxies keep the connection open."""
        ...

    def encode_error(self, error: HttpError) -> bytes:
        """Encode an error after the first byte, and the end of the answer."""
        ...


class ResponseCollector(Protocol):
    """Gathers the events of one turn into one whole answer."""

    def add(self, events: Sequence[Event]) -> bool:
        """Take events, the next ones of the turn; true once the turn has ended."""
        ...

    def build_body(self) -> dict[str, Any]:
        """Build the answer, a JSON object."""
        ...
