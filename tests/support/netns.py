"""Networks of the tests' own: namespaces as machines, bridges as networks, by root and with nothing left behind."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from support.environments import missing, program

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


@dataclass(frozen=True)
class Machine:
    """A network namespace."""

    name: str

    @property
    def file(self) -> str:
        return f"/run/netns/{self.name}"

    @property
    def enter(self) -> Sequence[str]:
        """What stands before a command that shall run there."""
        return ["nsenter", f"--net={self.file}"]

    def do(self, function: Callable[[], T]) -> T:
        """Runs the function there: every socket that it makes belongs to this machine."""
        done: Future[T] = Future()

        def work() -> None:
            try:
                self.move_in()
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        # A thread of its own: a namespace is the thread's, and this one must not be used again.
        threading.Thread(target=work, name=self.name, daemon=True).start()
        return done.result(120)

    def move_in(self) -> None:
        """Moves the calling thread there for good."""
        descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {self.name}")
        finally:
            os.close(descriptor)

    def listening(self) -> dict[int, set[str]]:
        """Port → addresses of everything that listens there on IPv4 or IPv6, loopback included."""
        listed = subprocess.run(
            [*self.enter, "cat", "/proc/net/tcp", "/proc/net/tcp6"], check=True, capture_output=True, text=True
        ).stdout
        found: dict[int, set[str]] = {}
        for line in listed.splitlines():
            fields = line.split()
            if len(fields) > 3 and fields[3] == LISTENING:
                address, _, port = fields[1].partition(":")
                found.setdefault(int(port, 16), set()).add(readable(address))
        return found

    def answering(self, targets: Iterable[tuple[str, int]], patience: float = 1.0) -> set[tuple[str, int]]:
        """Those of the addresses and ports that take a connection from there."""
        wanted = list(targets)

        async def probe(address: str, port: int) -> bool:
            try:
                async with asyncio.timeout(patience):
                    _, writer = await asyncio.open_connection(address, port)
            except OSError:  # refused, unreachable, or too late
                return False
            writer.close()
            return True

        async def probe_all() -> list[bool]:
            return await asyncio.gather(*(probe(*target) for target in wanted))

        answers = self.do(lambda: asyncio.run(probe_all()))
        return {target for target, answer in zip(wanted, answers, strict=True) if answer}


def readable(address: str) -> str:
    """An address of /proc/net/tcp: hexadecimal, each word of four bytes turned round."""
    raw = bytes.fromhex(address)
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)


class Wiring:
    """Machines and the networks between them. Names are unique, so that several test runs share a computer."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(3)
        self._made: list[Machine] = []
        self._ends = 0

    def machine(self, name: str) -> Machine:
        """A new machine with a loopback and nothing else; it forwards nothing."""
        made = Machine(f"ilk-{self._run}-{name}")
        ip("netns", "add", made.name)
        self._made.append(made)
        ip("-n", made.name, "link", "set", "lo", "up")
        # A new namespace may copy these from the computer's own.
        for setting in ("net.ipv4.ip_forward=0", "net.ipv6.conf.all.disable_ipv6=1"):
            run([*made.enter, "sysctl", "--quiet", "--write", setting])
        return made

    def bridge(self, host: Machine, name: str, address: str) -> None:
        """A network on a host, which has that address (with its prefix) on it."""
        ip("-n", host.name, "link", "add", name, "type", "bridge")
        ip("-n", host.name, "address", "add", address, "dev", name)
        ip("-n", host.name, "link", "set", name, "up")

    def plug(self, machine: Machine, device: str, address: str, host: Machine, bridge: str) -> None:
        """A cable from the machine, where it is that device with that address, to a host's bridge."""
        end = f"end{self._ends}"
        self._ends += 1
        ip("-n", machine.name, "link", "add", device, "type", "veth", "peer", "name", end, "netns", host.name)
        ip("-n", host.name, "link", "set", end, "master", bridge, "up")
        ip("-n", machine.name, "address", "add", address, "dev", device)
        ip("-n", machine.name, "link", "set", device, "up")

    def route(self, machine: Machine, gateway: str) -> None:
        """Sends what the machine has no network for to that address."""
        ip("-n", machine.name, "route", "add", "default", "via", gateway)

    def close(self) -> None:
        """Takes every machine away, and with it its networks."""
        for machine in self._made:
            subprocess.run(["ip", "netns", "delete", machine.name], capture_output=True, check=False)


@contextmanager
def wiring() -> Iterator[Wiring]:
    """Networks while the block lasts; a skip where they cannot be made."""
    program("ip", "install Debian's package iproute2")
    if os.geteuid() != 0:
        missing("the right to make network namespaces", "run these tests as root")
    made = Wiring()
    try:
        yield made
    finally:
        made.close()


class Relay:
    """Hands connections that come to one machine's port on to an address that another machine can reach.

    Threads, not tasks: nothing of a connection is left to the garbage collector, whenever the relay ends.
    """

    def __init__(self, at: Machine | None, listen: tuple[str, int], via: Machine | None, to: tuple[str, int]) -> None:
        """`at` and `via` are None for the computer of the tests itself."""
        self._listen, self._to = listen, to
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_closed = False
        self.listener = at.do(self._open) if at else self._open()
        self._start(self._serve, via)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_closed = True
            for each in (self.listener, *self._sockets):
                end(each)
            threads = list(self._threads)
        for thread in threads:
            thread.join(10)
        self.listener.close()

    def _open(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self._listen)
        listener.listen(64)
        return listener

    def _start(self, function: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=function, args=arguments, name="relay", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _serve(self, via: Machine | None) -> None:
        if via is not None:
            via.move_in()  # and with this thread all that it starts
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                if self._is_closed:
                    connection.close()
                    return
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                self._start(self._hand_on, connection)

    def _hand_on(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), socket.create_connection(self._to, timeout=60) as onwards:
            onwards.settimeout(None)
            both = {connection, onwards}
            with self._lock:
                if self._is_closed:
                    return
                self._sockets |= both
            back = threading.Thread(target=pump, args=(onwards, connection), name="relay", daemon=True)
            back.start()
            pump(connection, onwards)
            back.join()
            with self._lock:
                self._sockets -= both


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Hand on what comes, and that it ended; where one of both is gone, end both."""
    try:
        while block := source.recv(65536):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        end(source)
        end(sink)


def end(one: socket.socket) -> None:
    """End a socket that another thread may be waiting for."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def ip(*words: str) -> None:
    run(["ip", *words])


def run(command: Sequence[str], env: Mapping[str, str] | None = None, **more: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, **more)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout
