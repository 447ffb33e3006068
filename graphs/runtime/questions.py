"""Answer questions: by the next message of the chat, or from elsewhere. Nothing is run here, and no call approved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from graphs.errors import NotAllowed
from graphs.events import PendingQuestion
from graphs.expressions import TypeMismatch, build_asked_type
from graphs.nodes.question import count_miss, may_answer, take_value
from graphs.policy.rules import Caller
from graphs.runtime import question_text
from graphs.runtime.approvals import Reply, Resume
from graphs.runtime.chat_page import ChatPage, QuestionPanelAnswer
from graphs.store.questions import (
    AlreadyAnswered,
    AnswerMismatch,
    NodeQuestion,
    QuestionExpired,
    QuestionNotFound,
    QuestionStatus,
)
from graphs.store.store import Store
from graphs.store.turns import TurnRow

__all__ = [
    "GONE_ON",
    "QUESTION_KEY",
    "AlreadyAnswered",
    "AnswerMismatch",
    "NodeQuestion",
    "QuestionExpired",
    "QuestionNotFound",
    "QuestionStatus",
    "StillAsked",
    "answer_by_api",
    "answer_by_panel",
    "answer_by_text",
    "build_answer_schema",
    "find_awaited",
    "find_question",
    "may_answer",
]

QUESTION_KEY = "question"
"""Where the id of the question that a turn waits for stands in its row's `request`."""

GONE_ON = "That question was answered before, and its turn has gone on from there. Nothing was run by this one."


@dataclass(frozen=True)
class StillAsked:
    """The turn goes on waiting: the question is for somebody else."""

    row: TurnRow
    question: PendingQuestion
    notice: str


async def find_question(store: Store, id: str, caller: Caller, owner: str) -> NodeQuestion:
    """Find a question that this caller may see: whoever's turn asks, and the role that answers. Raises
    QuestionNotFound and NotAllowed."""
    question = await store.questions.get(id)
    if question is None:
        raise QuestionNotFound(id)
    if question.caller_owner != owner and not may_answer(question, caller, owner):
        raise NotAllowed(f"The question {id} is not asked of you, nor of your role.")
    return question


async def answer_by_api(store: Store, id: str, value: object, caller: Caller, owner: str) -> NodeQuestion:
    """Answer from elsewhere, with the whole value. Raises QuestionNotFound, NotAllowed, AnswerMismatch, AlreadyAnswered
    and QuestionExpired.

    The turn itself goes on with the conversation's next message, or in the stream that waits for it.
    """
    question = await find_question(store, id, caller, owner)
    if not may_answer(question, caller, owner):
        raise NotAllowed(f"Only the role {question.role} may answer {id}.")
    try:
        fitting = build_asked_type(question.fields).fit(value)
    except TypeMismatch as error:
        raise AnswerMismatch(f"The answer {error}.") from error
    if fitting == "":
        raise AnswerMismatch("The answer is empty; expected a text.")
    return await store.questions.answer(id, lambda before: take_value(before, fitting, by=caller.user, channel="api"))


async def answer_by_panel(
    store: Store,
    panel_answer: QuestionPanelAnswer,
    page: ChatPage,
    caller: Caller,
    owner: str,
    take: Callable[[TurnRow], Awaitable[bool]],
) -> Resume | Reply:
    """Go on with a turn that asks, with a panel that came back. It counts only where it is what was asked, of this
    caller, and still waits. `take` is as for `answer_by_text`."""
    row = await store.turns.get(panel_answer.turn)
    if row is None or row.owner != owner:
        return Reply("This question was not asked of you, or is not known any more. Nothing was run.")
    question = await find_awaited(store, row)
    if question is None or question.id != panel_answer.question_id:
        return Reply(GONE_ON, parent=row.id)
    pending = question.build_pending()
    expected = page.build_question_panel(row.id, pending)
    if expected is None or not page.is_same_panel(panel_answer.arguments, expected.arguments):
        return Reply("The question that came back is not the one that was asked. Nothing was run.", parent=row.id)
    if question.status == "pending" and not may_answer(question, caller, owner):
        return Reply(f"Only the role {question.role} may answer this. It still waits.", parent=row.id)
    if not await take(row):
        return Reply(GONE_ON, parent=row.id)
    values = None if panel_answer.labels is None else page.read_values(pending, panel_answer.labels)
    with suppress(AlreadyAnswered, QuestionExpired):
        await store.questions.answer(question.id, partial(_take_choice, panel_answer, values, caller.user))
    return Resume(row)


def _take_choice(
    panel_answer: QuestionPanelAnswer, values: Mapping[str, Any] | None, by: str, question: NodeQuestion
) -> NodeQuestion:
    """Make of a question what a panel makes of it."""
    if panel_answer.labels is None:
        return replace(question, status="closed")
    if values is None:
        return count_miss(question, "That was none of what is to choose from.")
    return question_text.take_fields(question, dict(values), by=by, channel="chat")


def build_answer_schema(question: NodeQuestion) -> dict[str, Any]:
    """Build the JSON Schema of the answer."""
    return build_asked_type(question.fields).build_schema()


async def find_awaited(store: Store, row: TurnRow) -> NodeQuestion | None:
    """Find the question that a turn waits for; None: it waits for none."""
    id = (row.request or {}).get(QUESTION_KEY)
    return None if id is None else await store.questions.get(id)


async def answer_by_text(
    store: Store,
    row: TurnRow,
    question: NodeQuestion,
    text: str,
    caller: Caller,
    take: Callable[[TurnRow], Awaitable[bool]],
) -> Resume | StillAsked | Reply:
    """Go on with a turn that asks, with a message as its answer. `take` takes hold of the turn: one caller gets it.

    Where it was answered elsewhere, the message stands behind that.
    """
    if question.status == "pending" and not may_answer(question, caller, row.owner):
        notice = f"This still waits for an answer of the role {question.role}: {question.text}"
        return StillAsked(row, question.build_pending(), notice)
    if not await take(row):
        return Reply(GONE_ON, parent=row.id)
    try:
        await store.questions.answer(question.id, lambda before: question_text.take_text(before, text, by=caller.user))
    except QuestionExpired:
        return Resume(row, late=text)
    except AlreadyAnswered:
        # Sent again, since the process that took it died.
        return Resume(row, addendum=None if question_text.repeats_answer(question, text) else text)
    return Resume(row)
