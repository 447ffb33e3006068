"""Turns: added when they begin, brought up to date when they end, found again by what a client sends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, bindparam, delete, insert, null, select, update
from sqlalchemy.dialects.postgresql import insert as insert_new

from graphs.store.database import Database
from graphs.store.restore import History, Restored, find
from graphs.store.rows import ALL, NAMES, TurnRow, TurnStatus, calls_in, from_row, to_row
from graphs.store.tables import AnySelect, turn_calls, turns

_ADD = insert(turns)
_ADD_CALL = insert_new(turn_calls).on_conflict_do_nothing()
_UPDATE = update(turns).where(turns.c.id == bindparam("which"))
_ADVANCE = _UPDATE.where(turns.c.status == bindparam("expected"))
_GET = ALL.where(turns.c.id == bindparam("which"))
# Without what waiting turns keep of the conversation before them, which may be long.
_TOLD: AnySelect = select(*(null() if name == "request" else turns.c[name] for name in NAMES))
_RECENT = (
    _TOLD.where(turns.c.owner == bindparam("owner"), turns.c.status != "continued")
    .order_by(turns.c.created.desc())
    .limit(bindparam("most"))
)
_OF_OWNER = _TOLD.where(turns.c.owner == bindparam("owner"), turns.c.id.in_(bindparam("ids", expanding=True)))
_WAITING = ALL.where(turns.c.status == "waiting", turns.c.owner == bindparam("owner"))


class TurnFields(TypedDict, total=False):
    """What may change in a turn after it began."""

    parent: str | None
    chat: str | None
    message: str | None
    status: TurnStatus
    base: str
    digest: str
    text: str
    user_digest: str
    messages: list[dict[str, Any]]
    thread: str | None
    request: dict[str, Any] | None


class Turns:
    """The turns of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: TurnRow) -> None:
        """Keeps a new turn. The tool calls in its messages lead back to it. Raises StorageError if its id is taken."""

        def work(connection: Connection) -> None:
            connection.execute(_ADD, to_row(row))
            _add_calls(connection, row.id, calls_in(row.messages))

        await self._database.write(work)

    async def update(self, id: str, **fields: Unpack[TurnFields]) -> bool:
        """Changes the given fields. False if there is no such turn (it may have been pruned)."""
        return await self._change(_UPDATE, id, fields, {})

    async def advance(self, id: str, expected: TurnStatus, **fields: Unpack[TurnFields]) -> bool:
        """Changes the given fields if the turn still has the status `expected`: of several that try, one gets True."""
        return await self._change(_ADVANCE, id, fields, {"expected": expected})

    async def get(self, id: str) -> TurnRow | None:
        return await self._database.read(lambda connection: _get(connection, id))

    async def waiting(self, owner: str) -> tuple[TurnRow, ...]:
        """The turns of `owner` that wait for a decision, newest first."""

        def work(connection: Connection) -> tuple[TurnRow, ...]:
            rows = map(from_row, connection.execute(_WAITING, {"owner": owner}))
            return tuple(sorted(rows, key=lambda row: -row.created))

        return await self._database.read(work)

    async def recent(self, owner: str, limit: int) -> tuple[TurnRow, ...]:
        """The newest `limit` turns of one owner, without those that go on in another. `request` is left out."""

        def work(connection: Connection) -> tuple[TurnRow, ...]:
            return tuple(map(from_row, connection.execute(_RECENT, {"owner": owner, "most": limit})))

        return await self._database.read(work)

    async def of_owner(self, owner: str, ids: Sequence[str]) -> dict[str, TurnRow]:
        """Those of these turns that there are and that are the owner's, by id; `request` is left out."""
        if not ids:
            return {}

        def work(connection: Connection) -> dict[str, TurnRow]:
            rows = map(from_row, connection.execute(_OF_OWNER, {"owner": owner, "ids": ids}))
            return {row.id: row for row in rows}

        return await self._database.read(work)

    async def find_parents(
        self,
        owner: str,
        *,
        call_ids: Sequence[str] = (),
        chat: str | None = None,
        parent_message: str | None = None,
        assistant_texts: Sequence[str] = (),
        user_digests: Sequence[str] = (),
    ) -> Restored:
        """The turns behind a history; sequences run from the oldest to the newest.

        `call_ids` are the tool calls in the history, whoever minted them; `chat` and `parent_message` are the client's
        ids (of the chat and of its newest assistant message); `user_digests` belong to the `assistant_texts` from the
        newest back, each the digest of the user's text before it. An empty `owner` (a caller who cannot be told from
        others) gets nothing.
        """
        history = History(
            owner=owner,
            call_ids=call_ids,
            chat=chat,
            parent_message=parent_message,
            assistant_texts=assistant_texts,
            user_digests=user_digests,
        )
        if not owner or not (call_ids or parent_message or assistant_texts):
            return Restored()
        return await self._database.read(lambda connection: find(connection, history))

    async def older_than(self, time: float, limit: int = 200) -> tuple[tuple[str, str | None], ...]:
        """Id and thread of up to `limit` turns that began before `time`, oldest first."""
        statement = select(turns.c.id, turns.c.thread).where(turns.c.created < time).order_by(turns.c.created)

        def work(connection: Connection) -> tuple[tuple[str, str | None], ...]:
            return tuple((id, thread) for id, thread in connection.execute(statement.limit(limit)))

        return await self._database.read(work)

    async def delete(self, ids: Sequence[str]) -> int:
        """Forgets these turns, and returns how many there were."""

        def work(connection: Connection) -> int:
            connection.execute(delete(turn_calls).where(turn_calls.c.turn.in_(ids)))
            return connection.execute(delete(turns).where(turns.c.id.in_(ids))).rowcount

        return await self._database.write(work)

    async def _change(self, statement: Any, id: str, fields: TurnFields, more: dict[str, str]) -> bool:
        def work(connection: Connection) -> bool:
            if connection.execute(statement, {"which": id, **more, **fields}).rowcount == 0:
                return False
            _add_calls(connection, id, calls_in(fields.get("messages", [])))
            return True

        return await self._database.write(work)


def _get(connection: Connection, id: str) -> TurnRow | None:
    row = connection.execute(_GET, {"which": id}).first()
    return None if row is None else from_row(row)


def _add_calls(connection: Connection, turn: str, calls: Iterable[str]) -> None:
    rows = [{"call_id": call, "turn": turn} for call in calls]
    if rows:
        connection.execute(_ADD_CALL, rows)
