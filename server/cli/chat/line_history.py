"""The lines that a person typed, kept for the arrow keys of the next chat: bounded, private, without secrets."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from server.cli.chat.state_folder import Scrub, write_private_file

FILE = "chat_history"
LARGEST = 256 * 1024
"""Bytes at which the older half of the file is dropped."""


class ScrubbedHistory(FileHistory):
    """Prompt Toolkit's own file, in which no secret is written."""

    def __init__(self, file: Path, scrub: Scrub) -> None:
        super().__init__(str(file))
        self._scrub = scrub

    def store_string(self, string: str) -> None:
        """Write a line that was entered."""
        with suppress(OSError):
            super().store_string(self._scrub(string))


def open_history(state: Path, scrub: Scrub) -> History:
    """Open the history in this state folder; where it cannot be written, one that lasts as long as the chat."""
    file = state / FILE
    try:
        data = file.read_bytes() if file.is_file() else b""
        if len(data) > LARGEST:
            data = data[data.find(b"\n# ", len(data) - LARGEST // 2) :]
        write_private_file(file, data)  # anew, so that its mode is right whoever made it
    except OSError:
        return InMemoryHistory()
    return ScrubbedHistory(file, scrub)
