"""Readers of the bodies that the model endpoint answers with: none reads more than it is told to."""

from __future__ import annotations

import asyncio

import aiohttp

from graphs.errors import ModelError
from graphs.llm.stream import Flow, StreamReader

LONGEST_REFUSAL = 2**16
"""Bytes of an error's body that are read."""
SLICE = 16 * 1024
"""Bytes of an answer that are read before others have their turn: a model's own pieces are far shorter."""
REFUSAL_PATIENCE = 10.0
"""Seconds for the rest of an error's words."""


async def read_stream(content: aiohttp.StreamReader, reader: StreamReader, flow: Flow | None) -> None:
    """Feed `reader` until it is done or the stream ends. Raises ModelError and aiohttp's errors."""
    async for data in content.iter_any():
        if len(data) <= SLICE:
            reader.feed(data)
        else:
            for start in range(0, len(data), SLICE):
                reader.feed(data[start : start + SLICE])
                if reader.done:
                    return
                await (flow.wait_for_room() if flow is not None and flow.full else asyncio.sleep(0))
        if reader.done:
            return
        if flow is not None and flow.full:
            await flow.wait_for_room()


async def read_at_most(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Read the whole body. Raises ModelError where it has more than `most` bytes, once unpacked."""
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) > most:
            raise ModelError(
                f"The model endpoint answered {response.url.path} with more than {most // 2**20} MB, and Interlock "
                "reads no more than that. Does LITELLM_BASE_URL lead to LiteLLM?",
                kind="unavailable",
            )
    return bytes(body)


async def read_refusal(response: aiohttp.ClientResponse) -> bytes:
    """Read the beginning of an error's body."""
    body = bytearray()
    try:
        async with asyncio.timeout(REFUSAL_PATIENCE):
            async for data in response.content.iter_any():
                body += data
                if len(body) > LONGEST_REFUSAL:
                    break
    except (TimeoutError, aiohttp.ClientError):
        pass  # the status says enough
    return bytes(body[:LONGEST_REFUSAL])
