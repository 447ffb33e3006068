"""Decide approvals: by text, by button, or from elsewhere. Nothing is run here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from graphs.errors import NotAllowed
from graphs.events import PendingApproval
from graphs.llm.messages import client_call_ids
from graphs.nodes.permission import build_pending_approval
from graphs.policy.rules import Caller
from graphs.runtime import approval_text
from graphs.runtime.chat_page import ChatPage, PanelAnswer
from graphs.store.approvals import (
    AlreadyDecided,
    Approval,
    ApprovalDecision,
    ApprovalExpired,
    ApprovalNotFound,
    ApprovalStatus,
)
from graphs.store.store import Store
from graphs.store.turns import TurnRow

__all__ = [
    "STATUS_BY_DECISION",
    "AlreadyDecided",
    "Approval",
    "ApprovalDecision",
    "ApprovalExpired",
    "ApprovalNotFound",
    "ApprovalStatus",
    "DecisionOutcome",
    "Reply",
    "Resume",
    "StillPending",
    "decide_by_api",
    "decide_by_panel",
    "decide_by_text",
    "find_approval",
    "load_turn_approvals",
    "take_up",
]


@dataclass(frozen=True)
class Resume:
    """Everything is decided: the turn goes on, and this caller has taken hold of it."""

    row: TurnRow
    """As it was before: it waited, or its process died while it ran."""
    notice: str = ""
    """What the person must know first: that it goes on from another decision than theirs."""
    addendum: str | None = None
    """What the person said instead of deciding; the model reads it after the results."""
    late: str | None = None
    """What the person said when the question had expired: the conversation goes on with it."""


@dataclass(frozen=True)
class StillPending:
    """Decided, but others of the same turn still wait."""

    row: TurnRow
    pending: tuple[PendingApproval, ...]
    notice: str


@dataclass(frozen=True)
class Reply:
    """Nothing runs; these words say why."""

    text: str
    parent: str | None = None
    """The turn that goes on waiting, or goes on elsewhere."""


STATUS_BY_DECISION = {"approve": "approved", "reject": "rejected"}
"""What each decision makes of an approval."""

DecisionOutcome = Resume | StillPending | Reply


async def decide_by_text(
    store: Store, reply: approval_text.ApprovalReply, caller: Caller, owner: str, *, console: str | None = None
) -> DecisionOutcome:
    """Decide by `approve ID` or `reject ID`, as a whole message. `console`: its address, for who may not decide."""
    entry = await store.approvals.get(reply.approval_id)
    if entry is None or not may_know(entry, caller, owner):
        # The same words for an id that does not exist: nobody learns what others are asked.
        return Reply(f"Nothing that you may decide waits under the id `{reply.approval_id}`. Nothing was run.")
    # The conversation's next message goes on from what was decided elsewhere, whatever it says and whoever may decide.
    if entry.status in STATUS_BY_DECISION.values():
        return await follow_earlier_decision(store, entry, reply.decision, owner)
    if entry.approver is not None and not caller.has_role(entry.approver):
        return Reply(f"{approval_text.render_decider(entry.id, entry.approver, console)} Nothing was run.")
    if reply.decision == "approve" and entry.status == "pending" and not approval_text.is_shown_whole(entry.args):
        return Reply(
            f"`{entry.id}` is too long to be shown whole in a chat, so no message approves it. "
            f"Approve it {approval_text.render_places(entry.id, console)}. "
            "It still waits; nothing was run."
        )
    try:
        entry = await record_decision(store, entry.id, reply.decision, caller)
    except AlreadyDecided as error:
        return await follow_earlier_decision(store, error.approval, reply.decision, owner)
    except ApprovalExpired as error:
        return Reply(f"{capitalize(error)} Nothing was run by this message.")
    if entry.caller_owner != owner:
        return Reply(f"`{entry.id}` is {entry.status}. It takes effect when {entry.caller} goes on.")
    return await try_resume(store, entry.turn, f"`{entry.id}` is {entry.status}")


async def follow_earlier_decision(
    store: Store, entry: Approval, decision: ApprovalDecision, owner: str
) -> DecisionOutcome:
    """Go on from what was decided before, be it the same or not; `decision` is what this person says now."""
    words = str(AlreadyDecided(entry))
    words = f"{words[:1].upper()}{words[1:]}"
    if entry.status not in STATUS_BY_DECISION.values() or (entry.caller_owner != owner and entry.used is not None):
        return Reply(f"{words}. Nothing was run by this message.")
    if entry.caller_owner != owner:
        return Reply(f"{words}. It takes effect when {entry.caller} goes on; nothing was run by this message.")
    outcome = await try_resume(store, entry.turn, words)
    if isinstance(outcome, Resume) and entry.status != STATUS_BY_DECISION[decision]:
        return Resume(outcome.row, f"{words}.")
    return outcome


async def decide_by_panel(
    store: Store, panel_answer: PanelAnswer, page: ChatPage, caller: Caller, owner: str, *, console: str | None = None
) -> DecisionOutcome:
    """Decide by a panel that came back. It counts only where it is what was asked, of this caller, and still waits.

    `console`: its address, for who may not decide.
    """
    row = await store.turns.get(panel_answer.turn)
    if row is None or row.owner != owner:
        return Reply("This question was not asked of you, or is not known any more. Nothing was run.")
    found = [await store.approvals.get(key) for key in panel_answer.approval_ids]
    shown = [entry for entry in found if entry is not None and entry.turn == row.id]
    expected = page.build_panel(row.id, [build_pending_approval(entry) for entry in shown])
    if expected is None or not page.is_same_panel(panel_answer.arguments, expected.arguments):
        return Reply("The question that came back is not the one that was asked. Nothing was run; it still waits.")
    notes: list[str] = []
    contradicted: list[str] = []
    for entry in shown:
        decision = "approve" if panel_answer.decisions.get(entry.id, False) else "reject"
        if entry.status in STATUS_BY_DECISION.values():
            notes.append(capitalize(AlreadyDecided(entry)))
            contradicted += notes[-1:] if entry.status != STATUS_BY_DECISION[decision] else []
            continue
        if entry.approver is not None and not caller.has_role(entry.approver):
            notes.append(approval_text.render_decider(entry.id, entry.approver, console))
            continue
        try:
            await record_decision(store, entry.id, decision, caller)
        except (AlreadyDecided, ApprovalExpired) as error:
            notes.append(capitalize(error))
            contradicted += notes[-1:] if error.approval.status not in ("expired", STATUS_BY_DECISION[decision]) else []
    outcome = await try_resume(store, row.id, " ".join(notes).removesuffix(".") or "Decided")
    return Resume(outcome.row, " ".join(contradicted)) if isinstance(outcome, Resume) else outcome


async def find_approval(store: Store, approval_id: str, caller: Caller, owner: str) -> Approval:
    """Find an approval that this caller may see. Raises NotFound or NotAllowed."""
    entry = await store.approvals.get(approval_id)
    if entry is None:
        raise ApprovalNotFound(approval_id)
    if not may_know(entry, caller, owner):
        raise NotAllowed(f"The approval {approval_id} is not yours, and not for your role to decide.")
    return entry


async def decide_by_api(
    store: Store, approval_id: str, decision: ApprovalDecision, caller: Caller, owner: str, note: str
) -> Approval:
    """Decide from elsewhere. Raises NotFound, NotAllowed, AlreadyDecided or Expired.

    The turn itself goes on with the conversation's next message, or in the stream that waits for it.
    """
    entry = await find_approval(store, approval_id, caller, owner)
    if entry.approver is not None and not caller.has_role(entry.approver):
        raise NotAllowed(f"Only the role {entry.approver} may decide {entry.id}.")
    return await record_decision(store, entry.id, decision, caller, note or None)


async def record_decision(
    store: Store, approval_id: str, decision: ApprovalDecision, caller: Caller, note: str | None = None
) -> Approval:
    """Record a decision with who took it. Raises NotFound, AlreadyDecided or Expired."""
    return await store.approvals.decide(
        approval_id,
        decision,
        by=caller.user,
        note=note,
        now=time.time(),
        key=caller.key,
        role=" & ".join(caller.roles),
    )


async def try_resume(store: Store, turn: str, words: str) -> DecisionOutcome:
    """Find out whether the turn can go on after a decision, and if so, take hold of it for one caller alone."""
    row = await store.turns.get(turn)
    if row is None:
        return Reply(f"{words}. It takes effect in the answer that waits for it, if there is one.")
    waiting = tuple(
        build_pending_approval(entry)
        for entry in (await load_turn_approvals(store, row)).values()
        if entry.status == "pending"
    )
    if waiting:
        return StillPending(row, waiting, words)
    if await take_up(store, row):
        return Resume(row)
    if not await store.turns.advance(row.id, "waiting", status="running", worker=store.workers.id):
        return Reply(f"{words}. Its turn has already gone on; nothing was run by this message.")
    return Resume(row)


async def take_up(store: Store, row: TurnRow) -> bool:
    """Take up a turn that had waited and ran again in a process that died. False where it is no such turn."""
    return row.status == "running" and "history" in (row.request or {}) and await store.take_up(row)


async def load_turn_approvals(store: Store, row: TurnRow) -> Mapping[str, Approval]:
    """Load the approvals that a waiting turn asked for, by call id, in the order of its calls; those of calls that the
    graph made itself, which stand in no message, follow."""
    ids = client_call_ids(row.messages)
    found = await store.approvals.find_by_calls(ids)
    own = await store.approvals.find_by_turn(row.id)
    return {key: found[key] for key in ids if key in found} | own


def may_know(entry: Approval, caller: Caller, owner: str) -> bool:
    """Whether this caller may know of the approval at all: whoever asked, and the role that approves."""
    return entry.caller_owner == owner or (entry.approver is not None and caller.has_role(entry.approver))


def capitalize(error: Exception) -> str:
    """Make a sentence of an error's words."""
    words = str(error)
    return f"{words[:1].upper()}{words[1:]}."
