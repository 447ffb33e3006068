"""Forms in which servers send messages: those that MCP does not write, where what is meant is certain all the same."""

from __future__ import annotations

from typing import Any, cast

from pydantic_core import from_json, to_json

NO_GREETING = "answered 'initialize' with something that is no greeting of MCP: it names no 'protocolVersion'"

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_LARGEST_AMOUNT = 1e300


def strip_bom(data: bytes) -> bytes:
    """Remove the byte order mark that some programs write before their text."""
    return data.removeprefix(_BOM)


def is_batch(data: bytes) -> bool:
    """Whether it is a list of messages (JSON-RPC 2.0, 6), which MCP had until 2025-03-26."""
    return data[:64].lstrip(_BLANKS).startswith(b"[")


def split_batch(data: bytes) -> list[bytes]:
    """Split a list into its messages, each as JSON. Raises ValueError for what is no JSON."""
    return [to_json(one) for one in cast("list[Any]", from_json(data))]


def complete_greeting(result: dict[str, Any]) -> None:
    """Fill in what a server left out of its answer to `initialize` and what changes nothing."""
    if not isinstance(result.get("capabilities"), dict):
        result["capabilities"] = {}
    info = result.get("serverInfo")
    known = cast("dict[str, Any]", info) if isinstance(info, dict) else {}
    result["serverInfo"] = {
        **known,
        **{name: known[name] if isinstance(known.get(name), str) else "" for name in ("name", "version")},
    }


def is_progress(message: dict[str, Any]) -> bool:
    """Whether a notification of progress is complete."""
    params = message.get("params")
    if not isinstance(params, dict):
        return False
    params = cast("dict[str, Any]", params)
    token, amount, total, text = (params.get(name) for name in ("progressToken", "progress", "total", "message"))
    return (
        isinstance(token, int | str)
        and _is_amount(amount)
        and (total is None or _is_amount(total))
        and isinstance(text, str | None)
    )


def _is_amount(value: object) -> bool:
    """Whether it is a number that the SDK takes; of any other it writes a line into the log."""
    return isinstance(value, int | float) and -_LARGEST_AMOUNT <= value <= _LARGEST_AMOUNT
