"""Asking for approval with buttons: Open WebUI's own `ask_user` tool, called by us, answered by the person.

The answer comes back inside a history that the client writes, so it counts only where it matches what was asked, and
what still waits (`graphs/runtime/approvals.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from graphs.events import ClientCall, PendingApproval
from graphs.runtime.approval_text import describe_call, is_shown_whole, remove_reason, render_sentence
from graphs.runtime.chat_page import PanelAnswer
from graphs.text import escape_invisible, fit_members, format_code_span, truncate

NAME = "ask_user"
MOST_QUESTIONS = 3
"""Questions on one panel."""
QUESTION, HEADER, DESCRIPTION = 500, 48, 240
"""Longest texts, in characters, that the page takes."""
LONGEST_REASON = 200
"""Characters of a rule's reason that stand before the call: the arguments need the rest of the question."""

CALL_ID = re.compile(r"call_([0-9a-f]{32})_([a-z2-7]{8})")


def select_askable(pending: Sequence[PendingApproval]) -> tuple[PendingApproval, ...]:
    """Those of the pending approvals that the next panel asks about: calls that can be read where they are decided."""
    return tuple(entry for entry in pending if build_question(entry) is not None)[:MOST_QUESTIONS]


def build_panel(turn: str, pending: Sequence[PendingApproval]) -> ClientCall | None:
    """The call of `ask_user` for the first of the pending approvals; None where it can ask about none of them."""
    shown = select_askable(pending)
    if not shown:
        return None
    body = {"questions": [build_question(entry) for entry in shown], "allow_other": False}
    return ClientCall(
        call_id=f"call_{turn}_{shown[0].approval_id}",
        name=NAME,
        arguments=orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode(),
    )


def render_preamble(pending: Sequence[PendingApproval]) -> str:
    """What stands in the chat above the next panel: whole, each call whose values or reason the panel cuts."""
    shortened = [entry for entry in select_askable(pending) if is_shortened(entry) or is_reason_cut(entry)]
    return "\n\n".join(
        f"Waits for approval, in full (`{entry.approval_id}`):\n{describe_call(entry)}" for entry in shortened
    )


def render_status(pending: Sequence[PendingApproval], panel: ClientCall) -> str:
    """What stands above the answer while the panel is open: which calls wait for this person."""
    shown = find_approval_ids(panel.arguments)
    tools = dict.fromkeys(escape_invisible(entry.tool) for entry in pending if entry.approval_id in shown)
    return f"Waits for your decision: {', '.join(tools)}"


def is_same_panel(arguments: str, expected: str) -> bool:
    """Whether both arguments ask the same questions with the same options.

    The page orders keys in its own way, adds some, and strips texts before it sends a panel back.
    """
    return parse_questions(arguments) == parse_questions(expected)


def parse_questions(arguments: str) -> object:
    """What a person reads on the panel; None where these are no arguments of `ask_user`."""
    try:
        return [
            (
                str(asked["id"]).strip(),
                str(asked["question"]).strip(),
                [(str(option["label"]).strip(), str(option["description"]).strip()) for option in asked["options"]],
            )
            for asked in orjson.loads(arguments)["questions"]
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def build_question(entry: PendingApproval) -> dict[str, Any] | None:
    """One approval as a question with two options. None where the panel has no room for every argument's name and the
    beginning of its value, or where the chat cannot show the call whole.

    Reject stands first: the page marks the first option as the recommended one.
    """
    fitted = fit_question(entry)
    if fitted is None or (fitted[1] and not is_shown_whole(entry.args)):
        return None
    return {
        "id": entry.approval_id,
        "header": truncate(escape_invisible(entry.tool), HEADER),
        "question": fitted[0],
        "options": [
            {"label": "Reject", "description": "This call is not run, and the answer goes on without it."},
            {"label": "Approve", "description": truncate(describe_approval(entry, fitted[1]), DESCRIPTION)},
        ],
    }


def describe_approval(entry: PendingApproval, shortened: bool) -> str:
    """What `Approve` does, and which rule asks; with its reason, where that does not stand in the question."""
    runs = "the call that stands in full above" if shortened else "this call"
    why = entry.rule if choose_reason(entry) == "" else remove_reason(entry.rule, entry.reason)
    return f"Runs exactly {runs}, once. Why: {escape_invisible(why)}"


def is_reason_cut(entry: PendingApproval) -> bool:
    """Whether the panel has no room for the whole reason of the rule."""
    if entry.reason is None:
        return False
    if choose_reason(entry) != "":
        return len(render_sentence(entry.reason)) > LONGEST_REASON
    return len(describe_approval(entry, is_shortened(entry))) > DESCRIPTION


def is_shortened(entry: PendingApproval) -> bool:
    """Whether the panel shows only the beginnings of some values."""
    fitted = fit_question(entry)
    return fitted is not None and fitted[1]


def fit_question(entry: PendingApproval) -> tuple[str, bool] | None:
    """The words of the question, and whether a value in them is shortened; None where they do not fit.

    The rule's reason stands first, unless arguments would be shortened for it that fit without it.
    """
    reason = choose_reason(entry)
    fitted = fit_call(entry, QUESTION - len(reason))
    return None if fitted is None else (f"{reason}{fitted[0]}", fitted[1])


def choose_reason(entry: PendingApproval) -> str:
    """The rule's reason as the question begins with it; empty where there is none, or no room."""
    if entry.reason is None:
        return ""
    reason = f"{truncate(render_sentence(entry.reason), LONGEST_REASON)} "
    beside, alone = fit_call(entry, QUESTION - len(reason)), fit_call(entry, QUESTION)
    return reason if beside is not None and (alone is None or beside[1] == alone[1]) else ""


def fit_call(entry: PendingApproval, longest: int) -> tuple[str, bool] | None:
    """The call as a question of so many characters, and whether a value in it is shortened; None where it does not
    fit."""
    tool = format_code_span(escape_invisible(entry.tool))
    for note in ("", f" In full above, under {entry.approval_id}."):
        # The fence around the arguments is as long as what is in them asks for: it is measured, not guessed.
        for fence in (2, 12, 48):
            room = longest - len(f"Run {tool} with {{}}?{note}") - fence
            fitted = fit_members([*entry.args.items()], room, separator=", ") if room > 0 else None
            if fitted is None or (fitted[1] and not note):
                break
            members = "{" + ", ".join(fitted[0]) + "}"
            text = f"Run {tool} with {format_code_span(members)}?{note}"
            if len(text) <= longest:
                return text, fitted[1]
    return None


def is_panel(call: Mapping[str, Any]) -> bool:
    """Whether a tool call in a history is a panel of ours: the model is not told of it."""
    return is_call_of_page(call, CALL_ID)


def parse_panel_answer(messages: Sequence[Mapping[str, Any]]) -> PanelAnswer | None:
    """The panel that the last message answers; None where it answers none of ours."""
    if (answered := find_answered_call(messages, CALL_ID)) is None:
        return None
    match, arguments = answered
    given = parse_decisions(messages[-1].get("content"))
    return PanelAnswer(turn=match[1], arguments=arguments, approval_ids=find_approval_ids(arguments), decisions=given)


def is_call_of_page(call: Mapping[str, Any], ids: re.Pattern[str]) -> bool:
    """Whether a tool call in a history is one of the page's own tool with such an id."""
    function = cast("Mapping[str, Any]", call.get("function") or {})
    return function.get("name") == NAME and ids.fullmatch(str(call.get("id"))) is not None


def find_answered_call(messages: Sequence[Mapping[str, Any]], ids: re.Pattern[str]) -> tuple[re.Match[str], str] | None:
    """Find the call of the page's own tool, with such an id, that the last message answers: the match of its id, and
    its arguments as they came back."""
    if not messages or messages[-1].get("role") != "tool":
        return None
    match = ids.fullmatch(str(messages[-1].get("tool_call_id")))
    if match is None:
        return None
    for message in reversed(messages[:-1]):
        for call in cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ()):
            if call.get("id") == match[0] and is_call_of_page(call, ids):
                return match, str(cast("Mapping[str, Any]", call["function"]).get("arguments"))
    return None


def find_approval_ids(arguments: str) -> list[str]:
    """The ids of a panel's questions, as far as it is one."""
    return re.findall(r'"id":"([a-z2-7]{8})"', arguments)[:MOST_QUESTIONS]


def parse_decisions(content: object) -> dict[str, bool]:
    """Approval id → approved, as the page words its result; nothing where it says anything else (such as Cancel)."""
    try:
        body = orjson.loads(content) if isinstance(content, str) else None
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(body, dict):
        return {}
    given = cast("dict[str, Any]", body)
    answers = given.get("answers")
    if given.get("status") != "answered" or not isinstance(answers, dict):
        return {}
    return {key: is_approve(value) for key, value in cast("dict[str, Any]", answers).items()}


def is_approve(answer: object) -> bool:
    """Only the option labelled exactly `Approve` is a yes."""
    if not isinstance(answer, dict):
        return False
    given = cast("dict[str, Any]", answer)
    return given.get("type") == "option" and given.get("label") == "Approve"
