"""A model endpoint that is broken or in the wrong hands: turns end in words, and the gateway stays small and quick."""

from __future__ import annotations

import gzip
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ACCESS, ASSISTANT, write_configs
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, Gateway, gateway
from support.hostile_endpoint import END, HostileEndpoint, Wire, delta, event
from support.vitals import watch_vitals

MB = 2**20
LONGEST = 200_000
"""Characters of an answer here: `max_answer`."""
TASK = {
    "authorization": f"Bearer {DEVELOPER_KEY}",
    "x-openwebui-user-id": "1",
    "x-openwebui-user-name": "Ann",
    "x-openwebui-user-email": "ann@example.com",
    "x-openwebui-task": "title_generation",
}
"""What the chat page asks for itself, which the graph has no part in."""
GRAPHS = {"assistant": ASSISTANT, "short": {**ASSISTANT, "limits": {"seconds": 1}}}


@pytest.fixture(scope="module")
def endpoint_of_all() -> Iterator[HostileEndpoint]:
    with HostileEndpoint() as hostile:
        yield hostile


@pytest.fixture(scope="module")
def gateway_of_all(endpoint_of_all: HostileEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests: what one attack leaves behind, the next finds."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    access = {**ACCESS, "keys": [{**key, "forwards_users": key["name"] == "developer"} for key in ACCESS["keys"]]}
    models = {"timeout": "5s", "max_answer": LONGEST}
    # By name: cookie jars of HTTP clients often leave out addresses.
    url = endpoint_of_all.url.replace("127.0.0.1", "localhost")
    configs = write_configs(folder / "configs", url, {}, graphs=GRAPHS, access=access, **models)
    with gateway(configs, folder / "data") as running:
        yield running


@pytest.fixture
def hostile(endpoint_of_all: HostileEndpoint) -> Iterator[HostileEndpoint]:
    yield endpoint_of_all
    endpoint_of_all.reset()


def ask(running: Gateway, *, model: str = "assistant", stream: bool = False, **headers: str) -> httpx.Response:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {ADMIN_KEY}", **headers}
    return httpx.post(f"{running.url}/chat/completions", json=body, headers=headers, timeout=30, trust_env=False)


def words(answer: httpx.Response) -> str:
    """The answer's text, or its error's."""
    body: dict[str, Any] = answer.json()
    return body["error"]["message"] if "error" in body else body["choices"][0]["message"]["content"]


def deflated(pieces: Iterator[bytes], wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])


def sends(*pieces: bytes, headers: bytes = b"") -> Callable[[Wire], None]:
    return lambda wire: wire.stream(*pieces, headers=headers)


def floods(piece: bytes) -> Callable[[Wire], None]:
    return lambda wire: wire.flood(repeat(piece))


def bomb(encoding: str, piece: bytes, wbits: int) -> Callable[[Wire], None]:
    def answer(wire: Wire) -> None:
        packed = deflated(repeat(piece, 60 * MB // len(piece)), wbits)
        wire.stream(packed, headers=b"content-encoding: " + encoding.encode() + b"\r\n")

    return answer


def calls(*calls: dict[str, Any]) -> bytes:
    return delta(tool_calls=list(calls))


BLOCK = b"x" * MB
A_WORD = delta(content="Hello. ")

TOO_LONG = "without the end of a line"
WORDLESS = "without a word of an answer"
ATTACKS: dict[str, tuple[Callable[[Wire], Any], str]] = {
    "a line of 60 MB": (sends(b'data: {"choices":[{"delta":{"content":"', *repeat(BLOCK, 60), b'"}}]}\n\n'), TOO_LONG),
    "100 MB without a line end": (sends(A_WORD, *repeat(BLOCK, 100)), TOO_LONG),
    "endless comments": (floods(b": keep\n\n" * 20_000), WORDLESS),
    "endless empty lines": (floods(b"\n" * MB), WORDLESS),
    "endless empty events": (floods(b"data: {}\n\n" * 20_000), WORDLESS),
    "endless events that are no objects": (floods(b"data:[]\n" * 20_000), WORDLESS),
    "endless empty calls": (floods(calls({"index": 0}) * 5_000), WORDLESS),
    "endless text": (floods(delta(content="word " * 50) * 200), "longer than 200,000 characters"),
    "endless single letters": (floods(delta(content="x") * 200), "longer than 200,000 characters"),
    "endless thoughts": (floods(delta(reasoning_content="hm " * 500) * 20), "longer than 200,000 characters"),
    "endless likelihoods": (
        floods(event({"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [{}] * 5_000}}]})),
        "longer than 200,000 characters",
    ),
    "a gzip bomb": (bomb("gzip", b"\0" * MB, 31), TOO_LONG),
    "a deflate bomb": (bomb("deflate", b"\0" * MB, 15), TOO_LONG),
    "a raw deflate bomb": (bomb("deflate", b"\0" * MB, -15), TOO_LONG),
    "a gzip bomb of events": (bomb("gzip", b"data: {}\n\n" * 1000, 31), WORDLESS),
    "a gzip bomb of gzip bombs": (
        sends(gzip.compress(gzip.compress(b"\0" * MB)) * 2000, headers=b"content-encoding: gzip\r\n"),
        "cut off|No answer",
    ),
    "brotli": (sends(b"\x1b" * 1000, headers=b"content-encoding: br\r\n"), "No answer|no HTTP|cut off"),
    "a bomb as one answer": (
        lambda wire: wire.whole(
            deflated(repeat(b"\0" * MB, 60), 31),
            headers=b"content-type: application/json\r\ncontent-encoding: gzip\r\n",
        ),
        "more than 8 MB",
    ),
    "a bomb as an error": (
        lambda wire: wire.whole(deflated(repeat(b"\0" * MB, 60), 31), b"400 Bad", b"content-encoding: gzip\r\n"),
        "status 400",
    ),
    "an error of 100 MB": (
        lambda wire: (
            wire.send(b"HTTP/1.1 400 Bad\r\ncontent-length: 104857600\r\n\r\n"),
            [wire.send(BLOCK) for _ in range(100)],
        ),
        "status 400",
    ),
    "one answer of 100 MB": (
        lambda wire: (
            wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n"),
            [wire.send(BLOCK) for _ in range(100)],
        ),
        "more than 8 MB",
    ),
    "a page": (
        lambda wire: wire.whole(b"<html>Log in first</html>", headers=b"content-type: text/html\r\n"),
        "answered with text/html",
    ),
    "nested 100,000 deep": (sends(b"data: " + b"[" * 100_000 + b"]" * 100_000 + b"\n\n"), "JSON in one piece"),
    "nested 30,000 deep": (sends(b"data: " + b"[" * 30_000 + b"]" * 30_000 + b"\n\n"), "no chat completion"),
    "half characters in 8 MB": (
        sends(b'data: {"choices":[{"delta":{"content":"' + b"\\ud800" * MB + b'"}}]}\n\n'),
        "no chat completion",
    ),
    "a number of a million digits": (
        sends(b'data: {"choices":[],"usage":{"prompt_tokens":' + b"9" * MB + b"}}\n\n"),
        "no chat completion",
    ),
    "many small values": (
        sends(b'data: {"choices":[],"x":[' + b"[]," * 2 * MB + b"[]]}\n\n"),
        "MB of JSON in one piece",
    ),
    "many small values as one answer": (
        lambda wire: wire.whole(b'{"choices":[],"x":[' + b"{}," * 2 * MB + b"{}]}"),
        "MB of JSON in one piece",
    ),
    "10,000 choices": (sends(event({"choices": [{"delta": {"content": "Hi"}}] * 10_000}), END), "^Hi$"),
    "a call at index 10**9": (
        sends(calls({"index": 10**9, "id": "a", "function": {"name": "x", "arguments": "{}"}}), END),
        "",
    ),
    "10,000 calls": (
        floods(b"".join(calls({"index": i, "id": str(i)}) for i in range(10_000))),
        "more than 128 tool calls",
    ),
    "a tool's name of 10 MB": (
        sends(*(calls({"index": 0, "function": {"name": "x" * 100_000}}) for _ in range(100))),
        "name of more than 256",
    ),
    "endless arguments": (
        floods(calls({"index": 0, "function": {"name": "", "arguments": "1," * 50}}) * 100),
        "1,048,576 characters of arguments",
    ),
    "headers of 8 MB": (
        sends(A_WORD, END, headers=b"".join(b"x-%d: %s\r\n" % (i, b"y" * 8000) for i in range(1000))),
        "headers are longer",
    ),
    "one header of 8 MB": (sends(A_WORD, END, headers=b"x: " + b"y" * 8 * MB + b"\r\n"), "headers are longer"),
    "two million interim answers": (lambda wire: wire.interim(2_000_000), "more than 16 interim answers"),
    "trailers without end": (
        lambda wire: (
            wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"),
            wire.send(b"%x\r\n" % len(A_WORD) + A_WORD + b"\r\n0\r\n"),
            [wire.send(b"x-%d: y\r\n" % i) for i in range(2_000_000)],
        ),
        "cut off",
    ),
    "a length that is not kept": (
        lambda wire: wire.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\nconnection: close\r\n\r\n"
            + A_WORD
        ),
        "cut off",
    ),
    "a status that is no answer": (lambda wire: wire.send(b"HTTP/1.1 204 No\r\n\r\n"), "status 204"),
    "a byte at a time": (lambda wire: wire.stream(*(bytes([byte]) for byte in A_WORD + END)), "^Hello. $"),
    "lines that end in CR": (sends((A_WORD + END).replace(b"\n", b"\r")), "^Hello. $"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_no_model_sends_ends_in_words(gateway_of_all: Gateway, hostile: HostileEndpoint, attack: str) -> None:
    hostile.answer, expected = ATTACKS[attack]
    with watch_vitals(gateway_of_all.process.popen.pid, gateway_of_all.root):
        began = time.monotonic()
        answer = ask(gateway_of_all)
        assert time.monotonic() - began < 15
        time.sleep(0.1)

    assert re.search(expected, words(answer)), words(answer)
    assert "Something inside" not in words(answer)
    hostile.reset()
    assert words(ask(gateway_of_all)) == "Fine."


def test_an_endpoint_that_keeps_itself_alive_is_left_when_the_turns_time_is_up(
    gateway_of_all: Gateway, hostile: HostileEndpoint
) -> None:
    """`seconds: 1`, and the five that a turn gets to end by itself. A task of the chat page has no turn."""

    def answer(wire: Wire) -> None:
        wire.stream()
        while True:
            time.sleep(0.05)
            wire.send(b": working\n\n")

    hostile.answer = answer
    began = time.monotonic()
    with watch_vitals(gateway_of_all.process.popen.pid, gateway_of_all.root), ThreadPoolExecutor() as pool:
        asked = [pool.submit(ask, gateway_of_all, model="short", **headers) for headers in ({}, TASK)]
    turn, task = (words(answer.result()) for answer in asked)
    assert "limit of 1 seconds for one turn" in turn
    assert "was not finished within 1 seconds" in task
    assert time.monotonic() - began < 10


def test_a_conversation_is_not_sent_where_an_endpoint_points(gateway_of_all: Gateway, hostile: HostileEndpoint) -> None:
    with HostileEndpoint() as other:
        for status in (b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"):
            location = b"location: " + other.url.encode() + b"/chat/completions?secret=s3cr3t\r\n"
            hostile.answer = lambda wire, status=status, location=location: wire.whole(b"", status, location)
            answer = ask(gateway_of_all)
            assert answer.status_code == 502
            assert "redirection to 127.0.0.1, which is not followed" in words(answer)
            assert "s3cr3t" not in words(answer)
        assert other.requests == []


def test_nothing_of_one_answer_travels_with_another_request(gateway_of_all: Gateway, hostile: HostileEndpoint) -> None:
    cookie = b"set-cookie: session=of-one-key; Path=/\r\n"
    hostile.answer = lambda wire: wire.stream(A_WORD, END, headers=cookie)
    for _ in range(3):
        assert words(ask(gateway_of_all)) == "Hello. "
    assert [request.headers.get("cookie") for request in hostile.requests] == [None] * 3


@pytest.mark.parametrize(
    "value",
    ["-5", "1e99", "1e400", "2.5", "9007199254740993", "9" * 400, '"12"', "null", "true", "[1]", '{"a": 1}', "{}"],
)
def test_no_usage_is_worth_an_answer(gateway_of_all: Gateway, hostile: HostileEndpoint, value: str) -> None:
    details = f'"prompt_tokens_details": {{"cached_tokens": {value}}}, "completion_tokens_details": {value}'
    usage = f'"usage": {{"prompt_tokens": {value}, "completion_tokens": {value}, {details}}}'
    hostile.answer = sends(A_WORD, f'data: {{"choices": [], {usage}}}\n\n'.encode(), END)
    body = ask(gateway_of_all).json()
    assert body["choices"][0]["message"]["content"] == "Hello. "
    assert body["usage"]["total_tokens"] == 0
    for counts in body["usage"].values():
        assert isinstance(counts, int) or all(count >= 0 for count in counts.values())


def test_eight_at_once_are_no_more_than_one(gateway_of_all: Gateway, hostile: HostileEndpoint) -> None:
    small = b'data: {"choices":[{"delta":{"annotations":[' + b"{}," * 19_000 + b"{}]}}]}\n\n"
    hostile.answer = sends(A_WORD, *repeat(small, 60), *repeat(BLOCK, 20))
    answers: list[str] = []
    with watch_vitals(gateway_of_all.process.popen.pid, gateway_of_all.root):
        asking = [threading.Thread(target=lambda: answers.append(words(ask(gateway_of_all)))) for _ in range(8)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(30)
    assert len(answers) == 8
    assert all("longer than 200,000 characters" in said for said in answers)
