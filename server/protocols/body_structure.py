"""Estimate of how much work a JSON body is, before it is parsed: pydantic parses in one go, which nothing else can
interrupt, at up to 4 µs a value and 60 ns an escape; a long text without either costs next to nothing."""

from __future__ import annotations

import asyncio

from server.protocols.errors import BadRequest

SMALL = 128 * 1024
"""Bytes below which a body is cheap whatever it holds: 0.35 µs a byte at most."""
MOST_VALUES = 40_000
"""Texts, numbers, lists and objects of one body. A conversation of 2,000 messages with 100 tools has some 20,000."""
MOST_ESCAPES = 1_000_000
SLICE = 2**18
"""Bytes that are looked through at once, which takes about a millisecond."""


async def check_structure(raw: bytes) -> None:
    """Check that a body is parsed quickly. Raises BadRequest (413) for any other.

    Counts the commas and the brackets outside of texts: a value stands behind each of them. What is no JSON is counted
    somehow, and refused by the parser.
    """
    if len(raw) <= SMALL:
        return
    values = quotes = escapes = 0
    start = 0
    while start < len(raw):
        end = start + SLICE
        piece = raw[start:end]
        if piece.endswith(b"\\") and (len(piece) - len(piece.rstrip(b"\\"))) % 2 and end < len(raw):
            piece, end = piece[:-1], end - 1  # an escape is not torn
        start = end
        if b"\\" in piece:
            escapes += piece.count(b"\\")
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        inside = quotes % 2
        quotes += piece.count(b'"')
        if escapes > MOST_ESCAPES or quotes > 4 * MOST_VALUES:
            break
        outside = b"".join(piece.split(b'"')[inside::2])
        values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if values > MOST_VALUES:
            break
        await asyncio.sleep(0)
    if values > MOST_VALUES or quotes > 4 * MOST_VALUES:
        raise BadRequest(f"The body holds more than {MOST_VALUES} values; send fewer messages or parts.", status=413)
    if escapes > MOST_ESCAPES:
        raise BadRequest(f"The body holds more than {MOST_ESCAPES} escapes (\\); send its texts as UTF-8.", status=413)
