"""The listing of a server's tools: which can be shown to a model, to a person who decides, and in a rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from mcp.types import Tool
from pydantic import ValidationError
from pydantic_core import to_json

from graphs.policy.patterns import is_chosen, matches
from graphs.text import escape_invisible

MOST_TOOLS = 500
"""Tools of one server."""
MOST_PAGES = 100
LONGEST_DESCRIPTION = 20_000
"""Characters of what a tool says of itself."""
LARGEST_SCHEMA = 100_000
"""Bytes of a tool's input schema, as JSON."""
LARGEST_LIST = 2_000_000
"""Bytes of all descriptions and schemas of one server: they are sent to the model with every request."""

_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}", re.ASCII)
"""MCP 2025-11-25, "Tool Names", and the slash that many servers write between a family and a tool. A name is shown
where a person decides, between other words: it must not be able to write any of them."""
_FIELDS = ("name", "title", "description", "inputSchema", "annotations")
"""What is used. The rest may be as large as it likes and is thrown away."""
_MOST_REASONS = 20
_MOST_NAMES = 20


class ToolListing:
    """The tools of one server as its pages come in, one of each name.

    `include` and `exclude` are patterns over names: of what they do not choose nothing is said, whatever it is like.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self.tools: dict[str, Tool] = {}
        self.unwanted: list[str] = []
        """Names of tools that the patterns do not choose."""
        self._include = include
        self._exclude = exclude
        self._unmatched = list(dict.fromkeys([*include, *exclude]))
        self._is_cut = False
        self._reasons: list[str] = []
        self._remarks: list[str] = []
        self._unexplained_count = 0
        """How many are left out without a reason of their own."""
        self._excess_names: list[str] = []
        self._excess_count = 0
        self._task_names: list[str] = []
        self._size = 0

    @property
    def is_full(self) -> bool:
        """Whether no further page can add a tool."""
        return bool(self._excess_names) or self._unexplained_count > MOST_TOOLS

    def add(self, raw: object) -> None:
        """Add one entry of a page."""
        fields = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
        name = fields.get("name")
        if isinstance(name, str) and not self._choose(name):
            if _NAME.fullmatch(name) and len(self.unwanted) < MOST_TOOLS:
                self.unwanted.append(name)
        elif len(self.tools) >= MOST_TOOLS:
            if len(self._excess_names) < _MOST_NAMES:
                self._excess_names.append(show_name(name))
            else:
                self._excess_count += 1
        elif self._unexplained_count > MOST_TOOLS:
            # What is wrong with each would have to be found out.
            self._unexplained_count += 1
        elif isinstance(name, str) and not _NAME.fullmatch(name):
            self._leave_out(
                f"a tool named {show_name(name)} is left out: a name is made of letters A to Z, digits, '_', '-', '.' "
                "and '/', at most 128 of them"
            )
        elif _requires_task(fields):
            self._task_names.append(show_name(name))
        else:
            # Nothing at all says as much as an empty schema: any arguments.
            named = {field: fields[field] for field in _FIELDS if fields.get(field) is not None}
            self._add_named({"inputSchema": {"type": "object", "properties": {}}, **named})

    def list_reasons(self) -> tuple[str, ...]:
        """List why tools are left out, in words."""
        reasons = list(self._reasons)
        if self._unexplained_count:
            reasons.append(f"… and {self._unexplained_count:,} more tools are left out")
        if self._excess_names:
            more = f" and {self._excess_count:,} more" if self._excess_count else ""
            names = ", ".join(self._excess_names)
            reasons.append(f"only {MOST_TOOLS} tools of a server are served; left out are {names}{more}")
        return tuple(reasons)

    def note(self, reason: str) -> None:
        """Note a reason why tools may be missing."""
        self._reasons.append(reason)
        self._is_cut = True

    def remark(self, words: str) -> None:
        """Note what an operator should know, though nothing is wrong."""
        self._remarks.append(words)

    def list_remarks(self) -> tuple[str, ...]:
        """List what an operator should know of the tools, in words."""
        remarks = list(self._remarks)
        if self._task_names:
            names = ", ".join(self._task_names[:_MOST_NAMES])
            more = len(self._task_names) - _MOST_NAMES
            shown = f"{names} and {more:,} more" if more > 0 else names
            what = "can only be run as a task" if len(self._task_names) == 1 else "can only be run as tasks"
            remarks.append(f"{shown}: not offered, since it says that it {what} (taskSupport: required)")
        return tuple(remarks)

    def list_unmatched(self) -> tuple[str, ...]:
        """List the patterns that match no tool; none while there may be tools that were not seen."""
        return () if self._is_cut or self.is_full else tuple(self._unmatched)

    def _choose(self, name: str) -> bool:
        self._unmatched = [pattern for pattern in self._unmatched if not matches(pattern, name)]
        return is_chosen(name, self._include, self._exclude)

    def _add_named(self, fields: dict[str, Any]) -> None:
        try:
            tool = Tool.model_validate(fields)
        except ValidationError as error:
            self._leave_out(f"a tool is left out, its description is malformed: {error.errors()[0]['msg']}")
            return
        said = len(tool.description or "") + len(tool.title or "")
        schema = len(to_json(tool.inputSchema))
        if tool.name in self.tools:
            self._leave_out(f"a second tool named {tool.name!r} is left out")
        elif said > LONGEST_DESCRIPTION:
            self._leave_out(
                f"{tool.name} is left out: its description has {said:,} characters, {LONGEST_DESCRIPTION:,} are taken"
            )
        elif schema > LARGEST_SCHEMA:
            self._leave_out(f"{tool.name} is left out: its schema has {schema:,} bytes, {LARGEST_SCHEMA:,} are taken")
        elif self._size + said + schema > LARGEST_LIST:
            self._leave_out(
                f"{tool.name} is left out: all descriptions and schemas of a server may have {LARGEST_LIST:,} bytes"
            )
        else:
            self._size += said + schema
            self.tools[tool.name] = tool

    def _leave_out(self, reason: str) -> None:
        if len(self._reasons) < _MOST_REASONS:
            self._reasons.append(reason)
        else:
            self._unexplained_count += 1


def _requires_task(fields: dict[str, Any]) -> bool:
    """Whether the tool runs as a task only (MCP 2025-11-25, "Tasks"; removed from MCP since)."""
    execution = fields.get("execution")
    return isinstance(execution, dict) and cast("dict[str, Any]", execution).get("taskSupport") == "required"


def show_name(name: object) -> str:
    """Show a tool's name, which may be anything: in quotes, short, every character visible."""
    if not isinstance(name, str):
        return "that is no text"
    shown = escape_invisible(repr(name[:60]))
    return shown if len(name) <= 60 else f"{shown} … ({len(name):,} characters)"
