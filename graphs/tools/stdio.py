"""The connection to a server that is started here: its process, its lines, and an end that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import ErrorData, JSONRPCError, JSONRPCMessage
from pydantic import ValidationError

from graphs.config.secrets import NETWORK_VARIABLES
from graphs.config.spec.servers import ServerSpec
from graphs.tools.errors import LineTooLong, StartError, describe_missing_command
from graphs.tools.message_forms import strip_bom
from graphs.tools.message_limits import UNFIT_CODE, Intake, MessageBuffer, TokenBucket, UnfitMessage

_LONGEST_LINE = 32 * 1024 * 1024
"""Bytes of one line that are thrown away before the server is given up."""
_LONGEST_NOTE = 1000
Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectReceiveStream[SessionMessage]


@dataclass(frozen=True, kw_only=True)
class StdioLink:
    """The two streams that a session needs, and the process behind them."""

    read: MemoryObjectReceiveStream[SessionMessage | Exception]
    write: MemoryObjectSendStream[SessionMessage]
    process: Process
    stderr_end: anyio.Event
    """Set when its stderr has been read to the end."""


@asynccontextmanager
async def run_process(spec: ServerSpec, intake: Intake, *, grace: float) -> AsyncGenerator[StdioLink]:
    """Start the program and keep it until the block is left; then the whole process group is gone.

    The SDK's own stdio client is not used: it hides the process, so its end and its status could not be told, it lets
    children live that outlast their parent, and it takes a message of any length. `intake` is told the lines of stderr,
    and those of stdout that are no messages; `grace` is how many seconds the program gets to end by itself, and
    again to end when it is asked to. Raises StartError.
    """
    process = await _start(spec)
    into, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, out = anyio.create_memory_object_stream[SessionMessage](0)
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise StartError("was started without pipes")
    all_read, last_words = anyio.Event(), anyio.Event()
    gone = False
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_read_messages, stdout, into, intake, all_read)
            group.start_soon(_write_messages, stdin, out)
            group.start_soon(_read_notes, stderr, intake, last_words)
            group.start_soon(_close_after_exit, process, into, all_read, grace)
            try:
                yield StdioLink(read=read, write=write, process=process, stderr_end=last_words)
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
    env = {**get_default_environment(), **select_network_variables(spec.env), **spec.env}
    if spec.cwd is not None and not await anyio.Path(spec.cwd).is_dir():
        raise StartError(f"{spec.cwd}: no such folder. Correct 'cwd' in servers.yaml.")
    program = await anyio.to_thread.run_sync(_find_program, command, spec.args, env.get("PATH"))
    if program is None:
        if await anyio.Path(command).is_file():
            raise StartError(f"{command}: not executable. Allow it with chmod +x, or name its interpreter.")
        raise StartError(describe_missing_command(command))
    try:
        # A session of its own: what it starts in turn can be ended with it, and Ctrl-C is for the gateway alone.
        return await anyio.open_process([program, *spec.args], env=env, cwd=spec.cwd, start_new_session=True)
    except OSError as error:
        raise StartError(f"{command}: {error.strerror or error}") from error


def select_network_variables(own: Mapping[str, str]) -> dict[str, str]:
    """Select what of our environment says how to reach the network, except what a server's `own` variables say."""
    said = {name.upper() for name in own}
    return {
        name: value
        for name in NETWORK_VARIABLES
        if (value := os.environ.get(name)) is not None and name.upper() not in said
    }


def _find_program(command: str, args: Sequence[str], path: str | None) -> str | None:
    """Find the program that a command means. `python` is the one on the path, with its packages; the demo's servers
    are packages of ours."""
    if command != "python":
        return shutil.which(command, path=path)
    if list(args[:2]) == ["-m", "server.demo"]:
        return sys.executable
    return shutil.which("python", path=path) or shutil.which("python3", path=path)


async def _read_messages(stdout: ByteReceiveStream, into: Incoming, intake: Intake, stdout_end: anyio.Event) -> None:
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError), intake.open_buffer() as buffer:
        async with into:
            async for chunk in stdout:
                *lines, rest = chunk.split(b"\n")
                await intake.throttle(len(chunk), len(lines))
                for line in lines:
                    buffer.add(line)
                    for message in await _read_line(buffer, intake):
                        await into.send(SessionMessage(message))
                buffer.add(rest)
                if buffer.size > _LONGEST_LINE:
                    raise LineTooLong(f"sent one message of more than {_LONGEST_LINE // 1024**2} MiB")
            stdout_end.set()


async def _read_line(buffer: MessageBuffer, intake: Intake) -> list[JSONRPCMessage]:
    """Read the message in a line, or the list of them; the error that a caller gets in place of one that is not taken;
    nothing for a stray print, which is no reason to lose the server."""
    line = b""
    try:
        line = strip_bom(buffer.take())
        if not line.lstrip().startswith((b"{", b"[{")):
            if line and not line.isspace():
                intake.note(_decode_note(line))
            return []
        return [JSONRPCMessage.model_validate(message) for message, _ in await intake.examine_all(line)]
    except UnfitMessage as unfit:
        if unfit.request_id is None:
            intake.note(_decode_note(line) or str(unfit))
            return []
        error = ErrorData(code=UNFIT_CODE, message=str(unfit))
        return [JSONRPCMessage(JSONRPCError(jsonrpc="2.0", id=unfit.request_id, error=error))]
    except ValidationError:
        intake.note("sent something that is no JSON-RPC message")
        return []


async def _write_messages(stdin: ByteSendStream, out: Outgoing) -> None:
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async with out:
            async for message in out:
                text = message.message.model_dump_json(by_alias=True, exclude_none=True)
                await stdin.send(text.encode() + b"\n")


async def _read_notes(stderr: ByteReceiveStream, intake: Intake, stderr_end: anyio.Event) -> None:
    """Note what a server says beside its messages: so many lines a second, and how many more there were."""
    pace = TokenBucket()
    pending = last = b""
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for chunk in stderr:
            lines, end, pending = (pending + chunk).rpartition(b"\n")
            pending = pending[:_LONGEST_NOTE]
            while end and lines:
                line, _, rest = lines.partition(b"\n")
                if not intake.note(_decode_note(line), 1 + rest.count(b"\n") + bool(rest)):
                    last = lines.rstrip().rpartition(b"\n")[2]
                    break
                lines = rest
            await pace.spend(len(chunk) / 16_384)
    # What a program says last is why it ended.
    intake.note_rest(_decode_note(last))
    if pending.strip():
        intake.note(_decode_note(pending))
    stderr_end.set()


def _decode_note(line: bytes) -> str:
    return line[:_LONGEST_NOTE].decode(errors="replace").rstrip()


async def _close_after_exit(process: Process, into: Incoming, stdout_end: anyio.Event, grace: float) -> None:
    """Close stdout when the process ends: a child that inherited it would keep it open."""
    await process.wait()
    with anyio.move_on_after(grace):
        await stdout_end.wait()
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
    """Send the process's group a signal, and return whether anyone was there to get it; 0 only asks."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
