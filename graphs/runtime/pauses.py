"""What a turn pauses for, an approval or a question: how it is asked, and the wait for what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from graphs.events import ApprovalNeeded, ClientCall, Pause, PendingApproval, QuestionAsked
from graphs.policy.caller import Caller
from graphs.runtime import approval_text, question_text
from graphs.runtime.approval_text import ApprovalReader
from graphs.runtime.chat_page import ChatPage
from graphs.store.store import Store

POLL_SECONDS = 0.25
"""Seconds between two looks at what a stream waits for: it may be settled in another process."""


def render_pause(pause: Pause, reader: ApprovalReader) -> str:
    """Render the last words of a turn that pauses (Markdown)."""
    match pause:
        case ApprovalNeeded():
            return approval_text.render_question(pause, reader)
        case QuestionAsked(question):
            return question_text.render_question(question)


def build_panel(pause: Pause, turn: str, page: ChatPage, caller: Caller) -> ClientCall | None:
    """Build the call by which the chat page asks this caller; None where it cannot."""
    match pause:
        case ApprovalNeeded(pending):
            return page.build_panel(turn, select_own(pending, caller))
        case QuestionAsked(question):
            is_theirs = question.role is None or caller.has_role(question.role)
            return page.build_question_panel(turn, question) if is_theirs else None


def select_own(pending: Sequence[PendingApproval], caller: Caller) -> Sequence[PendingApproval]:
    """Those of the pending approvals that this caller may decide: nobody gets a button that does nothing."""
    reader = ApprovalReader(caller)
    return [entry for entry in pending if reader.may_decide(entry.approver)]


def render_preamble(pause: Pause, page: ChatPage, caller: Caller) -> str:
    """Render what stands above that panel."""
    match pause:
        case ApprovalNeeded(pending):
            return page.render_preamble(select_own(pending, caller))
        case QuestionAsked(question):
            return page.render_question_preamble(question)


async def wait_until_settled(store: Store, pause: Pause) -> None:
    """Return once nobody is waited for any more."""
    while await _is_pending(store, pause):  # noqa: ASYNC110  the event may happen in another process
        await asyncio.sleep(POLL_SECONDS)


async def _is_pending(store: Store, pause: Pause) -> bool:
    match pause:
        case ApprovalNeeded(pending):
            found = await store.approvals.find_by_calls([entry.call_id for entry in pending])
            return any(entry.status == "pending" for entry in found.values())
        case QuestionAsked(pending):
            question = await store.questions.get(pending.question_id)
            return question is not None and question.status == "pending"
