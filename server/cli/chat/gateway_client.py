"""The terminal chat's HTTP: streams of answers, and small requests, with errors as a person reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import orjson

from graphs.text import escape_invisible
from server.protocols.openwebui import SHOW_TOOLS


class ChatFailed(Exception):
    """The conversation cannot go on; the text says why to the person at the terminal."""


class GatewayClient:
    """A running Interlock, spoken to with one key."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        """`url` ends in /v1."""
        self._session = session
        self._url = url
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """Ask for an answer and read its events, tool calls among them. Raises ChatFailed."""
        headers = {**self._headers, SHOW_TOOLS: "items"}
        address = f"{self._url}/chat/completions"
        try:
            async with self._session.post(address, data=orjson.dumps(body), headers=headers) as response:
                await refuse_error(response)
                async for event in read_events(response):
                    if "error" in event:
                        raise ChatFailed(escape_invisible(str(event["error"].get("message")), keep="\n"))
                    yield event
        except aiohttp.ClientError as error:
            raise self._describe_silence(error) from error

    async def get(self, path: str) -> Mapping[str, Any]:
        """Get a JSON object, such as that of `/approvals/ID`. Raises ChatFailed."""
        try:
            async with self._session.get(f"{self._url}{path}", headers=self._headers) as response:
                await refuse_error(response)
                return orjson.loads(await response.read())
        except aiohttp.ClientError as error:
            raise self._describe_silence(error) from error

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a JSON object. Raises ChatFailed."""
        try:
            data = orjson.dumps(body)
            async with self._session.post(f"{self._url}{path}", data=data, headers=self._headers) as response:
                await refuse_error(response)
        except aiohttp.ClientError as error:
            raise self._describe_silence(error) from error

    def _describe_silence(self, error: aiohttp.ClientError) -> ChatFailed:
        return ChatFailed(f"{self._url} does not answer ({type(error).__name__}). Is `interlock serve` running?")


async def read_events(response: aiohttp.ClientResponse) -> AsyncIterator[Mapping[str, Any]]:
    """Read the JSON of each server-sent event."""
    rest = b""
    async for data in response.content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield orjson.loads(line[6:])


async def refuse_error(response: aiohttp.ClientResponse) -> None:
    """Do nothing for status 200. Raises ChatFailed with the message of an OpenAI error body, or the status."""
    if response.status == 200:
        return
    try:
        message = str(orjson.loads(await response.read())["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = f"The server answered with status {response.status}."
    raise ChatFailed(escape_invisible(message, keep="\n"))
