"""The turns of a store: rows that are added when a turn begins and brought up to date until it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NotRequired, TypedDict, Unpack

from sqlalchemy import Connection, bindparam, delete, false, func, insert, null, select, update
from sqlalchemy.dialects.postgresql import insert as insert_new

from graphs.errors import InterlockError
from graphs.store.backends import prepared_statements
from graphs.store.backends.base import Database, is_brief
from graphs.store.checkpoints import TransactionWork
from graphs.store.tables import AnySelect, turn_calls, turns
from graphs.store.usage import TokenSpend, write_token_spend
from graphs.telemetry.path import PathRecord
from graphs.text import make_storable

TurnStatus = Literal["running", "waiting", "finished", "stopped", "failed", "continued"]


class TurnSummary(TypedDict):
    """What the timeline shows a turn's owner beside its row; nothing that the turn does depends on it. Times are
    seconds since the epoch."""

    question: str
    """The beginning of what the person said."""
    began: float
    rounds: int
    """Model calls, those before a pause included."""
    continues: str | None
    """The turn that waited and goes on in this one."""
    trial: NotRequired[str]
    """The role as which an admin tried the graph."""
    path: NotRequired[PathRecord]
    """The way that it took through its graph; a row that waited keeps its own."""


@dataclass(frozen=True, kw_only=True)
class TurnRow:
    """What one turn said and did. Times are seconds since the epoch; digests are those of `digests.py`."""

    id: str
    parent: str | None = None
    """The turn that this one answers after."""
    owner: str
    """Whose it is; nobody else ever gets it."""
    chat: str | None = None
    message: str | None = None
    """The client's own id of the assistant message that holds this answer."""
    graph: str
    created: float
    status: TurnStatus
    base: str
    """Digest of the assistant texts before this answer."""
    digest: str = ""
    """`base` extended by this answer; empty as long as there is none."""
    text: str = ""
    user_digest: str = ""
    """Digest of the user's text that this turn answers: tells apart conversations where the assistant said the same."""
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What the client will not send again: assistant messages with tool calls, and their results, in OpenAI's form."""
    thread: str | None = None
    request: dict[str, Any] | None = None
    """What going on with this turn needs: the history before it where it waits, else what tells its request apart."""
    story: TurnSummary | None = None
    worker: str | None = None
    """The id of the process that runs it; see `backends/liveness.py`."""
    delivered: bool | None = None
    """False as long as nobody knows that the last byte of its answer was written; None where it does not matter."""


NAMES = tuple(item.name for item in fields(TurnRow))
ALL: AnySelect = select(*(turns.c[name] for name in NAMES))

MOST_ATTEMPTS = 64
"""How many turns of one person with the same beginning are looked through."""

_ADD = insert(turns)
_ADD_CALL = insert_new(turn_calls).on_conflict_do_nothing()
_UPDATE = update(turns).where(turns.c.id == bindparam("which"))
_ADVANCE = _UPDATE.where(turns.c.status == bindparam("expected"))
_UPDATE_HELD = _UPDATE.where(turns.c.status == "running", turns.c.worker == bindparam("holder"))
_UPDATE_UNDELIVERED = _UPDATE.where(turns.c.delivered.is_(false()), turns.c.worker == bindparam("holder"))
_GET = ALL.where(turns.c.id == bindparam("which"))
_OF_CALL = ALL.where(
    turns.c.id == turn_calls.c.turn, turn_calls.c.call_id == bindparam("call"), turns.c.owner == bindparam("owner")
).order_by(turns.c.created.desc())
# Without what waiting turns keep of the conversation before them, which may be long.
_WITHOUT_REQUEST: AnySelect = select(*(null() if name == "request" else turns.c[name] for name in NAMES))
_RECENT = (
    _WITHOUT_REQUEST.where(turns.c.owner == bindparam("owner"), turns.c.status != "continued")
    .order_by(turns.c.created.desc())
    .limit(bindparam("most"))
)
_NEWEST = select(turns.c.id).where(turns.c.status != "continued").order_by(turns.c.created.desc()).limit(1)
_OF_OWNER = _WITHOUT_REQUEST.where(
    turns.c.owner == bindparam("owner"), turns.c.id.in_(bindparam("ids", expanding=True))
)
_SAME_QUESTION = (
    ALL.where(
        turns.c.owner == bindparam("owner"),
        turns.c.base == bindparam("base"),
        turns.c.user_digest == bindparam("user"),
        turns.c.chat.is_not_distinct_from(bindparam("chat")),
    )
    .order_by(turns.c.created.desc())
    .limit(MOST_ATTEMPTS)
)
# Each has an index of its own; one question with OR would look at every first turn of the owner's.
_FIND_UNDELIVERED = _SAME_QUESTION.where(
    turns.c.delivered.is_(false()), turns.c.status.in_(("finished", "waiting", "stopped", "failed"))
)
_FIND_ATTEMPTS = _SAME_QUESTION.where(turns.c.status.in_(("running", "finished", "waiting", "stopped", "failed")))
_FIND_RUNNING = _SAME_QUESTION.where(turns.c.status == "running")
_FIND_SAME_WAITING = (
    ALL.where(
        turns.c.owner == bindparam("owner"),
        turns.c.digest == bindparam("digest"),
        turns.c.user_digest == bindparam("user"),
        turns.c.chat.is_not_distinct_from(bindparam("chat")),
        turns.c.status == "waiting",
    )
    .order_by(turns.c.created.desc())
    .limit(1)
)
_LEAVE = _UPDATE_HELD.values(delivered=False)
_FIND_CUT = select(turns.c.id, turns.c.thread).where(
    turns.c.delivered.is_(false()), turns.c.status == "stopped", turns.c.created < bindparam("before")
)
_NEWEST_UNDELIVERED = select(func.max(turns.c.created)).where(turns.c.delivered.is_(false()))


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
    worker: str | None
    story: TurnSummary | None
    delivered: bool | None


class TurnTakenUp(InterlockError):
    """Another process goes on with the turn, because it took this one for dead."""

    def __init__(self) -> None:
        super().__init__("Another process has taken this turn up, so it ends here. Nothing more was run by this one.")


@dataclass(frozen=True, kw_only=True)
class TurnProgress:
    """How far a turn is when it begins tool calls."""

    id: str
    """Its row."""
    worker: str
    row: TurnRow | None = None
    """The row to add, if there is none yet."""
    fields: TurnFields
    """What changes in the row, if there is one."""
    transaction_work: TransactionWork | None = None
    """What is kept in the same transaction: its checkpoint."""
    checkpoint_values: Sequence[Any] = ()
    """What that checkpoint holds, in plain values, by which its size is known."""

    def is_brief(self) -> bool:
        """Whether writing it takes well under a millisecond."""
        row = self.row
        held = () if row is None else (row.text, row.messages, row.request)
        return is_brief(*held, *self.fields.values(), *self.checkpoint_values)


@dataclass(frozen=True, kw_only=True)
class TurnEnd:
    """How a turn ended."""

    row: TurnRow
    """Its row; `worker` is the process that ran it."""
    may_exist: bool
    """There may be such a row already."""
    continues: str | None = None
    """The row that waited, and that this turn went on with."""
    continued_fields: TurnFields = field(default_factory=lambda: TurnFields())
    """What changes in that one."""
    spend: TokenSpend | None = None
    """What it used of a limit."""
    transaction_work: TransactionWork | None = None
    """What is kept or forgotten in the same transaction: its checkpoints."""


class Turns:
    """The turns of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: TurnRow) -> None:
        """Add a turn. The tool calls in its messages lead back to it. Raises StorageError if its id is taken."""

        def work(connection: Connection) -> None:
            connection.execute(_ADD, to_row(row))
            _add_calls(connection, row.id, collect_call_ids(row.messages))

        await self._database.write(work)

    async def end(self, turn_end: TurnEnd) -> bool:
        """Save how a turn ended. Returns False, and changes nothing of it, if another process has taken it up; what
        this one spent is counted all the same."""

        def work(connection: Connection) -> bool:
            if turn_end.spend is not None:
                write_token_spend(connection, turn_end.spend)
            row, holder = turn_end.row, turn_end.row.worker
            if turn_end.continues is not None:
                left = {"which": turn_end.continues, "holder": holder, **turn_end.continued_fields}
                if turn_end.continued_fields and prepared_statements.write(connection, _UPDATE_HELD, left) == 0:
                    return False
                _add_calls(
                    connection, turn_end.continues, collect_call_ids(turn_end.continued_fields.get("messages", []))
                )
            values = {name: value for name, value in to_row(row).items() if name != "id"}
            if (
                turn_end.may_exist
                and prepared_statements.write(connection, _UPDATE_HELD, {"which": row.id, "holder": holder, **values})
                == 0
            ):
                if _get(connection, row.id) is not None:
                    return False
                prepared_statements.write(connection, _ADD, to_row(row))
            elif not turn_end.may_exist:
                prepared_statements.write(connection, _ADD, to_row(row))
            _add_calls(connection, row.id, collect_call_ids(row.messages))
            if turn_end.transaction_work is not None:
                turn_end.transaction_work(connection)
            return True

        row = turn_end.row
        return await self._database.write(
            work, brief=is_brief(row.text, row.messages, row.request, *turn_end.continued_fields.values())
        )

    async def save_progress(self, progress: TurnProgress) -> None:
        """Save how far a turn is. Raises TurnTakenUp."""
        await self._database.write(lambda connection: write_progress(connection, progress))

    async def take_up(self, id: str, dead: str, worker: str) -> bool:
        """Make `worker` the process that runs a turn, if it still is `dead`'s: of several that try, one gets True."""
        which = {"which": id, "holder": dead, "worker": worker}
        return await self._database.write(lambda connection: connection.execute(_UPDATE_HELD, which).rowcount == 1)

    async def find_attempts(
        self, owner: str, base: str, user: str, chat: str | None, *, with_delivered: bool
    ) -> tuple[TurnRow, ...]:
        """Find the turns that answered this and run still, or whose answer may not have been written to its end, newest
        first; `with_delivered`: the others too. `base` and `user` are digests as in a row."""
        which = {"owner": owner, "base": base, "user": user, "chat": chat}
        statements = (_FIND_ATTEMPTS,) if with_delivered else (_FIND_RUNNING, _FIND_UNDELIVERED)

        def work(connection: Connection) -> tuple[TurnRow, ...]:
            found = [from_row(row) for statement in statements for row in connection.execute(statement, which)]
            return tuple(sorted(found, key=lambda row: -row.created))

        return await self._database.read(work)

    async def leave(self, id: str, worker: str) -> None:
        """Note that the client of a turn that `worker` runs has left: the turn ends as soon as its tool calls have."""
        await self._database.write(lambda connection: connection.execute(_LEAVE, {"which": id, "holder": worker}))

    async def find_same_waiting(self, row: TurnRow) -> TurnRow | None:
        """Find the newest turn that said the same to the same, and waits: another conversation of the owner's, which
        nothing tells apart from this one."""
        which = {"owner": row.owner, "digest": row.digest, "user": row.user_digest, "chat": row.chat}

        def work(connection: Connection) -> TurnRow | None:
            found = connection.execute(_FIND_SAME_WAITING, which).first()
            return None if found is None else from_row(found)

        return await self._database.read(work)

    async def find_newest_undelivered(self) -> float:
        """Find when the latest turn ended whose answer may not have arrived; 0.0 where there is none."""
        return await self._database.read(lambda connection: connection.scalar(_NEWEST_UNDELIVERED) or 0.0)

    async def find_cut(self, before: float) -> tuple[tuple[str, str | None], ...]:
        """Find id and thread of the turns that were stopped before this time and that a retry could have gone on
        with."""
        return await self._database.read(
            lambda connection: tuple((id, thread) for id, thread in connection.execute(_FIND_CUT, {"before": before}))
        )

    async def take_delivery(self, id: str, dead: str, worker: str) -> bool:
        """Make `worker` the process that delivers a turn's answer: of several that try, one gets True."""
        which = {"which": id, "holder": dead, "worker": worker}
        return await self._database.write(
            lambda connection: connection.execute(_UPDATE_UNDELIVERED, which).rowcount == 1
        )

    async def update(self, id: str, **fields: Unpack[TurnFields]) -> bool:
        """Change the given fields. Returns False if there is no such turn (it may have been pruned)."""
        return await self._change(_UPDATE, id, fields, {})

    async def advance(self, id: str, expected: TurnStatus, **fields: Unpack[TurnFields]) -> bool:
        """Change the given fields if the turn still has the status `expected`: of several that try, one gets True."""
        return await self._change(_ADVANCE, id, fields, {"expected": expected})

    async def get(self, id: str) -> TurnRow | None:
        return await self._database.read(lambda connection: _get(connection, id))

    async def find_by_call(self, owner: str, call_id: str) -> tuple[TurnRow, ...]:
        """Find the turns of one owner that know a tool call, newest first."""
        values = {"owner": owner, "call": make_storable(call_id)}
        return await self._database.read(lambda connection: tuple(map(from_row, connection.execute(_OF_CALL, values))))

    async def find_recent(self, owner: str, limit: int) -> tuple[TurnRow, ...]:
        """Find the newest `limit` turns of one owner, without those that go on in another. `request` is left out."""

        def work(connection: Connection) -> tuple[TurnRow, ...]:
            return tuple(map(from_row, connection.execute(_RECENT, {"owner": owner, "most": limit})))

        return await self._database.read(work)

    async def find_newest(self) -> str | None:
        """Find the id of the newest turn of anybody's; None where there is none."""
        return await self._database.read(lambda connection: connection.scalar(_NEWEST))

    async def find_by_owner(self, owner: str, ids: Sequence[str]) -> dict[str, TurnRow]:
        """Find those of these turns that are the owner's, by id; `request` is left out."""
        if not ids:
            return {}

        def work(connection: Connection) -> dict[str, TurnRow]:
            rows = map(from_row, connection.execute(_OF_OWNER, {"owner": owner, "ids": ids}))
            return {row.id: row for row in rows}

        return await self._database.read(work)

    async def find_older_than(self, time: float, limit: int = 200) -> tuple[tuple[str, str | None], ...]:
        """Find id and thread of up to `limit` turns that began before `time`, oldest first."""
        statement = select(turns.c.id, turns.c.thread).where(turns.c.created < time).order_by(turns.c.created)

        def work(connection: Connection) -> tuple[tuple[str, str | None], ...]:
            return tuple((id, thread) for id, thread in connection.execute(statement.limit(limit)))

        return await self._database.read(work)

    async def delete(self, ids: Sequence[str]) -> int:
        """Delete these turns, and return how many there were."""

        def work(connection: Connection) -> int:
            connection.execute(delete(turn_calls).where(turn_calls.c.turn.in_(ids)))
            return connection.execute(delete(turns).where(turns.c.id.in_(ids))).rowcount

        return await self._database.write(work)

    async def _change(self, statement: Any, id: str, fields: TurnFields, more: dict[str, str]) -> bool:
        def work(connection: Connection) -> bool:
            if connection.execute(statement, {"which": id, **more, **fields}).rowcount == 0:
                return False
            _add_calls(connection, id, collect_call_ids(fields.get("messages", [])))
            return True

        return await self._database.write(work)


def write_progress(connection: Connection, progress: TurnProgress) -> None:
    """Save how far a turn is, in a transaction under way. Raises TurnTakenUp."""
    if progress.transaction_work is not None:
        progress.transaction_work(connection)
    if progress.row is not None:
        prepared_statements.write(connection, _ADD, to_row(progress.row))
        _add_calls(connection, progress.id, collect_call_ids(progress.row.messages))
        return
    which = {"which": progress.id, "holder": progress.worker, **progress.fields}
    if prepared_statements.write(connection, _UPDATE_HELD, which) == 0:
        raise TurnTakenUp
    _add_calls(connection, progress.id, collect_call_ids(progress.fields.get("messages", [])))


def _get(connection: Connection, id: str) -> TurnRow | None:
    row = connection.execute(_GET, {"which": id}).first()
    return None if row is None else from_row(row)


def _add_calls(connection: Connection, turn: str, calls: Iterable[str]) -> None:
    rows = [{"call_id": call, "turn": turn} for call in calls]
    if rows:
        prepared_statements.write(connection, _ADD_CALL, *rows)


def from_row(row: Sequence[Any]) -> TurnRow:
    """Build a turn from a row of `ALL`."""
    return TurnRow(**dict(zip(NAMES, row, strict=True)))


def to_row(turn: TurnRow) -> dict[str, Any]:
    return {name: getattr(turn, name) for name in NAMES}


def find_unanswered_calls(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Find the ids of the calls in these messages whose results are not among them, in their order."""
    answered = {str(message.get("tool_call_id")) for message in messages if message.get("role") == "tool"}
    calls = (str(call.get("id")) for message in messages for call in message.get("tool_calls") or ())
    return [call for call in calls if call not in answered]


def collect_call_ids(messages: Sequence[dict[str, Any]]) -> set[str]:
    """Collect the ids of all tool calls that these messages make."""
    return {
        make_storable(str(call["id"]))
        for message in messages
        for call in message.get("tool_calls") or ()
        if call.get("id")
    }
