"""Server-sent events as bytes."""

from __future__ import annotations

from typing import Any

import orjson

CONTENT_TYPE = "text/event-stream"
HEARTBEAT = b": working\n\n"
"""A comment: it keeps a connection open, and clients pass over it."""


def encode_sse(payload: dict[str, Any]) -> bytes:
    """Encode one event that holds this JSON object."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"
