"""One HTTP request to an MCP server: what it asked for, and what is taken as its answer."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast

import httpx
from pydantic_core import from_json, to_json

from graphs.tools.message_forms import NO_GREETING, complete_greeting
from graphs.tools.message_limits import LARGEST_REQUEST, UNFIT_CODE, Intake, UnfitMessage

_SLICE = 65_536
"""Bytes that are decompressed at a time."""


@dataclass
class HttpExchange:
    """What a request asked for. `id`: of the JSON-RPC request that waits for an answer in it."""

    intake: Intake
    id: int | None = None
    is_message: bool = False
    """Whether it carries a JSON-RPC message."""
    is_initialize: bool = False
    """Whether it opens the session."""
    resumed_id: int | None = None
    """Of the JSON-RPC request whose answer it takes up again."""
    names_session: bool = False
    start_time: float | None = None
    deadline: float | None = None

    @classmethod
    async def from_request(cls, request: httpx.Request, intake: Intake, patience: float) -> HttpExchange:
        """Read a request. Raises httpx.ReadError for one that takes up an answer for which nobody waits."""
        now = asyncio.get_running_loop().time()
        if request.method == "GET":
            resumed = request.headers.get("last-event-id")
            began, asked = intake.find_event_start(resumed.encode()) if resumed is not None else (None, None)
            if began is not None and now > began + patience:
                # The SDK would take up such a stream again for as long as the server likes.
                raise httpx.ReadError("nobody waits for this answer any more", request=request)
            return cls(intake, start_time=began, resumed_id=asked)
        if request.method != "POST":
            return cls(intake, deadline=now + patience)
        message = from_json(await request.aread())
        return cls(
            intake,
            id=message.get("id") if "method" in message else None,
            is_message=True,
            is_initialize=message.get("method") == "initialize",
            names_session="mcp-session-id" in request.headers,
            start_time=now,
            deadline=now + patience,
        )

    def accept(self, message: dict[str, Any], data: bytes) -> bytes:
        """Return the message for the SDK. Raises UnfitMessage for an answer to something else."""
        if "method" in message:
            return data
        if self.id is not None and str(message["id"]) != str(self.id):
            raise UnfitMessage("answered another request than it was asked")
        result = cast("dict[str, Any] | None", message.get("result"))
        if result is None or (len(data) <= LARGEST_REQUEST and not self.is_initialize):
            return data
        if not self.is_initialize:
            return to_json({**message, "result": self.intake.store(result, len(data))})
        # Nobody reads the instructions, and the SDK parses and logs this answer in its own way.
        result.pop("instructions", None)
        complete_greeting(result)
        data = to_json(message)
        if len(data) > LARGEST_REQUEST:
            raise UnfitMessage(f"introduced itself with more than {LARGEST_REQUEST // 2**10} KiB")
        if not isinstance(result.get("protocolVersion"), str):
            raise UnfitMessage(NO_GREETING)
        return data

    def select(self, messages: list[tuple[dict[str, Any], bytes]]) -> bytes:
        """Select the answer of a body. Raises UnfitMessage where it has none."""
        if not messages:
            raise UnfitMessage("answered with a notification")
        answers = [one for one in messages if "method" not in one[0]] or messages
        own = [one for one in answers if str(one[0].get("id")) == str(self.id)]
        return self.accept(*(own or answers)[0])

    def refuse(self, reason: str) -> bytes:
        """Build the error that the caller gets in place of an answer."""
        return build_refusal(self.id, reason)


def build_refusal(request_id: int | None, reason: str) -> bytes:
    """Build a JSON-RPC error for a request whose answer is not taken."""
    return to_json({"jsonrpc": "2.0", "id": request_id, "error": {"code": UNFIT_CODE, "message": reason}})


async def decode_body(response: httpx.Response, intake: Intake) -> AsyncGenerator[bytes]:
    """Decompress the body slice by slice. Raises UnfitMessage, and httpx's errors."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    stream = cast("httpx.AsyncByteStream", response.stream)
    if encoding in ("", "identity"):
        async for chunk in stream:
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnfitMessage(f"compressed its answer in a way that was not asked for: {encoding[:100]}")
    # gzip and zlib are told apart by their first bytes; "deflate" without zlib's header is sent by some.
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    first = True
    async for chunk in stream:
        await intake.throttle(len(chunk))
        rest = chunk
        while rest and not unpacker.eof:
            try:
                unpacked = unpacker.decompress(rest, _SLICE)
            except zlib.error:
                if not first or encoding != "deflate":
                    raise UnfitMessage("compressed its answer in a way that cannot be read") from None
                unpacker, first = zlib.decompressobj(-zlib.MAX_WBITS), False
                continue
            first = False
            rest = unpacker.unconsumed_tail
            if unpacked:
                yield unpacked
        if unpacker.eof:
            return
