"""The terminal chat's HTTP: streams of answers, and small requests, with errors as a person reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import orjson

from graphs.errors import MODEL_LIST_HINT, list_some
from graphs.text import escape_invisible
from server.protocols.openwebui import SHOW_TOOLS

MOST_LISTED = 40
"""How many models a message lists."""


class ChatFailed(Exception):
    """The conversation cannot go on; the text says why to the person at the terminal."""


class GatewayClient:
    """A running Interlock, spoken to with one key."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        """`url` ends in /v1."""
        self._session = session
        self._url = url
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    @property
    def console(self) -> str:
        """The address of the console."""
        return f"{self._url.removesuffix('/v1')}/console"

    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """Ask for an answer and read its events, tool calls among them. Raises ChatFailed."""
        headers = {**self._headers, SHOW_TOOLS: "items"}
        address = f"{self._url}/chat/completions"
        try:
            async with self._session.post(address, data=orjson.dumps(body), headers=headers) as response:
                if response.status == 404:
                    raise ChatFailed(await self._explain_not_found(await response.read()))
                await refuse_error(response)
                async for event in read_events(response):
                    if "error" in event:
                        raise ChatFailed(escape_invisible(str(event["error"].get("message")), keep="\n"))
                    yield event
        except aiohttp.ClientError as error:
            raise self._describe_silence() from error

    async def get(self, path: str) -> Mapping[str, Any]:
        """Get a JSON object, such as that of `/approvals/ID`. Raises ChatFailed."""
        try:
            async with self._session.get(f"{self._url}{path}", headers=self._headers) as response:
                await refuse_error(response)
                return orjson.loads(await response.read())
        except aiohttp.ClientError as error:
            raise self._describe_silence() from error

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a JSON object. Raises ChatFailed."""
        try:
            data = orjson.dumps(body)
            async with self._session.post(f"{self._url}{path}", data=data, headers=self._headers) as response:
                await refuse_error(response)
        except aiohttp.ClientError as error:
            raise self._describe_silence() from error

    async def _explain_not_found(self, body: bytes) -> str:
        """Say what the server says, and which graphs and models this key may use instead. Raises aiohttp's errors."""
        words = read_error(body, 404)
        async with self._session.get(f"{self._url}/models", headers=self._headers) as response:
            try:
                names = [str(entry["id"]) for entry in orjson.loads(await response.read())["data"]]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                return words
        words = words.replace(MODEL_LIST_HINT, "")
        return f"{words} {escape_invisible(f'Choose one with --model: {list_some(names, MOST_LISTED)}')}"

    def _describe_silence(self) -> ChatFailed:
        return ChatFailed(
            f"{self._url} does not answer. Is `interlock serve` running? Start it in this "
            "folder, or name another with --url."
        )


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
    if response.status != 200:
        raise ChatFailed(read_error(await response.read(), response.status))


def read_error(body: bytes, status: int) -> str:
    """Read the message of an OpenAI error body; words with the status where there is none."""
    try:
        message = str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = f"The server answered with status {status}."
    return escape_invisible(message, keep="\n")
