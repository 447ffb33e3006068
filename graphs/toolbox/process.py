"""A server that is started here: its process, the lines it exchanges, and an end that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage
from pydantic import ValidationError

from graphs.spec.servers import ServerSpec
from graphs.toolbox.words import CannotStart, TooLong, missing_command

_LONGEST_MESSAGE = 64 * 1024 * 1024
Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectReceiveStream[SessionMessage]


@dataclass(frozen=True, kw_only=True)
class Running:
    """The two ends that a session needs, and the process behind them."""

    read: MemoryObjectReceiveStream[SessionMessage | Exception]
    write: MemoryObjectSendStream[SessionMessage]
    process: Process
    last_words: anyio.Event
    """Set when its stderr has been read to the end."""


@asynccontextmanager
async def running(spec: ServerSpec, note: Callable[[str], None], *, grace: float) -> AsyncGenerator[Running]:
    """Start the program and keep it until the block is left; then the whole process group is gone.

    The SDK's own stdio client is not used: it hides the process, so its end and its status could not be told, it lets
    children live that outlast their parent, and it takes a message of any length. `note` is given every line of
    stderr, and those of stdout that are no messages; `grace` is how many seconds the program gets to end by itself, and
    again to end when it is asked to. Raises CannotStart.
    """
    process = await _start(spec)
    into, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, out = anyio.create_memory_object_stream[SessionMessage](0)
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise CannotStart("was started without pipes")
    all_read, last_words = anyio.Event(), anyio.Event()
    gone = False
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_read_messages, stdout, into, note, all_read)
            group.start_soon(_write_messages, stdin, out)
            group.start_soon(_read_notes, stderr, note, last_words)
            group.start_soon(_end_with, process, into, all_read, grace)
            try:
                yield Running(read=read, write=write, process=process, last_words=last_words)
            finally:
                with anyio.CancelScope(shield=True):
                    await _stop(process, grace)
                gone = True
                group.cancel_scope.cancel()
    finally:
        if not gone:
            # The event loop itself is being torn down: there is no time to ask.
            _signal_group(process, signal.SIGKILL)
        for stream in (into, read, write, out):
            stream.close()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _start(spec: ServerSpec) -> Process:
    command = spec.command or ""
    # A server never inherits our environment: it holds the gateway's own keys.
    env = {**get_default_environment(), **spec.env}
    if spec.cwd is not None and not await anyio.Path(spec.cwd).is_dir():
        raise CannotStart(f"{spec.cwd}: no such folder. Correct 'cwd' in servers.yaml.")
    if command == "python":
        program: str | None = sys.executable
    else:
        program = await anyio.to_thread.run_sync(partial(shutil.which, command, path=env.get("PATH")))
    if program is None:
        if await anyio.Path(command).is_file():
            raise CannotStart(f"{command}: not executable. Allow it with chmod +x, or name its interpreter.")
        raise CannotStart(missing_command(command))
    try:
        # A session of its own: what it starts in turn can be ended with it, and Ctrl-C is for the gateway alone.
        return await anyio.open_process([program, *spec.args], env=env, cwd=spec.cwd, start_new_session=True)
    except OSError as error:
        raise CannotStart(f"{command}: {error.strerror or error}") from error


async def _read_messages(
    stdout: ByteReceiveStream, into: Incoming, note: Callable[[str], None], all_read: anyio.Event
) -> None:
    pending: list[bytes] = []
    size = 0
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async with into:
            async for chunk in stdout:
                *lines, rest = chunk.split(b"\n")
                for line in lines:
                    whole = b"".join((*pending, line))
                    pending.clear()
                    size = 0
                    message = _parse(whole)
                    if message is not None:
                        await into.send(SessionMessage(message))
                    elif whole.strip():
                        note(whole[:1000].decode(errors="replace"))
                pending.append(rest)
                size += len(rest)
                if size > _LONGEST_MESSAGE:
                    raise TooLong(f"sent one message of more than {_LONGEST_MESSAGE // 1024**2} MiB")
            all_read.set()


def _parse(line: bytes) -> JSONRPCMessage | None:
    """A stray print on stdout is no reason to lose the server: it gives None."""
    try:
        return JSONRPCMessage.model_validate_json(line)
    except ValidationError:
        return None


async def _write_messages(stdin: ByteSendStream, out: Outgoing) -> None:
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async with out:
            async for message in out:
                text = message.message.model_dump_json(by_alias=True, exclude_none=True)
                await stdin.send(text.encode() + b"\n")


async def _read_notes(stderr: ByteReceiveStream, note: Callable[[str], None], last_words: anyio.Event) -> None:
    pending = b""
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for chunk in stderr:
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    note(line[:1000].decode(errors="replace").rstrip())
            pending = pending[:1000]
    if pending.strip():
        note(pending.decode(errors="replace").rstrip())
    last_words.set()


async def _end_with(process: Process, into: Incoming, all_read: anyio.Event, grace: float) -> None:
    """A child that inherited stdout keeps it open after the server died: the end of the process is the end."""
    await process.wait()
    with anyio.move_on_after(grace):
        await all_read.wait()
    into.close()


async def _stop(process: Process, grace: float) -> None:
    """Close its input, as the protocol asks; then ask it to end; then end it. Its children too."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(grace):
        await process.wait()
    for request in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(process, request):
            return
        # What is killed is gone, if perhaps not buried yet.
        with anyio.move_on_after(grace if request == signal.SIGTERM else grace / 10):
            while _signal_group(process, 0):  # noqa: ASYNC110 -- nothing tells when a group is gone
                await anyio.sleep(0.02)


def _signal_group(process: Process, number: int) -> bool:
    """Whether anyone of the process's group was there to get the signal; 0 only asks."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
