"""Tool calls on a terminal: one line for each call and each result, and a result in full on request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from graphs.text import escape_invisible
from server.cli.chat.conversation import StartedCalls
from server.cli.chat.markdown import escape_text

MOST_RESULTS = 100
"""Results that can be shown in full: the latest."""
LONGEST_LINE = 500
"""Characters of others' words that are laid out for one line; the terminal's width cuts it further."""


@dataclass(frozen=True)
class ShownResult:
    """A result with the call that it is of."""

    name: str
    arguments: str
    """As JSON."""
    status: str
    text: str


class ToolResults:
    """The tool calls of a chat, numbered from 1."""

    def __init__(self, *, has_commands: bool = True) -> None:
        """`has_commands`: the person can ask for a result in full."""
        self._has_commands = has_commands
        self._started = StartedCalls()
        self._calls: dict[str, tuple[str, str]] = {}
        self._results: OrderedDict[int, ShownResult] = OrderedDict()
        self._count = 0

    @property
    def numbers(self) -> str:
        """Which results can be shown, such as "1 to 7"; empty: none."""
        if not self._results:
            return ""
        first = next(iter(self._results))
        return str(first) if first == self._count else f"{first} to {self._count}"

    def take(self, event: Mapping[str, Any]) -> None:
        """Take note of a call that runs."""
        self._started.take(event)

    def add_call(self, item: Mapping[str, Any]) -> Text:
        """Take a call, and return its line."""
        self._calls[item["call_id"]] = (item["name"], item["arguments"])
        return build_line(f"> {item['name']}", "cyan", item["arguments"])

    def add_result(self, item: Mapping[str, Any]) -> Text:
        """Take a result, and return its line."""
        name, arguments = self._calls.pop(item["call_id"], ("", ""))
        text = "".join(part.get("text", "[image]") for part in item["output"])
        self._count += 1
        self._results[self._count] = ShownResult(name, arguments, item["status"], text)
        while len(self._results) > MOST_RESULTS:
            self._results.popitem(last=False)
        colour = "green" if item["status"] == "completed" else "red"
        hint = f", /show {self._count}" if self._has_commands else ""
        head = f"< {name} {self._started.describe_status(item)}: {describe_size(text)}{hint}"
        return build_line(head, colour, " ".join(text[: 2 * LONGEST_LINE].split()))

    def render(self, number: int) -> Text | None:
        """Render a result in full with its call; None where there is none of this number."""
        result = self._results.get(number)
        if result is None:
            return None
        return Text.assemble(
            (f"> {escape_invisible(result.name)}", "cyan"),
            " ",
            (escape_invisible(result.arguments), "dim"),
            "\n",
            escape_text(result.text),
        )


def describe_size(text: str) -> str:
    """Describe how long a text is."""
    lines = text.count("\n") + 1
    characters = "1 character" if len(text) == 1 else f"{len(text):,} characters"
    return characters if lines == 1 else f"{characters} in {lines:,} lines"


def build_line(head: str, colour: str, text: str) -> Text:
    """Build a line from words of others, which neither steer the terminal nor are read as markup."""
    shown = escape_invisible(text[:LONGEST_LINE])
    return Text.assemble((escape_invisible(head), colour), " ", (shown, "dim"))
