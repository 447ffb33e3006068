"""The statements that find turns, in SQLite's words and in PostgreSQL's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer, String, TextClause, bindparam, false, text
from sqlalchemy.types import TypeEngine

from graphs.store.rows import ALL
from graphs.store.tables import turns

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
    """By the name of the database. PostgreSQL must be told the types."""
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

UNFINISHED_LIMIT = 64
"""How many turns of one person with the same beginning may be looked through."""

FIND_UNDELIVERED = (
    ALL.where(
        turns.c.owner == bindparam("owner"),
        turns.c.base == bindparam("base"),
        turns.c.delivered.is_(false()),
        turns.c.user_digest == bindparam("user"),
        turns.c.status.in_(("finished", "waiting")),
        turns.c.chat.is_not_distinct_from(bindparam("chat")),
    )
    .order_by(turns.c.created.desc())
    .limit(UNFINISHED_LIMIT)
)

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
