"""The start of the terminal chat: the conversation to go on with, and whether a person or a pipe asks."""

from __future__ import annotations

import os
import sys

import aiohttp

from graphs.text import replace_surrogates
from server.cli.chat.conversation import ChatConversation
from server.cli.chat.gateway_client import ChatFailed, GatewayClient
from server.cli.chat.plain import run_plain_chat
from server.cli.chat.saved_chats import SavedChats
from server.cli.chat.server_choice import Server
from server.cli.chat.state_folder import build_scrub, find_state_folder
from server.cli.local_server import DEFAULT_MODEL

# ruff: noqa: PLC0415  what draws on a terminal is not loaded for a pipe


async def run_chat(server: Server, model: str | None, question: str, *, continues: bool) -> None:
    """Ask one question, or talk until the input ends. Raises ChatFailed.

    Args:
        server: Where Interlock serves, and the key.
        model: The graph or model; None: that of the conversation that is gone on with, else the default.
        question: Empty: each line of the input is one.
        continues: Go on with the latest conversation with this address.
    """
    question = replace_surrogates(question)  # what an argument holds that is no text
    state, scrub = find_state_folder(os.environ), build_scrub(server.key)
    saved = SavedChats(state, server.url, scrub)
    conversation = ChatConversation(model or DEFAULT_MODEL)
    if continues:
        found = saved.find_latest()
        if found is None:
            raise ChatFailed(f"No conversation with {server.url} is there to go on with; leave --continue out.")
        conversation = saved.take_up(found, model)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        client = GatewayClient(session, server.url, server.key)
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
