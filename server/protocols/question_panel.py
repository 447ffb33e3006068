"""Asking a graph's question with buttons: Open WebUI's own `ask_user` tool, called by us, answered by the person.

The page wants two or three options of each question, so yes or no and small choices are asked so; what has more values,
and free text, is asked in the chat. Like an approval's, the answer comes back inside a history that the client writes,
so it counts only where it matches what was asked, and what still waits (`graphs/runtime/questions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from graphs.events import ClientCall, PendingQuestion, QuestionField
from graphs.runtime.chat_page import QuestionPanelAnswer
from graphs.runtime.question_text import describe_field
from graphs.text import escape_invisible, truncate
from server.protocols.approval_panel import (
    HEADER,
    MOST_QUESTIONS,
    NAME,
    QUESTION,
    find_answered_call,
    is_call_of_page,
)

MOST_OPTIONS = 3
LABEL = 80
"""Longest label of an option, in characters."""
YES, NO, LEAVE_OUT = "Yes", "No", "Leave it out"

CALL_ID = re.compile(r"ask_([0-9a-f]{32})_([a-z2-7]{8})")
"""Unlike that of an approval's panel: neither is ever taken for the other."""


def build_panel(turn: str, question: PendingQuestion) -> ClientCall | None:
    """The call of `ask_user` for what is asked next; None where that is no choice of two or three."""
    asked = select_fields(question)
    if not asked:
        return None
    body = {"questions": [build_question(question, field) for field in asked], "allow_other": False}
    return ClientCall(
        call_id=f"ask_{turn}_{question.question_id}",
        name=NAME,
        arguments=orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode(),
    )


def render_preamble(question: PendingQuestion) -> str:
    """What stands in the chat above the panel: what was wrong, and the question where the panel shows only its end."""
    longest = max((len(build_text(question, field)) for field in select_fields(question)), default=0)
    return "\n\n".join(part for part in (question.problem, question.text if longest > QUESTION else "") if part)


def select_fields(question: PendingQuestion) -> Sequence[QuestionField]:
    """Select what the next panel asks: as many in a row as it takes."""
    found: list[QuestionField] = []
    for field in question.open_fields[:MOST_QUESTIONS]:
        if list_options(field) is None:
            break
        found.append(field)
    return found


def list_options(field: QuestionField) -> Mapping[str, Any] | None:
    """List the values of the options by their labels; None where there are too few or too many for the page."""
    match field.kind:
        case "bool":
            # The page marks the first option as the recommended one.
            options: dict[str, Any] = {NO: False, YES: True}
        case "enum":
            options = {escape_invisible(value).strip(): value for value in field.values}
            if len(options) < len(field.values) or any(not 0 < len(label) <= LABEL for label in options):
                return None
        case _:
            return None
    if field.is_optional:
        options[LEAVE_OUT] = None
    return options if 2 <= len(options) <= MOST_OPTIONS else None


def build_question(question: PendingQuestion, field: QuestionField) -> dict[str, Any]:
    """One value as a question with its options."""
    text = build_text(question, field)
    return {
        "id": f"{question.question_id}-{question.fields.index(field)}",
        "header": truncate(field.name or question.node, HEADER),
        # What asks stands at the end; all of it stands above the panel.
        "question": text if len(text) <= QUESTION else f"…{text[1 - QUESTION :]}",
        "options": [
            {"label": label, "description": "Nothing is answered." if value is None else f"Answers “{label}”."}
            for label, value in (list_options(field) or {}).items()
        ],
    }


def build_text(question: PendingQuestion, field: QuestionField) -> str:
    """Build the words of a question, with the description of the field where there is room."""
    text = escape_invisible(question.text, keep="\n").strip()
    short = f"{text} ({field.name})" if field.name else text
    description = describe_field(field)
    long = f"{text} ({field.name}: {description})" if field.name else f"{text} {description}"
    return long if description and len(long) <= QUESTION else short


def is_panel(call: Mapping[str, Any]) -> bool:
    """Whether a tool call in a history is a panel of ours that asks a graph's question."""
    return is_call_of_page(call, CALL_ID)


def parse_panel_answer(messages: Sequence[Mapping[str, Any]]) -> QuestionPanelAnswer | None:
    """The panel that the last message answers; None where it answers none of ours."""
    if (answered := find_answered_call(messages, CALL_ID)) is None:
        return None
    match, arguments = answered
    labels = parse_labels(messages[-1].get("content"))
    return QuestionPanelAnswer(turn=match[1], question_id=match[2], arguments=arguments, labels=labels)


def parse_labels(content: object) -> Mapping[str, str] | None:
    """The label that was chosen, by the id of the question; None where the person cancelled."""
    try:
        body = orjson.loads(content) if isinstance(content, str) else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict):
        return None
    given = cast("dict[str, Any]", body)
    answers = given.get("answers")
    if given.get("status") != "answered" or not isinstance(answers, dict):
        return None
    entries = {
        key: cast("dict[str, Any]", value)
        for key, value in cast("dict[str, Any]", answers).items()
        if isinstance(value, dict)
    }
    return {key: str(value.get("label")) for key, value in entries.items() if value.get("type") == "option"}


def read_values(question: PendingQuestion, labels: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Read the values that were chosen, by the field's name; None where one of those that were asked is not there."""
    found: dict[str, Any] = {}
    for field in select_fields(question):
        label = labels.get(f"{question.question_id}-{question.fields.index(field)}")
        options = list_options(field) or {}
        if label is None or label not in options:
            return None
        found[field.name] = options[label]
    return found


def list_answered(message: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The questions of a message's panel and their answers as a conversation, for the model; empty where it has none.

    `results` are the tool messages of the history, by call id.
    """
    found: list[dict[str, Any]] = []
    for call in cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ()):
        if not is_panel(call):
            continue
        labels = parse_labels(results.get(str(call.get("id")), {}).get("content")) or {}
        for asked in parse_asked(str(cast("Mapping[str, Any]", call["function"]).get("arguments"))):
            if (label := labels.get(str(asked.get("id")))) is not None:
                found.append({"role": "assistant", "content": str(asked.get("question"))})
                found.append({"role": "user", "content": label})
    return found


def parse_asked(arguments: str) -> list[Mapping[str, Any]]:
    """The questions of a panel, as far as it is one."""
    try:
        body = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return []
    questions = cast("dict[str, Any]", body).get("questions") if isinstance(body, dict) else None
    listed = cast("list[Any]", questions) if isinstance(questions, list) else []
    return [cast("Mapping[str, Any]", each) for each in listed if isinstance(each, dict)]
