"""Which stored turns stand behind the texts of a history that a client sent. See DESIGN §4.5.

Two statements a request: the first finds ids by every kind of evidence, the second reads those rows and their
ancestors. What follows is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson
from sqlalchemy import Connection, Integer, String, TextClause, bindparam, text
from sqlalchemy.types import TypeEngine

from graphs.store.digests import digest_chain, without_space
from graphs.store.rows import ALL, TurnRow, from_row
from graphs.store.tables import sound

UNFINISHED = ("running", "waiting", "stopped", "failed")
DELETED = 16
"""How many messages a reader may have deleted from a history before the turns above them stay unfound."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The turns behind a history."""

    rows: Mapping[int, TurnRow] = field(default_factory=dict[int, TurnRow])
    """By index into the assistant texts that were given; a text that no turn stands behind has no entry."""
    parent: TurnRow | None = None
    """The latest turn that was found: the next one answers after it."""
    parent_index: int | None = None
    """Where the parent's text stands; None if the history does not hold it."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What a request tells about the turns before it. The sequences run from the oldest to the newest."""

    owner: str
    call_ids: Sequence[str] = ()
    chat: str | None = None
    parent_message: str | None = None
    assistant_texts: Sequence[str] = ()
    user_digests: Sequence[str] = ()
    """One per assistant text: digest of the user's text before it. May be shorter: then they are the newest ones'."""


@dataclass(frozen=True)
class _Found:
    by_index: Mapping[int, str]
    called: str | None
    named: str | None
    stopped: str | None


def find(connection: Connection, history: History) -> Restored:
    """The turns behind `history`. Never a turn of another owner."""
    texts = [without_space(text) for text in history.assistant_texts]
    found = _find_ids(connection, history, texts)
    latest = max(found.by_index, default=None)
    heads = [found.called, found.named, found.stopped, None if latest is None else found.by_index[latest]]
    starts = {id for id in heads if id is not None}
    if not starts:
        return Restored()
    parameters = {
        "owner": history.owner,
        "starts": _array(sorted(starts)),
        "others": _array(sorted(set(found.by_index.values()) - starts)),
        "depth": len(texts) + DELETED,
    }
    rows = {row.id: row for row in map(from_row, connection.execute(_ROWS[connection.dialect.name], parameters))}
    parent, index = _choose_parent(found, rows, texts)
    if parent is None:
        return Restored()
    placed = {i: rows[id] for i, id in found.by_index.items() if id in rows and (index is None or i < index)}
    if index is not None:
        placed |= place_ancestors(texts, parent, index, rows)
    return Restored(rows=dict(sorted(placed.items())), parent=parent, parent_index=index)


def _find_ids(connection: Connection, history: History, texts: Sequence[str]) -> _Found:
    chain = digest_chain(texts)
    users = ["", *[""] * (len(texts) - len(history.user_digests)), *history.user_digests][-len(texts) - 1 :]
    last_user = users[-1] if texts else ""
    called_ids = [sound(call) for call in history.call_ids]
    parameters = {
        "owner": history.owner,
        "chat": history.chat or None,
        "message": history.parent_message or None,
        "calls": _array(called_ids),
        # An empty text says nothing: it would fit every turn that ended without one.
        "wanted": _array([[chain[i + 1] if text else None, users[i + 1]] for i, text in enumerate(texts)]),
        "base": chain[-2] if texts else None,
        "user": last_user,
    }
    by_index: dict[int, str] = {}
    calls: dict[str, tuple[float, str]] = {}
    named: str | None = None
    stopped: str | None = None
    for kind, key, id, created, said in connection.execute(_IDS[connection.dialect.name], parameters):
        match kind:
            case "digest":
                if id is not None:
                    by_index[int(key)] = id
            case "call":
                calls[key] = max(calls.get(key, (0.0, "")), (created, id))
            case "message":
                named = id
            case _:
                if stopped is None and texts and texts[-1] and without_space(said).startswith(texts[-1]):
                    stopped = id
    called = next((calls[call][1] for call in reversed(called_ids) if call in calls), None)
    return _Found(by_index=by_index, called=called, named=named, stopped=stopped)


def _choose_parent(
    found: _Found, rows: Mapping[str, TurnRow], texts: Sequence[str]
) -> tuple[TurnRow | None, int | None]:
    """The evidence that points at the latest text; where two point at the same, the stronger: ids that we minted, the
    client's message id, the digest, a prefix."""
    last = len(texts) - 1
    evidence: list[tuple[int, int, str]] = []
    if found.by_index:
        index = max(found.by_index)
        evidence.append((index, 1, found.by_index[index]))
    if found.stopped is not None:
        evidence.append((last, 0, found.stopped))
    if found.named is not None and found.named in rows:
        at = _locate(rows[found.named], texts)
        # The client says that this is the newest answer; a text that matches nowhere was edited by its reader.
        evidence.append((last if at is None else at, 2, found.named))
    if found.called is not None and found.called in rows:
        at = _locate(rows[found.called], texts)
        if at is not None or not any(index == last for index, _, _ in evidence):
            evidence.append((last if at is None else at, 3, found.called))
    evidence = [item for item in evidence if item[2] in rows]
    if not evidence:
        return None, None
    index, _, id = max(evidence)
    return rows[id], index if index >= 0 else None


def place_ancestors(
    texts: Sequence[str], parent: TurnRow, index: int, rows: Mapping[str, TurnRow]
) -> dict[int, TurnRow]:
    """The turns before `parent`, whose text stands at `index`, each at the text that it said.

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
    """The latest text that `row` said; of a turn that was cut short, the client may hold only the beginning."""
    said = without_space(row.text)
    for index in range(len(texts) - 1, -1, -1):
        text = texts[index]
        if text == said or (text and row.status in UNFINISHED and said.startswith(text)):
            return index
    return None


def _array(values: list[Any]) -> str:
    return orjson.dumps(values).decode()


# Written as SQL, which here is shorter than its making. Lists travel as JSON, so the statements never change and stay
# prepared. CROSS JOIN and the order by `created + 0`, which no index has, keep SQLite from starting at the owner's
# turns, of which there may be many.
IDS = """
WITH wanted AS ({wanted})
SELECT 'digest', CAST(key AS TEXT), coalesce(
    (SELECT id FROM turns WHERE owner = :owner AND chat = :chat AND digest = wanted.digest
     AND user_digest = wanted.asked ORDER BY created DESC LIMIT 1),
    (SELECT id FROM turns WHERE owner = :owner AND chat = :chat AND digest = wanted.digest
     ORDER BY created DESC LIMIT 1),
    (SELECT id FROM turns WHERE owner = :owner AND digest = wanted.digest AND user_digest = wanted.asked
     AND (:chat IS NULL OR chat IS NULL) ORDER BY created DESC LIMIT 1),
    (SELECT id FROM turns WHERE owner = :owner AND digest = wanted.digest
     AND (:chat IS NULL OR chat IS NULL) ORDER BY created DESC LIMIT 1)), CAST(NULL AS FLOAT), CAST(NULL AS TEXT)
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
SELECT 'stopped', NULL, id, NULL, text FROM (
    SELECT id, text FROM turns WHERE owner = :owner AND base = :base
    AND status IN ('running', 'waiting', 'stopped', 'failed')
    AND (chat = :chat OR ((:chat IS NULL OR chat IS NULL) AND (user_digest = :user OR :user = '')))
    ORDER BY ({same_chat}) DESC, (user_digest = :user) DESC, created DESC LIMIT 8) AS stopped
"""

# The owner is asked again at every step: a parent that was ever set wrong must not open another's conversation.
ROWS = """
WITH RECURSIVE up(id, parent, depth) AS (
    SELECT turns.id, turns.parent, 0 FROM {starts} CROSS JOIN turns
    WHERE turns.id = starts.value AND turns.owner = :owner
    UNION ALL
    SELECT turns.id, turns.parent, depth + 1 FROM up CROSS JOIN turns
    WHERE turns.id = up.parent AND turns.owner = :owner AND depth < :depth),
behind(id) AS (SELECT id FROM up UNION SELECT value FROM {others})
SELECT turns.id, parent, owner, chat, message, graph, created, status, base, digest, text, user_digest, messages,
    thread, request, story
FROM behind CROSS JOIN turns
WHERE turns.id = behind.id AND owner = :owner
"""

WORDS = {
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


def _statement(words: str, **types: TypeEngine[Any]) -> dict[str, TextClause]:
    """By the name of the database. PostgreSQL must be told the types."""
    parameters = [bindparam(name, type_=type) for name, type in types.items()]
    return {name: text(words.format(**fragments)).bindparams(*parameters) for name, fragments in WORDS.items()}


_WORD = String()
_IDS = _statement(IDS, owner=_WORD, chat=_WORD, message=_WORD, calls=_WORD, wanted=_WORD, base=_WORD, user=_WORD)
_ROWS = {
    name: statement.columns(*ALL.selected_columns)
    for name, statement in _statement(ROWS, owner=_WORD, starts=_WORD, others=_WORD, depth=Integer()).items()
}
