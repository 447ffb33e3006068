"""Asking a question in plain text, one value at a time, and reading the message that answers it."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

from graphs.errors import did_you_mean
from graphs.events import PendingQuestion, QuestionField
from graphs.expressions import TypeMismatch, build_asked_type
from graphs.nodes.question import count_miss
from graphs.store.questions import AnswerChannel, AnswerMismatch, NodeQuestion
from graphs.text import escape_invisible, truncate

LEFT_OUT = "-"
"""The message that leaves an optional field out."""
LONGEST_SHOWN = 60
"""Characters of an answer that are repeated where it does not fit."""
LONGEST_DESCRIPTION = 500
"""Characters of what a schema says of a value."""

_YES, _NO = ("yes", "y", "true"), ("no", "n", "false")
_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_PLACE = re.compile(r"#?([0-9]{1,9})[.)]?", re.ASCII)
_EXPECTED = {
    "string": "a text",
    "int": "a whole number",
    "number": "a number",
    "bool": "yes or no",
}


def render_question(question: PendingQuestion) -> str:
    """Render the last words of a paused turn: what was wrong, what is asked, and how to answer (Markdown)."""
    field = question.open_fields[0]
    begins = not question.given and not question.problem
    text = escape_invisible(question.text, keep="\n\t")
    parts = [question.problem, text if begins or not field.name else "", render_field(question, field)]
    if question.role is not None:
        parts.append(f"Only the role {question.role} may answer.")
    return "\n\n".join(part for part in parts if part)


def render_field(question: PendingQuestion, field: QuestionField) -> str:
    """Render how to answer one value of a question; empty where any text is an answer."""
    title = ""
    if field.name:
        place = question.fields.index(field) + 1
        title = f"**{field.name}** ({place} of {len(question.fields)})"
    description = describe_field(field)
    leave_out = f" Reply `{LEFT_OUT}` to leave it out." if field.is_optional else ""
    match field.kind:
        case "enum":
            listed = "\n".join(f"{at}. {value}" for at, value in enumerate(field.values, start=1))
            how = f"{listed}\n\nReply with one of these, or with its number.{leave_out}"
            first = ": ".join(part for part in (title, description) if part)
            return f"{first}\n\n{how}" if first else how
        case "string" if not field.expected:
            how = leave_out.strip()
        case _:
            how = f"Reply with {describe_expected(field)}.{leave_out}"
    words = " ".join(part for part in (description, how) if part)
    return ": ".join(part for part in (title, words) if part)


def describe_field(field: QuestionField) -> str:
    """Say in one line what its schema says of a value; empty: it says nothing."""
    words = truncate(escape_invisible(" ".join(field.description.split())), LONGEST_DESCRIPTION)
    return f"{words}." if words and not words.endswith((".", "!", "?", ":", "…")) else words


def take_text(question: NodeQuestion, text: str, *, by: str) -> NodeQuestion:
    """Make of a question what a message makes of it: it answers what is asked first, or does not fit."""
    field = question.build_pending().open_fields[0]
    try:
        value = read_value(field, text)
    except AnswerMismatch as error:
        return count_miss(question, str(error))
    return take_fields(question, {field.name: value}, by=by, channel="chat")


def repeats_answer(question: NodeQuestion, text: str) -> bool:
    """Whether a message says once more what the question was answered with."""
    field = question.fields[-1]
    try:
        return question.channel == "chat" and read_value(field, text) == question.given[field.name]
    except AnswerMismatch:
        return False


def take_fields(question: NodeQuestion, given: dict[str, Any], *, by: str, channel: AnswerChannel) -> NodeQuestion:
    """Make of a question what values that fit make of it: it is answered once nothing is open any more."""
    after = replace(question, given={**question.given, **given}, misses=0, problem="")
    if after.build_pending().open_fields:
        return after
    return replace(after, status="answered", answered=time.time(), answered_by=by, channel=channel)


def read_value(field: QuestionField, text: str) -> Any:
    """Read one value from what a person wrote; None: it is left out. Raises AnswerMismatch."""
    written = text.strip()
    if field.is_optional and written == LEFT_OUT:
        return None
    if not written:
        raise AnswerMismatch(f"That was empty; expected {describe_expected(field)}.")
    found = _parse(field, written)
    if found is None:
        shown = truncate(escape_invisible(written), LONGEST_SHOWN)
        hint = did_you_mean(written, field.values) or "."
        raise AnswerMismatch(f"“{shown}” does not fit; expected {describe_expected(field)}{hint}")
    try:
        return build_asked_type([replace(field, name="")]).fit(found)
    except TypeMismatch as error:
        raise AnswerMismatch(f"That answer {error}.") from error


def describe_expected(field: QuestionField) -> str:
    """Say what fits."""
    if field.kind == "enum":
        return f"one of {', '.join(field.values)}"
    return field.expected or _EXPECTED[field.kind]


def _parse(field: QuestionField, written: str) -> Any:
    match field.kind:
        case "string":
            return written
        case "bool":
            word = written.rstrip(".!").casefold()
            return word in _YES if word in (*_YES, *_NO) else None
        case "int":
            return int(written) if _INT.fullmatch(written) and len(written) <= 20 else None
        case "number":
            return _parse_number(written)
        case "enum":
            return _find_choice(field.values, written)


def _parse_number(written: str) -> int | float | None:
    if _NUMBER.fullmatch(written) is None or len(written) > 400:
        return None
    value = float(written)
    return (
        int(written) if _INT.fullmatch(written) and len(written) <= 20 else value if abs(value) < float("inf") else None
    )


def _find_choice(values: tuple[str, ...], written: str) -> str | None:
    """Find the one value that is meant: itself, in any case, or its number in the list."""
    if written in values:
        return written
    same = [value for value in values if value.casefold() == written.casefold()]
    if same:
        return same[0] if len(same) == 1 else None
    place = _PLACE.fullmatch(written)
    return values[int(place[1]) - 1] if place is not None and 1 <= int(place[1]) <= len(values) else None
