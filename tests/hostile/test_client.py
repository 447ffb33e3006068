"""A client without a key, on real sockets: what it may take of a gateway, and what it is told."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from support.facade import write_configs
from support.gateway import ADMIN_KEY, Gateway, gateway
from support.scripted_model import ScriptedModel
from support.tool_server import Tools
from support.vitals import watch_vitals

BRIEF = {"header_time": "2s", "body_time": "2s", "idle_time": "2s", "connections_per_address": 40}


def limited(folder: Path, **settings: object) -> Path:
    """The folder with these settings of `http:`."""
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "http": settings}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="module")
def attacked(folder: Path, endpoint: ScriptedModel, tools_process: Tools) -> Iterator[Gateway]:
    """One for all tests, with brief limits, so that they are brief."""
    configs = write_configs(folder / "configs", endpoint.url, {"files": {"url": tools_process.url}})
    with gateway(limited(configs, **BRIEF), folder / "data") as running:
        yield running


def connect(target: Gateway, source: str = "127.0.0.1") -> socket.socket:
    host, _, port = target.root.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answer(connection: socket.socket, seconds: float = 10) -> bytes:
    """All that comes until the other side closes, or falls silent."""
    connection.settimeout(seconds)
    answer = b""
    with suppress(OSError):
        while part := connection.recv(65536):
            answer += part
    return answer


def status_of(answer: bytes) -> int:
    """The status of the first answer; 0 where there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def pour(target: Gateway, start: bytes, piece: bytes, most: int) -> tuple[int, int]:
    """Sends `start`, then `piece` again and again until `most` bytes or a refusal; bytes sent, and the status."""
    with connect(target) as connection:
        sent = 0
        with suppress(OSError):
            connection.sendall(start)
            while sent < most:
                connection.sendall(piece)
                sent += len(piece)
        return sent, status_of(read_answer(connection, 3))


def exchange(target: Gateway, request: bytes, seconds: float = 5) -> bytes:
    with connect(target) as connection:
        with suppress(OSError):
            connection.sendall(request)
        return read_answer(connection, seconds)


def assert_alive(target: Gateway) -> None:
    """A turn still runs for who has a key."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    assert httpx.get(f"{target.url}/models", headers=headers, trust_env=False).status_code == 200


GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

ENDLESS = {
    "one header": (GET + b"X-A: ", b"a" * 65536, 431),
    "one name": (GET, b"a" * 65536, 431),
    "small headers": (GET, b"a:b\r\n" * 10_000, 431),
    "middling headers": (GET, b"x-a: " + b"b" * 2000 + b"\r\n", 431),
    "a path": (b"GET /", b"a" * 65536, 414),
    "a query": (b"GET /health?", b"a=b&" * 10_000, 414),
    "a method": (b"", b"A" * 65536, 400),
    "line ends": (b"", b"\r\n" * 30_000, 0),
    "trailers": (CHUNKED + b"1\r\n{\r\n0\r\n", b"x-a: b\r\n" * 10_000, 0),
    "one trailer": (CHUNKED + b"1\r\n{\r\n0\r\nx-a: ", b"a" * 65536, 0),
    "a chunk's extension": (CHUNKED + b"1;", b"a" * 65536, 0),
    "tiny chunks": (CHUNKED, b"1\r\n \r\n" * 10_000, 0),
    "a body": (POST + b"Content-Length: 9999999999\r\n\r\n", b" " * 65536, 0),
    "a pipeline": (b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000, 0),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_has_no_end_is_ended(attacked: Gateway, kind: str) -> None:
    start, piece, expected = ENDLESS[kind]
    with watch_vitals(attacked.process.popen.pid, attacked.root):
        sent, status = pour(attacked, start, piece, 60 * 2**20)
    if kind not in ("a body", "line ends"):
        assert sent < 12 * 2**20  # what the kernel's buffers took besides
    if expected:
        assert status == expected
    assert_alive(attacked)


def test_many_at_once_of_what_has_no_end(attacked: Gateway) -> None:
    with watch_vitals(attacked.process.popen.pid, attacked.root):
        attackers = [
            threading.Thread(target=pour, args=(attacked, start, piece, 8 * 2**20))
            for start, piece, _ in list(ENDLESS.values()) * 2
        ]
        for each in attackers:
            each.start()
        for each in attackers:
            each.join()
    assert_alive(attacked)


def count_open(connections: list[socket.socket]) -> int:
    """How many the other side has not closed."""
    count = 0
    for each in connections:
        each.settimeout(0)
        try:
            while each.recv(65536):
                pass
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count


@contextmanager
def many(target: Gateway, count: int, start: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(target)) for _ in range(count)]
        for each in connections:
            with suppress(OSError):
                each.sendall(start)
        yield connections


def drip(connections: list[socket.socket], some: bytes) -> None:
    for each in connections:
        with suppress(OSError):
            each.sendall(some)


SLOW = {
    "headers": (GET, lambda: b"x-%d: y\r\n" % random.randrange(10**6), 408),
    "a header": (GET + b"x: ", lambda: b"y", 408),
    "a path": (b"GET /", lambda: b"y", 408),
    "line ends": (b"", lambda: b"\r\n", 0),
    "nothing": (b"", lambda: b"", 0),
    "a body": (POST + b"Content-Length: 1000\r\n\r\n", lambda: b" ", 401),
    "chunks": (CHUNKED, lambda: b"1\r\n \r\n", 401),
    "a body after an answer": (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n", lambda: b" ", 405),
}


def test_what_comes_slowly_is_cut(attacked: Gateway) -> None:
    with watch_vitals(attacked.process.popen.pid, attacked.root), ExitStack() as stack:
        opened = {kind: stack.enter_context(many(attacked, 4, start)) for kind, (start, _, _) in SLOW.items()}
        until = time.monotonic() + 4
        while time.monotonic() < until:
            for kind, connections in opened.items():
                drip(connections, SLOW[kind][1]())
            time.sleep(0.1)
        for kind, (first, *others) in opened.items():
            assert status_of(read_answer(first, 0.2)) == SLOW[kind][2], kind
            assert count_open(others) == 0, kind
    assert_alive(attacked)


def test_a_body_of_somebody_known_that_trickles_is_cut_and_one_that_comes_steadily_is_read(attacked: Gateway) -> None:
    known = POST + b"Authorization: Bearer %s\r\n" % ADMIN_KEY.encode()
    body = json.dumps({"model": "assistant", "messages": []}).encode()
    with many(attacked, 2, known + b"Content-Length: 8000\r\n\r\n") as (slow, steady):
        steady.sendall(body)
        rest = 8000 - len(body)
        for at in range(0, rest, 800):
            time.sleep(0.4)
            steady.sendall(b" " * min(800, rest - at))
            with suppress(OSError):
                slow.sendall(b" ")
        assert status_of(read_answer(slow, 1)) == 408
        assert status_of(read_answer(steady, 2)) == 400  # no messages, in words
    assert "Traceback" not in attacked.process.text()


def test_connections_of_one_address_do_not_shut_others_out(attacked: Gateway) -> None:
    with watch_vitals(attacked.process.popen.pid, attacked.root), many(attacked, 300, b"") as silent:
        time.sleep(1.8)
        assert count_open(silent) <= 45
        assert exchange(attacked, GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert_alive(attacked)


def test_descriptors_used_up_stop_neither_health_nor_turns(attacked: Gateway) -> None:
    pid = attacked.process.popen.pid
    process = psutil.Process(pid)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert soft == min(hard, 65_536)
    lines = attacked.process.text().count("\n")
    few = process.num_fds() + 100
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, hard))
    time.sleep(0.6)
    try:
        before = process.cpu_times()
        with watch_vitals(pid, attacked.root), many(attacked, 300, GET):
            for _ in range(10):
                time.sleep(0.2)
                assert exchange(attacked, GET + b"Connection: close\r\n\r\n", 1).startswith(b"HTTP/1.1 200")
            assert process.num_fds() < few - 20
            assert_alive(attacked)
        used = process.cpu_times()
        assert used.user + used.system - before.user - before.system < 1.5
        assert attacked.process.text().count("\n") - lines < 20
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


MALFORMED = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "the same length twice": b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "lengths in a list": b"Content-Length: 4, 4\r\n\r\nabcd",
    "a signed length": b"Content-Length: +4\r\n\r\nabcd",
    "a negative length": b"Content-Length: -4\r\n\r\nabcd",
    "a length beyond 64 bits": b"Content-Length: 99999999999999999999999\r\n\r\nabcd",
    "chunked is not the last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 4\r\n\r\nabcd",
    "a line that goes on": b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": b"X-A: b\0c\r\n\r\n",
    "a chunk size that is none": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a chunk size beyond 64 bits": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
}


def test_no_request_is_read_in_two_ways(attacked: Gateway) -> None:
    smuggled = b"GET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    for kind, rest in MALFORMED.items():
        answer = exchange(attacked, POST + rest + smuggled, 1)
        assert status_of(answer) in (400, 401), kind
        assert answer.count(b"HTTP/1.1 ") == 1, f"{kind}: {answer!r}"
    assert attacked.process.text().count("malformed") <= 1


def test_a_body_that_was_announced_and_never_asked_for_is_not_read_as_a_request(attacked: Gateway) -> None:
    head = POST + b"Expect: 100-continue\r\nContent-Length: 40\r\n\r\n"
    answer = exchange(attacked, head + GET + b"\r\n", 2)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_flood_of_requests_without_a_key_is_quiet_and_quick(attacked: Gateway) -> None:
    stranger = "127.0.0.9"
    host, _, port = attacked.root.removeprefix("http://").rpartition(":")
    address = host, int(port)
    numbers = itertools.count()
    statuses: Counter[int] = Counter()
    lines = attacked.process.text().count("\n")

    def ask(key: str, source: str = stranger) -> bytes:
        request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n"
        with connect(attacked, source) as connection:
            connection.sendall(request % key.encode())
            return read_answer(connection)

    def flood() -> None:
        connection = http.client.HTTPConnection(*address, timeout=10, source_address=(stranger, 0))
        with closing(connection):
            for _ in range(60):
                connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer sk-{next(numbers)}"})
                # The whole answer: whoever asks on before its end is cut off, as a client that pipelines.
                with connection.getresponse() as answer:
                    answer.read()
                statuses[answer.status] += 1

    with watch_vitals(attacked.process.popen.pid, attacked.root):
        threads = [threading.Thread(target=flood) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert statuses.keys() == {401, 429}
    assert statuses.total() == 240
    assert statuses[401] < 40  # looked up before the address had to wait
    refused = ask("sk-x")
    assert status_of(refused) == 429
    assert re.search(rb"retry-after: [1-6]?[0-9]\r\n", refused)
    assert status_of(ask("sk-x", "127.0.0.10")) == 401  # another address
    assert status_of(ask(ADMIN_KEY)) == 200  # a valid key is let in
    assert status_of(ask("sk-x")) == 401  # and its address is not locked any more
    assert attacked.process.text().count("\n") - lines < 40
    page = httpx.get(f"{attacked.root}/metrics", trust_env=False).text
    assert 'interlock_refused_connections_total{reason="failed_keys"}' in page


BAD = (400, 413)
ANY = (200, 400, 413)

BODIES: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "brackets": (lambda: b"[" * 20_000_000, BAD),
    "braces": (lambda: b'{"a":' * 4_000_000, BAD),
    "deep in a message": (
        lambda: (
            b'{"model":"assistant","messages":[{"role":"user","content":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}"
        ),
        BAD,
    ),
    "small messages": (lambda: body_of(b",".join([b'{"role":"user","content":"x"}'] * 500_000)), BAD),
    "a million messages": (lambda: body_of(b",".join([b"{}"] * 1_000_000)), BAD),
    "many parts": (
        lambda: body_of(b'{"role":"user","content":[' + b",".join([b'{"type":"text"}'] * 1_000_000) + b"]}"),
        BAD,
    ),
    "many keys": (
        lambda: b'{"model":"a","messages":[],' + b",".join(b'"k%d":1' % n for n in range(1_000_000)) + b"}",
        BAD,
    ),
    "many numbers": (lambda: b'{"model":"a","messages":[],"x":[' + b"1," * 5_000_000 + b"1]}", BAD),
    "one long number": (lambda: b'{"model":"a","messages":[],"seed":' + b"9" * 20_000_000 + b"}", BAD),
    "a huge exponent": (
        lambda: b'{"model":"assistant","messages":[{"role":"user","content":"x"}],"seed":1e999999999}',
        ANY,
    ),
    "escapes": (lambda: body_of(b'{"role":"user","content":"' + b"\\u0041" * 3_000_000 + b'"}'), ANY),
    "broken UTF-8": (lambda: body_of(b'{"role":"user","content":"' + b"\xff" * 1000 + b'"}'), BAD),
    "half a surrogate pair": (lambda: body_of(b'{"role":"user","content":"\\ud800"}'), (200, 400)),
    "a key twice": (lambda: b'{"model":"x","model":"assistant","messages":[{"role":"user","content":"x"}]}', ANY),
    "as many messages as there may be": (
        lambda: body_of(b",".join([b'{"role":"user","content":"x"}'] * 10_000)),
        (200,),
    ),
    "a picture of 24 MB": (
        lambda: body_of(
            b'{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,'
            + b"A" * 24_000_000
            + b'"}}]}'
        ),
        (200,),
    ),
    "wrong messages": (lambda: body_of(b"1," * 30_000 + b"1"), BAD),
    "quotes without end": (lambda: b'"' * 20_000_000, BAD),
    "commas": (lambda: b"," * 20_000_000, BAD),
}


def body_of(messages: bytes) -> bytes:
    return b'{"model":"assistant","messages":[' + messages + b"]}"


def test_no_body_holds_up_the_loop(attacked: Gateway, endpoint: ScriptedModel) -> None:
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    pid = attacked.process.popen.pid
    wrong: dict[str, str] = {}
    with httpx.Client(timeout=30, trust_env=False) as client:
        for kind, (build, expected) in BODIES.items():
            body = build()
            endpoint.script("Done.")
            try:
                with watch_vitals(pid, attacked.root):
                    answer = client.post(f"{attacked.url}/chat/completions", content=body, headers=headers)
                    time.sleep(0.1)
                assert answer.status_code in expected, f"{answer.status_code} {answer.text[:200]}"
            except AssertionError as error:
                wrong[kind] = str(error).splitlines()[0]
    assert not wrong
