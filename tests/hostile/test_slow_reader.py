"""Clients that do not read: what waits for them is bounded, the model's endpoint waits, and in the end they are cut."""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import repeat
from pathlib import Path

import httpx
import pytest
from support.facade import ACCESS, write_configs
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, Gateway, gateway
from support.hostile_endpoint import END, HostileEndpoint, Wire, delta, event
from support.tool_server import SERVER
from support.vitals import watch_vitals

SEND_TIMEOUT = 3.0
READERS = 8
TASKS = 2
MB = 2**20
WORDS = delta(content="word " * 200)
CALL = delta(
    "tool_calls", tool_calls=[{"index": 0, "id": "c", "function": {"name": "files__echo", "arguments": '{"text":"x"}'}}]
)
LIKELY = event(
    {"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [{"token": "x", "logprob": -1.0}] * 20}}]}
)


@pytest.fixture(scope="module")
def endpoint_of_all() -> Iterator[HostileEndpoint]:
    with HostileEndpoint() as endless:
        yield endless


@pytest.fixture(scope="module")
def gateway_of_all(endpoint_of_all: HostileEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("slow")
    servers = {"files": {"command": sys.executable, "args": [str(SERVER), "stdio", str(folder / "log")]}}
    access = {**ACCESS, "keys": [{**key, "forwards_users": key["name"] == "developer"} for key in ACCESS["keys"]]}
    configs = write_configs(folder / "configs", endpoint_of_all.url, servers, access=access, max_answer=50_000_000)
    with gateway(configs, folder / "data", {"INTERLOCK_SEND_TIMEOUT": str(SEND_TIMEOUT)}) as running:
        yield running


@pytest.fixture
def endless(endpoint_of_all: HostileEndpoint) -> Iterator[HostileEndpoint]:
    yield endpoint_of_all
    endpoint_of_all.reset()


PAGE = b"x-openwebui-user-id: 1\r\nx-openwebui-user-name: Ann\r\nx-openwebui-user-email: ann@example.com\r\n"


def ask(running: Gateway, *, stream: bool = True, task: bool = False) -> socket.socket:
    """A request whose answer nobody reads yet, from a client with a small buffer. `task`: one of the chat page's own,
    which is answered without the graph and is no turn."""
    body = {"model": "assistant", "stream": stream, "logprobs": True, "messages": [{"role": "user", "content": "hi"}]}
    data = json.dumps(body).encode()
    address = httpx.URL(running.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((address.host, address.port))
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        + (PAGE + b"x-openwebui-task: title_generation\r\n" if task else b"")
        + b"authorization: Bearer %s\r\n" % (DEVELOPER_KEY if task else ADMIN_KEY).encode()
        + b"content-length: %d\r\n\r\n" % len(data)
        + data
    )
    return client


def is_cut(client: socket.socket, within: float) -> bool:
    """Whether the gateway ends the connection in that time, before the answer's own end."""
    client.settimeout(within)
    began, tail = time.monotonic(), b""
    try:
        while time.monotonic() - began < within:
            data = client.recv(2**16)
            if not data:
                return b"[DONE]" not in tail
            tail = (tail + data)[-100:]
    except ConnectionError:
        return True
    except TimeoutError:
        pass
    return False


def waits(endless: HostileEndpoint, answers: int) -> bool:
    """Whether the endpoint comes to a halt, with all answers begun, before anybody is cut."""
    deadline = time.monotonic() + SEND_TIMEOUT - 0.5
    before = -1
    while time.monotonic() < deadline:
        sent = endless.sent
        if sent == before and len(endless.wires) == answers:
            return True
        before = sent
        time.sleep(0.4)
    return False


def count(running: Gateway, name: str) -> float:
    """One number of GET /metrics."""
    page = httpx.get(f"{running.root}/metrics", trust_env=False).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))


STOPPED = 'interlock_turns_total{graph="assistant",status="stopped"}'


def flood_unread(running: Gateway, endless: HostileEndpoint, readers: int, tasks: int = 0, *, rounds: int = 1) -> None:
    """So many clients that do not read, until all are cut."""
    before = count(running, STOPPED)
    with ExitStack() as stack, watch_vitals(running.process.popen.pid, running.root) as vitals:
        clients = [stack.enter_context(ask(running, task=number < tasks)) for number in range(readers + tasks)]
        assert waits(endless, readers * rounds + tasks), "the endpoint does not wait"
        deadline = time.monotonic() + 2.5 * SEND_TIMEOUT
        while time.monotonic() < deadline and count(running, "interlock_turns_running") > 0:
            time.sleep(0.1)
        time.sleep(0.5)
        assert all(is_cut(client, 5) for client in clients)
    assert max(vitals.memory) - min(vitals.memory) < 100 * MB
    assert count(running, STOPPED) - before == readers


def test_the_endpoint_waits_and_who_does_not_read_is_cut(gateway_of_all: Gateway, endless: HostileEndpoint) -> None:
    endless.answer = lambda wire: wire.flood(repeat(WORDS * 50))
    flood_unread(gateway_of_all, endless, READERS, TASKS)


def test_what_a_turn_did_before_it_was_cut_is_known(gateway_of_all: Gateway, endless: HostileEndpoint) -> None:
    """Likelihoods without end, after a tool ran: they are counted as well, and the tool ran once."""

    def answer(wire: Wire) -> None:
        if any(message["role"] == "tool" for message in wire.request.json["messages"]):
            wire.flood(repeat(LIKELY * 100))
        else:
            wire.stream(CALL, END)

    endless.answer = answer
    data = Path(gateway_of_all.process.log).parent
    flood_unread(gateway_of_all, endless, READERS, rounds=2)
    with closing(sqlite3.connect(data / "interlock.db")) as database:
        calls = database.execute("SELECT tool, finished, failed FROM journal").fetchall()
        rows = database.execute(
            "SELECT status, delivered FROM turns WHERE id IN (SELECT turn FROM turn_calls)"
        ).fetchall()
    assert calls == [("files/echo", 1, 0)] * READERS
    assert rows == [("stopped", 0)] * READERS  # not delivered: a retry may go on with it
    assert (data.parent / "log").read_text().splitlines() == ["echo x"] * READERS


def test_who_reads_again_in_time_gets_the_whole_answer(gateway_of_all: Gateway, endless: HostileEndpoint) -> None:
    endless.answer = lambda wire: wire.flood([*repeat(WORDS, 4000), END])
    with ask(gateway_of_all) as client:
        time.sleep(SEND_TIMEOUT / 2)
        client.settimeout(20)
        received = bytearray()
        while b"[DONE]" not in received[-200:]:
            data = client.recv(2**18)
            assert data, "the answer was cut"
            received += data
            if len(received) % 7 == 0:
                time.sleep(0.001)
    assert received.count(b"word ") == 4000 * 200


def test_a_collected_answer_is_not_held_up_and_its_unread_connection_is_cut(
    gateway_of_all: Gateway, endless: HostileEndpoint
) -> None:
    endless.answer = lambda wire: wire.flood([*repeat(WORDS * 50, 18), END])
    with ExitStack() as stack, watch_vitals(gateway_of_all.process.popen.pid, gateway_of_all.root):
        clients = [stack.enter_context(ask(gateway_of_all, stream=False)) for _ in range(4)]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (
            len(endless.wires) == 4 and count(gateway_of_all, "interlock_turns_running") == 0
        ):
            time.sleep(0.1)
        time.sleep(2 * SEND_TIMEOUT)
        assert all(is_cut(client, 5) for client in clients)


def test_a_client_that_leaves_ends_the_models_stream(gateway_of_all: Gateway, endless: HostileEndpoint) -> None:
    gone: list[float] = []

    def answer(wire: Wire) -> None:
        try:
            wire.flood(repeat(WORDS))
        except ConnectionError:
            gone.append(time.monotonic())
            raise

    endless.answer = answer
    client = ask(gateway_of_all)
    time.sleep(0.5)
    client.close()
    left = time.monotonic()
    while not gone and time.monotonic() - left < 2:
        time.sleep(0.02)
    assert gone, "the endpoint still sends"
