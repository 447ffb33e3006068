"""The lookup of the stored turns behind a history that a client sent; see docs/ARCHITECTURE.md, "Finding the turn
behind a history".

Two statements a request: the first finds ids by every kind of evidence, the second reads those rows and their
ancestors. What follows is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import orjson
from sqlalchemy import Connection, Integer, String, TextClause, bindparam, text
from sqlalchemy.types import TypeEngine

from graphs.store.backends import prepared_statements
from graphs.store.backends.base import Database, is_brief
from graphs.store.digests import build_digest_chain, remove_space
from graphs.store.tables import turns
from graphs.store.turns import ALL, TurnRow, from_row
from graphs.text import make_storable

UNFINISHED_STATUSES = ("running", "waiting", "stopped", "failed")
MAX_DELETED_MESSAGES = 16
"""How many messages a reader may have deleted from a history before the turns above them stay unfound."""
MAX_BRIEF_TEXTS = 40
"""Texts of a history whose turns are found in well under a millisecond."""
UNFINISHED_LIMIT = 64
"""How many turns of one person with the same beginning are looked through."""

# Written as SQL, which here is shorter than its making. Lists travel as JSON, so the statements never change and stay
# prepared. CROSS JOIN and the order by `created + 0`, which no index has, keep SQLite from starting at the owner's
# turns, of which there may be many. Of turns that said the same, the newest that answered the same question counts;
# where no question matches, the only one does, and of several none: nobody could tell whose results are put back.
IDS_SQL = """
WITH wanted AS ({wanted})
SELECT 'digest', CAST(key AS TEXT), coalesce(
    (SELECT id FROM turns WHERE owner = :owner AND chat = :chat AND digest = wanted.digest
     AND user_digest = wanted.asked ORDER BY created DESC LIMIT 1),
    (SELECT CASE count(*) WHEN 1 THEN max(id) END FROM (
     SELECT id FROM turns WHERE owner = :owner AND chat = :chat AND digest = wanted.digest LIMIT 2) AS same_chat),
    (SELECT id FROM turns WHERE owner = :owner AND digest = wanted.digest AND user_digest = wanted.asked
     AND (:chat IS NULL OR chat IS NULL) ORDER BY created DESC LIMIT 1),
    (SELECT CASE count(*) WHEN 1 THEN max(id) END FROM (
     SELECT id FROM turns WHERE owner = :owner AND digest = wanted.digest
     AND (:chat IS NULL OR chat IS NULL OR chat = :chat) LIMIT 2) AS any_chat)), CAST(NULL AS FLOAT), CAST(NULL AS TEXT)
FROM wanted
UNION ALL
SELECT 'call', turn_calls.call_id, turns.id, turns.created, NULL
FROM {calls}
CROSS JOIN turn_calls
CROSS JOIN turns
WHERE turn_calls.call_id = calls.value AND turns.id = turn_calls.turn AND turns.owner = :owner
UNION ALL
SELECT 'message', NULL, id, NULL, NULL FROM (
    SELECT id FROM turns WHERE owner = :owner AND message = :message AND {same_chat}
    ORDER BY created + 0 DESC LIMIT 1) AS named
UNION ALL
SELECT status, user_digest, id, NULL, text FROM (
    SELECT status, user_digest, id, text FROM turns WHERE owner = :owner AND base = :base
    AND status IN ('running', 'waiting', 'stopped', 'failed')
    AND (chat = :chat OR ((:chat IS NULL OR chat IS NULL) AND (user_digest = :user OR :user = '')))
    ORDER BY ({same_chat}) DESC, (user_digest = :user) DESC, created DESC LIMIT 8) AS stopped
"""

# The owner is asked again at every step: a parent that was ever set wrong must not open another's conversation.
ROWS_SQL = """
WITH RECURSIVE up(id, parent, depth) AS (
    SELECT turns.id, turns.parent, 0 FROM {starts} CROSS JOIN turns
    WHERE turns.id = starts.value AND turns.owner = :owner
    UNION ALL
    SELECT turns.id, turns.parent, depth + 1 FROM up CROSS JOIN turns
    WHERE turns.id = up.parent AND turns.owner = :owner AND depth < :depth),
behind(id) AS (SELECT id FROM up UNION SELECT value FROM {others})
SELECT turns.id, parent, owner, chat, message, graph, created, status, base, digest, text, user_digest, messages,
    thread, request, story, worker, delivered
FROM behind CROSS JOIN turns
WHERE turns.id = behind.id AND owner = :owner
"""

DIALECT_FRAGMENTS = {
    "sqlite": {
        "wanted": "SELECT key, json_extract(value, '$[0]') AS digest, json_extract(value, '$[1]') AS asked "
        "FROM json_each(:wanted)",
        "same_chat": "chat IS :chat",
        **{name: f"json_each(:{name}) AS {name}" for name in ("calls", "starts", "others")},
    },
    "postgresql": {
        "wanted": "SELECT place - 1 AS key, pair ->> 0 AS digest, pair ->> 1 AS asked "
        "FROM json_array_elements(CAST(:wanted AS JSON)) WITH ORDINALITY AS pairs(pair, place)",
        "same_chat": "chat IS NOT DISTINCT FROM :chat",
        **{
            name: f"json_array_elements_text(CAST(:{name} AS JSON)) AS {name}(value)"
            for name in ("calls", "starts", "others")
        },
    },
}
"""What the databases say differently."""


def _build_statements(template: str, **types: TypeEngine[Any]) -> dict[str, TextClause]:
    """Build a statement for each database, by its name. PostgreSQL must be told the types."""
    parameters = [bindparam(name, type_=type) for name, type in types.items()]
    return {
        name: text(template.format(**fragments)).bindparams(*parameters)
        for name, fragments in DIALECT_FRAGMENTS.items()
    }


_STRING = String()
FIND_IDS = _build_statements(
    IDS_SQL, owner=_STRING, chat=_STRING, message=_STRING, calls=_STRING, wanted=_STRING, base=_STRING, user=_STRING
)
FIND_ROWS = {
    name: statement.columns(*ALL.selected_columns)
    for name, statement in _build_statements(
        ROWS_SQL, owner=_STRING, starts=_STRING, others=_STRING, depth=Integer()
    ).items()
}

FIND_UNFINISHED = (
    ALL.where(
        turns.c.owner == bindparam("owner"),
        turns.c.base.in_(bindparam("bases", expanding=True)),
        turns.c.status == "running",
        turns.c.user_digest.in_(bindparam("users", expanding=True)),
    )
    .order_by(turns.c.created.desc())
    .limit(UNFINISHED_LIMIT)
)


_FIND_FIRST = text("""
WITH RECURSIVE up(id, parent, depth) AS (
    SELECT id, parent, 0 FROM turns WHERE id = :turn AND owner = :owner
    UNION ALL
    SELECT turns.id, turns.parent, depth + 1 FROM up CROSS JOIN turns
    WHERE turns.id = up.parent AND turns.owner = :owner AND depth < 10000)
SELECT id FROM up ORDER BY depth DESC LIMIT 1
""")


@dataclass(frozen=True, kw_only=True)
class HistoryMatch:
    """The turns that a lookup found."""

    rows: Mapping[int, TurnRow] = field(default_factory=dict[int, TurnRow])
    """By index into the assistant texts that were given; a text that no turn stands behind has no entry."""
    parent: TurnRow | None = None
    """The latest turn that was found: the next one answers after it."""
    parent_index: int | None = None
    """Where the parent's text stands; None if the history does not hold it."""
    grandparent: TurnRow | None = None
    """The turn that the parent answered after, whether the history holds its text or not."""
    unfinished: tuple[TurnRow, ...] = ()
    """Turns with the digests that were asked for in `HistoryQuery.unfinished` and that nobody ended, newest first."""


@dataclass(frozen=True, kw_only=True)
class HistoryQuery:
    """What a request says about the turns before it. The sequences run from the oldest to the newest."""

    owner: str
    call_ids: Sequence[str] = ()
    chat: str | None = None
    parent_message: str | None = None
    assistant_texts: Sequence[str] = ()
    user_digests: Sequence[str] = ()
    """One per assistant text: digest of the user's text before it. May be shorter: then they are the newest ones'."""
    unfinished: Sequence[tuple[str, str]] = ()
    """(base, user digest) of turns to be looked for among those that still run, or whose process died."""


@dataclass(frozen=True)
class _Evidence:
    by_index: Mapping[int, str]
    by_call: str | None
    by_message: str | None
    by_prefix: str | None


class TurnLookup:
    """Finds the turns of one store by what a client sends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_first(self, owner: str, turn: str) -> str | None:
        """Find the turn with which the conversation of this one began, as far as it is kept; None: it is not kept."""
        values = {"turn": turn, "owner": owner}
        return await self._database.read(lambda connection: connection.scalar(_FIND_FIRST, values))

    async def find_parents(
        self,
        owner: str,
        *,
        call_ids: Sequence[str] = (),
        chat: str | None = None,
        parent_message: str | None = None,
        assistant_texts: Sequence[str] = (),
        user_digests: Sequence[str] = (),
        unfinished: Sequence[tuple[str, str]] = (),
    ) -> HistoryMatch:
        """Find the turns behind a history; sequences run from the oldest to the newest.

        `call_ids` are the tool calls in the history, whoever minted them; `chat` and `parent_message` are the client's
        ids (of the chat and of its newest assistant message); `user_digests` belong to the `assistant_texts` from the
        newest back, each the digest of the user's text before it; `unfinished` are (base, user digest) of turns to be
        looked for among those that nobody ended. An empty `owner` (a caller who cannot be told from others) gets
        nothing.
        """
        history = HistoryQuery(
            owner=owner,
            call_ids=call_ids,
            chat=chat,
            parent_message=parent_message,
            assistant_texts=assistant_texts,
            user_digests=user_digests,
            unfinished=unfinished,
        )
        if not owner or not (call_ids or parent_message or assistant_texts or unfinished):
            return HistoryMatch()
        brief = len(assistant_texts) <= MAX_BRIEF_TEXTS and is_brief(*assistant_texts)
        return await self._database.read(lambda connection: _match_history(connection, history), brief=brief)


def _match_history(connection: Connection, history: HistoryQuery) -> HistoryMatch:
    """Find the turns behind `history`; never a turn of another owner."""
    unfinished = _find_unfinished(connection, history) if history.unfinished else ()
    if not (history.call_ids or history.parent_message or history.assistant_texts):
        return HistoryMatch(unfinished=unfinished)
    return replace(_match_rows(connection, history), unfinished=unfinished)


def _find_unfinished(connection: Connection, history: HistoryQuery) -> tuple[TurnRow, ...]:
    bases, users = zip(*history.unfinished, strict=True)
    parameters = {"owner": history.owner, "bases": bases, "users": users}
    rows = map(from_row, connection.execute(FIND_UNFINISHED, parameters))
    wanted = set(history.unfinished)
    return tuple(
        row for row in rows if (row.base, row.user_digest) in wanted and (row.chat or None) == (history.chat or None)
    )


def _match_rows(connection: Connection, history: HistoryQuery) -> HistoryMatch:
    texts = [remove_space(text) for text in history.assistant_texts]
    found = _find_ids(connection, history, texts)
    latest = max(found.by_index, default=None)
    heads = [found.by_call, found.by_message, found.by_prefix, None if latest is None else found.by_index[latest]]
    starts = {id for id in heads if id is not None}
    if not starts:
        return HistoryMatch()
    parameters = {
        "owner": history.owner,
        "starts": _to_json(sorted(starts)),
        "others": _to_json(sorted(set(found.by_index.values()) - starts)),
        "depth": len(texts) + MAX_DELETED_MESSAGES,
    }
    rows = {
        row.id: row
        for row in map(from_row, prepared_statements.read(connection, FIND_ROWS[connection.dialect.name], parameters))
    }
    parent, index = _choose_parent(found, rows, texts)
    if parent is None:
        return HistoryMatch()
    placed = {i: rows[id] for i, id in found.by_index.items() if id in rows and (index is None or i < index)}
    if index is not None:
        placed |= place_ancestors(texts, parent, index, rows)
    grandparent = rows.get(parent.parent or "")
    return HistoryMatch(rows=dict(sorted(placed.items())), parent=parent, parent_index=index, grandparent=grandparent)


def _find_ids(connection: Connection, history: HistoryQuery, texts: Sequence[str]) -> _Evidence:
    chain = build_digest_chain(texts)
    users = ["", *[""] * (len(texts) - len(history.user_digests)), *history.user_digests][-len(texts) - 1 :]
    last_user = users[-1] if texts else ""
    called_ids = [make_storable(call) for call in history.call_ids]
    parameters = {
        "owner": history.owner,
        "chat": history.chat or None,
        "message": history.parent_message or None,
        "calls": _to_json(called_ids),
        # An empty text says nothing: it would fit every turn that ended without one.
        "wanted": _to_json([[chain[i + 1] if text else None, users[i + 1]] for i, text in enumerate(texts)]),
        "base": chain[-2] if texts else None,
        "user": last_user,
    }
    by_index: dict[int, str] = {}
    calls: dict[str, tuple[float, str]] = {}
    named: str | None = None
    cut_short: list[tuple[str, str, str, str]] = []
    for kind, key, id, created, said in prepared_statements.read(
        connection, FIND_IDS[connection.dialect.name], parameters
    ):
        match kind:
            case "digest":
                if id is not None:
                    by_index[int(key)] = id
            case "call":
                calls[key] = max(calls.get(key, (0.0, "")), (created, id))
            case "message":
                named = id
            case _:
                cut_short.append((kind, key, id, remove_space(said)))
    called = next((calls[call][1] for call in reversed(called_ids) if call in calls), None)
    stopped = _choose_cut_short(cut_short, texts[-1], last_user) if texts and texts[-1] else None
    return _Evidence(by_index=by_index, by_call=called, by_message=named, by_prefix=stopped)


def _choose_cut_short(rows: Sequence[tuple[str, str, str, str]], text: str, user: str) -> str | None:
    """Choose the turn of which the client holds only the beginning. A turn that still runs, or whose process died, has
    been kept as it was when its last tool call began: there the client may hold more than we do."""
    ahead = [(asked, id) for _, asked, id, said in rows if said.startswith(text)]
    behind = [
        (len(said), asked, id)
        for status, asked, id, said in rows
        # A turn that had said nothing yet fits every text, so its question must fit.
        if status == "running" and text.startswith(said) and (said or asked == user)
    ]
    longest_first = [(asked, id) for _, asked, id in sorted(behind, key=lambda item: -item[0])]
    return _choose_by_question(ahead, user) or _choose_by_question(longest_first, user)


def _choose_by_question(fitting: Sequence[tuple[str, str]], user: str) -> str | None:
    """Choose among turns that fit (their question's digest and their id) the first that answered this question; else
    the only one. None where several fit and none answered it."""
    same = next((id for asked, id in fitting if asked == user), None)
    return same or (fitting[0][1] if len(fitting) == 1 else None)


def _choose_parent(
    found: _Evidence, rows: Mapping[str, TurnRow], texts: Sequence[str]
) -> tuple[TurnRow | None, int | None]:
    """Choose the turn whose evidence points at the latest text; where two point at the same, the stronger evidence: ids
    that we minted, the client's message id, the digest, a prefix."""
    last = len(texts) - 1
    evidence: list[tuple[int, int, str]] = []
    if found.by_index:
        index = max(found.by_index)
        evidence.append((index, 1, found.by_index[index]))
    if found.by_prefix is not None:
        evidence.append((last, 0, found.by_prefix))
    if found.by_message is not None and found.by_message in rows:
        at = _locate(rows[found.by_message], texts)
        # The client says that this is the newest answer; a text that matches nowhere was edited by its reader.
        evidence.append((last if at is None else at, 2, found.by_message))
    if found.by_call is not None and found.by_call in rows:
        at = _locate(rows[found.by_call], texts)
        if at is not None or not any(index == last for index, _, _ in evidence):
            evidence.append((last if at is None else at, 3, found.by_call))
    evidence = [item for item in evidence if item[2] in rows]
    if not evidence:
        return None, None
    index, _, id = max(evidence)
    return rows[id], index if index >= 0 else None


def place_ancestors(
    texts: Sequence[str], parent: TurnRow, index: int, rows: Mapping[str, TurnRow]
) -> dict[int, TurnRow]:
    """Place the turns before `parent`, whose text stands at `index`, each at the text that it said.

    A history may lack messages or hold edited ones, so a turn is placed where its text stands; an edited text gets its
    turn only if the turns on both sides leave no other place.
    """
    line = [parent]
    seen = {parent.id}
    while (above := rows.get(line[-1].parent or "")) is not None and above.id not in seen:
        line.append(above)
        seen.add(above.id)
    anchors = [(0, index)]
    for depth, row in enumerate(line[1:], start=1):
        at = _locate(row, texts[: anchors[-1][1]])
        if at is not None:
            anchors.append((depth, at))
    if line[-1].parent is None:
        # The first turn of all answers the first text: an anchor before both.
        anchors.append((len(line), -1))
    placed = {at: line[depth] for depth, at in anchors if at >= 0}
    for (depth, at), (depth_above, at_above) in pairwise(anchors):
        if depth_above - depth == at - at_above:
            placed |= {at - step: line[depth + step] for step in range(1, depth_above - depth)}
    return placed


def _locate(row: TurnRow, texts: Sequence[str]) -> int | None:
    """Find the latest text that `row` said; of a turn that was cut short, the client may hold only the beginning."""
    said = remove_space(row.text)
    if row.status == "running":
        # Its text is only as long as it was when its last tool call began: where it stands, its base says.
        chain = build_digest_chain(texts)
        here = [
            i
            for i, text in enumerate(texts)
            if chain[i] == row.base and (text.startswith(said) or said.startswith(text))
        ]
        return here[-1] if here else None
    for index in range(len(texts) - 1, -1, -1):
        text = texts[index]
        if text == said or (text and row.status in UNFINISHED_STATUSES and said.startswith(text)):
            return index
    return None


def _to_json(values: list[Any]) -> str:
    return orjson.dumps(values).decode()
