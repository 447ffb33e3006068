"""Answers as Markdown on a terminal, block by block: what is whole is printed for good, the rest is drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.syntax import Syntax

from graphs.text import escape_invisible

LETTERS_JOINED = "\u200c\u200d"
"""What joins letters of some scripts, and the parts of an emoji: no terminal is changed by them."""

_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("reference")
"""Without HTML, which Rich would leave out: `<name>` is to be read as it was written. So is `[1]: address`, which other
blocks than its own would not know."""


class PlainCode(CodeBlock):
    """A block of code without a background, so that nothing but the code is copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render it."""
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme="ansi_dark", word_wrap=True, background_color="default")


class LeftHeading(Heading):
    """A heading at the left, as all text is."""

    LEVEL_ALIGN: ClassVar = {}


class AnswerMarkdown(Markdown):
    """Words of others as Markdown: links show where they lead, and nothing is left out or steers the terminal."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": PlainCode,
        "code_block": PlainCode,
        "heading_open": LeftHeading,
    }

    def __init__(self, text: str) -> None:
        shown = escape_text(text)
        super().__init__(shown, hyperlinks=False, inline_code_theme="ansi_dark")
        self.parsed = _PARSER.parse(shown)


def escape_text(text: str) -> str:
    """Escape what does not show or steers a terminal, in a text of several lines."""
    return escape_invisible(text.replace("\r\n", "\n"), keep=f"\n\t{LETTERS_JOINED}")


def split_blocks(text: str) -> tuple[Sequence[str], str]:
    """Split Markdown that is still being written into the blocks that are whole, and the rest, which may change."""
    starts = [
        token.map[0]
        for token in _PARSER.parse(text.replace("\r", " "))  # which would be the end of a line to it
        if token.level == 0 and token.map is not None and token.nesting >= 0
    ]
    if len(starts) < 2:
        return (), text
    lines = text.split("\n")
    blocks = ["\n".join(lines[start:end]) for start, end in pairwise([0, *starts[1:]])]
    return blocks, "\n".join(lines[starts[-1] :])


class Trimmed:
    """Something without the empty lines that it begins or ends with: Rich puts one before each list."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render it."""
        lines = console.render_lines(self._content, options, pad=False)
        filled = [at for at, line in enumerate(lines) if any(segment.text.strip() for segment in line)]
        for line in lines[filled[0] : filled[-1] + 1] if filled else ():
            yield from line
            yield Segment.line()


class Tail:
    """The last lines of something that may be longer than the terminal is high."""

    def __init__(self, content: RenderableType, lines: int) -> None:
        self._content = content
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render them."""
        for line in console.render_lines(self._content, options, pad=False)[-self._lines :]:
            yield from line
            yield Segment.line()
