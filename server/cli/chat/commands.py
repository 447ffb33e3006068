"""The commands of the terminal chat, such as `/help`: their names, what they do in words, and how a line is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from graphs.errors import did_you_mean
from server.cli.chat.conversation import ChatPause

COMMANDS: Mapping[str, str] = {
    "/help": "lists the commands",
    "/model [NAME]": "has another graph or model answer; without a name, lists them",
    "/approve [ID]": "runs the call that waits; with an id, that call",
    "/reject [ID]": "does not run it",
    "/show [N]": "shows a tool call and its result in full: the last, or number N",
    "/new": "begins another conversation",
    "/continue": "goes on with the conversation that was left",
    "/quit": "leaves, as Ctrl-D does; `interlock chat --continue` goes on with the conversation",
}
"""What is typed → what it does."""
NAMES = [usage.split()[0] for usage in COMMANDS]
KEYS = "Ctrl-C stops an answer. Alt-Enter begins a line, Tab completes, the arrow keys bring back what was typed."

_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)
_DECISION = re.compile(r"(approve|reject)", re.IGNORECASE)


class Command(NamedTuple):
    """A line that is a command."""

    name: str
    """With its slash."""
    argument: str


def parse_command(text: str, pause: ChatPause) -> Command | None:
    """Read a line as a command; None: it is a message, as `/etc/hosts` is. `approve` alone is one too, but where a
    question is asked: it may be the answer."""
    if (match := _COMMAND.fullmatch(text)) is not None:
        return Command(f"/{match[1]}", (match[2] or "").strip())
    if pause.question is None and _DECISION.fullmatch(text) is not None:
        return Command(f"/{text.lower()}", "")
    return None


def render_help() -> str:
    """Render the list of commands."""
    width = max(map(len, COMMANDS))
    return "\n".join([*(f"{usage:{width}}  {meaning}" for usage, meaning in COMMANDS.items()), KEYS])


def describe_unknown(name: str) -> str:
    """Say that there is no such command, and which there are."""
    return f"There is no {name}{did_you_mean(name, NAMES) or '.'}\n{render_help()}"
