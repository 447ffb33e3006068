"""Outgoing HTTP: interim answers are counted, and the client of Studio goes nowhere else and reads no further."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import repeat

import httpx
import openai
import pytest
from pydantic import SecretStr
from support.hostile_endpoint import END, HostileEndpoint, Wire, delta

from graphs.config.http_transport import MOST_INTERIM, OutboundTransport
from graphs.errors import ModelError
from graphs.llm.client import LONGEST_STUDIO_ANSWER, ChatModel
from graphs.llm.http_client import build_client, load_certificates

WORD = delta(content="Hello.")
MOST_UNREAD = 20 * 2**20
"""Bytes that a socket takes before anybody reads them, or notices that nobody does."""


class Silent:
    """Hears an answer and does nothing."""

    def add_text(self, kind: str, text: str) -> None:
        pass

    def add_annotations(self, annotations: object) -> None:
        pass

    def add_logprobs(self, logprobs: object) -> None:
        pass


@pytest.fixture
def hostile() -> Iterator[HostileEndpoint]:
    with HostileEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def chat(hostile: HostileEndpoint) -> AsyncIterator[ChatModel]:
    # By name: cookie jars of HTTP clients often leave out addresses.
    model = ChatModel(hostile.url.replace("127.0.0.1", "localhost"), SecretStr("sk-test"), silence=5)
    hostile.answer = lambda wire: wire.whole(b"{}", b"404 Not Found", b"connection: close\r\n")
    assert await model.litellm.build_marks() == {}  # it is not LiteLLM, and is not asked again
    hostile.requests.clear()
    yield model
    await model.close()


async def ask(chat: ChatModel) -> str:
    return "".join([chunk.text async for chunk in chat.langchain.astream("hi", model="scripted")])


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 Other", b"307 Temporary", b"308 Permanent"])
async def test_studios_client_follows_no_redirection(hostile: HostileEndpoint, chat: ChatModel, status: bytes) -> None:
    with HostileEndpoint() as other:
        location = b"location: " + other.url.encode() + b"/chat/completions\r\n"
        hostile.answer = lambda wire: wire.whole(b"", status, location)
        with pytest.raises(openai.APIStatusError):
            await ask(chat)
        assert other.requests == []


async def test_studios_client_keeps_no_cookie_and_asks_for_no_compression(
    hostile: HostileEndpoint, chat: ChatModel
) -> None:
    hostile.answer = lambda wire: wire.stream(WORD, END, headers=b"set-cookie: session=1; Path=/\r\n")
    assert [await ask(chat), await ask(chat)] == ["Hello."] * 2
    assert [request.headers.get("cookie") for request in hostile.requests] == [None] * 2
    assert [request.headers.get("accept-encoding") for request in hostile.requests] == ["identity"] * 2


def packed(wire: Wire) -> None:
    wire.stream(gzip.compress(bytes(2**20)), headers=b"content-encoding: gzip\r\n")


def endless(wire: Wire) -> None:
    wire.flood(repeat(b": " + b"x" * 2**20 + b"\n"))


@pytest.mark.parametrize("answer", [packed, endless])
async def test_studios_client_reads_nothing_packed_and_no_further_than_a_bound(
    hostile: HostileEndpoint, chat: ChatModel, answer: Callable[[Wire], None]
) -> None:
    hostile.answer = answer
    with pytest.raises((httpx.ReadError, openai.APIConnectionError)):
        await ask(chat)
    assert hostile.sent < 2 * LONGEST_STUDIO_ANSWER


@pytest.mark.parametrize(("length", "fits"), [(1000, True), (1001, False)])
async def test_a_body_is_read_up_to_its_bound(hostile: HostileEndpoint, length: int, *, fits: bool) -> None:
    hostile.answer = lambda wire: wire.whole(b"x" * length)
    async with build_client(1000) as client:
        if fits:
            assert len((await client.get(hostile.url)).content) == length
        else:
            with pytest.raises(httpx.ReadError, match="longer than 1000 bytes"):
                await client.get(hostile.url)


@pytest.mark.parametrize("count", [0, MOST_INTERIM])
async def test_a_few_interim_answers_are_skipped(hostile: HostileEndpoint, chat: ChatModel, count: int) -> None:
    hostile.answer = lambda wire: (wire.interim(count), wire.stream(WORD, END))
    assert (await chat.stream({"messages": []}, Silent())).text == "Hello."
    async with httpx.AsyncClient(transport=OutboundTransport(load_certificates())) as client:
        assert (await client.get(hostile.url)).content == WORD + END


@pytest.mark.parametrize("count", [MOST_INTERIM + 1, 2_000_000])
async def test_more_interim_answers_than_that_end_the_request(
    hostile: HostileEndpoint, chat: ChatModel, count: int
) -> None:
    hostile.answer = lambda wire: (wire.interim(count), wire.stream(WORD, END))
    with pytest.raises(ModelError, match=r"sent more than 16 interim answers .* so it was left"):
        await chat.stream({"messages": []}, Silent())
    async with httpx.AsyncClient(transport=OutboundTransport(load_certificates())) as client:
        with pytest.raises(httpx.RemoteProtocolError, match=r"^sent more than 16 interim answers"):
            await client.get(hostile.url)
    assert hostile.sent < MOST_UNREAD


@pytest.mark.parametrize("piece", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n"])
async def test_answers_that_nobody_asked_for_end_the_connection(
    hostile: HostileEndpoint, chat: ChatModel, piece: bytes
) -> None:
    left = threading.Event()

    def answer(wire: Wire) -> None:
        wire.whole(b"{}", b"400 Bad")
        try:
            for _ in range(2_000):
                wire.send(piece * 1000)
        except OSError:
            left.set()

    hostile.answer = answer
    with pytest.raises(ModelError, match="status 400"):
        await chat.stream({"messages": []}, Silent())
    assert await asyncio.to_thread(left.wait, 10)
    assert hostile.sent < MOST_UNREAD


async def test_what_is_no_http_is_an_error_of_httpx(hostile: HostileEndpoint) -> None:
    hostile.answer = lambda wire: wire.send(b"+OK POP3 ready\r\n\r\n")
    async with httpx.AsyncClient(transport=OutboundTransport(load_certificates())) as client:
        with pytest.raises(httpx.RemoteProtocolError, match=r"^sent something that is no HTTP") as caught:
            await client.get(hostile.url)
    assert "POP3" not in str(caught.value)
