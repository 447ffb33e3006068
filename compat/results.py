"""What was found, and what counts as working: only that the value came which nothing but the real thing could give."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compat.clients import Client
from compat.servers import Server

WAYS = ("whole", "streamed", "tool", "tool, streamed")
"""How a client asks: an answer, the same in pieces, and both for a turn in which a tool runs on Interlock's side."""

ONE_PIECE = "the answer came in one piece"


@dataclass(frozen=True, kw_only=True)
class ServerResult:
    """One server in the running Interlock."""

    server: Server
    versions: Mapping[str, str] = field(default_factory=dict)
    status: str = "not run"
    """As GET /ready says it."""
    reason: str = ""
    """Why it is down, as the log says it."""
    tools: int = 0
    answer: str = ""
    """What the turn said that called the tool."""
    wanted: str = ""
    """What the answer must have in it."""

    @property
    def works(self) -> bool:
        """Whether all came that can come: the tool's result, or the tools alone where something is lacking, or, of a
        server that is broken on purpose, the reason."""
        if self.server.down:
            return self.status == "down" and re.search(self.server.down, self.reason) is not None
        listed = self.status == "up" and self.tools > 0
        return listed and (bool(self.server.lacks) or (bool(self.wanted) and self.wanted in self.answer))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One way in which a client asked."""

    pieces: Sequence[str] = ()
    """What the client gave; one piece where nothing is streamed."""
    error: str = ""
    cannot: str = ""
    """Why the client has no such way."""
    wanted: str = ""
    """The sentence that must have arrived."""
    calls: int | None = None
    """How often the tool ran, in a turn with one."""

    def failure(self, way: str) -> str:
        """Why it does not count as working; empty: it works."""
        if self.error:
            return self.error
        if way.startswith("tool") and self.calls != 1:
            return f"the tool ran {self.calls} times"
        text = "".join(self.pieces)
        if not self.wanted or self.wanted not in text:
            return f"the answer did not arrive, but {text[:200]!r}"
        return ONE_PIECE if way.endswith("streamed") and self.is_whole else ""

    @property
    def is_whole(self) -> bool:
        """Whether all of the answer came at once."""
        return any(self.wanted in piece for piece in self.pieces)


@dataclass(frozen=True, kw_only=True)
class ClientResult:
    """One client, by way of asking."""

    client: Client
    versions: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, Asked] = field(default_factory=dict)
    problem: str = ""
    """Why it could not be run at all."""

    def failures(self) -> dict[str, str]:
        """By way, of those that the client has."""
        if self.problem:
            return {"not run": self.problem}
        there = {way: self.asked.get(way, Asked(error="the program ended before")) for way in WAYS}
        found = {way: asked.failure(way) for way, asked in there.items() if not asked.cannot}
        allowed = ONE_PIECE if self.client.whole else ""
        return {way: failure for way, failure in found.items() if failure not in ("", allowed)}
