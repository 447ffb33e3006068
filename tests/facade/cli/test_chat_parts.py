"""Parts of the terminal chat: Markdown that is still being written, what is kept of a chat, and its files."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from server.cli.chat.answer_view import LONG_BLOCK, TerminalView
from server.cli.chat.conversation import ChatConversation, ChatPause, StartedCalls
from server.cli.chat.line_history import LARGEST, open_history
from server.cli.chat.markdown import split_blocks
from server.cli.chat.questions import read_choices
from server.cli.chat.saved_chats import MOST_CHATS, SavedChats, cut_messages
from server.cli.chat.state_folder import build_scrub, find_state_folder
from server.cli.chat.tool_results import ToolResults

URL = "http://127.0.0.1:1/v1"
HEAD = "This call needs approval before it runs:"
LINES = st.sampled_from(
    [
        "a",
        "",
        "[1]: http://a",
        "- b",
        "1. c",
        "    d",
        "```",
        "# e",
        "> f",
        "| g | h |",
        "|---|---|",
        "===",
        "\r",
        "<p>",
        "* * *",
    ]
)


@given(st.lists(LINES, max_size=12).map("\n".join), st.integers(1, 5))
def test_no_text_is_lost_between_blocks_however_it_comes(text: str, size: int) -> None:
    blocks, rest = [], ""
    for start in range(0, len(text), size):
        whole, rest = split_blocks(rest + text[start : start + size])
        blocks += whole
    assert [line for line in "\n".join([*blocks, rest]).split("\n") if line] == [
        line for line in text.split("\n") if line
    ]


def show(*texts: str, last: dict[str, Any] | None = None) -> str:
    out = io.StringIO()
    view = TerminalView(Console(file=out, width=60, height=20, force_terminal=False), ToolResults())
    for text in texts:
        view.show({"choices": [{"delta": {"content": text}}]})
    view.show({"choices": [{"delta": {}}], **(last or {})})
    view.end(is_whole=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def test_only_the_gateways_own_words_about_a_call_are_left_out() -> None:
    waits = {"interlock": {"approvals": ["abcdefgh"]}}
    shown = show(f"{HEAD}\n\n**not so**\n\n", f"More.\n\n{HEAD}\n\n**`files/write`**\n", last=waits)
    assert shown == f"{HEAD}\n\nnot so\n\nMore."
    assert show(f"{HEAD}\n\n**not so**") == f"{HEAD}\n\nnot so"


def test_a_long_block_takes_no_time_for_each_of_its_lines() -> None:
    lines = [f"value_{number} = {number}\n" for number in range(6000)]
    began = time.process_time()
    shown = show("```\n", *lines, "```\n")
    assert shown.split() == "".join(lines).split()
    assert sum(map(len, lines)) > 20 * LONG_BLOCK
    assert time.process_time() - began < 10


def save(state: Path, name: str, *, url: str = URL, key: str = "", text: str = "Hello") -> SavedChats:
    saved = SavedChats(state, url, build_scrub(key))
    messages = [{"role": "user", "content": name}, {"role": "assistant", "content": text}]
    assert saved.save(ChatConversation("assistant", messages, ChatPause(("abcdefgh",)))) is None
    return saved


def test_the_latest_conversation_with_the_same_address_is_found(tmp_path: Path) -> None:
    saved = save(tmp_path, "one")
    time.sleep(0.01)
    save(tmp_path, "other", url="http://elsewhere/v1")
    (tmp_path / "chats" / "broken.json").write_text("{")
    found = saved.find_latest()
    assert found is not None
    conversation = saved.take_up(found, "other-model")
    assert conversation.messages[0] == {"role": "user", "content": "one"}
    assert (conversation.model, conversation.pause) == ("other-model", ChatPause(("abcdefgh",)))


def test_few_conversations_are_kept_and_of_each_its_end(tmp_path: Path) -> None:
    for number in range(MOST_CHATS + 3):
        save(tmp_path, str(number))
        time.sleep(0.005)
    assert len(list((tmp_path / "chats").iterdir())) == MOST_CHATS
    long = [{"role": role, "content": "x" * 1000} for _ in range(1000) for role in ("user", "assistant")]
    kept = cut_messages(long)
    assert (len(kept), kept[0]["role"]) == (400, "user")
    assert cut_messages([{"role": "user", "content": "x" * 2_000_000}]) == []


def test_neither_the_key_nor_a_secret_is_in_a_file(tmp_path: Path) -> None:
    key = "plain-words-as-a-key"
    save(tmp_path, f"my key is {key}", key=key, text="password=hunter22 and http://a:secret@host/")
    history = open_history(tmp_path, build_scrub(key))
    history.append_string(f"use {key}, or sk-0123456789abcdef0123")
    assert history.get_strings() != []  # the arrow keys bring back what was typed
    for file in (tmp_path / "chat_history", *(tmp_path / "chats").iterdir()):
        assert file.stat().st_mode & 0o777 == 0o600
        for secret in (key, "hunter22", "secret@", "sk-0123"):
            assert secret not in file.read_text()


def test_the_history_of_lines_is_bounded_and_private(tmp_path: Path) -> None:
    file = tmp_path / "chat_history"
    file.write_text("".join(f"\n# 2026-01-01 00:00:00\n+line {number}\n" for number in range(20_000)))
    file.chmod(0o644)
    history = open_history(tmp_path, build_scrub(""))
    lines = list(history.load_history_strings())
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_size <= LARGEST
    assert (lines[0], lines[-1].startswith("line ")) == ("line 19999", True)


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    saved = SavedChats(tmp_path / "file", URL, build_scrub(""))
    problem = saved.save(ChatConversation("assistant", [{"role": "user", "content": "x"}]))
    assert problem is not None
    assert "cannot be written: Not a directory" in problem
    assert saved.find_latest() is None
    open_history(tmp_path / "file", build_scrub("")).append_string("x")


@pytest.mark.parametrize("given", ["", "relative/folder"])
def test_the_state_folder_is_that_of_the_standard(given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_state_folder({"XDG_STATE_HOME": given}) == tmp_path / ".local" / "state" / "interlock"
    assert find_state_folder({"XDG_STATE_HOME": os.sep + "x"}) == Path("/x/interlock")


def test_choices_are_those_of_the_schema() -> None:
    assert read_choices({"type": "string"}) == []
    assert read_choices({"enum": ["a", "b"]}) == ["a", "b"]
    fields = {"size": {"enum": ["small", "large"]}, "sure": {"type": "boolean"}}
    assert read_choices({"type": "object", "properties": fields}) == ["small", "large", "yes", "no"]


@pytest.mark.parametrize(
    ("ends", "status", "expected"),
    [
        (["completed"], "completed", "completed"),
        (["completed", "failed"], "failed", "failed"),
        (["failed"], "failed", "not run"),
    ],
)
def test_a_call_that_was_refused_is_told_from_one_that_failed(ends: list[str], status: str, expected: str) -> None:
    started = StartedCalls()
    for end in ends:
        item = {"type": "function_call", "call_id": "one", "status": end}
        started.take({"type": "response.output_item.done", "item": item})
    assert started.describe_status({"type": "function_call_output", "call_id": "one", "status": status}) == expected
