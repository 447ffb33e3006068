"""The client by which LangChain asks a model, for Studio: it goes nowhere else, keeps nothing, and reads no further."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import repeat

import httpx
import openai
import pytest
from pydantic import SecretStr
from support.hostile_endpoint import END, HostileEndpoint, Wire, delta

from graphs.llm.client import LONGEST_STUDIO_ANSWER, ChatModel
from graphs.llm.http_client import build_client

WORD = delta(content="Hello.")


@pytest.fixture
def hostile() -> Iterator[HostileEndpoint]:
    with HostileEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def chat(hostile: HostileEndpoint) -> AsyncIterator[ChatModel]:
    # By name: cookie jars of HTTP clients often leave out addresses.
    model = ChatModel(hostile.url.replace("127.0.0.1", "localhost"), SecretStr("sk-test"), silence=5)
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
