"""Log format: a line for each event, as JSON or text, with the ids by which the lines of one request are found.

What people write never gets into it: neither messages nor arguments nor results. Our own lines hold none. Those of
libraries may quote some, and so may exceptions, so of these only the first line is kept, and of the MCP SDK's, which
quote whole messages, only the place.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

import orjson

from graphs.redaction.texts import scrub_text
from graphs.runtime.runner import find_current_turn
from graphs.telemetry.tracing import find_current_ids
from graphs.text import escape_invisible, escape_json
from server.observability.request_log import find_current_request

Form = Literal["text", "json"]

OWN_LOGGERS = ("graphs", "server")
QUOTING_LOGGERS = ("root", "mcp")
"""Loggers whose words are left out. The MCP SDK also uses the root logger, which nobody else here does."""
LONGEST = 300
MOST_LINES = 10
"""Lines a second from one place in a library."""


def set_up(form: Form) -> None:
    """Make this process log to stderr in that form. For the whole process: called by what starts it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    handler.addFilter(Flood())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    # LangGraph writes a traceback for each try of a node, rust-sugiyama fifty lines for each drawing.
    for name in ("httpx", "mcp", "langgraph.pregel._retry", "rust-sugiyama"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


class Flood(logging.Filter):
    """Lets MOST_LINES lines a second through from each place in a library; its next line after that says how many were
    dropped. What others send makes some libraries write a line for each message."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        """By place: the second, and how many lines of it there were."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the line is written."""
        if record.name.partition(".")[0] in OWN_LOGGERS:
            return True
        place, second = (record.pathname, record.lineno), int(record.created)
        before, count = self._places.get(place, (second, 0))
        if before != second:
            if count > MOST_LINES:
                record.__dict__["skipped"] = count - MOST_LINES
            count = 0
        self._places[place] = (second, count + 1)
        return count < MOST_LINES


class JSONFormatter(logging.Formatter):
    """Formats one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record with the ids of its request."""
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": escape_invisible(format_message(record), keep="\n\t"),
            "pid": record.process,
            **collect_ids(),
            **record.__dict__.get("fields", {}),
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            line["exception"] = format_exception(error)
        return escape_json(orjson.dumps(line, default=str).decode())


class TextFormatter(logging.Formatter):
    """Formats lines for people: the message first, then the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record with the ids of its request."""
        known = {**record.__dict__.get("fields", {}), **collect_ids()}
        for shown in ("method", "route", "path", "status"):  # in the words already
            known.pop(shown, None)
        facts = "".join(f" {name}={format_value(value)}" for name, value in known.items() if value not in ([], None))
        message = f"{format_message(record)}{escape_invisible(facts)}"
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {message}"
        if record.exc_info and (error := record.exc_info[1]) is not None:
            line = f"{line}\n{format_exception(error)}"
        # A name of somebody else's moves no cursor, and a line that it breaks is seen to go on.
        return escape_invisible(line, keep="\n\t").replace("\n", "\n  ")


def format_value(value: object) -> str:
    """Format a fact without spaces."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def collect_ids() -> dict[str, str]:
    """Collect whose line this is: the request, its key's name, the turn and its graph."""
    found: dict[str, str] = {}
    request, turn = find_current_request(), find_current_turn()
    if request is not None:
        found["request_id"] = request.id
        if request.key is not None:
            found["key"] = request.key
        if request.graph is not None:
            found["graph"] = request.graph
        turn = turn or request.turn
    if turn is not None:
        found["turn"] = turn.id
        found["graph"] = turn.graph
    if (trace := find_current_ids()) is not None:
        found["trace_id"], found["span_id"] = trace
    return found


def format_message(record: logging.LogRecord) -> str:
    """Format what the record says, as far as it may be shown."""
    family = record.name.partition(".")[0]
    if family in OWN_LOGGERS:
        return record.getMessage()
    if family in QUOTING_LOGGERS:
        skipped = record.__dict__.get("skipped")
        more = f"; and {skipped:,} more such lines before" if skipped else ""
        return f"(said at {record.module}:{record.lineno}; left out, since it may quote what people wrote{more})"
    skipped = record.__dict__.get("skipped")
    return scrub_first_line(record.getMessage()) + (f" … and {skipped:,} more such lines before" if skipped else "")


def scrub_first_line(text: str) -> str:
    """Scrub the first line of a message; further lines are where pydantic shows its input and SQLAlchemy its
    parameters. Libraries quote addresses with passwords and headers with keys, too."""
    lines = text.strip().splitlines()
    if lines and lines[0].startswith("Traceback "):
        lines = find_exception_lines(lines)
    return scrub_text(lines[0][: 4 * LONGEST])[:LONGEST] if lines else ""


def find_exception_lines(lines: Sequence[str]) -> Sequence[str]:
    """Find the exception that a written traceback ends with: how it begins says nothing. Chained ones come before."""
    ends = [n for n in range(1, len(lines)) if lines[n - 1].startswith(" ") and not lines[n].startswith(" ")]
    return lines[ends[-1] :] if ends else lines


def format_exception(error: BaseException) -> str:
    """Format where it happened, and what, for the error and what led to it, the latest first."""
    return "\n".join(format_causes(error, set()))


def format_causes(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
        yield f"{type(error).__module__}.{type(error).__qualname__}: {scrub_first_line(str(error))}"
        for one in cast("Sequence[BaseException]", getattr(error, "exceptions", ())):  # of an exception group
            yield from format_causes(one, seen)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if error is not None:
            yield "which followed from:"
