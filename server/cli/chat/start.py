"""The start of the terminal chat: the key, the conversation to go on with, and whether a person or a pipe asks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import aiohttp

from server.auth.keys import KEYS_FILE, read_keys
from server.cli.chat.conversation import ChatConversation
from server.cli.chat.gateway_client import ChatFailed, GatewayClient
from server.cli.chat.plain import run_plain_chat
from server.cli.chat.saved_chats import SavedChats
from server.cli.chat.state_folder import build_scrub, find_state_folder

# ruff: noqa: PLC0415  what draws on a terminal is not loaded for a pipe

DEFAULT_MODEL = "assistant"


async def run_chat(url: str, model: str | None, key: str, data: Path, question: str, *, continues: bool) -> None:
    """Ask one question, or talk until the input ends. Raises ChatFailed.

    Args:
        url: Where Interlock serves; it ends in /v1.
        model: The graph or model; None: that of the conversation that is gone on with, else the default.
        key: Empty: the generated admin key in the folder `data`.
        question: Empty: each line of the input is one.
        continues: Go on with the latest conversation with this address.
    """
    key = key or read_generated_key(data)
    state, scrub = find_state_folder(os.environ), build_scrub(key)
    saved = SavedChats(state, url, scrub)
    conversation = ChatConversation(model or DEFAULT_MODEL)
    if continues:
        found = saved.find_latest()
        if found is None:
            raise ChatFailed(f"No conversation with {url} is there to go on with; leave --continue out.")
        conversation = saved.take_up(found, model)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        client = GatewayClient(session, url, key)
        if not is_person():
            await run_plain_chat(client, conversation, saved if continues else None, question)
            return
        from server.cli.chat.line_history import open_history
        from server.cli.chat.terminal import TerminalChat

        chat = TerminalChat(client, conversation, saved, open_history(state, scrub), saves=continues or not question)
        if question:
            await chat.ask_once(question)
        else:
            await chat.talk(continues=continues)


def is_person() -> bool:
    """Whether both ends are a terminal, and one that can move its cursor."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def read_generated_key(data: Path) -> str:
    """Read the admin key that `interlock serve` made. Raises ChatFailed where there is none."""
    file = data / KEYS_FILE
    keys = read_keys(file) if file.is_file() else {}
    if not keys:
        raise ChatFailed(f"No key: give one with --key or INTERLOCK_KEY ({file} holds generated ones, if any).")
    return keys.get("admin") or next(iter(keys.values()))
