"""The node type that calls a function of the operator's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from graphs.config.spec.base import Duration
from graphs.config.spec.node import NodeSpec, Retry
from graphs.config.spec.node_types import walk_texts

_RUN = re.compile(r"([A-Za-z_][A-Za-z0-9_]*):([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)


class PythonNodeSpec(NodeSpec, frozen=True):
    """Calls a function of the operator's own, from a file in `python/` beside the graphs.

    For what neither CEL nor a tool can do: to count, to reshape, to read another system. The function may do whatever
    Interlock itself may do: no rule is asked, and nothing shuts it in.

    In LangGraph: a node that writes the key of the variable. A plain function runs on a thread, an `async` one is
    awaited.
    """

    other_names: ClassVar[Mapping[str, str]] = {"args": "with", "function": "run", "call": "run"}

    type: Literal["python"]
    """Calls a function of the operator's own, from a file in `python/` beside the graphs."""
    run: str
    """The function, as FILE:FUNCTION: `reports:week` is `week` in `python/reports.py`."""
    arguments: Annotated[dict[str, Any], Field(alias="with")] = {}
    """The values of its parameters, by name. `{{ … }}` in their texts holds CEL; a text that is one `{{ … }}` alone
    keeps its value's type."""
    into: str | None = None
    """The variable that what it returns goes into. Absent: it goes nowhere."""
    on_error: str | None = None
    """The node to go to where this one fails; `error.kind` and `error.message` say there why. Absent: the turn ends."""
    retry: Retry | None = None
    """How many attempts there are, as a number or {times, wait}. Absent: 1."""
    timeout: Duration | None = None
    """The longest time of one attempt. A plain function goes on behind it, and what it returns is dropped."""

    @field_validator("run")
    @classmethod
    def _names_function(cls, value: str) -> str:
        if _RUN.fullmatch(value) is None:
            raise ValueError(_describe_run_fault(value))
        return value

    def locate_templates(self) -> dict[tuple[str | int, ...], str]:
        """List the note, and the texts of the arguments that hold CEL."""
        arguments = {path: text for path, text in walk_texts(self.arguments, ("with",)) if "{{" in text}
        return {**super().locate_templates(), **arguments}

    def locate_outputs(self) -> dict[tuple[str | int, ...], str]:
        """List the variable under `into`."""
        return {} if self.into is None else {("into",): self.into}


def _describe_run_fault(run: str) -> str:
    """Explain why a text names no function."""
    file, colon, function = (part.strip() for part in run.partition(":"))
    example = "write FILE:FUNCTION, such as reports:week for 'def week' in python/reports.py"
    if "/" in run or "\\" in run:
        return f"{run!r} is a path; only files in the folder 'python' itself are called: {example}"
    if file.endswith(".py") and colon:
        return f"{run!r} has the ending of the file; write {file.removesuffix('.py')}:{function}"
    if "." in file:
        return f"{run!r} names a package; only files in the folder 'python' are called: {example}"
    if file and colon and not file.isidentifier():
        return f"{run!r} is no name in Python; call the file by letters, digits and '_', such as reports.py"
    if "." in function:
        return f"{run!r} names a part of something; a function stands in its file by itself: {example}"
    return f"{run!r} names no function; {example}"
