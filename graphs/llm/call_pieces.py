"""Put tool calls together from the pieces of a stream.

OpenAI sends the id and the name of a call once and its arguments in pieces, all under the call's index. Other endpoints
leave ids or indexes out, give every call the same index, or repeat the name with every piece; where the index is left
out, LiteLLM writes the place that a piece has in its own chunk. A call whose pieces cannot be put together for certain
keeps a problem in words, and is not run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, cast

from graphs.llm.provider_fields import CallFieldReader, CallFields, FieldRoom
from graphs.text import replace_surrogates

MOST_CALLS = 128
"""Tool calls of one answer: as many as OpenAI takes tools."""
LONGEST_NAME = 256
"""Characters of a tool's name; OpenAI's have 64 at most."""
LONGEST_ARGUMENTS = 2**20
"""Characters of the arguments of all tool calls of one answer."""

_MARKS = re.compile(r'\\.|["{}\[\]]|\\$', re.DOTALL)
_TWO_NAMES = "the endpoint began another call in the middle of its arguments, without an index or an id of its own"
_NAME_IN_PIECES = "the pieces of its name can be read in two ways"
_ASTRAY = "it came without arguments, and some that may be its own came with another call"


class CallLimitReached(Exception):
    """More calls, names or arguments than are taken from one answer, in words."""


@dataclass(slots=True)
class RawCall:
    """A tool call as the stream wrote it."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    """The text, which may not be JSON."""
    problem: str = ""
    """Why the call is not certain; empty where it is."""
    carried: CallFields = field(default_factory=CallFields)
    """What the endpoint must get back with the call."""


@dataclass(slots=True)
class _CallPieces:
    """A tool call while it arrives."""

    index: int
    carried: CallFieldReader
    id: str = ""
    name: str = ""
    problem: str = ""
    has_second_value: bool = False
    """Whether more arguments began after those that were whole."""
    _arguments: StringIO = field(default_factory=StringIO)
    _depth: int = 0
    _in_string: bool = False
    _escapes_next: bool = False
    _was_closed: bool = False

    @property
    def has_arguments(self) -> bool:
        return self._arguments.tell() > 0

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are closed: another piece would make no JSON of them."""
        return self._was_closed and self._depth == 0

    @property
    def arguments(self) -> str:
        return self._arguments.getvalue()

    def write(self, text: str) -> None:
        """Add the next piece of the arguments."""
        self._arguments.write(text)
        if self._escapes_next:
            text, self._escapes_next = text[1:], not text
        for match in _MARKS.finditer(text):
            mark = match[0]
            if mark[0] == "\\":
                self._escapes_next = len(mark) == 1
            elif mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self.has_second_value = self.has_second_value or (self._depth == 0 and self._was_closed)
                self._depth += 1 if mark in "{[" else -1
                self._was_closed = self._was_closed or self._depth == 0

    def add_name(self, name: str) -> None:
        """Add a name, or the next piece of one."""
        if name == self.name or self.has_arguments:
            return  # repeated with every piece
        if self.name and name.startswith(self.name):
            self.problem, self.name = _NAME_IN_PIECES, name
            return
        self.name += name


class CallAssembler:
    """The tool calls of one answer. Memory and time are bounded by what arrives."""

    def __init__(self, room: FieldRoom) -> None:
        """`room`: for what is kept beside the calls."""
        self._room = room
        self._calls: list[_CallPieces] = []
        self._latest: dict[int | None, _CallPieces] = {}
        """The call that pieces without an id belong to, by index; under None the latest of all."""
        self._by_id: dict[tuple[int | None, str], _CallPieces] = {}
        self._by_id_alone: dict[str, _CallPieces] = {}
        self._length = 0

    def add(self, delta: Mapping[str, Any], *, is_whole: bool = False) -> str:
        """Add one piece of `delta.tool_calls`, and return what it adds to the arguments.

        `is_whole`: it is a whole call, out of an answer that came in one piece.

        Raises:
            CallLimitReached: The calls are more, or longer, than is taken.
            TypeError: It does not have the shape of a tool call.
        """
        index = delta.get("index")
        if index is not None and not isinstance(index, int):
            raise TypeError("a tool call's index is a number")
        whole_id = parse_text(whole_id) if isinstance(whole_id := delta.get("id"), str) else ""
        identity = _shorten_id(whole_id)
        function = cast("Mapping[str, Any]", delta.get("function") or {})
        name, text = parse_text(function.get("name") or ""), function.get("arguments") or ""
        text = parse_text(text) if isinstance(text, str) else json.dumps(text)
        call = self._begin(index) if is_whole else self._find(index, identity, name, text)
        self._latest[index] = self._latest[None] = call
        if identity:
            self._by_id[index, identity] = self._by_id_alone[identity] = call
            if not call.id and self._room.take("id", whole_id):
                call.id = whole_id
        call.carried.add(delta, function)
        self._length += len(text) + len(name)
        if len(call.name) + len(name) > LONGEST_NAME and name != call.name:
            raise CallLimitReached(
                f"The model asked for a tool with a name of more than {LONGEST_NAME} characters; no tool was run."
            )
        if self._length > LONGEST_ARGUMENTS:
            raise CallLimitReached(
                f"The model wrote more than {LONGEST_ARGUMENTS:,} characters of arguments for its tool calls; none of "
                "them was run. Ask it to do the work in smaller parts."
            )
        if name:
            call.add_name(name)
        call.write(text)
        return text

    def build_calls(self) -> list[RawCall]:
        """Build the calls, in the order of their indexes, then in that of their beginnings."""
        calls = sorted(self._calls, key=lambda call: call.index)
        if any(call.has_second_value or (not call.name and call.has_arguments) for call in calls):
            for call in calls:
                call.problem = call.problem or ("" if call.arguments.strip() else _ASTRAY)
        return [
            RawCall(call.id, call.name, call.arguments, call.problem, call.carried.build(call.id)) for call in calls
        ]

    def _find(self, index: int | None, identity: str, name: str, text: str) -> _CallPieces:
        """The call that a piece belongs to; a new one where it begins one."""
        call = self._find_by_id(index, identity, name, text) if identity else None
        if call is None:
            call = self._latest.get(index)
            if call is None or (identity and (call.id or index is None)):
                return self._begin(index)
        if not name or not call.has_arguments or (name == call.name and not (text and call.is_complete)):
            return call
        # A name after arguments: of the next call, which has neither an index nor an id of its own.
        is_certain = call.is_complete
        following = self._begin(index)
        if not is_certain:
            call.problem = following.problem = _TWO_NAMES
        return following

    def _find_by_id(self, index: int | None, identity: str, name: str, text: str) -> _CallPieces | None:
        """The call with this id, though its other pieces may have had another index. Where the index is new, a name
        begins a call of its own, since some endpoints give every call the same id."""
        call = self._by_id.get((index, identity))
        if call is None and (call := self._by_id_alone.get(identity)) and name and index not in self._latest:
            return call if name == call.name and text and not call.is_complete else None
        return call

    def _begin(self, index: int | None) -> _CallPieces:
        if len(self._calls) >= MOST_CALLS:
            raise CallLimitReached(
                f"The model asked for more than {MOST_CALLS} tool calls at once; none of them was run."
            )
        taken = {call.index for call in self._calls}
        place = index if index is not None and index not in taken else max(taken, default=-1) + 1
        call = _CallPieces(place, CallFieldReader(self._room))
        self._calls.append(call)
        return call


def _shorten_id(identity: str) -> str:
    """Shorten the id of a call, by which its pieces are told from others'. Some endpoints write a signature of
    kilobytes into it, with every piece."""
    if len(identity) <= LONGEST_NAME:
        return identity
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()


def parse_text(value: object) -> str:
    """Read a string, or a list of text parts. Raises TypeError for anything else."""
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        value = "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in parts)
    if not isinstance(value, str):
        raise TypeError("text is a string")
    return replace_surrogates(value)
