"""What a person types: lines with history and editing, a yes or no, and nothing in between while an answer comes."""

from __future__ import annotations

import sys
import termios
import tty
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import History, InMemoryHistory
from prompt_toolkit.input.typeahead import clear_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle


class LinePrompt:
    """Asks the person at the terminal."""

    def __init__(self, history: History, commands: Sequence[str]) -> None:
        """`commands` are completed with Tab, with their slash."""
        keys = KeyBindings()
        keys.add("escape", "enter")(insert_line_break)
        completer = WordCompleter(list(commands), sentence=True)
        self._lines = PromptSession[str](
            history=history, completer=completer, complete_style=CompleteStyle.READLINE_LIKE, key_bindings=keys
        )

    async def ask_line(self) -> str:
        """Ask for a message. Raises KeyboardInterrupt for Ctrl-C, EOFError for Ctrl-D."""
        return (await self._lines.prompt_async(FormattedText([("bold", "you> ")]))).strip()

    async def ask_answer(self, choices: Sequence[str]) -> str:
        """Ask for the answer to a graph's question, which may be secret: it is in no history. Raises as `ask_line`.

        What was typed before the question stood there is dropped: it was not meant for it.
        """
        completer = WordCompleter(list(choices), sentence=True)
        session = PromptSession[str](
            history=InMemoryHistory(), completer=completer, complete_style=CompleteStyle.READLINE_LIKE
        )
        drop_typed(session)
        return (await session.prompt_async(FormattedText([("bold", "answer> ")]))).strip()

    async def ask_yes(self, question: str) -> bool:
        """Ask for a yes or no; no is what Enter says. Raises as `ask_line`.

        What was typed before is dropped, as for `ask_answer`.
        """
        session = PromptSession[str](history=InMemoryHistory())
        drop_typed(session)
        while True:
            reply = (await session.prompt_async(FormattedText([("bold", f"{question} [y/N] ")]))).strip().casefold()
            if reply in ("y", "yes"):
                return True
            if reply in ("", "n", "no"):
                return False
            question = "Please answer y or n; Ctrl-C decides later."


def drop_typed(session: PromptSession[str]) -> None:
    """Drop what was typed and not read, and what was read together with the line before."""
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    clear_typeahead(session.input)


def insert_line_break(event: KeyPressEvent) -> None:
    """Begin another line of the same message."""
    event.current_buffer.insert_text("\n")


@contextmanager
def hide_typing() -> Generator[None]:
    """Show nothing of what is typed while the block lasts, for it would stand in the middle of the answer. It is read
    afterwards; Ctrl-C works."""
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    tty.setcbreak(file, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
