"""Timelines of the last turns of one caller: what was asked, which calls were made, what the rules said of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, cast

import orjson

from graphs.diagnostics.turn_path import MOST_PAUSES, join_row_paths, resolve_status
from graphs.llm.messages import calls_of, client_call_ids, text_of
from graphs.nodes.state import OWN_CALL
from graphs.store.approvals import Approval
from graphs.store.audit.log import AuditFilter
from graphs.store.audit.record import AuditRecord
from graphs.store.store import Store
from graphs.store.tool_journal import JournalEntry
from graphs.store.turns import TurnRow
from graphs.telemetry.path import PathRecord
from graphs.text import dump_json, make_storable

CallOutcome = Literal[
    "done",
    "failed",
    "refused",
    "skipped",
    "waiting",
    "decided",
    "running",
    "next",
    "unknown",
    "client",
    "cached",
    "trial",
]
"""`trial`: it was not to run, in a trial that shows verdicts alone;
`cached`: it did not run, since the result of an earlier one was there;
`skipped`: the turn ended before it; `decided`: the chat has not gone on since; `next`: to be judged, or to run;
`unknown`: begun and never ended; `client`: handed to the client, which runs it."""

LONGEST_ANSWER = 2000
"""Characters of an answer that are told."""
LONGEST_RESULT = 1000
"""Characters of a call's result that are told."""
LONGEST_ARGUMENTS = 4000
"""Characters of a call's arguments that are told."""
MOST_CALLS = 100
"""Calls that are told of one turn, the latest."""


@dataclass(frozen=True, kw_only=True)
class CallApproval:
    """The approval of a call. Times are seconds since the epoch."""

    id: str
    status: str
    approver: str | None
    asked: float
    decided: float | None
    by: str | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class CallView:
    """One tool call of a turn."""

    id: str
    tool: str
    """`server/tool`."""
    arguments: str
    """Indented JSON, shortened where it is long."""
    verdict: str | None
    """allow, ask or deny. None where nothing was judged: a client's own tool, or a call that the turn never came to."""
    rule: str | None
    outcome: CallOutcome
    began: float | None
    """In seconds since the epoch."""
    seconds: float | None
    """How long it took."""
    result: str
    """What the model read, shortened."""
    approval: CallApproval | None


@dataclass(frozen=True, kw_only=True)
class TurnView:
    """One turn, together with the beginnings of it that ended in waiting for a person."""

    id: str
    graph: str
    status: str
    """As in its row, or `interrupted` where its process died."""
    began: float | None
    ended: float | None
    """None while it runs, and where nobody saw its end. Seconds since the epoch."""
    question: str
    """What the person asked, shortened."""
    later: Sequence[str]
    """What they said to go on, after each pause."""
    answer: str
    """The answer's text, shortened."""
    rounds: int
    """Model calls."""
    calls: Sequence[CallView]
    left_out: int
    """Calls before those."""
    path: PathRecord | None
    """The way that it took; None where that was not recorded."""
    trial: str | None
    """The role as which an admin tried the graph; None: it was no trial."""


@dataclass(frozen=True, kw_only=True)
class _CallRecords:
    """The audit, approvals and journal entries of calls, by call id."""

    journal_entries: Mapping[str, JournalEntry]
    approvals: Mapping[str, Approval]
    decisions: Mapping[str, AuditRecord]
    runs: Mapping[str, AuditRecord]
    people_name: Callable[[str], str]


async def load_timeline(
    store: Store, owner: str, limit: int, people_name: Callable[[str], str]
) -> tuple[TurnView, ...]:
    """Load the owner's latest `limit` turns, newest first. `people_name` turns a model's name of a tool into people's.

    Raises StorageError.
    """
    rows = await store.turns.find_recent(owner, limit)
    lines = await _load_chains(store, owner, rows)
    decisions, runs = await _read_audit(store, owner, [row.id for line in lines for row in line])
    own = [key for key in decisions if key.startswith(OWN_CALL)]
    ids = sorted({*own, *(key for line in lines for row in line for key in client_call_ids(row.messages))})
    known = _CallRecords(
        journal_entries=await store.journal.find_entries(ids),
        approvals=await store.approvals.find_by_calls(ids),
        decisions=decisions,
        runs=runs,
        people_name=people_name,
    )
    told = {row.id: set(client_call_ids(row.messages)) for row in rows}
    workers = {row.worker for row in rows if row.status == "running" and row.worker is not None}
    dead = {worker for worker in workers if not await store.workers.is_alive(worker)}
    return tuple(
        _build_turn_view(line, resolve_status(line[-1], dead), told.get(line[0].parent or "", set()), known)
        for line in lines
    )


async def _read_audit(
    store: Store, owner: str, turns: Sequence[str]
) -> tuple[dict[str, AuditRecord], dict[str, AuditRecord]]:
    """Read what the rules said of each call of these turns, and how it ran, by call id.

    A call that had to be asked stays `ask`, also when it was allowed or refused then: its approval says so.
    """
    decisions: dict[str, AuditRecord] = {}
    runs: dict[str, AuditRecord] = {}
    for record in reversed(await store.audit.find(AuditFilter(owners=[owner], turns=turns, limit=None))):
        if record.kind == "call":
            runs[record.call_id] = record
        elif record.kind == "decision" and (
            record.call_id not in decisions or decisions[record.call_id].verdict != "ask"
        ):
            decisions[record.call_id] = record
    return decisions, runs


async def _load_chains(store: Store, owner: str, rows: Sequence[TurnRow]) -> list[list[TurnRow]]:
    """Load, for each row, the rows of the same turn that waited, and put them before it."""
    lines = [[row] for row in rows]
    open_ends = {line[0].story["continues"]: line for line in lines if line[0].story is not None}
    for _ in range(MOST_PAUSES):
        wanted = [id for id in open_ends if id is not None]
        if not wanted:
            break
        found = await store.turns.find_by_owner(owner, wanted)
        for row in found.values():
            open_ends[row.id].insert(0, row)
        longer = [open_ends[id] for id in found]
        open_ends = {line[0].story["continues"]: line for line in longer if line[0].story is not None}
    return lines


def _build_turn_view(
    line: Sequence[TurnRow], status: str, earlier_calls: Collection[str], known: _CallRecords
) -> TurnView:
    """Build the view of a turn. `earlier_calls`: ids of calls that the turn before this one shows; a client's results
    go on with the same calls."""
    first, last = line[0], line[-1]
    messages = [message for row in line for message in row.messages]
    results = {str(message.get("tool_call_id")): message for message in messages if message.get("role") == "tool"}
    calls = {
        str(call.get("id")): call
        for message in messages
        if message.get("role") == "assistant"
        for call in calls_of(message)
        if str(call.get("id")) not in earlier_calls
    }
    own = _collect_own_calls({row.id for row in line}, known)
    views = [_build_call_view(key, call, results.get(key), status, known) for key, call in {**own, **calls}.items()]
    if own:
        views.sort(key=lambda view: inf if view.began is None else view.began)
    return TurnView(
        id=last.id,
        graph=last.graph,
        status=status,
        began=first.story["began"] if first.story else None,
        ended=last.created if last.status != "running" else None,
        question=make_storable(first.story["question"]) if first.story else "",
        later=[make_storable(row.story["question"]) for row in line[1:] if row.story and row.story["question"]],
        answer=cut_middle(last.text.strip(), LONGEST_ANSWER),
        rounds=last.story["rounds"] if last.story else 0,
        calls=views[-MOST_CALLS:],
        left_out=max(0, len(views) - MOST_CALLS),
        path=join_row_paths(line),
        trial=first.story.get("trial") if first.story else None,
    )


def _collect_own_calls(turns: Collection[str], known: _CallRecords) -> Mapping[str, Mapping[str, Any]]:
    """Collect the calls that the graph itself made in these turns, which stand in no message: the audit knows them."""
    return {
        key: {"id": key, "function": {"name": record.tool, "arguments": dump_json(record.args or {})}}
        for key, record in known.decisions.items()
        if key.startswith(OWN_CALL) and record.turn in turns
    }


def _build_call_view(
    key: str, call: Mapping[str, Any], message: Mapping[str, Any] | None, status: str, known: _CallRecords
) -> CallView:
    function = cast("Mapping[str, Any]", call.get("function") or {})
    approval, begun = known.approvals.get(key), known.journal_entries.get(key)
    decision, run = known.decisions.get(key), known.runs.get(key)
    tool = approval.tool if approval else begun.tool if begun else decision.tool if decision else ""
    verdict = decision.verdict if decision else "ask" if approval else "allow" if begun else None
    is_cached = decision is not None and decision.outcome == "cached"
    outcome = _classify_call(begun, approval, status, answered=message is not None, refused=verdict == "deny")
    if is_cached and begun is None:
        outcome = "cached"
    if decision is not None and decision.outcome == "trial" and begun is None:
        outcome = "trial"
    text = text_of(message) if message is not None else ""
    if outcome in ("waiting", "decided", "refused", "skipped", "trial"):
        text = ""  # says no more than the rule, or what the model would read if nobody decided
    return CallView(
        id=key,
        tool=make_storable(tool or known.people_name(str(function.get("name") or ""))),
        arguments=format_arguments(str(function.get("arguments") or "")),
        verdict=verdict,
        rule=approval.rule if approval else decision.rule if decision else None,
        outcome=outcome,
        began=begun.at if begun else decision.time if decision is not None and is_cached else None,
        seconds=run.seconds if run else None,
        result=shorten(text, LONGEST_RESULT),
        approval=None
        if approval is None
        else CallApproval(
            id=approval.id,
            status=approval.status,
            approver=approval.approver,
            asked=approval.created,
            decided=approval.decided,
            by=approval.decided_by,
            note=approval.note,
        ),
    )


def _classify_call(
    begun: JournalEntry | None, approval: Approval | None, status: str, *, answered: bool, refused: bool
) -> CallOutcome:
    if begun is not None:
        if not begun.finished:
            return "running" if status == "running" else "unknown"
        return "failed" if begun.failed else "done"
    if approval is not None and status in ("waiting", "running", "interrupted"):
        return "waiting" if approval.status == "pending" else "decided"
    if refused or approval is not None:
        return "refused"
    if answered or status == "interrupted":
        return "skipped"
    return "next" if status == "running" else "client"


def format_arguments(text: str) -> str:
    """Format a call's arguments: indented where they are JSON, and shortened where they are long."""
    # What is no JSON, or holds numbers that only the standard library reads, is shown as it was written.
    with suppress(ValueError):
        text = dump_json(orjson.loads(text), indent=True)
    return shorten(text, LONGEST_ARGUMENTS)


def shorten(text: str, most: int) -> str:
    """Cut the end of a long `text`, with a remark."""
    return make_storable(text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)")


def cut_middle(text: str, most: int) -> str:
    """Cut the middle of a long `text`, with a remark: an answer's last words are often the ones that matter."""
    if len(text) <= most:
        return make_storable(text)
    half = most // 2
    return make_storable(f"{text[:half]}… ({len(text) - 2 * half:,} characters left out) …{text[-half:]}")
