"""Conversations in the person's state folder, so that one that was left can be taken up again."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from server.cli.chat.conversation import ChatConversation, ChatPause
from server.cli.chat.state_folder import Scrub, write_private_file

FOLDER = "chats"
MOST_CHATS = 20
"""Conversations that are kept; the oldest goes."""
MOST_MESSAGES = 400
LARGEST = 1_000_000
"""Characters of one conversation that are kept: its end."""


class SavedMessage(BaseModel):
    """One message of a saved conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["user", "assistant"]
    content: str


class SavedChat(BaseModel):
    """What a file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    model: str
    messages: list[SavedMessage]
    approvals: list[str] = []
    question: str | None = None


@dataclass(frozen=True)
class FoundChat:
    """A conversation that can be taken up."""

    file: Path
    age: float
    """Seconds since its last answer."""
    chat: SavedChat


class SavedChats:
    """The conversations with one address. A file that cannot be read counts as none, and one that cannot be written is
    done without."""

    def __init__(self, state: Path, url: str, scrub: Scrub) -> None:
        self._folder = state / FOLDER
        self._url = scrub(url)
        self._scrub = scrub
        self._file = self._folder / f"{time.time_ns()}-{os.getpid()}.json"

    def find_latest(self) -> FoundChat | None:
        """Find the conversation with this address that had the last answer."""
        for file, changed in self._list_files():
            try:
                chat = SavedChat.model_validate_json(file.read_bytes())
            except (OSError, ValidationError):
                continue
            if chat.url == self._url and chat.messages:
                return FoundChat(file, max(0.0, time.time() - changed), chat)
        return None

    def take_up(self, found: FoundChat, model: str | None) -> ChatConversation:
        """Go on with it, in its file; `model` None: with its own."""
        self._file = found.file
        messages = [message.model_dump() for message in found.chat.messages]
        pause = ChatPause(tuple(found.chat.approvals), found.chat.question)
        return ChatConversation(model or found.chat.model, messages, pause)

    def begin(self) -> None:
        """Write into another file from now on: a new conversation began."""
        self._file = self._folder / f"{time.time_ns()}-{os.getpid()}.json"

    def save(self, conversation: ChatConversation) -> str | None:
        """Save the end of the conversation, without secrets. Returns why it cannot be saved, or None."""
        messages = [{**message, "content": self._scrub(message["content"])} for message in conversation.messages]
        content = {
            "url": self._url,
            "model": conversation.model,
            "messages": cut_messages(messages),
            "approvals": list(conversation.pause.approvals),
            "question": conversation.pause.question,
        }
        try:
            write_private_file(self._file, orjson.dumps(content))
            for file, _ in self._list_files()[MOST_CHATS:]:
                file.unlink(missing_ok=True)
        except OSError as error:
            return f"{self._file}: cannot be written: {error.strerror}"
        return None

    def _list_files(self) -> Sequence[tuple[Path, float]]:
        """List the files with the time of their last change, newest first."""
        found: list[tuple[Path, float]] = []
        try:
            for entry in os.scandir(self._folder):
                if entry.name.endswith(".json"):
                    found.append((Path(entry.path), entry.stat().st_mtime))
        except OSError:
            pass
        return sorted(found, key=lambda each: each[1], reverse=True)


def cut_messages(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Take the last messages that are few and short enough, from a question on."""
    room, first = LARGEST, len(messages)
    for position in range(len(messages) - 1, max(-1, len(messages) - 1 - MOST_MESSAGES), -1):
        room -= len(messages[position]["content"])
        if room < 0:
            break
        if messages[position]["role"] == "user":
            first = position
    return messages[first:]
