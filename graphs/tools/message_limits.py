"""Limits of a server's messages: how large they may be, and how fast they may come. Checked before parsing.

A parser holds the event loop while it works, in whatever thread it runs, since it holds the interpreter. So what it may
be given is bounded in bytes, in values and in nesting: a message of ten million bytes of brackets makes hundreds of
megabytes of lists.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import accumulate
from secrets import token_urlsafe
from typing import Any, cast

from pydantic_core import from_json

from graphs.tools.http_failures import HttpFailure
from graphs.tools.message_forms import is_batch, is_progress, split_batch, strip_bom

LARGEST_MESSAGE = 10 * 2**20
"""Bytes of one message, decompressed: four million characters, as text and as structured content beside it."""
LARGEST_AT_ONCE = 24 * 2**20
"""Bytes of all messages that are arriving at once from one server."""
LARGEST_REQUEST = 64 * 2**10
"""Bytes of a message by which the server asks or tells something by itself: those are validated in depth."""
MOST_VALUES = 200_000
"""Texts, numbers, lists and objects of one message: 20 ms of parsing."""
DEEPEST = 100
"""Lists and objects inside each other."""
UNFIT_CODE = -32_771
"""Code of the JSON-RPC error by which a caller learns that its answer was not taken. Outside of what MCP uses."""
MOST_ESCAPES = 1_000_000
"""Backslashes of one message: what is no text has to be found between them."""
RATE = 1_000.0
"""Messages a second that nobody waits for and that are taken from one server; a large one counts for many."""
BURST = 3_000.0

_BYTES_A_UNIT = 16_384
"""Bytes that count as much as a message."""
_VALUES_A_UNIT = 100
_ANSWER_UNITS = 0.2
_DROPPED_UNITS = 0.05
_REQUESTS = (20.0, 50.0)
"""Requests of a server's own that are answered: so many a second, and so many at once."""
_PROGRESS = (50.0, 100.0)
"""Notes of progress that are read."""
_NOTES = (20.0, 100.0)
"""Lines of a server's that are noted."""
_STORED_KEY = "interlock/stored"
_ID_WINDOW = 4_096
"""Bytes at either end of a message in which its id is looked for."""
_MOST_EVENT_IDS = 10_000
_ID = rb'"id"\s*:\s*"?(\d{1,15})"?\s*'
_JSONRPC = rb'"jsonrpc"\s*:\s*"2\.0"\s*'
_FIRST_ID = re.compile(rb"\s*\{\s*(?:" + _JSONRPC + rb",\s*)?" + _ID + rb"[,}]")
_LAST_ID = re.compile(_ID + rb"(?:,\s*" + _JSONRPC + rb")?\}\s*\Z")
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\0\0")
_PREFIX = 2**20
_NO_MARKS = bytes(code for code in range(256) if code not in b"[{,")
_NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_BY_STEP = (-1, 1)


class UnfitMessage(Exception):
    """A message is not taken. The text says what its server did; `request_id`: whose answer it is, if it says."""

    def __init__(self, reason: str, request_id: int | None = None) -> None:
        super().__init__(reason)
        self.request_id = request_id


class UnsolicitedMessage(UnfitMessage):
    """A message that nobody waits for is not taken."""


TOO_LARGE = f"sent a message of more than {LARGEST_MESSAGE // 2**20} MiB"
TOO_MUCH_AT_ONCE = f"sent more than {LARGEST_AT_ONCE // 2**20} MiB at once"


class TokenBucket:
    """A token bucket that makes its reader wait, so that a flood fills the sender's own pipe."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._fill_time: float | None = None

    def try_spend(self, cost: float = 1.0) -> bool:
        """Take `cost` if the bucket holds it; return whether it did."""
        self._fill()
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    async def spend(self, cost: float) -> None:
        """Take `cost`, and wait until the bucket has earned it."""
        self._fill()
        self._tokens -= cost
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._fill_time is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._fill_time) * self._rate)
        self._fill_time = now


class MessageBuffer:
    """The pieces of one message as they arrive."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._pieces: list[bytes] = []
        self._size = 0
        self._first = b""
        self.excess: str | None = None
        """Why the message is not taken; its pieces are thrown away from then on."""

    @property
    def size(self) -> int:
        """The bytes that have arrived, those thrown away too."""
        return self._size

    def add(self, piece: bytes) -> None:
        """Add the next piece."""
        self._size += len(piece)
        self._pieces.append(piece)
        if self.excess is not None:
            self._pieces = [b"".join(self._pieces)[-_ID_WINDOW:]]
            return
        self._intake.buffered_bytes += len(piece)
        if self._size > LARGEST_MESSAGE:
            self.excess = TOO_LARGE
        elif self._intake.buffered_bytes > LARGEST_AT_ONCE:
            self.excess = TOO_MUCH_AT_ONCE
        if self.excess is not None:
            self._intake.buffered_bytes -= self._size
            # Its id is looked for at either end; the pieces are as large as they were read.
            self._first = b"".join(self._pieces[:8])[:_ID_WINDOW]
            self._pieces = [b"".join(self._pieces[-8:])[-_ID_WINDOW:]]

    def check(self, longest: int) -> None:
        """Check a message that is not taken. Raises UnfitMessage once more than `longest` bytes of it have come."""
        if self.excess is not None and self._size > longest:
            raise UnfitMessage(self.excess)

    def take(self) -> bytes:
        """Take the whole message, or both ends of one that is not taken, and empty the buffer. Raises UnfitMessage."""
        whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        excess, first = self.excess, self._first
        self.clear()
        if excess is not None:
            raise UnfitMessage(excess, find_id(first, whole))
        return whole

    def clear(self) -> None:
        """Throw everything away."""
        if self.excess is None:
            self._intake.buffered_bytes -= self._size
        self._pieces, self._size, self._first, self.excess = [], 0, b"", None


class Intake:
    """The messages of one connection: checked, parsed, and throttled."""

    def __init__(self, note: Callable[[str], None], parse_lock: asyncio.Lock | None = None) -> None:
        self._note = note
        self._notes, self._requests, self._progress = (
            TokenBucket(*_NOTES),
            TokenBucket(*_REQUESTS),
            TokenBucket(*_PROGRESS),
        )
        self._dropped_lines = 0
        self.on_tools_changed: Callable[[], None] = lambda: None
        """Is called whenever the server says that its tools have changed."""
        self.on_failure: Callable[[int, HttpFailure], None] | None = None
        """Is called when HTTP has no answer to a request of that id."""
        self._parse_lock = parse_lock or asyncio.Lock()
        """Held while a large message is parsed: several of them one after another would be one long stop."""
        self.pace = TokenBucket()
        self.buffered_bytes = 0
        """Bytes of messages that are still arriving."""
        self._event_times: OrderedDict[bytes, tuple[float, int | None]] = OrderedDict()
        self._stored: dict[str, tuple[dict[str, Any], int]] = {}

    def store(self, result: dict[str, Any], size: int) -> dict[str, Any]:
        """Store a large result, and return what to hand to the SDK in its place: it would parse the result four
        times."""
        token = token_urlsafe()
        self._stored[token] = (result, size)
        self.buffered_bytes += size
        return {_STORED_KEY: token}

    def restore(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result itself, for one that may have been stored."""
        token = result.get(_STORED_KEY)
        if not isinstance(token, str) or token not in self._stored:
            return result
        result, size = self._stored.pop(token)
        self.buffered_bytes -= size
        return result

    @contextmanager
    def open_buffer(self) -> Generator[MessageBuffer]:
        """Open a buffer for one message, which is released at the end of the block."""
        buffer = MessageBuffer(self)
        try:
            yield buffer
        finally:
            buffer.clear()

    def fail(self, request_id: int, failure: HttpFailure) -> bool:
        """Give a request's failure to whoever waits for its answer; return whether there is anyone who takes it."""
        if self.on_failure is None:
            return False
        self.on_failure(request_id, failure)
        return True

    async def examine_all(self, data: bytes, *, awaited: bool = False) -> list[tuple[dict[str, Any], bytes]]:
        """Parse what came as one: a message, or a list of them; each with its JSON, without those that nobody needs.

        Waits where they come too fast. Raises UnfitMessage.
        """
        data = strip_bom(data)
        parts = [data]
        if is_batch(data):
            if (excess := await _find_excess_in_steps(data)) is not None:
                raise UnfitMessage(excess, find_id(data, data))
            try:
                parts = split_batch(data)
            except ValueError:
                raise UnfitMessage("sent something that is no JSON", find_id(data, data)) from None
            if not parts:
                raise UnfitMessage("sent something that is no JSON-RPC message")
        examined = [(await self.examine(part, awaited=awaited), part) for part in parts]
        return [(message, part) for message, part in examined if message is not None]

    async def examine(self, data: bytes, *, awaited: bool = False) -> dict[str, Any] | None:
        """Parse one message; None for one that nobody needs. Waits where they come too fast. Raises UnfitMessage.

        `awaited`: it was asked for, so that there are no more such than requests.
        """
        large = len(data) > LARGEST_REQUEST
        if large:
            await self.pace.spend(len(data) / _BYTES_A_UNIT)
        message = await self._parse_locked(data) if large else _parse_bounded(data)
        if "method" not in message:
            units = min(data.count(b","), MOST_VALUES) / _VALUES_A_UNIT if large else _ANSWER_UNITS
            if large or not awaited:
                await self.pace.spend(units)
            return message
        if large:
            raise UnsolicitedMessage(f"sent a request or a notification of more than {LARGEST_REQUEST // 2**10} KiB")
        await self.pace.spend(_DROPPED_UNITS)
        return message if self._is_needed(message) else None

    def _is_needed(self, message: dict[str, Any]) -> bool:
        """Whether a request or a notification goes on to the SDK, which takes 200 µs for each. What a server logs is
        for its own operator, and nobody reads the rest."""
        if "id" in message:
            return self._requests.try_spend()
        match message["method"]:
            case "notifications/tools/list_changed":
                self.on_tools_changed()
                return False
            case "notifications/progress":
                return is_progress(message) and self._progress.try_spend()
            case _:
                return False

    def note(self, line: str, lines: int = 1) -> bool:
        """Note, in words, what was dropped or said, within a rate. Returns whether it was noted; then the number of
        lines that were not is noted as well."""
        if not self._notes.try_spend():
            self._dropped_lines += lines
            return False
        self.note_rest()
        self._note(line)
        return True

    def note_rest(self, last: str = "") -> None:
        """Note how many lines were not noted, and the last of them."""
        if self._dropped_lines:
            self._note(f"… and {self._dropped_lines:,} more lines")
            self._dropped_lines = 0
            if last:
                self._note(last)

    async def _parse_locked(self, data: bytes) -> dict[str, Any]:
        async with self._parse_lock:
            excess = await _find_excess_in_steps(data)
            if excess is not None:
                raise UnfitMessage(excess, find_id(data, data))
            message = parse_message(data)
            await asyncio.sleep(0)
            return message

    async def throttle(self, size: int, lines: int = 0) -> None:
        """Count bytes that are no message. Waits where they come too fast."""
        await self.pace.spend(size / _BYTES_A_UNIT + lines * _DROPPED_UNITS)

    def remember_event(self, event_id: bytes, start_time: float, request_id: int | None = None) -> None:
        """Remember that the answer to this request, under way since `start_time`, may be resumed from this event."""
        self._event_times[event_id] = start_time, request_id
        if len(self._event_times) > _MOST_EVENT_IDS:
            self._event_times.popitem(last=False)

    def find_event_start(self, event_id: bytes) -> tuple[float | None, int | None]:
        """Find since when the answer of this event is under way, by the loop's clock, and to which request; None where
        it is no answer's."""
        return self._event_times.get(event_id, (None, None))


def _parse_bounded(data: bytes) -> dict[str, Any]:
    excess = find_excess(data)
    if excess is not None:
        raise UnfitMessage(excess, find_id(data, data))
    return parse_message(data)


def parse_message(data: bytes) -> dict[str, Any]:
    """Parse a JSON-RPC message (2.0, no batch). Raises UnfitMessage."""
    try:
        message = from_json(data)
    except ValueError:
        raise UnfitMessage("sent something that is no JSON", find_id(data, data)) from None
    if not isinstance(message, dict):
        raise UnfitMessage("sent something that is no JSON-RPC message")
    message = cast("dict[str, Any]", message)
    fits = message.get("jsonrpc") == "2.0"
    if "method" not in message:
        fits = fits and isinstance(message.get("id"), int | str) and _is_outcome(message)
    if not fits:
        request_id = message.get("id")
        raise UnfitMessage(
            "sent something that is no JSON-RPC message", request_id if isinstance(request_id, int) else None
        )
    return message


def _is_outcome(message: dict[str, Any]) -> bool:
    error = message.get("error")
    if error is None:
        return isinstance(message.get("result"), dict)
    return isinstance(error, dict) and isinstance(error.get("code"), int) and isinstance(error.get("message"), str)  # pyright: ignore[reportUnknownMemberType]


def find_excess(data: bytes) -> str | None:
    """Find why a message must not be parsed, in words; None where it may be."""
    if len(data) > LARGEST_MESSAGE:
        return TOO_LARGE
    if not _may_exceed(data):
        return None
    # Most of what has too many values has them at its beginning.
    return (_find_excess(data[:_PREFIX]) if len(data) > _PREFIX else None) or _find_excess(data)


async def _find_excess_in_steps(data: bytes) -> str | None:
    """Examine a large message in steps, so that the event loop runs other work between them."""
    if len(data) > LARGEST_MESSAGE:
        return TOO_LARGE
    exceeds = _may_exceed(data)
    await asyncio.sleep(0)
    if not exceeds:
        return None
    excess = _find_excess(data[:_PREFIX])
    await asyncio.sleep(0)
    if excess is None and len(data) > _PREFIX:
        excess = _find_excess(data)
        await asyncio.sleep(0)
    return excess


def _may_exceed(data: bytes) -> bool:
    # Every value but the first follows a comma or a bracket, or a name that does.
    marks = data.translate(None, _NO_MARKS)
    return len(marks) >= MOST_VALUES or len(marks) - marks.count(b",") > DEEPEST


def _find_excess(data: bytes) -> str | None:
    """Examine a message, or the beginning of one, whose length alone does not decide."""
    if data.count(b"\\") > MOST_ESCAPES:
        return f"sent a message of more than {MOST_ESCAPES:,} backslashes"
    if b"\\" in data:
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    # Every other part stands between quotes. A value has at most a name beside it.
    if data.count(b'"') > 4 * MOST_VALUES:
        return f"sent a message of more than {MOST_VALUES:,} values"
    outside = b"".join(data.split(b'"')[::2])
    marks = outside.translate(None, _NO_MARKS)
    if len(marks) >= MOST_VALUES:
        return f"sent a message of more than {MOST_VALUES:,} values"
    brackets = outside.translate(None, _NO_BRACKETS)
    depths = accumulate(map(_BY_STEP.__getitem__, brackets.translate(_STEPS)))
    return f"sent a message nested more than {DEEPEST} deep" if max(depths, default=0) > DEEPEST else None


def find_id(first: bytes, last: bytes) -> int | None:
    """Find the id of an answer that is not parsed, where the SDKs write it: at its beginning or at its end."""
    found = _FIRST_ID.match(first[:_ID_WINDOW]) or _LAST_ID.search(last[-_ID_WINDOW:])
    return int(found[1]) if found is not None else None
