"""`interlock chat`: a conversation in the terminal, streamed, with its tool calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from rich.console import Console
from rich.text import Text

from graphs.text import escape_invisible
from server.auth.keys import KEYS_FILE, read_keys
from server.protocols.openwebui import SHOW_TOOLS

LONGEST_RESULT = 300
LETTERS_JOINED = "\u200c\u200d"
"""What joins letters of some scripts, and the parts of an emoji: no terminal is changed by them."""


class ChatFailed(Exception):
    """The conversation cannot go on; the text says why to the person at the terminal."""


async def converse(url: str, model: str, key: str, data: Path, question: str) -> None:
    """Ask one question, or talk until the input ends. Raises ChatFailed."""
    console = Console(highlight=False, emoji=False)
    key = key or read_generated_key(data)
    messages: list[dict[str, str]] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        while True:
            if question:
                text = question
            else:
                try:
                    text = (await asyncio.to_thread(console.input, "[bold]you>[/bold] ")).strip()
                except EOFError:
                    return
                if not text:
                    continue
            messages.append({"role": "user", "content": text})
            answer = await run_turn(session, console, url, key, {"model": model, "messages": messages, "stream": True})
            messages.append({"role": "assistant", "content": answer})
            if question:
                return


def read_generated_key(data: Path) -> str:
    """Read the admin key that `interlock serve` made. Raises ChatFailed where there is none."""
    file = data / KEYS_FILE
    keys = read_keys(file) if file.is_file() else {}
    if not keys:
        raise ChatFailed(f"No key: give one with --key or INTERLOCK_KEY ({file} holds generated ones, if any).")
    return keys.get("admin") or next(iter(keys.values()))


async def run_turn(
    session: aiohttp.ClientSession, console: Console, url: str, key: str, body: Mapping[str, Any]
) -> str:
    """Run one turn: print it as it comes, return the answer's text. Raises ChatFailed."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", SHOW_TOOLS: "items"}
    answer: list[str] = []
    try:
        async with session.post(f"{url}/chat/completions", data=orjson.dumps(body), headers=headers) as response:
            if response.status != 200:
                raise ChatFailed(read_error(await response.read(), response.status))
            async for event in read_events(response):
                show(event, console, answer)
    except aiohttp.ClientError as error:
        raise ChatFailed(f"{url} does not answer ({type(error).__name__}). Is `interlock serve` running?") from error
    console.print()
    return "".join(answer)


async def read_events(response: aiohttp.ClientResponse) -> AsyncIterator[Mapping[str, Any]]:
    """Read the JSON of each server-sent event."""
    rest = b""
    async for data in response.content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield orjson.loads(line[6:])


def show(event: Mapping[str, Any], console: Console, answer: list[str]) -> None:
    """Print one event."""
    if "error" in event:
        raise ChatFailed(escape_invisible(str(event["error"].get("message")), keep="\n"))
    for choice in event.get("choices") or ():
        if text := choice["delta"].get("content"):
            answer.append(text)
            shown = escape_invisible(text, keep=f"\n\t{LETTERS_JOINED}")
            console.print(Text(shown), end="", soft_wrap=True)
    item: Mapping[str, Any] = event.get("item") or {}
    if event.get("type") == "response.output_item.added" and item.get("type") == "function_call":
        show_line(console, f"> {item['name']}", "cyan", item["arguments"])
    elif item.get("type") == "function_call_output":
        text = " ".join("".join(part.get("text", "[image]") for part in item["output"]).split())
        if len(text) > LONGEST_RESULT:
            text = f"{text[:LONGEST_RESULT]} … ({len(text)} characters)"
        colour = "green" if item["status"] == "completed" else "red"
        show_line(console, f"< {item['status']}", colour, text)


def show_line(console: Console, head: str, colour: str, text: str) -> None:
    """Print words of others on one line: they move no cursor and turn nothing about.

    As `Text`, in which Rich reads neither markup nor names of emoji: `/srv/:x:` stays as it is.
    """
    line = Text.assemble((escape_invisible(head), colour), " ", (escape_invisible(text), "dim"))
    console.print(line, soft_wrap=True)


def read_error(body: bytes, status: int) -> str:
    """Read the message of an OpenAI error body, or the status."""
    try:
        return escape_invisible(str(orjson.loads(body)["error"]["message"]), keep="\n")
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"The server answered with status {status}."
