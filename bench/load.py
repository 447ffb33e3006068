"""The load client: closed loop, raw asyncio, one core; it checks that every token of every answer arrived."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import httptools
import orjson

from bench.upstream import said

TOKEN = re.compile(rb'"content": ?"((?:tok\d )+)')
TOKEN_LENGTH = len("tok0 ")
TIMEOUT = 120.0
"""Seconds that one answer may take."""
NUMBERS = itertools.count(1_000_000_007, 7_919)
"""No two conversations of a run say the same."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is asked for, again and again."""

    name: str
    graph: str | None = None
    """The graph that is asked, where it is another one than the target's own."""
    stream: bool = False
    chunks: int = 20
    rounds: int = 0
    """Tool calls that the answer takes."""
    delay: int = 0
    """Milliseconds between two chunks."""
    first: int = 0
    """Milliseconds before the first one."""
    size: int = 0
    """Bytes of each tool result."""
    turns: int = 4
    """Requests of one conversation, each with the messages before it; 1: no request has a history."""

    def ask(self, digits: str) -> str:
        """What the person says."""
        words = f"say={digits} chunks={self.chunks} rounds={self.rounds}"
        more = {"delay": self.delay, "first": self.first, "size": self.size}
        return words + "".join(f" {name}={value}" for name, value in more.items() if value)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom to ask."""

    name: str
    url: str
    """Ends in /v1."""
    key: str = "none"
    model: str = "fake"


@dataclass
class Sample:
    """What one load came to. Times in ms, one entry an answer."""

    total: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    """To the first token; streams only."""
    gaps: list[float] = field(default_factory=list)
    """The longest pause of each stream between two arrivals of tokens."""
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def answers(self) -> int:
        return len(self.total)


class Answer(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self.done: asyncio.Future[str | None] | None = None
        self.transport: asyncio.Transport | None = None
        self.first = self.last = self.gap = 0.0
        self.tokens = 0
        self.tail = self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.finish(None if b"[DONE]" in self.tail else "closed")

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.finish(f"parse: {error}")

    def on_body(self, data: bytes) -> None:
        cut = data.rfind(b"\n") + 1
        self.count(self.rest + data[:cut] if cut else b"")
        self.rest = data[cut:] if cut else self.rest + data
        self.tail = (self.tail + data)[-400:]

    def count(self, lines: bytes) -> None:
        found = sum(map(len, TOKEN.findall(lines))) // TOKEN_LENGTH
        if found:
            now = time.perf_counter()
            if self.tokens:
                self.gap = max(self.gap, now - self.last)
            self.first, self.last = self.first or now, now
            self.tokens += found

    def on_message_complete(self) -> None:
        self.count(self.rest)
        status = self.parser.get_status_code()
        bad = status >= 300 or b'"error":' in self.tail
        self.finish(f"{status}: {self.tail[-200:].decode(errors='replace')}" if bad else None)
        if not self.parser.should_keep_alive() and self.transport:
            self.transport.close()
            self.transport = None

    def finish(self, error: str | None) -> None:
        if self.done and not self.done.done():
            self.done.set_result(error)

    async def send(self, raw: bytes) -> str | None:
        """None once the answer is there, or what went wrong."""
        assert self.transport is not None
        self.parser = httptools.HttpResponseParser(self)
        self.first = self.last = self.gap = 0.0
        self.tokens, self.tail, self.rest = 0, b"", b""
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(raw)
        return await self.done


class Client:
    """Somebody who asks, over one connection that is opened again when it was lost."""

    def __init__(self, target: Target) -> None:
        address = urllib.parse.urlsplit(target.url)
        self.host, self.port = address.hostname, address.port
        self.head = (
            f"POST {address.path}/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\n"
            f"accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {target.key}\r\n"
        )
        self.answer: Answer | None = None

    async def post(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """None if it was answered, or what went wrong."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        raw = f"{self.head}{more}content-length: {len(body)}\r\n\r\n".encode() + body
        try:
            if self.answer is None or self.answer.transport is None:
                loop = asyncio.get_running_loop()
                _, self.answer = await loop.create_connection(Answer, self.host, self.port)
            return await asyncio.wait_for(self.answer.send(raw), TIMEOUT)
        except OSError as error:
            self.close()
            return type(error).__name__

    def close(self) -> None:
        if self.answer and self.answer.transport:
            self.answer.transport.abort()
        self.answer = None


class Talk:
    """One conversation, as a chat page sends it: with the chat's id, and with all that was said before."""

    def __init__(self, target: Target, scenario: Scenario) -> None:
        digits = str(next(NUMBERS))
        self.messages: list[dict[str, str]] = []
        # Text alone, so that every target sends the client the same.
        self.headers = {"x-openwebui-chat-id": f"bench-{digits}", "x-interlock-tools": "none"}
        self.asked = {"role": "user", "content": scenario.ask(digits)}
        self.answered = {"role": "assistant", "content": "".join(said(digits, scenario.chunks))}
        self.model, self.stream = scenario.graph or target.model, scenario.stream

    def body(self) -> bytes:
        """The next request."""
        messages = [*self.messages, self.asked]
        return orjson.dumps({"model": self.model, "stream": self.stream, "messages": messages})

    def go_on(self) -> None:
        """The answer has come."""
        self.messages += [self.asked, self.answered]


def requests(target: Target, scenario: Scenario) -> Iterator[tuple[bytes, Mapping[str, str]]]:
    """Bodies and headers of what one client asks, conversation after conversation."""
    while True:
        talk = Talk(target, scenario)
        for _ in range(scenario.turns):
            yield talk.body(), talk.headers
            talk.go_on()


async def load(
    target: Target,
    scenario: Scenario,
    *,
    concurrency: int,
    seconds: float,
    limit: int = 1_000_000,
    spread: float = 0.0,
) -> Sample:
    """Asks with so many clients at once, until the time is over or `limit` requests were sent; all are awaited.

    The clients begin at the same moment, or evenly over `spread` seconds.
    """
    sample = Sample()
    began = time.perf_counter()
    sent = 0

    async def client(number: int) -> None:
        nonlocal sent
        await asyncio.sleep(spread * number / concurrency)
        asking = Client(target)
        for body, headers in requests(target, scenario):
            if time.perf_counter() >= began + seconds or sent >= limit:
                break
            sent += 1
            start = time.perf_counter()
            error = await asking.post(body, headers)
            end = time.perf_counter()
            answer = asking.answer
            if error is None and answer is not None and answer.tokens != scenario.chunks:
                error = f"{answer.tokens} of {scenario.chunks} tokens: {answer.tail[-160:].decode(errors='replace')}"
            if error is not None or answer is None:
                sample.errors[" ".join((error or "closed")[-200:].split())] += 1
                await asyncio.sleep(0.05)  # no spin on a target that refuses
                continue
            sample.total.append((end - start) * 1e3)
            if scenario.stream:
                sample.first.append((answer.first - start) * 1e3)
                sample.gaps.append(answer.gap * 1e3)
        asking.close()

    await asyncio.gather(*(client(number) for number in range(concurrency)))
    sample.seconds = time.perf_counter() - began
    return sample


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
