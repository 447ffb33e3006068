"""The chat of pipes and scripts: plain text, nothing asked in between, and a word on how to go on after a pause."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.text import Text

from graphs.text import escape_invisible, replace_surrogates
from server.cli.chat.conversation import ChatConversation, ChatPause, StartedCalls, read_texts
from server.cli.chat.gateway_client import GatewayClient
from server.cli.chat.saved_chats import SavedChats

if TYPE_CHECKING:
    import io

LONGEST_RESULT = 300
LETTERS_JOINED = "\u200c\u200d"
"""What joins letters of some scripts, and the parts of an emoji: no terminal is changed by them."""


class PlainView:
    """Prints an answer as it comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = StartedCalls()

    def show(self, event: Mapping[str, Any]) -> None:
        """Print one event."""
        self._started.take(event)
        for text in read_texts(event):
            shown = escape_invisible(text, keep=f"\n\t{LETTERS_JOINED}")
            self._console.print(Text(shown), end="", soft_wrap=True)
        item: Mapping[str, Any] = event.get("item") or {}
        if event.get("type") == "response.output_item.added" and item.get("type") == "function_call":
            self._show_line(f"> {item['name']}", "cyan", item["arguments"])
        elif item.get("type") == "function_call_output":
            text = " ".join("".join(part.get("text", "[image]") for part in item["output"]).split())
            if len(text) > LONGEST_RESULT:
                text = f"{text[:LONGEST_RESULT]} … ({len(text)} characters)"
            colour = "green" if item["status"] == "completed" else "red"
            self._show_line(f"< {self._started.describe_status(item)}", colour, text)

    def end(self, *, is_whole: bool) -> None:
        """End the line of the answer."""
        if is_whole:
            self._console.print()

    def _show_line(self, head: str, colour: str, text: str) -> None:
        """Print words of others on one line: they move no cursor and turn nothing about.

        As `Text`, in which Rich reads neither markup nor names of emoji: `/srv/:x:` stays as it is.
        """
        line = Text.assemble((escape_invisible(head), colour), " ", (escape_invisible(text), "dim"))
        self._console.print(line, soft_wrap=True)


async def run_plain_chat(
    client: GatewayClient, conversation: ChatConversation, saved: SavedChats | None, question: str
) -> None:
    """Ask one question, or take each line of the input for one. Raises ChatFailed.

    `saved` None: the conversation leaves nothing behind.
    """
    console = Console(highlight=False, emoji=False)
    view = PlainView(console)
    # Bytes that are no text in this terminal's encoding end nothing: the rest of the line is a question.
    cast("io.TextIOWrapper", sys.stdin).reconfigure(errors="surrogateescape")
    while True:
        if question:
            text = question
        else:
            try:
                text = replace_surrogates(await asyncio.to_thread(console.input, "[bold]you>[/bold] ")).strip()
            except EOFError:
                return
            if not text:
                continue
        await conversation.run_turn(client, complete_decision(text, conversation.pause), view)
        if saved is not None and (problem := saved.save(conversation)):
            print_note(problem)
        for line in describe_next_step(conversation.pause, client.console, takes_lines=not question):
            print_note(line)
        if question:
            return


def complete_decision(text: str, pause: ChatPause) -> str:
    """Complete `approve` and `reject` with the id, where one call of this conversation waits."""
    word = text.casefold()
    return f"{word} {pause.approvals[0]}" if word in ("approve", "reject") and len(pause.approvals) == 1 else text


def describe_next_step(pause: ChatPause, page: str, *, takes_lines: bool) -> Sequence[str]:
    """Say how to go on after a pause: with the next line, or with another command, or on the console's page."""
    if takes_lines:
        return [f"waits for approval; go on with the line: approve {id} (or reject {id})" for id in pause.approvals]
    if pause.question is not None:
        return [
            f"waits for an answer; give it on the console ({page}), or with POST /v1/questions/{pause.question};"
            " or ask at a terminal"
        ]
    return [
        f'waits for approval; go on with: interlock chat "approve {id}" (or "reject {id}")' for id in pause.approvals
    ]


def print_note(line: str) -> None:
    """Print a line on stderr: it is no part of the answer."""
    print(line, file=sys.stderr, flush=True)
