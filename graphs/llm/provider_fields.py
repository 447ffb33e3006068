"""What an endpoint writes beside text and tool calls, and must get back with the answer: thoughts, their signatures.

Anthropic refuses a tool's result without the signed thought before its call, DeepSeek one without `reasoning_content`,
Gemini one without its signature, Mistral call ids other than its own. None of it says anything to us, so it is kept as
it came, and goes back to the model that wrote it and to no other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from typing import Any, TypedDict, cast

import orjson

log = logging.getLogger(__name__)

PROVIDER_FIELDS = "provider_fields"
"""The key under which a message holds them, in the state and in rows."""
LONGEST_ID = 2**17
"""Characters of a call's id that goes back. LiteLLM writes Gemini's signatures into it, which have kilobytes."""

_PLAIN = frozenset({"role", "content", "refusal", "tool_calls", "function_call", "annotations", "audio", "images"})
"""Fields of a message that are read for themselves, or that no endpoint wants back."""
_RETURNED = re.compile(r"reasoning|thinking|thought|signature|encrypted|^extra_content$|^provider_specific_fields$")
"""Names of a message's further fields that go back. Others, such as token ids, strict endpoints would refuse."""
_PIECED = re.compile(r"^(?!.*(signature|encrypted)).*(reasoning|thinking)")
"""Names of fields that a stream writes in pieces; the others come whole, each time they come."""
_CALL_FIELDS = frozenset({"index", "id", "type", "function"})
_FUNCTION_FIELDS = frozenset({"name", "arguments"})
_BLOCK_TEXTS = ("thinking", "text", "summary")
_IDENTITY = ("type", "id", "index")
"""Fields of a block by which it is told from others."""
_MINTED = re.compile(r"call_[0-9a-f]{32}")
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class CallFields(TypedDict, total=False):
    """What one tool call carried."""

    id: str
    """The endpoint's own."""
    fields: dict[str, Any]
    """Beside id, type and function."""
    function: dict[str, Any]
    """Beside the function's name and arguments."""


class ProviderFields(TypedDict, total=False):
    """What one message carried, as JSON."""

    model: str
    """The model that wrote it, by the name it was asked by."""
    message: dict[str, Any]
    calls: dict[str, CallFields]
    """By the call ids that we mint."""


class FieldRoom:
    """How many bytes of such fields are kept of one answer. Where there is more, all of them are dropped: half of a
    thought is worth nothing."""

    def __init__(self, most: int) -> None:
        self._left = most

    @property
    def is_used_up(self) -> bool:
        """Whether there was more than is kept."""
        return self._left < 0

    def take(self, name: str, value: object) -> bool:
        """Take the room that a field needs; False where there is not enough."""
        if self._left >= 0:
            self._left -= len(name) + (len(value) if isinstance(value, str) else len(orjson.dumps(value)))
        return self._left >= 0


class _Blocks:
    """A list of blocks, each of which a stream writes in pieces: its text, then its signature. So come Anthropic's
    thoughts through LiteLLM, and OpenRouter's `reasoning_details`, whose indexes are all 0."""

    def __init__(self) -> None:
        self._blocks: list[Any] = []
        self._texts: dict[str, list[str]] = {}
        """The pieces of the last block."""

    def add(self, piece: object) -> None:
        if not isinstance(piece, Mapping):
            self._close()
            self._blocks.append(piece)
            return
        block = {name: value for name, value in cast("Mapping[str, Any]", piece).items() if value is not None}
        if not self._continues(block):
            self._close()
            self._blocks.append({})
        for name in _BLOCK_TEXTS:
            if isinstance(block.get(name), str):
                self._texts.setdefault(name, []).append(block.pop(name))
        self._blocks[-1].update(block)

    def build(self) -> list[Any]:
        self._close()
        return self._blocks

    def _continues(self, piece: Mapping[str, Any]) -> bool:
        """Whether a piece belongs to the last block."""
        if not self._texts or "data" in piece:
            return False
        last: dict[str, Any] = self._blocks[-1]
        if last.get("signature"):
            return False
        return all(name not in piece or name not in last or piece[name] == last[name] for name in _IDENTITY)

    def _close(self) -> None:
        if self._texts:
            self._blocks[-1].update({name: "".join(pieces) for name, pieces in self._texts.items()})
            self._texts = {}


class FieldPieces:
    """An object of which a stream writes the values in pieces."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._blocks: dict[str, _Blocks] = {}
        self._objects: dict[str, FieldPieces] = {}
        self._values: dict[str, Any] = {}

    def add(self, name: str, value: object) -> None:
        """Add the next piece of a value."""
        if isinstance(value, str) and _PIECED.search(name):
            self._texts.setdefault(name, []).append(value)
        elif isinstance(value, list) and _PIECED.search(name):
            blocks = self._blocks.setdefault(name, _Blocks())
            for piece in cast("list[object]", value):
                blocks.add(piece)
        elif isinstance(value, Mapping):
            pieces = self._objects.setdefault(name, FieldPieces())
            for key, part in cast("Mapping[str, object]", value).items():
                pieces.add(key, part)
        else:
            self._values[name] = value

    def put(self, name: str, value: object) -> None:
        """Add a value that is whole."""
        self._values[name] = value

    def build(self) -> dict[str, Any]:
        """Build the object."""
        return {
            **self._values,
            **{name: "".join(pieces) for name, pieces in self._texts.items()},
            **{name: blocks.build() for name, blocks in self._blocks.items()},
            **{name: pieces.build() for name, pieces in self._objects.items()},
        }


class MessageFieldReader:
    """Reads the further fields of one message while it arrives."""

    def __init__(self, room: FieldRoom) -> None:
        self._room = room
        self._pieces = FieldPieces()

    def add(self, delta: Mapping[str, Any], *, is_whole: bool) -> bool:
        """Add what a piece of a message has of them, and return whether it has any that is kept. `is_whole`: the
        message came in one piece."""
        found = False
        for name in delta.keys() - _PLAIN:
            if delta[name] is not None and _RETURNED.search(name):
                found = add_field(self._pieces, self._room, name, delta[name], is_whole=is_whole) or found
        return found

    def build(self) -> dict[str, Any]:
        """Build the fields as they go back; none where there was no room for all, which the log says: the endpoint may
        refuse the next round without them."""
        if self._room.is_used_up:
            log.warning("an answer held more of the endpoint's own fields than are kept, so none of them go back to it")
            return {}
        fields = self._pieces.build()
        if isinstance(blocks := fields.get("thinking_blocks"), list):
            # LiteLLM adds the index while it streams, and writes the blocks twice; Anthropic takes neither.
            fields["thinking_blocks"] = [remove_field(block, "index") for block in cast("list[object]", blocks)]
            inner = remove_field(fields.pop("provider_specific_fields", None), "thinking_blocks")
            if inner:
                fields["provider_specific_fields"] = inner
        return fields


class CallFieldReader:
    """Reads the further fields of one tool call while it arrives."""

    def __init__(self, room: FieldRoom) -> None:
        self._room = room
        self._fields: FieldPieces | None = None
        self._function: FieldPieces | None = None

    def add(self, delta: Mapping[str, Any], function: Mapping[str, Any]) -> None:
        """Add what a piece of a call has of them."""
        if names := delta.keys() - _CALL_FIELDS:
            self._fields = self._fields or FieldPieces()
            for name in names:
                add_field(self._fields, self._room, name, delta[name])
        if names := function.keys() - _FUNCTION_FIELDS:
            self._function = self._function or FieldPieces()
            for name in names:
                add_field(self._function, self._room, name, function[name])

    def build(self, identity: str) -> CallFields:
        """Build what the call carried; `identity` is the id that the endpoint gave it."""
        carried = CallFields()
        if identity and len(identity) <= LONGEST_ID:
            carried["id"] = identity
        if not self._room.is_used_up:
            if self._fields is not None:
                carried["fields"] = self._fields.build()
            if self._function is not None:
                carried["function"] = self._function.build()
        return carried


def add_field(pieces: FieldPieces, room: FieldRoom, name: str, value: object, *, is_whole: bool = False) -> bool:
    """Add a field where there is room for it, and return whether there was."""
    if value is None:
        return False
    try:
        if isinstance(value, str):
            value.encode()
        if not room.take(name, value):
            return False
    except (TypeError, UnicodeEncodeError):
        # Half of a surrogate pair, of an endpoint that cuts characters in two. Else it is nested deeper than can be
        # kept, or holds a number over 64 bits: no field that an endpoint wants back.
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
        try:
            if not room.take(name, value):
                return False
        except TypeError:
            return False
    if is_whole:
        pieces.put(name, value)
    else:
        pieces.add(name, value)
    return True


def remove_field(value: object, name: str) -> object:
    """Copy an object without one of its fields; anything else stays as it is."""
    if not isinstance(value, dict):
        return value
    return {key: part for key, part in cast("dict[str, object]", value).items() if key != name}


def build_provider_fields(
    model: str, message: dict[str, Any], calls: Mapping[str, CallFields]
) -> dict[str, ProviderFields]:
    """Build what a message keeps of an answer, under its key; empty where the answer carried nothing."""
    kept = {identity: fields for identity, fields in calls.items() if fields}
    if not message and not kept:
        return {}
    return {PROVIDER_FIELDS: ProviderFields(model=model, message=message, calls=kept)}


def find_provider_fields(message: Mapping[str, Any]) -> ProviderFields | None:
    """Find what a message carried; None: nothing."""
    return cast("ProviderFields | None", message.get(PROVIDER_FIELDS))


def remove_provider_fields(message: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a message that is not ours, without what only we write."""
    return {name: value for name, value in message.items() if name != PROVIDER_FIELDS}


class MessageReturn:
    """Gives the messages of one request back what they carried, and their calls the ids that the endpoint knows.

    What another model wrote stays here: its signatures prove nothing to this one, and its fields may be refused. A call
    whose own id cannot be sent, because another model gave it or because an earlier call has the same, gets one that
    every endpoint takes.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._sent: dict[str, str] = {}
        """The ids that are sent, by ours."""
        self._used: set[str] = set()

    def build(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Build a message as the endpoint gets it."""
        role = message.get("role")
        if role == "tool":
            identity = message.get("tool_call_id")
            return message if identity not in self._sent else {**message, "tool_call_id": self._sent[identity]}
        calls = message.get("tool_calls")
        if role != "assistant" or not (calls or PROVIDER_FIELDS in message):
            return message
        carried = find_provider_fields(message) or ProviderFields()
        own = carried if carried.get("model") == self._model else ProviderFields()
        built = message
        if carried:
            built = {**remove_provider_fields(message), **own.get("message", {})}
        if calls:
            known = own.get("calls", {})
            built = {**built, "tool_calls": [self._build_call(call, known.get(call.get("id"), {})) for call in calls]}
        return built

    def _build_call(self, call: Mapping[str, Any], carried: CallFields) -> Mapping[str, Any]:
        minted = str(call.get("id") or "")
        identity = carried.get("id", minted)
        if not identity or identity in self._used or _MINTED.fullmatch(identity):
            identity = build_portable_id(minted)
        self._used.add(identity)
        self._sent[minted] = identity
        built = {**call, **carried.get("fields", {}), "id": identity}
        if more := carried.get("function"):
            built["function"] = {**more, **call["function"]}
        return built


def build_portable_id(call_id: str) -> str:
    """Build an id that every endpoint takes: nine letters and digits, as Mistral wants them. The same for the same
    call, so that what an endpoint keeps of a prompt stays good."""
    number = int.from_bytes(hashlib.sha256(call_id.encode()).digest()[:8])
    letters: list[str] = []
    for _ in range(9):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(letters)
