"""An answer on a terminal while it comes: Markdown, a line for each tool call, and what a node does at the moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from graphs.runtime.approval_text import ONE_CALL, SEVERAL_CALLS
from graphs.text import escape_invisible
from server.cli.chat.conversation import read_pause, read_texts
from server.cli.chat.markdown import AnswerMarkdown, Tail, Trimmed, escape_text, split_blocks
from server.cli.chat.tool_results import ToolResults

SECONDS_BETWEEN_FRAMES = 0.08
LONG_BLOCK = 4000
"""Characters from which on a block is not drawn as Markdown while it is written: only its last lines are seen."""


class TerminalView:
    """Shows one answer."""

    def __init__(self, console: Console, results: ToolResults) -> None:
        self._console = console
        self._results = results
        self._rest = ""
        """What may still change: the block that is being written."""
        self._next_split = 0
        """Length of `_rest` from which on it is looked at for whole blocks again."""
        self._status = ""
        self._held: list[str] = []
        """What may be the server's words about calls that wait, from its first on: the chat asks about these itself."""
        self._last: Literal["", "text", "tool"] = ""
        self._asks_approval = False
        self._live: Live | None = None
        self._drawn = 0.0

    def show(self, event: Mapping[str, Any]) -> None:
        """Show one event of the stream."""
        for text in read_texts(event):
            self._add_text(text)
        if (pause := read_pause(event)) is not None:
            self._asks_approval = bool(pause.approvals)
        self._results.take(event)
        item: Mapping[str, Any] = event.get("item") or {}
        if event.get("type") == "response.output_item.added" and item.get("type") == "function_call":
            self._print_tool_line(self._results.add_call(item))
        elif item.get("type") == "function_call_output":
            self._print_tool_line(self._results.add_result(item))
        page_event: Mapping[str, Any] = event.get("event") or {}
        if page_event.get("type") == "status":
            status: Mapping[str, Any] = page_event["data"]
            self._status = "" if status["done"] else str(status["description"])
            self._draw()

    def end(self, *, is_whole: bool) -> None:
        """Show what is left: nothing more comes. False: the answer was cut off."""
        self._flush()
        if self._held:
            # The last of them is the server's; one before it may be a model that says the same words.
            heads = [at for at, block in enumerate(self._held) if is_pause_head(block)]
            shown = self._held[: heads[-1]] if self._asks_approval and is_whole else self._held
            for block in shown:
                self._print_block(block)
            self._held = []

    def _add_text(self, text: str) -> None:
        self._rest += text
        if "\n" in text and len(self._rest) >= self._next_split:
            blocks, self._rest = split_blocks(self._rest)
            # A long block is not parsed for each of its lines: that would take the square of its length.
            self._next_split = len(self._rest) * 9 // 8 if len(self._rest) > LONG_BLOCK else 0
            if blocks and self._live is not None:
                self._live.update(self._build_tail())  # what is printed now is drawn above it
            for block in blocks:
                self._take_block(block)
        self._draw()

    def _take_block(self, block: str) -> None:
        if self._held or is_pause_head(block):
            self._held.append(block)
        else:
            self._print_block(block)

    def _print_block(self, block: str) -> None:
        if not block.strip():
            return
        self._print_gap("text")
        self._console.print(Trimmed(AnswerMarkdown(block)))

    def _print_tool_line(self, line: Text) -> None:
        self._flush()
        self._print_gap("tool")
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def _print_gap(self, kind: Literal["text", "tool"]) -> None:
        if self._last and not self._last == kind == "tool":
            self._console.print()
        self._last = kind

    def _flush(self) -> None:
        """Print what was written so far for good."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        rest, self._rest, self._next_split = self._rest, "", 0
        if rest.strip():
            for block in (*split_blocks(rest)[0], split_blocks(rest)[1]):
                self._take_block(block)

    def _draw(self) -> None:
        """Draw the block that is being written, and what is done at the moment."""
        now = time.monotonic()
        if now - self._drawn < SECONDS_BETWEEN_FRAMES:
            return
        self._drawn = now
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(self._build_tail(), refresh=True)

    def _build_tail(self) -> Tail:
        parts: list[RenderableType] = []
        if len(self._rest) > LONG_BLOCK:
            parts = [Text(escape_text(self._rest[-LONG_BLOCK:]))]
        elif self._rest.strip():
            parts = [Trimmed(AnswerMarkdown(self._rest))]
        if self._held:
            parts = []
        gap = [Text()] if parts and self._last else []
        status = [Text(escape_invisible(self._status), "dim", no_wrap=True)] if self._status else []
        return Tail(Group(*gap, *parts, *status), max(2, self._console.height - 2))


def drop_pause_words(answer: str) -> str:
    """Drop the server's words about calls that wait from the end of an answer."""
    blocks = [*(parts := split_blocks(answer))[0], parts[1]]
    heads = [at for at, block in enumerate(blocks) if is_pause_head(block)]
    return "".join(blocks[: heads[-1]]) if heads else answer


def is_pause_head(block: str) -> bool:
    """Whether a block is how the server's words about calls that wait begin."""
    return block.strip() in (ONE_CALL, SEVERAL_CALLS)
